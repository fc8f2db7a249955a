//! The catalog.

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::Routes;
use super::envelope::{Failure, Page, Success};
use super::extract::{Body, Id, given};
use super::openapi::{BodyFailures, Failures, Taken};
use super::run::{Call, Paging, operations};
use super::values::{Decimal, amount};

operations! {
    LIST = "products" "fragments/product";
    GET = "product" "fragments/product";
    CREATE = "productCreate" "fragments/product";
    UPDATE = "productUpdate" "fragments/product";
    DELETE = "productDelete" "fragments/product";
}

/// The routes of this file.
pub fn routes() -> Routes {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, update, delete))
}

/// Something that a shop sells.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(examples(json!({
    "id": "0192f0c1-2b7e-7d3a-9c55-6f0d5a3b1e42", "name": "Difference engine", "description": "Adds and carries.",
    "price": "19.99", "sku": "ENG-1", "category": "engines", "imageUrls": ["https://images.example.com/engine.jpg"],
    "isActive": true, "createdAt": "2026-01-31T12:00:00Z", "updatedAt": "2026-01-31T12:00:00Z",
})))]
pub struct Product {
    /// The product's id.
    id: Uuid,
    /// What it is called.
    name: String,
    /// All about it.
    description: String,
    /// What one piece costs, in the shop's currency.
    #[serde(deserialize_with = "amount")]
    #[schema(pattern = r"^\d+\.\d{2}$", examples("19.99"))]
    price: String,
    /// The shop's own code for it, unique in the shop.
    sku: String,
    /// The shelf it is on.
    #[schema(required = true)]
    category: Option<String>,
    /// Pictures, over HTTPS.
    image_urls: Vec<String>,
    /// Whether it can be seen and bought by customers. Deleted products are inactive.
    is_active: bool,
    /// When it was added.
    created_at: DateTime<Utc>,
    /// When it last changed.
    updated_at: DateTime<Utc>,
}

/// Which products to list, and how. Conditions add up.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ProductsQuery {
    /// The page, counted from 1. Up to a million rows can be skipped.
    #[param(minimum = 1, default = 1)]
    page: Option<i64>,
    /// The most rows that a page has.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<i64>,
    /// Only of this category.
    category: Option<String>,
    /// Only those in whose name, SKU, category or description all of these words occur, or words that begin with them.
    search: Option<String>,
    /// Only from this price on.
    #[param(pattern = r"^\d{1,8}(\.\d{1,2})?$")]
    min_price: Option<String>,
    /// Only up to this price.
    #[param(pattern = r"^\d{1,8}(\.\d{1,2})?$")]
    max_price: Option<String>,
    /// Only active ones, or only inactive ones. Inactive ones are for the roles MERCHANT and ADMIN, who see both if nothing
    /// is said.
    is_active: Option<bool>,
    /// By what to sort; `-` turns it round. If nothing is said, the newest come first, or the best matches of a search.
    #[param(inline)]
    sort: Option<ProductSort>,
}

/// What products are sorted by.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
pub enum ProductSort {
    #[serde(rename = "name")]
    Name,
    #[serde(rename = "-name")]
    NameDescending,
    #[serde(rename = "price")]
    Price,
    #[serde(rename = "-price")]
    PriceDescending,
    #[serde(rename = "createdAt")]
    CreatedAt,
    #[serde(rename = "-createdAt")]
    CreatedAtDescending,
}

impl ProductSort {
    fn input(self) -> Value {
        let (field, direction) = match self {
            Self::Name => ("NAME", "ASC"),
            Self::NameDescending => ("NAME", "DESC"),
            Self::Price => ("PRICE", "ASC"),
            Self::PriceDescending => ("PRICE", "DESC"),
            Self::CreatedAt => ("CREATED_AT", "ASC"),
            Self::CreatedAtDescending => ("CREATED_AT", "DESC"),
        };
        json!({"field": field, "direction": direction})
    }
}

/// A new product.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({
    "name": "Difference engine", "description": "Adds and carries.", "price": "19.99", "sku": "ENG-1",
    "category": "engines", "imageUrls": ["https://images.example.com/engine.jpg"], "quantity": 100, "threshold": 10,
})))]
pub struct ProductCreate {
    /// What it is called.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// All about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 10_000)]
    description: Option<String>,
    /// What one piece costs, in the shop's currency.
    price: Decimal,
    /// The shop's own code for it, unique in the shop.
    #[schema(min_length = 1, max_length = 64)]
    sku: String,
    /// The shelf it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 100)]
    category: Option<String>,
    /// Pictures, over HTTPS only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 20)]
    image_urls: Option<Vec<String>>,
    /// Pieces in stock at the start; none if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1_000_000)]
    quantity: Option<i32>,
    /// At or below which stock is low; 10 if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1_000_000)]
    threshold: Option<i32>,
}

/// What to change of a product. What is left out stays as it is.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({"price": "17.99", "category": null})))]
pub struct ProductUpdate {
    /// What it is called.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, min_length = 1, max_length = 200)]
    name: Option<String>,
    /// All about it.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, max_length = 10_000)]
    description: Option<String>,
    /// What one piece costs. Orders that were placed keep their price.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    price: Option<Decimal>,
    /// The shop's own code for it, unique in the shop.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, min_length = 1, max_length = 64)]
    sku: Option<String>,
    /// The shelf it is on; null takes it off.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 100)]
    #[expect(clippy::option_option, reason = "absent and null differ")]
    category: Option<Option<String>>,
    /// Pictures, over HTTPS only, replacing all there were.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, max_items = 20)]
    image_urls: Option<Vec<String>>,
    /// Whether it can be seen and bought.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    is_active: Option<bool>,
}

/// List products
///
/// Customers and anonymous callers see active products only.
#[utoipa::path(
    get, path = "/products", operation_id = "listProducts", tag = "Products",
    params(ProductsQuery),
    security(("bearer" = []), ("apiKey" = []), ("tenant" = [])),
    responses((status = 200, description = "One page of products.", body = Page<Product>), Failures),
)]
async fn list(call: Call<ProductsQuery>) -> Result<Page<Product>, Failure> {
    let query = &call.parameters;
    let paging = Paging::new(query.page, query.limit)?;
    let filter = json!({
        "category": query.category,
        "search": query.search,
        "minPrice": query.min_price,
        "maxPrice": query.max_price,
        "isActive": query.is_active,
    });
    call.list(&LIST, paging, json!({"filter": filter, "sort": query.sort.map(ProductSort::input)})).await
}

/// Get a product
///
/// Inactive products are for the roles MERCHANT and ADMIN; for others they do not exist.
#[utoipa::path(
    get, path = "/products/{id}", operation_id = "getProduct", tag = "Products",
    params(("id" = Uuid, Path, description = "The product's id.")),
    security(("bearer" = []), ("apiKey" = []), ("tenant" = [])),
    responses((status = 200, description = "The product.", body = Success<Product>), Failures),
)]
async fn get(call: Call, Id(id): Id) -> Result<Success<Product>, Failure> {
    call.find(&GET, "Product", id).await.map(Success::of)
}

/// Add a product
///
/// Adds a product with its stock. Requires MERCHANT or ADMIN.
#[utoipa::path(
    post, path = "/products", operation_id = "createProduct", tag = "Products",
    request_body = ProductCreate,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The new product.", body = Success<Product>),
        Failures, BodyFailures, Taken,
    ),
)]
async fn create(call: Call, Body(body): Body<ProductCreate>) -> Result<(StatusCode, Success<Product>), Failure> {
    let product = call.change(&CREATE, json!({ "input": body })).await?;
    Ok((StatusCode::CREATED, Success::of(product)))
}

/// Change a product
///
/// Changes the fields that are given, at least one. Requires MERCHANT or ADMIN.
#[utoipa::path(
    patch, path = "/products/{id}", operation_id = "updateProduct", tag = "Products",
    params(("id" = Uuid, Path, description = "The product's id.")),
    request_body = ProductUpdate,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The product as it is now.", body = Success<Product>),
        Failures, BodyFailures, Taken,
    ),
)]
async fn update(call: Call, Id(id): Id, Body(body): Body<ProductUpdate>) -> Result<Success<Product>, Failure> {
    call.change(&UPDATE, json!({"id": id, "input": body})).await.map(Success::of)
}

/// Delete a product
///
/// Takes a product off sale. It stays in the books as inactive, because orders point at it, and can be put on sale again
/// by setting `isActive`. Requires ADMIN.
#[utoipa::path(
    delete, path = "/products/{id}", operation_id = "deleteProduct", tag = "Products",
    params(("id" = Uuid, Path, description = "The product's id.")),
    security(("bearer" = [])),
    responses((status = 200, description = "The product, now inactive.", body = Success<Product>), Failures),
)]
async fn delete(call: Call, Id(id): Id) -> Result<Success<Product>, Failure> {
    call.change(&DELETE, json!({ "id": id })).await.map(Success::of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(body: &str) -> Value {
        json!(serde_json::from_str::<ProductUpdate>(body).unwrap())
    }

    #[test]
    fn only_what_is_given_is_changed() {
        assert_eq!(changes("{}"), json!({}));
        assert_eq!(changes(r#"{"category": null, "price": 5}"#), json!({"category": null, "price": 5}));
        assert!(serde_json::from_str::<ProductUpdate>(r#"{"name": null}"#).is_err());
    }

    #[test]
    fn money_may_be_text_or_a_number() {
        for (price, wanted) in [(r#""19.99""#, json!("19.99")), ("19.99", json!(19.99)), ("20", json!(20))] {
            assert_eq!(changes(&format!(r#"{{"price": {price}}}"#)), json!({ "price": wanted }));
        }
        assert!(serde_json::from_str::<ProductUpdate>(r#"{"price": {}}"#).is_err());
    }
}
