//! Stock.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::Routes;
use super::envelope::{Failure, Page, Success};
use super::extract::{Body, Id};
use super::openapi::{BodyFailures, Failures};
use super::run::{Call, Paging, operations};

operations! {
    LIST = "inventory" "fragments/inventory";
    ADJUST = "inventoryAdjust" "fragments/inventory";
}

/// The routes of this file.
pub fn routes() -> Routes {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(adjust))
}

/// The stock of one product.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", from = "Node")]
#[schema(examples(json!({
    "productId": "0192f0c1-2b7e-7d3a-9c55-6f0d5a3b1e42", "sku": "ENG-1", "name": "Difference engine",
    "quantity": 8, "threshold": 10, "isLowStock": true, "updatedAt": "2026-01-31T12:00:00Z",
})))]
pub struct Inventory {
    /// The id of the product whose stock it is.
    product_id: Uuid,
    /// The product's SKU.
    sku: String,
    /// What the product is called.
    name: String,
    /// Pieces that can be sold.
    quantity: i32,
    /// At or below which stock is low.
    threshold: i32,
    /// Whether stock is at or below its threshold.
    is_low_stock: bool,
    /// When it last changed.
    updated_at: DateTime<Utc>,
}

/// The same as GraphQL nests it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    product: ProductOf,
    quantity: i32,
    threshold: i32,
    is_low_stock: bool,
    updated_at: DateTime<Utc>,
}

#[derive(Deserialize)]
struct ProductOf {
    id: Uuid,
    sku: String,
    name: String,
}

impl From<Node> for Inventory {
    fn from(node: Node) -> Self {
        let Node { product, quantity, threshold, is_low_stock, updated_at } = node;
        let ProductOf { id: product_id, sku, name } = product;
        Self { product_id, sku, name, quantity, threshold, is_low_stock, updated_at }
    }
}

/// Which stock to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct InventoryQuery {
    /// The page, counted from 1. Up to a million rows can be skipped.
    #[param(minimum = 1, default = 1)]
    page: Option<i64>,
    /// The most rows that a page has.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<i64>,
    /// Only stock at or below its threshold, or only stock above it.
    low_stock: Option<bool>,
}

/// How to change a product's stock: give one of `delta` and `quantity`, or a `threshold`, or both.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({"delta": -2, "reason": "broken in the warehouse"})))]
pub struct InventoryAdjust {
    /// So many pieces more, or fewer. Stock never falls below zero.
    #[schema(minimum = -1_000_000, maximum = 1_000_000)]
    delta: Option<i32>,
    /// Exactly so many pieces, as counted.
    #[schema(minimum = 0, maximum = 1_000_000)]
    quantity: Option<i32>,
    /// At or below which stock is low.
    #[schema(minimum = 0, maximum = 1_000_000)]
    threshold: Option<i32>,
    /// Why, for the ledger.
    #[schema(min_length = 1, max_length = 500)]
    reason: Option<String>,
}

/// List the stock
///
/// In the order in which products were added. Requires MERCHANT or ADMIN.
#[utoipa::path(
    get, path = "/inventory", operation_id = "listInventory", tag = "Inventory",
    params(InventoryQuery),
    security(("bearer" = [])),
    responses((status = 200, description = "One page of the stock.", body = Page<Inventory>), Failures),
)]
async fn list(call: Call<InventoryQuery>) -> Result<Page<Inventory>, Failure> {
    let query = &call.parameters;
    let paging = Paging::new(query.page, query.limit)?;
    call.list(&LIST, paging, json!({"filter": {"lowStock": query.low_stock}})).await
}

/// Adjust a product's stock
///
/// Changes how many pieces there are, or when stock is called low. Requires MERCHANT or ADMIN.
#[utoipa::path(
    patch, path = "/inventory/{productId}", operation_id = "adjustInventory", tag = "Inventory",
    params(("productId" = Uuid, Path, description = "The id of the product whose stock it is.")),
    request_body = InventoryAdjust,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The stock as it is now.", body = Success<Inventory>),
        Failures, BodyFailures,
    ),
)]
async fn adjust(call: Call, Id(id): Id, Body(body): Body<InventoryAdjust>) -> Result<Success<Inventory>, Failure> {
    let InventoryAdjust { delta, quantity, threshold, reason } = body;
    let input =
        json!({"productId": id, "delta": delta, "quantity": quantity, "threshold": threshold, "reason": reason});
    call.change(&ADJUST, json!({ "input": input })).await.map(Success::of)
}
