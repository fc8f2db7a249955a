//! Made-up catalogs, for benchmarks and for trying things out.

use super::session::TenantTx;
use super::sql::Sql;
use crate::error::Result;

/// Fills the transaction's shop with that many products, each with a thousand pieces in stock.
///
/// The database makes them up, one statement a table, so that a million takes seconds and not hours.
pub async fn products(tx: &TenantTx, count: i32) -> Result<()> {
    let products = Sql::new(
        "insert into products (id, tenant_id, name, description, price, sku, category, image_urls, created_at)
         select uuid_v7(), ?,
                (array['Plain', 'Striped', 'Dotted', 'Woven', 'Glazed', 'Oiled', 'Folded'])[1 + i % 7] || ' ' ||
                (array['mug', 'bowl', 'plate', 'lamp', 'chair', 'table', 'scarf', 'basket', 'kettle', 'clock', 'rug'])[1 + i % 11]
                    || ' No. ' || i,
                'Made by hand, number ' || i || ' of its series.',
                (100 + (i * 7919) % 20000)::numeric / 100,
                'SEED-' || lpad(i::text, 7, '0'),
                (array['kitchen', 'living', 'garden', 'office', 'bath'])[1 + i % 5],
                array['https://images.example.com/' || i || '.jpg'],
                now() - make_interval(secs => (? - i)::float8)
         from generate_series(1, ?) as i",
    );
    tx.tx().execute(products.bind(tx.tenant_id()).bind(count).bind(count).returning::<()>()).await?;
    let stock = Sql::new(
        "insert into inventory (id, tenant_id, product_id, quantity)
         select uuid_v7(), tenant_id, id, 1000 from products p
         where not exists (select from inventory i where i.product_id = p.id)",
    );
    tx.tx().execute(stock.returning::<()>()).await?;
    let movements = Sql::new(
        "insert into inventory_movements (tenant_id, product_id, delta, kind)
         select tenant_id, product_id, quantity, 'INITIAL' from inventory i
         where not exists (select from inventory_movements m where m.product_id = i.product_id)",
    );
    tx.tx().execute(movements.returning::<()>()).await.map(|_| ())
}
