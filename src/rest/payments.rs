//! Payments, and Stripe's webhooks.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::Routes;
use super::envelope::{Failure, Success, UserError, accepted};
use super::extract::{Body, whole};
use super::openapi::{BodyFailures, Failures, NoSuchStep, NotAccepted, TooLarge};
use super::run::{Call, operations};
use crate::domain::actor::RequestId;
use crate::error::Error;
use crate::graphql::Engine;
use crate::services::payments;

operations! {
    CREATE = "paymentIntentCreate";
}

/// The routes of this file that run operations.
pub fn routes() -> Routes {
    OpenApiRouter::new().routes(routes!(create_intent))
}

/// Where Stripe posts to.
pub fn webhooks() -> Routes {
    OpenApiRouter::new().routes(routes!(receive))
}

/// Where a payment stands.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum PaymentStatus {
    /// Asked for, not made yet.
    Pending,
    /// Made: it pays its order.
    Paid,
    /// The last attempt failed; the customer may try again.
    Failed,
    /// All of it was given back.
    Refunded,
}

/// What is to be paid.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({"orderId": "0192f0c2-6d10-7c8e-8a61-2f4b9d0c7a15"})))]
pub struct IntentCreate {
    /// The order.
    order_id: Uuid,
}

/// A payment that the customer's browser can go on with.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(examples(json!({
    "paymentId": "0192f0c3-1a2b-7c3d-8e4f-5a6b7c8d9e0f", "orderId": "0192f0c2-6d10-7c8e-8a61-2f4b9d0c7a15",
    "stripePaymentIntent": "pi_3Example", "clientSecret": "pi_3Example_secret_abc", "amount": "39.98",
    "currency": "USD", "status": "PENDING",
})))]
#[expect(clippy::struct_field_names, reason = "what the field is called on the wire")]
pub struct Intent {
    /// The payment's id.
    payment_id: Uuid,
    /// The order that it pays.
    order_id: Uuid,
    /// Stripe's id of the `PaymentIntent`.
    stripe_payment_intent: Option<String>,
    /// What Stripe's own library in the browser needs to take the money. Not to be logged or put into a URL.
    client_secret: String,
    /// What the order costs.
    #[schema(pattern = r"^\d+\.\d{2}$", examples("39.98"))]
    amount: String,
    /// The ISO 4217 code of the shop's currency.
    currency: String,
    status: PaymentStatus,
}

/// That an event has arrived.
#[derive(Debug, Serialize, ToSchema)]
pub struct Receipt {
    /// Always true.
    #[schema(examples(true))]
    received: bool,
}

/// Ask for an order's money
///
/// Makes the `PaymentIntent` of an order that waits for its payment. Asked again, it answers with the same one. Customers
/// may do so for their own orders.
#[utoipa::path(
    post, path = "/payments/intents", operation_id = "createPaymentIntent", tag = "Payments",
    request_body = IntentCreate,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The order's payment.", body = Success<Intent>),
        Failures, BodyFailures, NoSuchStep, NotAccepted,
    ),
)]
async fn create_intent(call: Call, Body(body): Body<IntentCreate>) -> Result<(StatusCode, Success<Intent>), Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload {
        payment: Option<Payment>,
        client_secret: Option<String>,
        user_errors: Vec<UserError>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Payment {
        id: Uuid,
        order_id: Uuid,
        stripe_payment_intent: Option<String>,
        amount: Money,
        status: PaymentStatus,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Money {
        amount: String,
        currency_code: String,
    }

    let payload: Payload = call.run(&CREATE, json!({ "input": body })).await?;
    let (payment, client_secret) = accepted(payload.payment.zip(payload.client_secret), payload.user_errors)?;
    let intent = Intent {
        payment_id: payment.id,
        order_id: payment.order_id,
        stripe_payment_intent: payment.stripe_payment_intent,
        client_secret,
        amount: payment.amount.amount,
        currency: payment.amount.currency_code,
        status: payment.status,
    };
    Ok((StatusCode::CREATED, Success::of(intent)))
}

/// Receive an event
///
/// For Stripe: the header `Stripe-Signature` must sign the body, which is read as it came. An event is applied once,
/// however often it is sent. Events of unknown types, and about what is not ours, are received and ignored.
#[utoipa::path(
    post, path = "/webhooks/stripe", operation_id = "receiveStripeEvent", tag = "Payments",
    params(("Stripe-Signature" = String, Header, description = "`t=` the time and `v1=` the signature, as Stripe makes it.")),
    request_body(content = serde_json::Value, description = "The event, as Stripe sends it."),
    security(()),
    responses((status = 200, description = "Received.", body = Success<Receipt>), Failures, TooLarge),
)]
async fn receive(
    State(engine): State<Arc<Engine>>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Result<Success<Receipt>, Failure> {
    let signature = request.headers().get("stripe-signature").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let signature = signature.ok_or(Error::Unauthenticated("send the signature in the header Stripe-Signature"))?;
    let body = whole(request, &engine).await?;
    payments::receive(&engine.services, request_id, &signature, &body).await?;
    Ok(Success::of(Receipt { received: true }))
}

#[cfg(test)]
mod tests {
    use utoipa::PartialSchema;

    use super::*;
    use crate::domain::payments::PaymentStatus as Domain;

    #[test]
    fn states_are_those_of_the_domain() {
        let documented = json!(PaymentStatus::schema())["enum"].clone();
        let names: Vec<_> = Domain::ALL.iter().map(|status| status.as_str()).collect();
        assert_eq!(documented, json!(names));
    }
}
