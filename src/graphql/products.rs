//! What a shop sells.

use async_graphql::{Context, Enum, InputObject, MaybeUndefined, Object, OneofObject};
use chrono::{DateTime, Utc};
use futures_util::FutureExt;

use crate::db::inventory::StockOf;
use crate::db::products::{ProductId, ProductList, ProductOrder, ProductRow, ProductSku};
use crate::domain::actor::Caller;
use crate::domain::page::{ListId, PageArgs};
use crate::domain::products::{NewProduct, ProductChanges};
use crate::domain::service_accounts::Scope;
use crate::domain::validation::{check_beside, check_text};
use crate::error::{Error, Result};
use crate::graphql::context::RequestExt;
use crate::graphql::errors::payload;
use crate::graphql::guards::{Access, may_see};
use crate::graphql::inventory::Inventory;
use crate::graphql::pagination::Connection;
use crate::graphql::scalars::{Decimal, Id, Money};
use crate::services::products;

/// Something that a shop sells.
pub struct Product(pub ProductRow);

impl From<ProductRow> for Product {
    fn from(row: ProductRow) -> Self {
        Self(row)
    }
}

/// Something that a shop sells.
#[Object]
impl Product {
    /// The product's id.
    pub async fn id(&self) -> Id {
        Id(self.0.id)
    }

    /// What it is called.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// All about it.
    async fn description(&self, ctx: &Context<'_>) -> async_graphql::Result<&str> {
        ctx.request().count_text(self.0.description.len())?;
        Ok(&self.0.description)
    }

    /// What one piece costs.
    async fn price(&self, ctx: &Context<'_>) -> async_graphql::Result<Money> {
        Ok(Money::new(ctx, self.0.price)?)
    }

    /// The shop's own code for it, unique in the shop.
    async fn sku(&self) -> &str {
        &self.0.sku
    }

    /// The shelf it is on.
    async fn category(&self) -> Option<&str> {
        self.0.category.as_deref()
    }

    /// Pictures, over HTTPS.
    async fn image_urls(&self, ctx: &Context<'_>) -> async_graphql::Result<&[String]> {
        ctx.request().count_text(self.0.image_urls.iter().map(String::len).sum())?;
        Ok(&self.0.image_urls)
    }

    /// Whether it can be seen and bought by customers. Deleted products are inactive.
    async fn is_active(&self) -> bool {
        self.0.is_active
    }

    /// When it was added.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// When it last changed.
    async fn updated_at(&self) -> DateTime<Utc> {
        self.0.updated_at
    }

    /// Its stock. Requires MERCHANT or ADMIN; null with an error for others.
    async fn inventory(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Inventory>> {
        let request = ctx.request();
        if !may_see(ctx, sees_stock(&request.caller)) {
            return Ok(None);
        }
        Ok(request.loader.load_one(StockOf(self.0.id)).await?.map(Inventory))
    }
}

/// Whether the caller may see what is in stock.
fn sees_stock(caller: &Caller) -> Result<()> {
    Access::Staff.check(caller)?;
    caller.check_scope(Some(Scope::InventoryRead))
}

/// Which products to list. Conditions add up.
#[derive(InputObject, Clone, Debug, Default)]
pub struct ProductFilter {
    /// Only of this category.
    category: Option<String>,
    /// Only those in whose name, SKU, category or description all of these words occur, or words that begin with them.
    search: Option<String>,
    /// Only from this price on.
    min_price: Option<Decimal>,
    /// Only up to this price.
    max_price: Option<Decimal>,
    /// Only active ones (the default), or only inactive ones. Inactive ones require MERCHANT or ADMIN, who see both by default.
    is_active: Option<bool>,
}

/// What products are sorted by.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "ProductOrder")]
pub enum ProductSortField {
    /// By name, as people sort.
    Name,
    /// By price.
    Price,
    /// By when they were added.
    CreatedAt,
    /// By how well they match `search`; only where there is one.
    Relevance,
}

/// Which way a list is sorted.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortDirection {
    /// From the smallest to the largest.
    Asc,
    /// From the largest to the smallest.
    Desc,
}

/// How products are sorted.
#[derive(InputObject, Clone, Copy, Debug)]
pub struct ProductSort {
    /// By what.
    field: ProductSortField,
    /// Which way.
    #[graphql(default_with = "SortDirection::Asc")]
    direction: SortDirection,
}

/// Names one product.
#[derive(OneofObject)]
pub enum ProductIdentifier {
    /// By id.
    Id(Id),
    /// By the shop's own code.
    Sku(String),
}

impl ProductFilter {
    /// The list that this caller gets: customers see active products only.
    fn list(self, caller: &Caller, sort: Option<ProductSort>) -> Result<ProductList> {
        let is_active = match self.is_active {
            is_active if caller.is_staff() => is_active,
            Some(false) => return Err(Error::Forbidden("inactive products are for the roles MERCHANT and ADMIN")),
            _ => Some(true),
        };
        let search = self.search.filter(|words| !words.trim().is_empty());
        let search = search.map(|words| check_text::<1, 200>("search", words)).transpose()?;
        let category = self.category.map(|name| check_text::<1, 100>("category", name)).transpose()?;
        let (order, descending) = match sort {
            Some(ProductSort { field, direction }) => (field.into(), direction == SortDirection::Desc),
            None if search.is_some() => (ProductOrder::Relevance, true),
            None => (ProductOrder::CreatedAt, true),
        };
        if order == ProductOrder::Relevance && search.is_none() {
            return Err(Error::field("sort", "RELEVANCE needs a search"));
        }
        Ok(ProductList {
            category,
            search,
            min_price: self.min_price.map(|price| price.amount("minPrice")).transpose()?,
            max_price: self.max_price.map(|price| price.amount("maxPrice")).transpose()?,
            is_active,
            order,
            descending,
        })
    }
}

/// Reads of products.
#[derive(Default)]
pub struct ProductQuery;

#[Object]
impl ProductQuery {
    /// One product, by id or SKU. Null when there is none, or when it is inactive and the caller is not MERCHANT or ADMIN.
    #[graphql(guard = "Access::Shop")]
    async fn product(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The id of the product, or its SKU: exactly one of them.")] identifier: ProductIdentifier,
    ) -> async_graphql::Result<Option<Product>> {
        let request = ctx.request();
        let found = match identifier {
            ProductIdentifier::Id(id) => request.loader.load_one(ProductId(id.0)).await?,
            ProductIdentifier::Sku(sku) => {
                let sku = check_text::<1, 64>("sku", sku)?;
                request.loader.load_one(ProductSku(sku)).await?
            }
        };
        Ok(visible(&request.caller, found))
    }

    /// The shop's products: newest first, or best match first when there is a search.
    #[graphql(guard = "Access::Shop")]
    #[expect(clippy::too_many_arguments, reason = "the arguments of a connection")]
    async fn products(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many, at most 100; 20 if nothing is said.")] first: Option<i32>,
        #[graphql(desc = "Behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many, at most 100.")] last: Option<i32>,
        #[graphql(desc = "Before this cursor.")] before: Option<String>,
        #[graphql(desc = "Skip so many, for numbered pages.")] offset: Option<i32>,
        #[graphql(desc = "Which products.")] filter: Option<ProductFilter>,
        #[graphql(desc = "In which order.")] sort: Option<ProductSort>,
    ) -> async_graphql::Result<Connection<Product>> {
        let request = ctx.request();
        let list = filter.unwrap_or_default().list(&request.caller, sort)?;
        let window = PageArgs { first, after, last, before, offset }.window(ListId::of(&list))?;
        let page = list.page(&*request.session.tx().await?, &window).await?;
        request.count_text(page.rows.iter().map(|(_, product)| product.text_len()).sum())?;
        Ok(Connection::new(page, move |tx| {
            let list = list.clone();
            async move { list.count(tx).await }.boxed()
        }))
    }
}

/// The product, if this caller may know of it.
pub fn visible(caller: &Caller, product: Option<ProductRow>) -> Option<Product> {
    let sees_all = caller.is_staff() && caller.check_scope(Some(Scope::ProductsRead)).is_ok();
    product.filter(|product| product.is_active || sees_all).map(Product)
}

/// A new product.
#[derive(InputObject)]
pub struct ProductCreateInput {
    /// What it is called: 1 to 200 characters.
    name: String,
    /// All about it: at most 10,000 characters.
    #[graphql(default)]
    description: String,
    /// What one piece costs, from 0 to 99999999.99, in the shop's currency.
    price: Decimal,
    /// The shop's own code for it, unique in the shop: 1 to 64 characters.
    sku: String,
    /// The shelf it is on: at most 100 characters.
    category: Option<String>,
    /// Pictures: at most 20 URLs, HTTPS only.
    #[graphql(default)]
    image_urls: Vec<String>,
    /// Pieces in stock at the start.
    #[graphql(default = 0)]
    quantity: i32,
    /// At or below which stock is low; 10 if nothing is said.
    threshold: Option<i32>,
}

/// What to change of a product. What is left out stays as it is.
#[derive(InputObject)]
pub struct ProductUpdateInput {
    /// What it is called.
    name: Option<String>,
    /// All about it.
    description: Option<String>,
    /// What one piece costs. Orders that were placed keep their price.
    price: Option<Decimal>,
    /// The shop's own code for it.
    sku: Option<String>,
    /// The shelf it is on; null takes it off.
    category: MaybeUndefined<String>,
    /// Pictures, replacing all there were.
    image_urls: Option<Vec<String>>,
    /// Whether it can be seen and bought. False requires ADMIN, as deleting does.
    is_active: Option<bool>,
}

impl ProductCreateInput {
    fn checked(self) -> Result<NewProduct> {
        let price = self.price.amount("price");
        let new = NewProduct {
            name: self.name,
            description: self.description,
            price: price.as_ref().copied().unwrap_or_default(),
            sku: self.sku,
            category: self.category,
            image_urls: self.image_urls,
            quantity: self.quantity,
            threshold: self.threshold,
        };
        check_beside(price, &new)?;
        Ok(new)
    }
}

impl ProductUpdateInput {
    fn checked(self) -> Result<ProductChanges> {
        let price = self.price.map(|price| price.amount("price")).transpose();
        let changes = ProductChanges {
            name: self.name,
            description: self.description,
            price: price.as_ref().copied().unwrap_or_default(),
            sku: self.sku,
            category: match self.category {
                MaybeUndefined::Undefined => None,
                MaybeUndefined::Null => Some(None),
                MaybeUndefined::Value(name) => Some(Some(name)),
            },
            image_urls: self.image_urls,
            is_active: self.is_active,
        };
        check_beside(price, &changes)?;
        Ok(changes)
    }
}

payload! {
    /// What `productCreate` answers.
    ProductCreatePayload {
        /// The new product.
        product: Product
    }
}

payload! {
    /// What `productUpdate` answers.
    ProductUpdatePayload {
        /// The product as it is now.
        product: Product
    }
}

payload! {
    /// What `productDelete` answers.
    ProductDeletePayload {
        /// The product, now inactive.
        product: Product
    }
}

/// Changes of products.
#[derive(Default)]
pub struct ProductMutation;

#[Object]
impl ProductMutation {
    /// Adds a product with its stock. Requires MERCHANT or ADMIN.
    #[graphql(guard = "Access::Staff")]
    async fn product_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What it is, what it costs, and how much of it is in stock.")] input: ProductCreateInput,
    ) -> async_graphql::Result<ProductCreatePayload> {
        let request = ctx.request();
        let created = match input.checked() {
            Ok(new) => products::create(&request.services, &request.caller, new).await,
            Err(error) => Err(error),
        };
        ProductCreatePayload::of(created)
    }

    /// Changes a product. Requires MERCHANT or ADMIN.
    #[graphql(guard = "Access::Staff")]
    async fn product_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The `id` of the product to change.")] id: Id,
        #[graphql(desc = "What to change; what is left out stays as it is.")] input: ProductUpdateInput,
    ) -> async_graphql::Result<ProductUpdatePayload> {
        let request = ctx.request();
        let updated = match input.checked() {
            Ok(changes) => products::update(&request.services, &request.caller, id.0, changes).await,
            Err(error) => Err(error),
        };
        ProductUpdatePayload::of(updated)
    }

    /// Takes a product off sale. It stays in the books, because orders point at it. Requires ADMIN.
    #[graphql(guard = "Access::Admin")]
    async fn product_delete(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The `id` of the product to take off sale.")] id: Id,
    ) -> async_graphql::Result<ProductDeletePayload> {
        let request = ctx.request();
        ProductDeletePayload::of(products::delete(&request.services, &request.caller, id.0).await)
    }
}
