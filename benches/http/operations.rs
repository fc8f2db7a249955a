//! What is asked for, and random numbers to choose by.

use serde_json::json;
use uuid::Uuid;

use super::stack::{PRODUCTS, Shop};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Operation {
    /// The newest 20 products of a shop.
    List,
    /// One product by its id.
    Product,
    /// Placing an order of two lines.
    Order,
}

impl Operation {
    pub const ALL: [Self; 3] = [Self::List, Self::Product, Self::Order];

    pub const fn name(self) -> &'static str {
        match self {
            Self::List => "list of 20 products",
            Self::Product => "product by id",
            Self::Order => "order of two lines",
        }
    }

    /// How a good answer begins.
    pub const fn answer_begins(self) -> &'static str {
        match self {
            Self::List => r#"{"data":{"products":{"nodes":[{"#,
            Self::Product => r#"{"data":{"product":{"#,
            Self::Order => r#"{"data":{"orderCreate":{"order":{"#,
        }
    }

    const fn query(self) -> &'static str {
        match self {
            Self::List => {
                "query { products(first: 20) { nodes { id name price { amount currencyCode } sku category imageUrls } \
                 pageInfo { hasNextPage endCursor } } }"
            }
            Self::Product => {
                "query($id: ID!) { product(identifier: {id: $id}) { id name description \
                 price { amount currencyCode } sku category imageUrls } }"
            }
            Self::Order => {
                "mutation($input: OrderCreateInput!) { orderCreate(input: $input) { \
                 order { id status totalAmount { amount currencyCode } createdAt } userErrors { code message field } } }"
            }
        }
    }

    /// The next request for this, as it goes over the wire: from any shop, for anything.
    pub fn request(self, shops: &[Shop], numbers: &mut Numbers) -> Vec<u8> {
        let shop = &shops[numbers.below(shops.len())];
        let variables = match self {
            Self::List => json!({}),
            Self::Product => json!({ "id": shop.product(numbers.below(PRODUCTS)) }),
            Self::Order => {
                let first = numbers.below(PRODUCTS - 1);
                let second = first + 1 + numbers.below(PRODUCTS - first - 1);
                json!({ "input": order([shop.product(first), shop.product(second)]) })
            }
        };
        let body = json!({ "query": self.query(), "variables": variables }).to_string();
        format!(
            "POST /graphql HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\naccept: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            shop.token,
            body.len(),
        )
        .into_bytes()
    }
}

fn order(products: [Uuid; 2]) -> serde_json::Value {
    json!({
        "customerName": "Ada Lovelace",
        "customerEmail": "ada@example.com",
        "shippingAddress": {"street": "12 St James's Square", "city": "London", "zip": "SW1Y 4JH", "country": "GB"},
        "items": products.map(|product| json!({"productId": product, "quantity": 1})),
    })
}

/// Random numbers, the same in every run (Knuth's MMIX generator).
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u32) -> Self {
        let mut numbers = Self(u64::from(seed));
        // The first few of neighbouring seeds are neighbours themselves.
        for _ in 0..4 {
            numbers.below(1);
        }
        numbers
    }

    /// A number from 0 to one less than `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % limit
    }
}
