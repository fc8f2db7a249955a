//! The walls between shops, tried in SQL as the server's own role: whatever the code forgets, the database refuses.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};
use uuid::Uuid;

use crate::support::database::{tables, text_rows};
use crate::support::samples::Goods;
use crate::support::{TestDatabase, TestServer};

/// A database with two shops, each with a row in every table.
#[expect(clippy::struct_field_names, reason = "the two shops are what it is about")]
struct Shops {
    database: TestDatabase,
    app: Client,
    superuser: Client,
    tables: Vec<String>,
    shops: [Uuid; 2],
}

impl Shops {
    async fn open() -> Self {
        let mut server = TestServer::start().await;
        let mut shops = [Uuid::nil(); 2];
        for (id, name) in shops.iter_mut().zip(["own", "other"]) {
            let shop = server.shop(name).await;
            Goods::new(&server, &shop).await;
            *id = shop.id;
        }
        server.stop().await;
        let database = server.database.clone();
        let (app, superuser) = (database.as_app().await, database.as_superuser().await);
        // What is written by chance, and gone again soon.
        let payments = "
            insert into payment_tasks (tenant_id, order_id) select distinct on (tenant_id) tenant_id, id from orders
                on conflict do nothing;
            insert into idempotency_keys (tenant_id, actor_id, operation, key, fingerprint)
                select id, id, 'any', 'key', 'print' from tenants";
        superuser.batch_execute(payments).await.expect("payments");
        let tables = tables(&superuser).await;
        for table in &tables {
            let key = key(table);
            let both = format!("select count(distinct {key}) from {table}");
            assert_eq!(
                text_rows(&superuser, &both).await,
                ["2"],
                "{table} has rows of both shops, or nothing is tested"
            );
        }
        Self { database, app, superuser, tables, shops }
    }

    /// Everything that the server's role can see or do across the wall in these tables; nothing, as it should be.
    async fn leaks(&self, tables: &[String]) -> Vec<String> {
        let mut leaks = Vec::new();
        let [own, other] = self.shops.map(|id| id.to_string());
        for setting in ["", &own, &other] {
            let set = format!("set app.current_tenant_id = '{setting}'");
            self.app.batch_execute(&set).await.expect("any value can be set");
            for table in tables {
                for victim in [&own, &other].into_iter().filter(|victim| *victim != setting) {
                    for (what, sql) in self.attacks(table, victim).await {
                        if let Some(harm) = self.harm(&sql).await {
                            leaks.push(format!("{table}: {what} with the tenant {}: {harm}", name(setting, &own)));
                        }
                    }
                }
            }
        }
        leaks
    }

    /// Statements that read or change a shop's rows of this table, or add one.
    async fn attacks(&self, table: &str, victim: &str) -> Vec<(&'static str, String)> {
        let key = key(table);
        let columns = format!(
            "select string_agg(quote_ident(attname), ', ') from pg_attribute
             where attrelid = '{table}'::regclass and attnum > 0 and not attisdropped and attgenerated = ''"
        );
        let columns = text_rows(&self.superuser, &columns).await.concat();
        let row = format!("select to_jsonb(t)::text from {table} t where {key} = '{victim}' limit 1");
        let row = text_rows(&self.superuser, &row).await.concat().replace('\'', "''");
        let row =
            format!("jsonb_populate_record(null::{table}, '{row}'::jsonb || '{{\"id\": \"{}\"}}')", Uuid::now_v7());
        let mut attacks = vec![
            ("select", format!("select * from {table} where {key} = '{victim}'")),
            (
                "select of all",
                format!(
                    "select from {table} where {key} <> coalesce(nullif(current_setting('app.current_tenant_id'), ''), '{}')::uuid",
                    Uuid::nil()
                ),
            ),
            ("insert", format!("insert into {table} ({columns}) select {columns} from {row}")),
            ("delete", format!("delete from {table} where {key} = '{victim}'")),
            ("truncate", format!("truncate {table} cascade")),
        ];
        // Column by column, because rights to update are given so.
        attacks.extend(
            columns
                .split(", ")
                .map(|column| ("update", format!("update {table} set {column} = {column} where {key} = '{victim}'"))),
        );
        attacks
    }

    /// What came of an attack; none if it was refused or touched nothing. Whatever it did is undone.
    async fn harm(&self, sql: &str) -> Option<String> {
        self.app.batch_execute("begin").await.expect("a transaction");
        let result = self.app.simple_query(sql).await;
        self.app.batch_execute("rollback").await.expect("the end");
        match result {
            Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => None,
            Err(error) => Some(format!("{sql} failed for another reason: {error:?}")),
            Ok(messages) => {
                let count = messages.iter().find_map(|message| match message {
                    SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
                    _ => None,
                });
                let is_truncate = sql.starts_with("truncate");
                (is_truncate || count != Some(0)).then(|| format!("{count:?} rows by {sql}"))
            }
        }
    }
}

/// The column that tells whose a row is.
fn key(table: &str) -> &'static str {
    if table == "tenants" { "id" } else { "tenant_id" }
}

fn name(setting: &str, own: &str) -> &'static str {
    match setting {
        "" => "unset",
        id if id == own => "own",
        _ => "other",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_foreign_row_is_seen_or_changed() {
    let shops = Shops::open().await;
    let contents = shops.database.contents(None).await;
    assert_eq!(shops.leaks(&shops.tables).await, Vec::<String>::new());
    // The policies hold even where grants do not: with every right but truncate, which row-level security cannot guard.
    shops
        .superuser
        .batch_execute("grant select, insert, update, delete on all tables in schema public to mercato_app")
        .await
        .expect("grants");
    assert_eq!(shops.leaks(&shops.tables).await, Vec::<String>::new());
    assert_eq!(shops.database.contents(None).await.len(), contents.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_in_the_wall_is_found() {
    let holes = [
        ("orders", "alter table orders disable row level security"),
        ("products", "drop policy tenant_isolation on products; create policy all_too_open on products using (true)"),
        ("users", "create policy across on users for select to mercato_app using (true)"),
        ("refunds", "grant truncate on refunds to mercato_app"),
        (
            "inventory",
            "drop policy tenant_isolation on inventory;
             create policy tenant_isolation on inventory using (tenant_id =
                 coalesce(nullif(current_setting('app.current_tenant_id', true), '')::uuid, tenant_id))",
        ),
    ];
    let shops = Shops::open().await;
    for (table, hole) in holes {
        shops.superuser.batch_execute(hole).await.expect("the owner can break anything");
        let leaks = shops.leaks(&[table.to_owned()]).await;
        assert!(!leaks.is_empty(), "{table}: {hole}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_search_function_keeps_the_wall() {
    let shops = Shops::open().await;
    let [own, other] = shops.shops;
    let found = async |tenant: String| {
        let set = format!("set app.current_tenant_id = '{tenant}'");
        shops.app.batch_execute(&set).await.expect("the tenant is set");
        let mut found = text_rows(&shops.app, "select product_id from search_products('product')").await;
        found.sort();
        found
    };
    let of = async |tenant: Uuid| {
        let ids = format!("select id from products where tenant_id = '{tenant}' order by id");
        text_rows(&shops.superuser, &ids).await
    };
    assert_eq!(found(String::new()).await, Vec::<String>::new());
    assert_eq!(found(own.to_string()).await, of(own).await);
    assert_eq!(found(other.to_string()).await, of(other).await);
    assert_eq!(found(Uuid::now_v7().to_string()).await, Vec::<String>::new());
}

/// What the server may do above tenants, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn the_system_role_has_its_few_rights() {
    let shops = Shops::open().await;
    let notes = ["DELETE", "INSERT", "SELECT", "UPDATE"];
    let notes = |table: &str| notes.map(|right| format!("{table} {right}")).to_vec();
    let few = |rights: &[&str]| rights.iter().map(|right| (*right).to_owned()).collect::<Vec<_>>();
    let may = [
        notes("idempotency_keys"),
        few(&["orders SELECT"]),
        notes("payment_tasks"),
        few(&["payments SELECT", "processed_events DELETE", "processed_events SELECT"]),
        few(&["tenants INSERT", "tenants SELECT", "users INSERT"]),
    ]
    .concat();
    let rights = "select c.relname || ' ' || p.name from pg_class c,
            unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) as p(name)
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm')
          and (has_table_privilege('mercato_system', c.oid, p.name)
               or p.name in ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES') and has_any_column_privilege('mercato_system', c.oid, p.name))
        order by 1";
    assert_eq!(text_rows(&shops.superuser, rights).await, may);
    shops.app.batch_execute("set role mercato_system").await.expect("a member");
    assert_eq!(text_rows(&shops.app, "select count(*) from tenants").await, ["2"]);
    // Nobody's answers, and of orders and payments not what is in them.
    assert_eq!(text_rows(&shops.app, "select count(*) from idempotency_keys").await, ["0"]);
    for column in ["customer_name", "customer_email", "shipping_address", "customer_id"] {
        let refused = shops.app.simple_query(&format!("select {column} from orders")).await.expect_err(column);
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{column}");
    }
    let is_seen = |table: &String| may.contains(&format!("{table} SELECT"));
    for table in shops.tables.iter().filter(|table| !is_seen(table)) {
        let refused = shops.app.simple_query(&format!("select from {table}")).await.expect_err(table);
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_role_cannot_become_another_or_write_the_audit_log() {
    let shops = Shops::open().await;
    let own = shops.shops[0];
    let set = format!("set app.current_tenant_id = '{own}'");
    shops.app.batch_execute(&set).await.expect("the tenant is set");
    assert_ne!(text_rows(&shops.app, "select count(*) from audit_logs").await, ["0"]);
    let forged = format!(
        "insert into audit_logs (tenant_id, action, resource, resource_id, changes) values ('{own}', 'CREATE', 'x', '{own}', '{{}}')"
    );
    let refused = [
        forged.as_str(),
        "update audit_logs set action = action",
        "delete from audit_logs",
        "truncate audit_logs",
        "alter table audit_logs disable trigger all",
        "alter table orders disable row level security",
        "drop policy tenant_isolation on orders",
        "create table mine (id int)",
        "create function mine() returns int language sql as 'select 1'",
        "set role mercato_owner",
        "set role mercato_audit",
        "set role mercato_search",
        "set role postgres",
        "set session authorization mercato_owner",
        "alter role mercato_app bypassrls",
        "select audit_table('orders')",
        "select isolate_table('orders')",
        "copy orders to program 'cat'",
        "select pg_read_file('/etc/passwd')",
    ];
    for sql in refused {
        let error = shops.app.simple_query(sql).await.expect_err(sql);
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{sql}: {error:?}");
    }
    // Asking to be exempt from the policies is an error, not an exemption.
    let exempt =
        shops.app.batch_execute("set row_security = off; select * from orders").await.expect_err("no exemption");
    assert_eq!(exempt.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{exempt:?}");
}

/// Reads name their tenant in the statement itself (`db/walled.rs`). Whatever the connection was set to, and however
/// PostgreSQL goes about the statement, it sees the rows of the one that it names, and leaves the connection as it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_names_its_tenant_sees_nobody_elses_rows() {
    let Shops { app, superuser, tables, shops: [own, other], .. } = Shops::open().await;
    let shapes = [
        "select KEY from TABLE",
        "select KEY from TABLE order by KEY limit 1000",
        "select KEY from TABLE where KEY = any(array['OWN', 'OTHER']::uuid[])",
        "select min(KEY::text)::uuid from TABLE group by KEY",
        "select a.KEY from TABLE a join TABLE b using (KEY)",
        "select KEY from TABLE where KEY in (select KEY from TABLE)",
        "with rows as (select * from TABLE) select KEY from rows",
    ];
    let (mut tried, mut wrong) = (0, Vec::new());
    for set in ["", &other.to_string()] {
        app.batch_execute(&format!("set app.current_tenant_id = '{set}'")).await.expect("any value can be set");
        for plan in ["force_generic_plan", "force_custom_plan"] {
            app.batch_execute(&format!("set plan_cache_mode = {plan}")).await.expect("a setting");
            for table in tables.iter().filter(|table| *table != "processed_events") {
                let is_readable = format!("select has_table_privilege('mercato_app', '{table}', 'select')");
                if text_rows(&superuser, &is_readable).await != ["t"] {
                    continue;
                }
                for shape in shapes {
                    let query = shape.replace("TABLE", table).replace("KEY", key(table));
                    let query = query.replace("OWN", &own.to_string()).replace("OTHER", &other.to_string());
                    let walled = format!(
                        "with tenant as materialized (select set_config('app.current_tenant_id', $1::uuid::text, true) as id)
                         select distinct rows.*, current_setting('app.current_tenant_id') from ({query}) as rows
                         where (select id from tenant) is not null"
                    );
                    let seen = app.query(&walled, &[&own]).await.expect("it may be read");
                    let seen: Vec<Uuid> = seen.iter().map(|row| row.get(0)).collect();
                    if seen != [own] {
                        wrong.push(format!("{plan}, set to {set:?}, {query}: {seen:?}"));
                    }
                    tried += 1;
                }
            }
        }
        assert_eq!(text_rows(&app, "select current_setting('app.current_tenant_id')").await, [set]);
    }
    assert!(wrong.is_empty(), "{} of {tried}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(tried > 200, "{tried}");
}
