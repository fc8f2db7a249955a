//! Who may do what: every field and route, asked by everybody, against `roles.golden`.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::support::database::versions;
use crate::support::operations::{Operation, Schema};
use crate::support::samples::{Goods, everybody};
use crate::support::shop::id;
use crate::support::{Answer, As, Shop, TestServer};

/// Fields inside objects that not everybody may see, by each way that leads to them, and reads whose answer depends on
/// whose or which object it is. `$product`, `$order`, … are those of [`Goods`].
const READS: [(&str, &str); 26] = [
    ("Order.customer by node", "{ node(id: $order) { ... on Order { customer { id } } } }"),
    ("Order.customer by order", "{ order(id: $order) { customer { id } } }"),
    ("Order.customer by orders", "{ orders { nodes { customer { id } } } }"),
    ("Product.inventory by node", "{ node(id: $product) { ... on Product { inventory { id } } } }"),
    ("Product.inventory by order", "{ order(id: $order) { items { product { inventory { id } } } } }"),
    ("Product.inventory by product", "{ product(identifier: {id: $product}) { inventory { id } } }"),
    ("Product.inventory by products", "{ products { nodes { inventory { id } } } }"),
    ("Tenant.apiKey by node", "{ node(id: $tenant) { ... on Tenant { apiKey } } }"),
    ("Tenant.apiKey by tenant", "{ tenant { apiKey } }"),
    ("inactive product by node", "{ node(id: $inactive) { id } }"),
    ("inactive product by product", "{ product(identifier: {id: $inactive}) { id } }"),
    ("inactive products by products", "{ products(filter: {isActive: false}) { nodes { id } } }"),
    ("node AuditLog", "{ node(id: $audit) { id } }"),
    ("node Inventory", "{ node(id: $stock) { id } }"),
    ("node Order, own", "{ node(id: $order) { id } }"),
    ("node Order, another's", "{ node(id: $another) { id } }"),
    ("node OrderItem, own", "{ node(id: $item) { id } }"),
    ("node OrderItem, another's", "{ node(id: $anotherItem) { id } }"),
    ("node Payment, own", "{ node(id: $payment) { id } }"),
    ("node Payment, another's", "{ node(id: $anotherPayment) { id } }"),
    ("node Refund", "{ node(id: $refund) { id } }"),
    ("Order.payment, another's", "{ order(id: $another) { payment { id } } }"),
    ("node ServiceAccount", "{ node(id: $machine) { id } }"),
    ("node User, another", "{ node(id: $somebody) { id } }"),
    ("order, another's", "{ order(id: $another) { id } }"),
    ("orders, another's", "{ orders(filter: {customerId: $somebody}) { nodes { id } } }"),
];

/// The same for mutations: what their payloads show.
const WRITES: [(&str, &str); 5] = [
    (
        "Product.inventory by productUpdate",
        "{ productUpdate(id: $product, input: {name: \"New\"}) { product { inventory { id } } } }",
    ),
    (
        "Order.customer by orderStatusUpdate",
        "{ orderStatusUpdate(id: $order, input: {status: PAID}) { order { customer { id } } } }",
    ),
    ("Tenant.apiKey by tenantUpdate", "{ tenantUpdate(input: {name: \"New\"}) { tenant { apiKey } } }"),
    ("paymentIntentCreate, another's", "{ paymentIntentCreate(input: {orderId: $another}) { userErrors { code } } }"),
    ("orderCancel, another's", "{ orderCancel(id: $another) { userErrors { code } } }"),
];

/// A shop with one of everything, and an order of somebody else than its customer.
struct World {
    server: TestServer,
    shop: Shop,
    goods: Goods,
    somebody: (As, Uuid),
    /// Somebody's order.
    another: Value,
    another_payment: Uuid,
    superuser: Client,
    versions: Vec<String>,
}

impl World {
    async fn new() -> Self {
        let server = TestServer::start().await;
        let shop = server.shop("roles").await;
        let goods = Goods::new(&server, &shop).await;
        let somebody = shop.another_customer(&server, "else@example.com").await;
        let superuser = server.database.as_superuser().await;
        let mut world = Self {
            server,
            shop,
            goods,
            somebody,
            another: Value::Null,
            another_payment: Uuid::nil(),
            superuser,
            versions: vec![],
        };
        world.renew().await;
        world
    }

    /// Makes new what can be used up.
    async fn renew(&mut self) {
        // Changing a password and logging out end sessions.
        self.shop = self.shop.clone().logged_in_again(&self.server).await;
        self.goods = self.goods.clone().renewed(&self.server, &self.shop).await;
        let placed = self.shop.order(&self.server, &self.somebody.0, &[(self.goods.product, 1)]).await;
        self.another = placed["order"].clone();
        let intended = self.server.intend(&self.somebody.0, id(&self.another["id"])).await;
        self.another_payment = id(&intended["payment"]["id"]);
        self.server.until_settled().await;
        self.versions = versions(&self.superuser).await;
    }

    fn variables(&self) -> Value {
        let Goods {
            product,
            inactive_product,
            stock,
            order,
            item,
            payment,
            refund,
            user,
            audit_log,
            service_account,
            ..
        } = &self.goods;
        json!({"product": product, "inactive": inactive_product, "stock": stock, "order": order, "item": item, "user": user,
            "audit": audit_log, "machine": service_account, "tenant": self.shop.id, "another": self.another["id"],
            "payment": payment, "refund": refund, "anotherPayment": self.another_payment,
            "anotherItem": self.another["items"][0]["id"], "somebody": self.somebody.1})
    }

    /// One line of the matrix: an answer for each kind of caller. Whatever was refused must have written nothing.
    async fn row(&mut self, name: &str, changes: bool, ask: impl AsyncFn(&Self, &As) -> Answer) -> String {
        let mut cells = Vec::new();
        for (role, who) in everybody(&self.shop) {
            let cell = cell(&ask(self, &who).await);
            // A payload can show less than was done.
            if changes && (cell == "ok" || cell.starts_with("ok,")) {
                self.renew().await;
            } else {
                assert_eq!(
                    versions(&self.superuser).await,
                    self.versions,
                    "{name} as {role}: {cell}, and yet something was written"
                );
            }
            cells.push(cell);
        }
        let cells: Vec<_> = cells.iter().map(|cell| format!(" | {cell:<26}")).collect();
        format!("{name:<35}{}", cells.concat().trim_end())
    }
}

/// An answer in a few words: `ok`, `null`, `empty` or a code, and whether that is of a field within.
fn cell(answer: &Answer) -> String {
    let Answer { status, body, .. } = answer;
    if let Some(success) = body.get("success") {
        return match success {
            Value::Bool(true) => "ok".to_owned(),
            _ => format!("{status} {}", body["error"]["code"].as_str().expect("a code")),
        };
    }
    if let Some(error) = body.get("errors").map(|errors| &errors[0]) {
        let code = error["extensions"]["code"].as_str().expect("a code");
        let is_partial = error["path"].as_array().is_some_and(|path| path.len() > 1);
        return if is_partial { format!("ok, {code} within") } else { code.to_owned() };
    }
    let data = body["data"].as_object().and_then(|data| data.values().next()).expect("a root field");
    match &data["userErrors"][0]["code"] {
        Value::String(code) => format!("{code} (user)"),
        _ if data.is_null() => "null".to_owned(),
        _ if data["nodes"] == json!([]) => "empty".to_owned(),
        _ => "ok".to_owned(),
    }
}

/// Declares the variables that a selection mentions.
fn document(kind: &str, selection: &str) -> String {
    let mut names: Vec<_> = selection
        .split('$')
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next().expect("a name"))
        .collect();
    names.dedup();
    let declared: Vec<_> = names.iter().map(|name| format!("${name}: ID!")).collect();
    let declared = if declared.is_empty() { String::new() } else { format!("({})", declared.join(", ")) };
    format!("{kind}{declared} {selection}")
}

/// Compares with the committed table, or writes it when `UPDATE_GENERATED` is set: whoever commits it changes rights.
fn compare(table: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/roles.golden");
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(&file, table).expect("the file is written");
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    let rows = |one: &str, other: &str| one.lines().filter(|row| !other.contains(row)).collect::<Vec<_>>().join("\n");
    let (now, then) = (rows(table, &committed), rows(&committed, table));
    assert!(table == committed, "rights have changed; they are\n{now}\nand in roles.golden\n{then}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_may_do_what_the_table_says() {
    let mut world = World::new().await;
    let titles: Vec<_> = everybody(&world.shop).iter().map(|(name, _)| format!(" | {name:<26}")).collect();
    let mut table = format!("{:<35}{}\n", "", titles.concat().trim_end());
    for operation in Operation::all().await {
        let name = &operation.name;
        let missing = format!("{name} is new: say in support/samples.rs how to call it");
        assert!(world.goods.arguments(name, &world.shop).is_some(), "{missing}");
        let ask = async |world: &World, who: &As| {
            let arguments = world.goods.arguments(name, &world.shop).expect("arguments");
            operation.try_call(&world.server, who, &arguments).await
        };
        let row = world.row(name, operation.changes, ask).await;
        writeln!(table, "{row}").expect("text");
    }
    let extras = READS.map(|(name, selection)| (name, selection, "query"));
    let extras = extras.into_iter().chain(WRITES.map(|(name, selection)| (name, selection, "mutation")));
    for (name, selection, kind) in extras {
        let query = document(kind, selection);
        let ask = async |world: &World, who: &As| world.server.graphql(who, &query, world.variables()).await;
        let row = world.row(name, kind == "mutation", ask).await;
        writeln!(table, "{row}").expect("text");
    }
    compare(&table);
}

#[tokio::test]
async fn every_guarded_field_is_in_the_table() {
    let schema = Schema::load().await;
    let rows: Vec<_> = READS.iter().chain(&WRITES).map(|(name, _)| *name).collect();
    let has = |start: &str| rows.iter().any(|row| row.starts_with(start));
    let guarded = schema.guarded_fields();
    assert!(!guarded.is_empty());
    for field in guarded {
        assert!(has(&field), "{field} requires a role: add it to READS");
    }
    for node in schema.nodes() {
        assert!(
            has(&format!("node {node}")) || has(&format!("{node}.")),
            "node(id:) can answer {node}: add it to READS"
        );
    }
}
