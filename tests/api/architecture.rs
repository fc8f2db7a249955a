//! The import rules of `src/lib.rs`, checked by reading the source.

use std::fs;
use std::path::Path;

/// What of the other layers each layer may name: all of one, or what is below a path.
const RULES: [(&str, &[&str]); 15] = [
    // The binary reaches the library as `mercato::`, and may use all of it.
    ("main", &["cli"]),
    ("cli", &[]),
    (
        "app",
        &["clients", "config", "db", "domain", "error", "graphql", "http", "jobs", "rest", "services", "telemetry"],
    ),
    ("dev", &["clients", "db", "domain", "error", "services"]),
    ("http", &["clients", "config", "domain", "error", "graphql", "rest", "services", "telemetry"]),
    // Of `services` no more than `REST_AND_SERVICES` says.
    ("rest", &["domain", "error", "graphql", "services"]),
    ("graphql", &["db", "domain", "error", "services"]),
    ("jobs", &["services", "db", "domain", "error", "telemetry"]),
    ("services", &["db", "clients", "domain", "error", "telemetry"]),
    ("db", &["domain", "error"]),
    ("clients", &["domain", "error"]),
    ("telemetry", &["config", "db", "domain", "error"]),
    ("domain", &["error"]),
    // Below all: value types that errors and settings are made of, and nothing else.
    ("error", &["domain::orders::OrderStatus"]),
    ("config", &["domain::limits"]),
];

/// The only lines of `rest` that may speak of `services`: who asks was found out before the request came here, malformed requests
/// count too, and Stripe's events are no operation of the schema.
const REST_AND_SERVICES: [(&str, &str); 5] = [
    ("rest/mod.rs", "use crate::services::auth::Identified;"),
    ("rest/mod.rs", "engine.services.limits.charge_malformed("),
    ("rest/payments.rs", "use crate::services::payments;"),
    ("rest/payments.rs", "payments::receive(&engine.services, "),
    ("rest/run.rs", "use crate::services::auth::Identified;"),
];

/// Crates, by the beginning of their names, and the layers that may name them.
const CRATES: [(&str, &[&str]); 4] = [
    ("diesel", &["db"]),
    // Settings are read as it will read them.
    ("tokio_postgres", &["config", "db"]),
    ("async_graphql", &["db", "graphql", "http", "rest"]),
    ("axum", &["app", "dev", "http", "rest"]),
];

/// A source file.
struct Source {
    /// Its path below `src`.
    name: String,
    /// Its modules: `rest` and `run` for `rest/run.rs`, `rest` for `rest/mod.rs`.
    modules: Vec<String>,
    /// Its text without the lines that are comments.
    code: String,
}

impl Source {
    fn read(path: &Path, src: &Path) -> Self {
        let below = path.strip_prefix(src).expect("below src");
        let mut modules: Vec<_> = below.with_extension("").iter().map(|part| part.to_string_lossy().into()).collect();
        modules.pop_if(|last| last == "mod");
        let text = fs::read_to_string(path).expect("a text file");
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        let code = text.lines().filter(is_code).collect::<Vec<_>>().join("\n");
        Self { name: below.to_string_lossy().into(), modules, code }
    }

    fn layer(&self) -> &str {
        &self.modules[0]
    }

    /// Every path from the root of the crate that the file names, however it is written: after `crate::`, in braces or after
    /// enough `super::`.
    fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        // Tests at the end of a file are a module of their own.
        for (depth, code) in (self.modules.len()..).zip(self.code.split("\nmod tests {")) {
            for root in ["crate::", &"super::".repeat(depth)] {
                for (at, _) in code.match_indices(root) {
                    branches(String::new(), &code[at + root.len()..], &mut found);
                }
            }
        }
        found
    }
}

/// Takes the paths of a `use` tree (`{http::{self, mime}, rest}`, or a single one) into `found`, and returns what is behind it.
fn branches<'a>(mut path: String, mut text: &'a str, found: &mut Vec<String>) -> &'a str {
    loop {
        text = text.trim_start();
        if let Some(mut inner) = text.strip_prefix('{') {
            while !inner.starts_with('}') {
                inner = branches(path.clone(), inner, found).trim_start();
                inner = inner.strip_prefix(',').unwrap_or(inner).trim_start();
            }
            return &inner[1..];
        }
        let end = text.find(|c: char| !c.is_alphanumeric() && !"_*".contains(c)).unwrap_or(text.len());
        assert!(end > 0, "no path: {text:.60}");
        path.push_str(&text[..end]);
        let Some(more) = text[end..].strip_prefix("::") else {
            found.push(path);
            return &text[end..];
        };
        path.push_str("::");
        text = more;
    }
}

/// All source files below a folder, but for unit tests in files of their own, which may use what they like.
fn sources_below(dir: &Path, src: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources_below(&path, src, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            found.push(Source::read(&path, src));
        }
    }
}

fn sources() -> Vec<Source> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources_below(&src, &src, &mut found);
    // The crate's root names its modules, and nothing else.
    found.retain(|source| source.layer() != "lib");
    assert!(found.len() > 40, "the source was read");
    found
}

#[test]
fn imports_point_down_only() {
    let mut broken = Vec::new();
    for source in sources() {
        let layer = source.layer();
        let Some((_, allowed)) = RULES.iter().find(|(name, _)| *name == layer) else {
            broken.push(format!("{layer} is a layer without a rule"));
            continue;
        };
        let is_below =
            |path: &str, of: &str| path.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        for path in source.paths() {
            if !is_below(&path, layer) && !allowed.iter().any(|allowed| is_below(&path, allowed)) {
                broken.push(format!("{} names {path}", source.name));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn rest_leaves_use_cases_to_graphql() {
    let sources = sources();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found: Vec<_> = sources
        .iter()
        .filter(|source| source.layer() == "rest")
        .flat_map(|source| source.code.lines().map(|line| (source.name.as_str(), line.trim())))
        .filter(|(_, line)| line.split(|c| !is_word(c)).any(|word| word == "services"))
        .collect();
    for (file, allowed) in REST_AND_SERVICES {
        let index = found.iter().position(|(name, line)| *name == file && line.contains(allowed));
        found.remove(index.unwrap_or_else(|| panic!("{file} has no `{allowed}` any more")));
    }
    assert_eq!(found, []);
}

#[test]
fn crates_stay_in_their_layers() {
    let mut broken = Vec::new();
    for source in sources() {
        for (name, layers) in CRATES {
            if !layers.contains(&source.layer()) && source.code.contains(name) {
                broken.push(format!("{} names {name}", source.name));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn every_way_to_write_a_path_is_read() {
    let read = |code: &str| {
        let modules = vec!["rest".to_owned(), "run".to_owned()];
        Source { name: "rest/run.rs".into(), modules, code: code.into() }.paths()
    };
    assert_eq!(read("use crate::{http::{self, mime}, jobs};\nfn f() {}"), ["http::self", "http::mime", "jobs"]);
    assert_eq!(read("use crate::{\n    http::a::{\n        b,\n    },\n};"), ["http::a::b"]);
    assert_eq!(read("use crate::{a::{b::{c}}, d}"), ["a::b::c", "d"]);
    assert_eq!(read("let x = crate::jobs::run(super::super::db::all());"), ["jobs::run", "db::all"]);
    assert_eq!(read("use super::super::{db, app::App}; use super::values;"), ["db", "app::App"]);
    assert_eq!(read("let url = \"http://\"; crate::app::run()"), ["app::run"]);
    assert_eq!(read("use crate::*;\n#[cfg(test)]\nmod tests {\n    use super::super::values;"), ["*"]);
}
