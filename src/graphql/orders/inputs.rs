//! What a new order and a change of one are made of.

use async_graphql::InputObject;

use super::OrderStatus;
use crate::domain::orders as domain;
use crate::graphql::scalars::Id;

/// A postal address.
#[derive(InputObject)]
pub struct AddressInput {
    /// Street and number: 1 to 200 characters.
    street: String,
    /// City or town: 1 to 100 characters.
    city: String,
    /// State, province or region: at most 100 characters.
    #[graphql(default)]
    state: String,
    /// Postal code: at most 20 characters.
    #[graphql(default)]
    zip: String,
    /// ISO 3166-1 alpha-2 country code, like "US".
    country: String,
}

/// One line of a new order.
#[derive(InputObject)]
pub struct OrderItemInput {
    /// What is bought.
    product_id: Id,
    /// How many pieces: at least 1.
    quantity: i32,
}

/// A new order.
#[derive(InputObject)]
pub struct OrderCreateInput {
    /// Whose order it is: required of MERCHANT and ADMIN; customers leave it out.
    customer_id: Option<Id>,
    /// Who receives it: 1 to 200 characters.
    customer_name: String,
    /// Where to write about it.
    customer_email: String,
    /// Where it goes.
    shipping_address: AddressInput,
    /// What is bought: 1 to 100 lines. Lines of the same product are put together.
    items: Vec<OrderItemInput>,
}

impl From<OrderCreateInput> for domain::NewOrder {
    fn from(input: OrderCreateInput) -> Self {
        let AddressInput { street, city, state, zip, country } = input.shipping_address;
        let item =
            |item: OrderItemInput| domain::NewOrderItem { product_id: item.product_id.0, quantity: item.quantity };
        Self {
            customer_id: input.customer_id.map(|id| id.0),
            customer_name: input.customer_name,
            customer_email: input.customer_email,
            shipping_address: domain::Address { street, city, state, zip, country },
            items: input.items.into_iter().map(item).collect(),
        }
    }
}

/// Where an order goes.
#[derive(InputObject)]
pub struct OrderStatusUpdateInput {
    /// The next state; `Order.allowedTransitions` lists the possible ones.
    pub status: OrderStatus,
}
