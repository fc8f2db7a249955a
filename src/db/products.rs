//! What a shop sells.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader::Loader;
use bigdecimal::BigDecimal;
use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use uuid::Uuid;

use super::keyset::Listing;
use super::schema::products;
use super::session::{ReadSession, TenantTx};
use super::sql::Sql;
use super::sql_types::decimal;
use crate::domain::money::Amount;
use crate::domain::page::{KeyKind, ListId, Page, SortKey, Window};
use crate::domain::products::{NewProduct, ProductChanges};
use crate::error::{Error, Result};

/// A product.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = products, check_for_backend(Pg))]
pub struct ProductRow {
    /// The product's id.
    pub id: Uuid,
    /// What it is called.
    pub name: String,
    /// All about it.
    pub description: String,
    /// What one piece costs.
    pub price: Amount,
    /// The shop's own code for it.
    pub sku: String,
    /// The shelf it is on.
    pub category: Option<String>,
    /// Pictures, HTTPS only.
    pub image_urls: Vec<String>,
    /// Whether it can be seen and bought.
    pub is_active: bool,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

impl ProductRow {
    /// How many bytes its long texts have: what tells one product's memory from another's.
    #[must_use]
    pub fn text_len(&self) -> usize {
        self.description.len() + self.image_urls.iter().map(String::len).sum::<usize>()
    }
}

/// A product's id as a loader's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProductId(pub Uuid);

/// A product's SKU as a loader's key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProductSku(pub String);

impl Loader<ProductId> for ReadSession {
    type Value = ProductRow;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[ProductId]) -> Result<HashMap<ProductId, ProductRow>, Self::Error> {
        let ids: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
        let query = products::table.filter(products::id.eq_any(ids)).select(ProductRow::as_select());
        let rows: Vec<ProductRow> = self.tx().await?.tx().load(query).await?;
        Ok(rows.into_iter().map(|row| (ProductId(row.id), row)).collect())
    }
}

impl Loader<ProductSku> for ReadSession {
    type Value = ProductRow;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[ProductSku]) -> Result<HashMap<ProductSku, ProductRow>, Self::Error> {
        let skus: Vec<String> = keys.iter().map(|key| key.0.clone()).collect();
        let query = products::table.filter(products::sku.eq_any(skus)).select(ProductRow::as_select());
        let rows: Vec<ProductRow> = self.tx().await?.tx().load(query).await?;
        Ok(rows.into_iter().map(|row| (ProductSku(row.sku.clone()), row)).collect())
    }
}

/// Writes a new product.
pub async fn insert(tx: &TenantTx, id: Uuid, product: NewProduct) -> Result<ProductRow> {
    let row = (
        products::id.eq(id),
        products::tenant_id.eq(tx.tenant_id()),
        products::name.eq(product.name),
        products::description.eq(product.description),
        products::price.eq(decimal(product.price)),
        products::sku.eq(product.sku),
        products::category.eq(product.category),
        products::image_urls.eq(product.image_urls),
    );
    let insert = diesel::insert_into(products::table).values(row);
    tx.tx().get(insert.returning(ProductRow::as_returning())).await
}

/// Changes a product; None when there is no such one.
pub async fn update(tx: &TenantTx, id: Uuid, changes: ProductChanges) -> Result<Option<ProductRow>> {
    #[derive(AsChangeset)]
    #[diesel(table_name = products)]
    #[expect(clippy::option_option, reason = "diesel's way to tell null from unchanged")]
    struct Changeset {
        name: Option<String>,
        description: Option<String>,
        price: Option<BigDecimal>,
        sku: Option<String>,
        category: Option<Option<String>>,
        image_urls: Option<Vec<String>>,
        is_active: Option<bool>,
    }
    let changes = Changeset {
        name: changes.name,
        description: changes.description,
        price: changes.price.map(decimal),
        sku: changes.sku,
        category: changes.category,
        image_urls: changes.image_urls,
        is_active: changes.is_active,
    };
    let update = diesel::update(products::table.filter(products::id.eq(id))).set(changes);
    tx.tx().find(update.returning(ProductRow::as_returning())).await
}

/// What products are sorted by. Ties are decided by id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProductOrder {
    /// By name, as people sort.
    Name,
    /// By price.
    Price,
    /// By when they were added.
    #[default]
    CreatedAt,
    /// By how well they match the search; only where there is one.
    Relevance,
}

/// Which products to list, and in which order.
#[derive(Clone, Debug, Default)]
pub struct ProductList {
    /// Only of this category.
    pub category: Option<String>,
    /// Only those that have all these words, or words that begin with them.
    pub search: Option<String>,
    /// Only from this price on.
    pub min_price: Option<Amount>,
    /// Only up to this price.
    pub max_price: Option<Amount>,
    /// Only active ones, or only inactive ones.
    pub is_active: Option<bool>,
    /// What they are sorted by.
    pub order: ProductOrder,
    /// From the largest to the smallest.
    pub descending: bool,
}

impl ProductList {
    fn listing(&self) -> Listing {
        let from = match &self.search {
            Some(words) => {
                Sql::new("search_products(?) found join products on products.id = found.product_id").bind(words.clone())
            }
            None => Sql::new("products"),
        };
        let key = match self.order {
            ProductOrder::Name => ("products.name", KeyKind::Text),
            ProductOrder::Price => ("products.price_cents", KeyKind::Int),
            ProductOrder::CreatedAt => ("products.created_at", KeyKind::Time),
            ProductOrder::Relevance => ("found.rank", KeyKind::Int),
        };
        let listing = Listing::new(from, key, "products.id", self.descending)
            .only_if("products.category = ?", self.category.clone())
            .only_if("products.price_cents >= ?", self.min_price.map(Amount::cents))
            .only_if("products.price_cents <= ?", self.max_price.map(Amount::cents))
            .only_if("products.is_active = ?", self.is_active);
        match self.order {
            ProductOrder::Relevance => listing.with_computed_key(),
            _ => listing,
        }
    }

    /// One page of the products.
    pub async fn page(&self, tx: &TenantTx, window: &Window) -> Result<Page<ProductRow>> {
        let order = self.order;
        let position = |row: &ProductRow, rank: Option<i64>| {
            let key = match order {
                ProductOrder::Name => SortKey::Text(row.name.clone()),
                ProductOrder::Price => SortKey::Int(row.price.cents()),
                ProductOrder::CreatedAt => SortKey::Time(row.created_at),
                ProductOrder::Relevance => SortKey::Int(rank.unwrap_or_default()),
            };
            (key, row.id)
        };
        self.listing().page(tx, ListId::of(self), window, position).await
    }

    /// How many products there are.
    pub async fn count(&self, tx: &TenantTx) -> Result<i64> {
        self.listing().count(tx).await
    }
}
