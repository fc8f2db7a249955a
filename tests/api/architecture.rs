//! The import rules of `src/lib.rs`, checked by reading the source.

use std::fs;
use std::path::{Path, PathBuf};

/// The layers that each layer may import, besides itself.
const RULES: [(&str, &[&str]); 14] = [
    // The binary reaches the library as `mercato::`, and may use all of it.
    ("main", &["cli"]),
    ("cli", &[]),
    (
        "app",
        &["clients", "config", "db", "domain", "error", "graphql", "http", "jobs", "rest", "services", "telemetry"],
    ),
    ("dev", &["clients", "config", "db", "domain", "error", "services"]),
    ("http", &["clients", "config", "domain", "error", "graphql", "rest", "services", "telemetry"]),
    ("rest", &["domain", "error", "graphql", "services"]),
    ("graphql", &["db", "domain", "error", "services"]),
    ("jobs", &["services", "db", "domain", "error", "telemetry"]),
    ("services", &["db", "clients", "domain", "error", "telemetry"]),
    ("db", &["domain", "error"]),
    ("clients", &["domain", "error"]),
    ("telemetry", &["db", "domain", "error"]),
    ("domain", &["error"]),
    ("error", &["domain"]),
];

/// All source files below a folder, but for unit tests in files of their own, which may use what they like.
fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

/// The layers that a source file names, in `use` lines and in paths.
fn named_layers(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().flat_map(|(number, line)| {
        let code = line.split("//").next().unwrap_or(line);
        code.match_indices("crate::").map(move |(at, _)| {
            let rest = &code[at + "crate::".len()..];
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            (number + 1, &rest[..end])
        })
    })
}

#[test]
fn imports_point_down_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut broken = Vec::new();
    for file in &files {
        let relative = file.strip_prefix(&src).expect("below src");
        let first = relative.components().next().expect("a name").as_os_str().to_string_lossy();
        let layer = first.trim_end_matches(".rs");
        if matches!(layer, "lib" | "config") {
            continue;
        }
        let Some((_, allowed)) = RULES.iter().find(|(name, _)| *name == layer) else {
            broken.push(format!("{layer} is a layer without a rule"));
            continue;
        };
        let text = fs::read_to_string(file).expect("a text file");
        for (line, named) in named_layers(&text) {
            if named != layer && RULES.iter().any(|(name, _)| *name == named) && !allowed.contains(&named) {
                broken.push(format!("{}:{line}: {layer} imports {named}", relative.display()));
            }
        }
    }
    assert!(files.len() > 40, "the source was read");
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn sql_and_diesel_stay_in_db() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let outside = files.iter().filter(|file| !file.starts_with(src.join("db")));
    let offenders: Vec<_> =
        outside.filter(|file| fs::read_to_string(file).expect("a text file").contains("diesel")).collect();
    assert_eq!(offenders, Vec::<&PathBuf>::new());
}
