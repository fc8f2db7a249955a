//! Orders.

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::Routes;
use super::envelope::{Failure, Page, Success};
use super::extract::{Body, Id, Object};
use super::openapi::{BodyFailures, Failures, NoSuchStep, Short};
use super::run::{Call, Paging, operations};
use super::values::amount;

operations! {
    LIST = "orders" "fragments/order";
    GET = "order" "fragments/order";
    CREATE = "orderCreate" "fragments/order";
    SET_STATUS = "orderStatusUpdate" "fragments/order";
    CANCEL = "orderCancel" "fragments/order";
}

/// The routes of this file.
pub fn routes() -> Routes {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, cancel)).routes(routes!(set_status))
}

/// Where an order stands: PENDING -> PAID -> FULFILLED -> SHIPPED -> COMPLETED, or CANCELLED from the first three.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum OrderStatus {
    /// Placed, stock reserved, not paid yet.
    Pending,
    /// Paid.
    Paid,
    /// Packed.
    Fulfilled,
    /// On its way.
    Shipped,
    /// Arrived. The end.
    Completed,
    /// Called off, stock returned. The end.
    Cancelled,
}

/// What a customer bought, and where it stands.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(examples(json!({
    "id": "0192f0c2-6d10-7c8e-8a61-2f4b9d0c7a15", "customerId": "0192f0c0-93aa-7b52-b1f4-0a6d8e2c4f31",
    "status": "PENDING", "totalAmount": "39.98", "customerName": "Ada Lovelace", "customerEmail": "ada@example.com",
    "shippingAddress": {"street": "12 St James's Square", "city": "London", "state": "", "zip": "SW1Y 4JH", "country": "GB"},
    "items": [{
        "id": "0192f0c2-6d10-7c8f-9b72-35c0ae1d8b26", "productId": "0192f0c1-2b7e-7d3a-9c55-6f0d5a3b1e42",
        "sku": "ENG-1", "name": "Difference engine", "quantity": 2, "priceAtTime": "19.99",
    }],
    "createdAt": "2026-01-31T12:00:00Z", "updatedAt": "2026-01-31T12:00:00Z",
})))]
pub struct Order {
    /// The order's id.
    id: Uuid,
    /// The id of the customer whose order it is.
    customer_id: Uuid,
    status: OrderStatus,
    /// The sum of its lines, in the shop's currency.
    #[serde(deserialize_with = "amount")]
    #[schema(pattern = r"^\d+\.\d{2}$", examples("39.98"))]
    total_amount: String,
    /// Who receives it.
    customer_name: String,
    /// Where to write about it.
    #[schema(format = Email)]
    customer_email: String,
    shipping_address: Address,
    /// Its lines, one for each product, in the order in which they were asked for.
    items: Vec<OrderItem>,
    /// When it was placed.
    created_at: DateTime<Utc>,
    /// When it last changed.
    updated_at: DateTime<Utc>,
}

/// A line of an order.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderItem {
    /// The line's id.
    id: Uuid,
    /// The id of what was bought.
    product_id: Uuid,
    /// The product's SKU.
    sku: String,
    /// What the product is called.
    name: String,
    /// How many pieces.
    quantity: i32,
    /// What one piece cost when the order was placed.
    #[serde(deserialize_with = "amount")]
    #[schema(pattern = r"^\d+\.\d{2}$", examples("19.99"))]
    price_at_time: String,
}

/// Where an order goes.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Address {
    /// Street and number.
    street: String,
    /// City or town.
    city: String,
    /// State, province or region.
    state: String,
    /// Postal code.
    zip: String,
    /// ISO 3166-1 alpha-2 country code.
    country: String,
}

/// Which orders to list. Conditions add up.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OrdersQuery {
    /// The page, counted from 1. Up to a million rows can be skipped.
    #[param(minimum = 1, default = 1)]
    page: Option<i64>,
    /// The most rows that a page has.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<i64>,
    /// Only those in this state.
    status: Option<OrderStatus>,
    /// Only this customer's. Customers see their own in any case, and may name nobody else.
    customer_id: Option<Uuid>,
}

/// A new order.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({
    "customerName": "Ada Lovelace", "customerEmail": "ada@example.com",
    "shippingAddress": {"street": "12 St James's Square", "city": "London", "zip": "SW1Y 4JH", "country": "GB"},
    "items": [{"productId": "0192f0c1-2b7e-7d3a-9c55-6f0d5a3b1e42", "quantity": 2}],
})))]
pub struct OrderCreate {
    /// Whose order it is: required of MERCHANT and ADMIN; customers leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<Uuid>,
    /// Who receives it.
    #[schema(min_length = 1, max_length = 200)]
    customer_name: String,
    /// Where to write about it.
    #[schema(format = Email, max_length = 254)]
    customer_email: String,
    #[schema(value_type = AddressInput)]
    shipping_address: Object<AddressInput>,
    /// What is bought. Lines of the same product are put together.
    #[schema(value_type = Vec<OrderItemInput>, min_items = 1, max_items = 100)]
    items: Vec<Object<OrderItemInput>>,
}

/// One line of a new order.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OrderItemInput {
    /// What is bought.
    product_id: Uuid,
    /// How many pieces.
    #[schema(minimum = 1, maximum = 1_000_000)]
    quantity: i32,
}

/// Where a new order goes.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddressInput {
    /// Street and number.
    #[schema(min_length = 1, max_length = 200)]
    street: String,
    /// City or town.
    #[schema(min_length = 1, max_length = 100)]
    city: String,
    /// State, province or region.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 100)]
    state: Option<String>,
    /// Postal code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 20)]
    zip: Option<String>,
    /// ISO 3166-1 alpha-2 country code.
    #[schema(pattern = "^[A-Z]{2}$")]
    country: String,
}

/// Where an order goes next.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"status": "SHIPPED"})))]
pub struct OrderStatusUpdate {
    status: OrderStatus,
}

/// List orders
///
/// Newest first: a customer's own, or all of the shop's for MERCHANT and ADMIN.
#[utoipa::path(
    get, path = "/orders", operation_id = "listOrders", tag = "Orders",
    params(OrdersQuery),
    security(("bearer" = [])),
    responses((status = 200, description = "One page of orders.", body = Page<Order>), Failures),
)]
async fn list(call: Call<OrdersQuery>) -> Result<Page<Order>, Failure> {
    let query = &call.parameters;
    let paging = Paging::new(query.page, query.limit)?;
    call.list(&LIST, paging, json!({"filter": {"status": query.status, "customerId": query.customer_id}})).await
}

/// Get an order
///
/// For customers, the orders of others do not exist.
#[utoipa::path(
    get, path = "/orders/{id}", operation_id = "getOrder", tag = "Orders",
    params(("id" = Uuid, Path, description = "The order's id.")),
    security(("bearer" = [])),
    responses((status = 200, description = "The order.", body = Success<Order>), Failures),
)]
async fn get(call: Call, Id(id): Id) -> Result<Success<Order>, Failure> {
    call.find(&GET, "Order", id).await.map(Success::of)
}

/// Place an order
///
/// Takes the stock of all lines, or of none, and keeps today's prices. A CUSTOMER orders for themselves; MERCHANT and
/// ADMIN on behalf of a customer.
#[utoipa::path(
    post, path = "/orders", operation_id = "createOrder", tag = "Orders",
    request_body = OrderCreate,
    security(("bearer" = [])),
    responses((status = 201, description = "The new order.", body = Success<Order>), Failures, BodyFailures, Short),
)]
async fn create(call: Call, Body(body): Body<OrderCreate>) -> Result<(StatusCode, Success<Order>), Failure> {
    let order = call.change(&CREATE, json!({ "input": body })).await?;
    Ok((StatusCode::CREATED, Success::of(order)))
}

/// Move an order on
///
/// Going to CANCELLED gives the stock back. Requires MERCHANT or ADMIN.
#[utoipa::path(
    patch, path = "/orders/{id}/status", operation_id = "updateOrderStatus", tag = "Orders",
    params(("id" = Uuid, Path, description = "The order's id.")),
    request_body = OrderStatusUpdate,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The order as it is now.", body = Success<Order>),
        Failures, BodyFailures, NoSuchStep,
    ),
)]
async fn set_status(call: Call, Id(id): Id, Body(body): Body<OrderStatusUpdate>) -> Result<Success<Order>, Failure> {
    call.change(&SET_STATUS, json!({"id": id, "input": body})).await.map(Success::of)
}

/// Cancel an order
///
/// Calls an order off and gives its stock back. Customers may cancel their own while it is PENDING or PAID; MERCHANT and
/// ADMIN any, also when it is FULFILLED.
#[utoipa::path(
    delete, path = "/orders/{id}", operation_id = "cancelOrder", tag = "Orders",
    params(("id" = Uuid, Path, description = "The order's id.")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The cancelled order.", body = Success<Order>),
        Failures, NoSuchStep,
    ),
)]
async fn cancel(call: Call, Id(id): Id) -> Result<Success<Order>, Failure> {
    call.change(&CANCEL, json!({ "id": id })).await.map(Success::of)
}

#[cfg(test)]
mod tests {
    use utoipa::PartialSchema;

    use super::*;
    use crate::domain::orders::OrderStatus as Domain;

    #[test]
    fn states_are_those_of_the_domain() {
        let documented = json!(OrderStatus::schema())["enum"].clone();
        assert_eq!(documented, json!(Domain::ALL.map(Domain::as_str)));
        for status in Domain::ALL {
            let read: OrderStatus = serde_json::from_value(json!(status.as_str())).unwrap();
            assert_eq!(json!(read), json!(status.as_str()));
        }
    }
}
