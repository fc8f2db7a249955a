//! Files that are generated and committed: each must be what its generator makes today.

use std::fmt::Write;
use std::path::Path;

use crate::support::TestDatabase;
use crate::support::database::text_rows;

/// Compares with the committed file, or writes it when `UPDATE_GENERATED` is set (`make generated` does).
fn check(path: &str, fresh: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(&file, fresh).expect("the file is written");
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == fresh, "{path} is stale: run `make generated` and commit it");
}

#[test]
fn schema_graphql_is_fresh() {
    check("schema.graphql", &mercato::graphql::sdl());
}

#[test]
fn openapi_json_is_fresh() {
    check("openapi.json", &mercato::rest::openapi_json().expect("a document"));
}

#[test]
fn env_example_is_fresh() {
    check(".env.example", &mercato::config::env_example());
}

/// diesel's own `print-schema` needs a command-line tool that takes minutes to build; this is all that we need of it.
/// Columns of types that diesel does not know (tsvector) are only used in SQL, and left out.
#[tokio::test]
async fn diesel_schema_is_fresh() {
    let database = TestDatabase::create().await;
    let columns = text_rows(
        &database.as_owner().await,
        "select c.relname, (select string_agg(a.attname, ', ' order by k.n) from unnest(i.indkey) with ordinality k(attnum, n)
                            join pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum),
                a.attname, format_type(a.atttypid, null), a.attnotnull
         from pg_class c
         join pg_index i on i.indrelid = c.oid and i.indisprimary
         join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
         where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and c.relname not like '\\_\\_%'
         order by c.relname, a.attnum",
    )
    .await;
    let mut schema = String::from(
        "// Generated from the migrated database: `make generated` writes it, a test fails when it is stale.\n",
    );
    let mut table = String::new();
    for row in &columns {
        let [name, key, column, sql_type, not_null] = row.split('|').collect::<Vec<_>>()[..] else {
            panic!("five columns: {row}");
        };
        if table != name {
            let end = if table.is_empty() { "" } else { "    }\n}\n" };
            write!(schema, "{end}\ndiesel::table! {{\n    {name} ({key}) {{\n").expect("text");
            name.clone_into(&mut table);
        }
        let Some(diesel_type) = diesel_type(sql_type) else { continue };
        let diesel_type = if not_null == "t" { diesel_type.to_owned() } else { format!("Nullable<{diesel_type}>") };
        writeln!(schema, "        {column} -> {diesel_type},").expect("text");
    }
    schema.push_str("    }\n}\n");
    check("src/db/schema.rs", &schema);
}

fn diesel_type(sql_type: &str) -> Option<&'static str> {
    Some(match sql_type {
        "bigint" => "BigInt",
        "boolean" => "Bool",
        "bytea" => "Bytea",
        "integer" => "Integer",
        "jsonb" => "Jsonb",
        "numeric" => "Numeric",
        "text" => "Text",
        "text[]" => "Array<Text>",
        "timestamp with time zone" => "Timestamptz",
        "uuid" => "Uuid",
        "tsvector" => return None,
        other => panic!("which diesel type is {other}?"),
    })
}
