//! The rules that every table, constraint, view and function of the database keeps, also those added later.

use tokio_postgres::Client;

use crate::support::TestDatabase;
use crate::support::database::text_rows;

/// Tables of the tools, not of the shops.
const NOT_OURS: &str = "'__diesel_schema_migrations'";

async fn none(client: &Client, sql: &str) {
    let sql = sql.replace("{not_ours}", NOT_OURS);
    assert_eq!(text_rows(client, &sql).await, Vec::<String>::new(), "{sql}");
}

#[tokio::test]
async fn every_table_is_walled_off() {
    let database = TestDatabase::create().await;
    let owner = database.as_owner().await;
    let tables =
        text_rows(&owner, "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'")
            .await;
    assert!(tables.len() > 10, "{tables:?}");
    none(
        &owner,
        "select c.relname || ': row-level security is not enabled and forced' from pg_class c
         where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and c.relname not in ({not_ours})
           and not (c.relrowsecurity and c.relforcerowsecurity)",
    )
    .await;
    // The expression is evaluated once a statement, and an unset tenant sees nothing.
    none(
        &owner,
        "select c.relname || ': no tenant_isolation policy with USING and WITH CHECK' from pg_class c
         where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and c.relname not in ({not_ours})
           and not exists (
               select from pg_policy p
               where p.polrelid = c.oid and p.polname = 'tenant_isolation' and p.polcmd = '*' and p.polroles = '{0}'
                 and pg_get_expr(p.polqual, p.polrelid) = pg_get_expr(p.polwithcheck, p.polrelid)
                 and pg_get_expr(p.polqual, p.polrelid) ~ ('^\\((tenant_id|id) = \\( SELECT \\(NULLIF\\(current_setting\\(''app.current_tenant_id''::text, true\\), ''''::text\\)\\)::uuid')
           )",
    )
    .await;
    none(
        &owner,
        "select p.polname || ' on ' || p.polrelid::regclass || ' lets ' || r.rolname || ' past the wall' from pg_policy p
         join pg_roles r on r.oid = any(p.polroles)
         where r.rolname in ('mercato_app', 'mercato_owner')",
    )
    .await;
}

#[tokio::test]
async fn every_key_begins_with_the_tenant() {
    let database = TestDatabase::create().await;
    let owner = database.as_owner().await;
    none(
        &owner,
        "select c.relname || ': no tenant_id that is not null' from pg_class c
         where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
           and c.relname not in ('tenants', {not_ours})
           and not exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id' and a.attnotnull)",
    )
    .await;
    // Unique and foreign keys ignore row-level security: one without the tenant could point at, or probe for, another's rows.
    none(
        &owner,
        "select k.conrelid::regclass || '.' || k.conname || ' does not begin with tenant_id' from pg_constraint k
         join pg_class c on c.oid = k.conrelid
         where c.relnamespace = 'public'::regnamespace and k.contype in ('p', 'u', 'f')
           and c.relname not in ('tenants', {not_ours})
           and (select a.attname from pg_attribute a where a.attrelid = k.conrelid and a.attnum = k.conkey[1]) <> 'tenant_id'",
    )
    .await;
    none(
        &owner,
        "select k.conrelid::regclass || '.' || k.conname || ' points across tenants' from pg_constraint k
         join pg_class c on c.oid = k.conrelid
         where c.relnamespace = 'public'::regnamespace and k.contype = 'f' and k.confrelid <> 'tenants'::regclass
           and (select a.attname from pg_attribute a where a.attrelid = k.confrelid and a.attnum = k.confkey[1]) <> 'tenant_id'",
    )
    .await;
    none(
        &owner,
        "select i.indexrelid::regclass || ' does not begin with tenant_id' from pg_index i
         join pg_class c on c.oid = i.indrelid
         where c.relnamespace = 'public'::regnamespace and c.relname not in ('tenants', {not_ours})
           and (select a.attname from pg_attribute a where a.attrelid = i.indrelid and a.attnum = i.indkey[0]) <> 'tenant_id'
           -- What the system role searches by, above tenants.
           and i.indexrelid::regclass::text not in ('orders_unpaid', 'payments_intent', 'payments_id', 'payment_tasks_due',
               'processed_events_received', 'idempotency_keys_created')",
    )
    .await;
}

#[tokio::test]
async fn roles_have_no_more_than_they_need() {
    let database = TestDatabase::create().await;
    let owner = database.as_owner().await;
    none(
        &owner,
        "select rolname || ' is too powerful' from pg_roles
         where rolname like 'mercato\\_%' and (rolsuper or rolbypassrls or rolcreaterole or rolreplication)",
    )
    .await;
    none(
        &owner,
        "select c.relname || ' is owned by ' || pg_get_userbyid(c.relowner) from pg_class c
         where c.relnamespace = 'public'::regnamespace and pg_get_userbyid(c.relowner) <> 'mercato_owner'",
    )
    .await;
    // Nothing is ever deleted or truncated by the server, and the append-only tables are not updated either.
    none(
        &owner,
        "select g.grantee || ' may ' || g.privilege_type || ' ' || g.table_name from information_schema.role_table_grants g
         where g.table_schema = 'public' and g.grantee <> 'mercato_owner' and g.table_name not in ({not_ours})
           and (g.grantee = 'PUBLIC' or g.privilege_type not in ('SELECT', 'INSERT'))
           -- Work that is done, and what has had its day, is swept out by the jobs.
           and not (g.grantee = 'mercato_system' and g.privilege_type = 'DELETE'
                    and g.table_name in ('payment_tasks', 'processed_events', 'idempotency_keys'))",
    )
    .await;
    none(
        &owner,
        "select g.grantee || ' may update ' || g.table_name || '.' || g.column_name from information_schema.column_privileges g
         where g.table_schema = 'public' and g.privilege_type = 'UPDATE' and g.grantee <> 'mercato_owner'
           and (g.table_name in ('audit_logs', 'inventory_movements', 'order_items', 'order_status_history', 'processed_events')
                or g.column_name in ('id', 'tenant_id', 'price_at_time', 'total_amount')
                or (g.column_name = 'created_at' and g.table_name <> 'idempotency_keys'))",
    )
    .await;
}

#[tokio::test]
async fn functions_and_views_keep_the_walls() {
    let database = TestDatabase::create().await;
    let owner = database.as_owner().await;
    none(
        &owner,
        "select p.proname || ' runs as its owner without a pinned search_path' from pg_proc p
         where p.pronamespace = 'public'::regnamespace and p.prosecdef
           and not coalesce(p.proconfig::text like '%search_path=pg_catalog%', false)",
    )
    .await;
    none(
        &owner,
        "select p.proname || ' runs as ' || pg_get_userbyid(p.proowner) from pg_proc p
         join pg_roles r on r.oid = p.proowner
         where p.pronamespace = 'public'::regnamespace and p.prosecdef and (r.rolcanlogin or r.rolsuper or r.rolbypassrls)",
    )
    .await;
    none(
        &owner,
        "select p.proname || ' runs as its owner and anybody may call it' from pg_proc p
         where p.pronamespace = 'public'::regnamespace and p.prosecdef and has_function_privilege('public', p.oid, 'execute')",
    )
    .await;
    none(
        &owner,
        "select c.relname || ' is a view that shows its owner''s rows' from pg_class c
         where c.relnamespace = 'public'::regnamespace and c.relkind in ('v', 'm')
           and not coalesce(c.reloptions::text like '%security_invoker=true%', false)",
    )
    .await;
}

#[tokio::test]
async fn every_change_is_audited_and_dated() {
    let database = TestDatabase::create().await;
    let owner = database.as_owner().await;
    // Notes of work and of answers, which nothing in the books depends on.
    let notes = "'payment_tasks', 'idempotency_keys', 'service_account_uses'";
    // These record themselves: rows are written once, with actor and request where they matter, and never changed.
    let append_only = "'audit_logs', 'inventory_movements', 'order_items', 'order_status_history', 'processed_events'";
    none(
        &owner,
        &format!(
            "select c.relname || ' lacks an audit trigger' from pg_class c
             where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
               and c.relname not in ({append_only}, {notes}, {{not_ours}})
               and (select count(*) from pg_trigger t where t.tgrelid = c.oid and t.tgfoid = 'write_audit'::regproc
                    and t.tgenabled = 'O') <> 3"
        ),
    )
    .await;
    none(
        &owner,
        "select c.relname || ' has updated_at without its trigger' from pg_class c
         join pg_attribute a on a.attrelid = c.oid and a.attname = 'updated_at'
         where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
           and not exists (select from pg_trigger t where t.tgrelid = c.oid and t.tgfoid = 'set_updated_at'::regproc)",
    )
    .await;
}
