//! That failures are the same from wherever they come, and what each looks like.

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::error::Shortage;

/// The failure that a payload's userErrors become, which are made from a domain error.
fn through_graphql(error: &Error) -> Failure {
    let user_errors = error.problems().into_iter().map(|problem| UserError {
        code: problem.code.as_str().to_owned(),
        message: problem.message,
        field: problem.field,
        details: problem.details,
    });
    accepted::<()>(None, user_errors.collect()).unwrap_err()
}

#[test]
fn a_failure_is_the_same_from_a_domain_error_and_from_a_payload() {
    let short = |available| Shortage { line: 0, product_id: Uuid::nil(), requested: 5, available };
    let errors = [
        Error::field("items.0.quantity", "must be at least 1"),
        Error::Validation(vec![FieldError::new("a", "is wrong"), FieldError::new("b.0", "is wrong too")]),
        Error::Unauthenticated("log in"),
        Error::not_found_at("Product", "id"),
        Error::Conflict { field: "sku", message: "taken" },
        Error::InsufficientStock(vec![short(2), short(3)]),
    ];
    for error in errors {
        assert_eq!(through_graphql(&error), Failure::from(&error));
    }
}

#[test]
fn details_are_those_that_integrators_branch_on() {
    let two = Error::Validation(vec![FieldError::new("a", "is wrong"), FieldError::new("b.0", "is wrong too")]);
    let fields =
        json!({"fields": [{"field": "a", "message": "is wrong"}, {"field": "b.0", "message": "is wrong too"}]});
    assert_eq!(through_graphql(&two).details, Some(fields));

    let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let short = |line, product_id, available| Shortage { line, product_id, requested: 5, available };
    let failure = through_graphql(&Error::InsufficientStock(vec![short(0, first, 2), short(1, second, 3)]));
    let lines = json!([
        {"productId": first, "requested": 5, "available": 2},
        {"productId": second, "requested": 5, "available": 3},
    ]);
    assert_eq!(failure.details, Some(json!({"productId": first, "requested": 5, "available": 2, "lines": lines})));
    assert_eq!(failure.message, "not enough stock for 2 of the requested products");
}

#[test]
fn a_problem_with_the_input_as_a_whole_is_one_with_the_body() {
    let failure = through_graphql(&Error::field("input", "give at least one field"));
    assert_eq!(failure.message, "body: give at least one field");
}

#[test]
fn top_level_errors_keep_code_and_details() {
    let top_level = |error: Error| {
        let request_id = crate::domain::actor::RequestId::new(Uuid::nil());
        let response = crate::graphql::error_response(Arc::new(error), &request_id);
        response.errors.into_iter().next().map(Failure::from)
    };
    for error in [Error::Forbidden("no"), Error::not_found("Tenant")] {
        let expected = Failure::from(&error);
        assert_eq!(top_level(error), Some(expected));
    }
    let failure = top_level(Error::field("search", "is too long")).unwrap();
    assert_eq!(failure.details, Some(json!({"fields": [{"field": "search", "message": "is too long"}]})));
    let unknown = async_graphql::ServerError::new("?", None);
    assert_eq!(Failure::from(unknown).code, Code::Internal);
}

#[test]
fn statuses_follow_codes_and_401_challenges() {
    for code in Code::ALL {
        let response = Failure::new(code, "").into_response();
        assert_eq!(response.status().as_u16(), code.status());
        assert_eq!(response.headers().contains_key(WWW_AUTHENTICATE), code.status() == 401, "{code:?}");
    }
}

#[test]
fn the_envelope_has_exactly_these_fields() {
    assert_eq!(json!(Success::of(1)), json!({"success": true, "data": 1, "error": null}));
    let meta = Meta { page: 2, limit: 1, total: 3 };
    let page = json!({"success": true, "data": [1], "meta": {"page": 2, "limit": 1, "total": 3}, "error": null});
    assert_eq!(json!(Page::of(vec![1], meta)), page);
    let failure = json!(FailureBody::from(Failure::new(Code::NotFound, "no such route")));
    assert_eq!(failure, json!({"success": false, "error": {"code": "NOT_FOUND", "message": "no such route"}}));
}
