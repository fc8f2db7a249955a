//! The OpenAPI description: what all routes share. The rest is written at the handlers.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, HeaderBuilder, InfoBuilder, LicenseBuilder, ObjectBuilder, OpenApi,
    OpenApiBuilder, Ref, RefOr, Required, Response, ResponseBuilder, ServerBuilder, Type,
};
use utoipa::{IntoResponses, PartialSchema, ToSchema};

use super::envelope::{Failure, FailureBody};
use super::routes;
use crate::error::Code;

const INTRODUCTION: &str = "\
The REST interface of Mercato, a multi-tenant e-commerce backend. It offers what the GraphQL interface at `/graphql` \
offers, to integrators who already speak it, under the same rules.

## Answers

Every answer has one shape. `success` tells whether the request was done; `data` is the result, `meta` says which page of \
a list it is, and `error` has a stable `code` to branch on, a `message` for people, and `details` by code. Money is a \
string with two decimals, like `\"19.99\"`, in the shop's currency. Moments are in UTC, as RFC 3339 writes them. Every \
answer has the header `X-Request-Id`; quote it when you report a problem.

## Requests

Bodies are JSON objects. Unknown fields and parameters are refused, so that a misspelt one is never ignored. A method \
that a route does not have answers 405 with `METHOD_NOT_ALLOWED` and the header `Allow`. Every POST takes an \
`Idempotency-Key`; PATCH and DELETE take one too.

## The shop, and who asks

Log in and send the token as `Authorization: Bearer …`: it names the shop as well. Without a token, the header \
`X-API-Key` (the shop's publishable key) or `X-Tenant` (its subdomain) names the shop, for what anybody may do: read \
active products and log in. Headers that contradict the token are refused.";

/// The description of all routes.
#[must_use]
pub fn openapi() -> OpenApi {
    let mut document = routes().into_openapi();
    let posts = document.paths.paths.iter_mut().filter(|(path, _)| *path != STRIPES_OWN);
    for post in posts.filter_map(|(_, item)| item.post.as_mut()) {
        post.parameters.get_or_insert_default().push(idempotency_key().into());
        post.responses.responses.extend(refer(&[Code::IdempotencyKeyReused]));
    }
    document
}

/// Stripe sends no keys: its events have ids.
const STRIPES_OWN: &str = "/webhooks/stripe";

/// The header that every POST may have.
fn idempotency_key() -> Parameter {
    let description = "Makes sending the request again safe: within 24 hours, the same key with the same request gets the \
                       first answer again, with the header `Idempotent-Replayed: true`.";
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(255))))
        .build()
}

/// The description as `openapi.json` has it.
pub fn openapi_json() -> serde_json::Result<String> {
    openapi().to_pretty_json().map(|json| json + "\n")
}

/// The description without any route.
pub(super) fn frame() -> OpenApi {
    let license = LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build();
    let info = InfoBuilder::new()
        .title("Mercato REST API")
        .version("1")
        .description(Some(INTRODUCTION))
        .license(Some(license));
    let tags = [
        ("Tenants", "Shops."),
        ("Authentication", "Being somebody."),
        ("Products", "What a shop sells."),
        ("Inventory", "What a shop has."),
        ("Orders", "What customers bought."),
        ("Payments", "What customers pay."),
    ];
    let tag = |(name, description)| TagBuilder::new().name(name).description(Some(description)).build();
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([ServerBuilder::new().url("/api/v1").description(Some("This server")).build()]))
        .tags(Some(tags.map(tag)))
        .components(Some(components().build()))
        .build()
}

/// What several routes refer to: how to say who asks, and the failures.
fn components() -> ComponentsBuilder {
    let mut schemas = vec![(FailureBody::name().into_owned(), FailureBody::schema())];
    FailureBody::schemas(&mut schemas);
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some("The token that `POST /auth/login` answers with. It names the user and the shop."));
    // That a route has no such method is no answer of the methods that it has; and 401 is described once.
    let documented = Code::ALL.into_iter().filter(|code| !matches!(code, Code::MethodNotAllowed | Code::MfaRequired));
    let header =
        |name, description| SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(name, description)));
    ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .security_scheme("bearer", SecurityScheme::Http(bearer.build()))
        .security_scheme("apiKey", header("X-API-Key", "The shop's publishable key, which may be in a web page."))
        .security_scheme("tenant", header("X-Tenant", "The shop's subdomain."))
        .responses_from_iter(documented.map(|code| (code.as_str(), failure(code))))
}

/// The answer to a request that failed with this code.
fn failure(code: Code) -> Response {
    let (description, message, details) = example(code);
    let body = json!(FailureBody::from(Failure { code, message: message.into(), details }));
    let schema = Ref::from_schema_name(FailureBody::name());
    let content = ContentBuilder::new().schema(Some(schema)).example(Some(body)).build();
    let response = ResponseBuilder::new().description(description).content("application/json", content);
    match code {
        Code::Unauthenticated => {
            let header = HeaderBuilder::new().schema(Some(String::schema())).description(Some("`Bearer`")).build();
            response.header("WWW-Authenticate", header).build()
        }
        _ => response.build(),
    }
}

/// When a code is answered, and an example of its message and details.
fn example(code: Code) -> (&'static str, &'static str, Option<Value>) {
    match code {
        Code::ValidationError => (
            "The request is malformed, of a wrong type, has unknown fields or parameters, or values out of range.",
            "items.0.quantity: must be a whole number from 1 to 1000000",
            Some(
                json!({"fields": [{"field": "items.0.quantity", "message": "must be a whole number from 1 to 1000000"}]}),
            ),
        ),
        Code::Unauthenticated => (
            "There is no token or key, or it is wrong, expired or revoked; or the login is wrong. With the code `MFA_REQUIRED`, \
             the caller must set up, or give, a second factor first.",
            "the token is not valid, or no longer; log in again",
            None,
        ),
        Code::MfaRequired => (
            "The caller must set up, or give, a second factor first.",
            "set up a second factor first: POST /auth/mfa/setup, then POST /auth/mfa/verify",
            None,
        ),
        Code::Forbidden => (
            "The caller's role may not do this, or a header contradicts the token.",
            "this needs the role MERCHANT or ADMIN",
            None,
        ),
        Code::NotFound => ("There is no such object in this shop, or no such shop.", "Product not found", None),
        Code::Conflict => (
            "A value that must be unique is taken; `details.field` names it.",
            "a product with this SKU exists",
            Some(json!({"field": "sku"})),
        ),
        Code::InsufficientStock => (
            "Less is left than was asked for. Nothing was taken; `details.lines` lists all that is short.",
            "only 2 left, 5 requested",
            Some(json!({
                "productId": "0192f0c1-2b7e-7d3a-9c55-6f0d5a3b1e42", "requested": 5, "available": 2,
                "lines": [{"productId": "0192f0c1-2b7e-7d3a-9c55-6f0d5a3b1e42", "requested": 5, "available": 2}],
            })),
        ),
        Code::InvalidStatusTransition => (
            "The order cannot go there from where it stands; `details.allowed` lists where it can go.",
            "an order cannot go from SHIPPED to CANCELLED",
            Some(json!({"from": "SHIPPED", "to": "CANCELLED", "allowed": ["COMPLETED"]})),
        ),
        Code::IdempotencyKeyReused => (
            "The same `Idempotency-Key` came with a different request in the last 24 hours.",
            "this Idempotency-Key was used for a different request; use a new key for a new request",
            None,
        ),
        Code::RateLimited => (
            "The caller has used up a quota; the headers `Retry-After` and `RateLimit` tell when to come back.",
            "too many requests; try again in 7 seconds",
            Some(json!({"retryAfter": 7})),
        ),
        Code::PaymentProviderError => (
            "The payment provider failed or refused. Nothing was changed.",
            "the payment provider did not accept this; nothing was changed, try again later",
            None,
        ),
        Code::PayloadTooLarge => ("The body is too large.", "the body is too large", None),
        Code::UnsupportedMediaType => (
            "The body is not announced as JSON in UTF-8.",
            "send the body as `Content-Type: application/json`, in UTF-8",
            None,
        ),
        Code::MethodNotAllowed => (
            "The route has no such method.",
            "this route has no such method; the header Allow lists those that it has",
            None,
        ),
        Code::ServiceUnavailable => (
            "A dependency is gone or overloaded. The same request can succeed later.",
            "the service is temporarily unavailable; try again",
            None,
        ),
        Code::Internal => {
            ("A bug on our side.", "something went wrong on our side; quote the request id when you report it", None)
        }
    }
}

/// Defines a group of failures that a handler can list among its responses.
macro_rules! failures {
    ($($(#[$doc:meta])* $name:ident = $($code:ident),+;)+) => {
        $(
            $(#[$doc])*
            pub struct $name;

            impl IntoResponses for $name {
                fn responses() -> BTreeMap<String, RefOr<Response>> {
                    refer(&[$(Code::$code),+])
                }
            }
        )+
    };
}

failures! {
    /// What can go wrong anywhere.
    Failures = ValidationError, Unauthenticated, Forbidden, NotFound, RateLimited, Internal, ServiceUnavailable;
    /// What can be wrong with a body.
    BodyFailures = PayloadTooLarge, UnsupportedMediaType;
    /// What can be wrong with a body of any type.
    TooLarge = PayloadTooLarge;
    /// A value that must be unique is taken.
    Taken = Conflict;
    /// Less is left than was asked for.
    Short = InsufficientStock;
    /// The order cannot go there.
    NoSuchStep = InvalidStatusTransition;
    /// The payment provider failed.
    NotAccepted = PaymentProviderError;
}

fn refer(codes: &[Code]) -> BTreeMap<String, RefOr<Response>> {
    let refer = |code: &Code| (code.status().to_string(), Ref::from_response_name(code.as_str()).into());
    codes.iter().map(refer).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn operations() -> Vec<(String, Value)> {
        let document = json!(openapi());
        let paths = document["paths"].as_object().unwrap();
        let of_path = |(path, methods): (&String, &Value)| {
            let methods = methods.as_object().unwrap().iter();
            methods
                .map(|(method, operation)| (format!("{} {path}", method.to_uppercase()), operation.clone()))
                .collect()
        };
        paths.iter().flat_map(|path| -> Vec<_> { of_path(path) }).collect()
    }

    #[test]
    fn every_route_is_documented_and_nothing_else() {
        let documented: BTreeSet<_> = operations().into_iter().map(|(route, _)| route).collect();
        let wanted = [
            "DELETE /orders/{id}",
            "DELETE /products/{id}",
            "GET /inventory",
            "GET /orders",
            "GET /orders/{id}",
            "GET /products",
            "GET /products/{id}",
            "PATCH /inventory/{productId}",
            "PATCH /orders/{id}/status",
            "PATCH /products/{id}",
            "POST /auth/login",
            "POST /auth/logout",
            "POST /auth/mfa/setup",
            "POST /auth/mfa/verify",
            "POST /auth/refresh",
            "POST /orders",
            "POST /payments/intents",
            "POST /products",
            "POST /tenants",
            "POST /webhooks/stripe",
        ];
        assert_eq!(documented.into_iter().collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn every_operation_tells_who_may_and_what_can_go_wrong() {
        let mut ids = BTreeSet::new();
        for (route, operation) in operations() {
            for field in ["operationId", "summary", "description", "tags", "security"] {
                assert!(operation.get(field).is_some(), "{route} has no {field}");
            }
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{route}: operationId is taken");
            if operation["operationId"].as_str().unwrap().starts_with("list") {
                let parameters = operation["parameters"].as_array().unwrap();
                for name in ["page", "limit"] {
                    assert!(parameters.iter().any(|parameter| parameter["name"] == name), "{route} has no {name}");
                }
            }
            let mut statuses = vec!["400", "401", "403", "404", "429", "500", "503"];
            if operation.get("requestBody").is_some() {
                statuses.push("413");
            }
            // What Stripe sends is read, whatever it is announced as.
            if operation.get("requestBody").is_some() && !route.ends_with(STRIPES_OWN) {
                statuses.push("415");
            }
            for status in statuses {
                assert!(operation["responses"].get(status).is_some(), "{route} does not tell of {status}");
            }
        }
    }

    #[test]
    fn references_lead_somewhere() {
        fn check(document: &Value, part: &Value) {
            if let Some(reference) = part.get("$ref").and_then(Value::as_str) {
                assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
            }
            part.as_object().into_iter().flat_map(|object| object.values()).for_each(|part| check(document, part));
            part.as_array().into_iter().flatten().for_each(|part| check(document, part));
        }
        let document = json!(openapi());
        check(&document, &document);
    }
}
