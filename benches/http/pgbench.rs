//! The reference for the database: the statements that the server sends, sent by pgbench.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::Context;

use super::operations::Operation;
use super::processes::cpu_seconds;
use super::report::{Latencies, Measured};
use super::stack::{PRODUCTS, Shop, Stack};

/// Of which share of the transactions the time is written down.
const SAMPLED: &str = "0.1";

/// From `db::keyset` and `db::products`.
const LIST: &str = r#"
    select "products"."id", "products"."name", "products"."description", "products"."price", "products"."sku",
        "products"."category", "products"."image_urls", "products"."is_active", "products"."created_at",
        "products"."updated_at", null::bigint
    from products where true and products.is_active = :active::boolean
    order by products.created_at desc, products.id desc limit :limit::bigint"#;

/// From `db::products`.
const PRODUCT: &str = r#"
    SELECT "products"."id", "products"."name", "products"."description", "products"."price", "products"."sku",
        "products"."category", "products"."image_urls", "products"."is_active", "products"."created_at",
        "products"."updated_at"
    FROM "products" WHERE ("products"."id" = ANY(array[{product}]))"#;

/// From `db::inventory::take`.
const TAKE: &str = "
    with wanted as (
        select * from unnest(array[{first}, {second}], :quantities::integer[]) as wanted (product_id, quantity)
    ), stock as (
        select i.product_id, p.price, i.quantity as available, i.quantity >= w.quantity as enough, w.quantity as requested
        from wanted w
        join products p on p.id = w.product_id and p.is_active
        join inventory i on i.product_id = w.product_id
        order by i.product_id
        for no key update of i
    ), taken as (
        update inventory i set quantity = i.quantity - s.requested
        from stock s
        where i.product_id = s.product_id
          and (select bool_and(enough) and count(*) = cardinality(array[{first}, {second}]) from stock)
    )
    select product_id, price, available, enough from stock";

/// From `db::orders::insert`.
const INSERT: &str = "
    with lines as (
        select * from unnest(array[{line1}, {line2}], array[{first}, {second}], :quantities::integer[], :prices::numeric[])
            as lines (id, product_id, quantity, price)
    ), placed as (
        insert into orders (id, tenant_id, customer_id, status, total_amount, customer_name, customer_email,
            shipping_address)
        values ({order}, '{tenant}'::uuid, '{customer}'::uuid, 'PENDING', :total::numeric, :name, :email, :address::jsonb)
        returning id, tenant_id, created_at
    ), items as (
        insert into order_items (id, tenant_id, order_id, product_id, quantity, price_at_time)
        select l.id, p.tenant_id, p.id, l.product_id, l.quantity, l.price from lines l, placed p
    ), movements as (
        insert into inventory_movements (tenant_id, product_id, delta, kind, order_id)
        select p.tenant_id, l.product_id, -l.quantity, 'ORDER', p.id from lines l, placed p
    )
    select created_at from placed";

/// Everything that is a parameter of these statements and no number.
const PARAMETERS: [(&str, &str); 8] = [
    ("active", "true"),
    ("limit", "21"),
    ("quantities", "{1,1}"),
    ("prices", "{12.50,12.50}"),
    ("total", "25.00"),
    ("name", "Ada Lovelace"),
    ("email", "ada@example.com"),
    (
        "address",
        r#"{"street": "12 St James's Square", "city": "London", "state": "", "zip": "SW1Y 4JH", "country": "GB"}"#,
    ),
];

/// The program, and where its scripts are.
pub struct Pgbench {
    program: PathBuf,
    scripts: tempfile::TempDir,
    seconds: u64,
}

impl Pgbench {
    /// Finds the program and writes a script for each shop, because `SET` takes no parameters.
    pub fn new(stack: &Stack, seconds: u64) -> anyhow::Result<Self> {
        let scripts = tempfile::tempdir()?;
        for operation in Operation::ALL {
            for (number, shop) in stack.shops.iter().enumerate() {
                fs::write(scripts.path().join(format!("{operation:?}-{number}.sql")), script(operation, shop))?;
            }
        }
        Ok(Self { program: program()?, scripts, seconds })
    }

    /// Runs the operation's SQL, and tells what it cost PostgreSQL and how long it took.
    pub fn run(&self, stack: &Stack, operation: Operation) -> anyhow::Result<Measured> {
        self.once(stack, operation, 2, 1)?;
        let before = cpu_seconds(stack.postgres())?;
        let (count, sample) = self.once(stack, operation, self.seconds, 2)?;
        let cpu = cpu_seconds(stack.postgres())? - before;
        let latencies = Latencies::sampled_of(count, sample);
        Measured::new(latencies, Duration::from_secs(self.seconds), vec![("PostgreSQL", cpu)], 0)
    }

    /// Runs it for so many seconds, on one connection for each shop: that makes as many as the server's pool has, and
    /// each prepares its statements once, as the server's do. Tells how many transactions there were, and how long some
    /// took. Orders get numbers of the given series, which no other run may have.
    fn once(
        &self,
        stack: &Stack,
        operation: Operation,
        seconds: u64,
        series: u32,
    ) -> anyhow::Result<(u32, Vec<Duration>)> {
        let start = |shop| {
            let mut command = Command::new(&self.program);
            command.current_dir(self.scripts.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
            command.args(["--no-vacuum", "--protocol=prepared", "--client=1"]);
            command.args(["--log", &format!("--log-prefix=sample-{series}-{shop}"), "--sampling-rate", SAMPLED]);
            command.args(["--time", &seconds.to_string(), "--define", &format!("order={series}000000000")]);
            command
                .args(PARAMETERS.iter().flat_map(|(name, value)| ["--define".to_owned(), format!("{name}={value}")]));
            command.arg(format!("--file={operation:?}-{shop}.sql")).arg(stack.database_url()).spawn()
        };
        let children = (0..stack.shops.len()).map(start).collect::<Result<Vec<_>, _>>().context("pgbench")?;
        let mut count = 0;
        for child in children {
            count += counted(&child.wait_with_output()?)?;
        }
        Ok((count, self.sampled(series)?))
    }

    /// The times that a series wrote down, third in each line, in microseconds; and does away with them.
    fn sampled(&self, series: u32) -> anyhow::Result<Vec<Duration>> {
        let mut sampled = Vec::new();
        for file in fs::read_dir(self.scripts.path())? {
            let file = file?;
            if !file.file_name().to_string_lossy().starts_with(&format!("sample-{series}-")) {
                continue;
            }
            for line in fs::read_to_string(file.path())?.lines() {
                let micros = line.split(' ').nth(2).context("a line without a time")?;
                sampled.push(Duration::from_micros(micros.parse()?));
            }
            fs::remove_file(file.path())?;
        }
        Ok(sampled)
    }
}

/// How many transactions a run made, none of which may have failed.
fn counted(output: &Output) -> anyhow::Result<u32> {
    let text = String::from_utf8_lossy(&output.stdout);
    let after = |start| text.lines().find_map(move |line| line.strip_prefix(start));
    let is_clean =
        output.status.success() && after("number of failed transactions: ").is_some_and(|n| n.starts_with("0 "));
    anyhow::ensure!(is_clean, "pgbench:\n{text}{}", String::from_utf8_lossy(&output.stderr));
    let count = after("number of transactions actually processed: ").context("pgbench did not count")?;
    Ok(count.trim().parse()?)
}

/// One read or one transaction as the server makes it: what opens a transaction travels with the first statement, what ends it
/// comes alone.
fn script(operation: Operation, shop: &Shop) -> String {
    let (tenant, customer) = (shop.tenant, shop.customer);
    let (first, last) = (shop.first_product(), shop.first_product() + PRODUCTS - 1);
    // From `db::walled`.
    let reading = |choice: &str, statement: &str| {
        format!(
            "{choice}with tenant as materialized (select set_config('app.current_tenant_id', '{tenant}', true) as id)
             select rows.* from ({statement}) as rows where (select id from tenant) is not null;\n"
        )
    };
    let script = match operation {
        Operation::List => reading("", LIST),
        Operation::Product => reading(&format!("\\set product random({first}, {last})\n"), PRODUCT),
        Operation::Order => format!(
            "\\set first random({first}, {last} - 1)\n\\set second random(:first + 1, {last})\n\
             \\set order :order + 1\n\\set line1 :order * 2\n\\set line2 :order * 2 + 1\n\
             \\startpipeline\nBEGIN;\nSET LOCAL app.current_tenant_id = '{tenant}';\nSET LOCAL app.user_id = '{customer}';\n\
             SET LOCAL app.request_id = '{tenant}';\n{TAKE};\n\\endpipeline\n{INSERT};\nCOMMIT;\n"
        ),
    };
    let script = script.replace("{tenant}", &tenant.to_string()).replace("{customer}", &customer.to_string());
    ["product", "first", "second", "order", "line1", "line2"].iter().fold(script, |script, name| {
        script.replace(&format!("{{{name}}}"), &format!("lpad(to_hex(:{name}::bigint), 32, '0')::uuid"))
    })
}

/// pgbench from the PATH, or from where Debian keeps it.
fn program() -> anyhow::Result<PathBuf> {
    let packaged = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let packaged = packaged.map(|version| version.path().join("bin/pgbench"));
    let runs =
        |program: &PathBuf| Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    let found = packaged.chain([PathBuf::from("pgbench")]).find(runs);
    found.context("pgbench is not installed; it comes with PostgreSQL (Debian: postgresql-contrib or postgresql-15)")
}
