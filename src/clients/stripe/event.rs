//! Webhook events, read tolerantly: of any API version, with whatever they hold besides.

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::domain::payments::{Captured, Fact, RefundStatus};

/// Something that happened at Stripe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Stripe's id of the event.
    pub id: String,
    /// Its type, like `payment_intent.succeeded`.
    pub kind: String,
    /// What it says of an intent; none for types that are of no concern here.
    pub subject: Option<Subject>,
}

/// What an event says of an intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Stripe's id of the intent.
    pub intent: String,
    /// The payment that the intent was made for, if its metadata tell.
    pub payment_id: Option<Uuid>,
    /// What has happened.
    pub fact: Fact,
}

impl Event {
    /// Reads an event.
    ///
    /// # Errors
    ///
    /// What is wrong with the body, in words for whoever sent it.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Raw {
            id: String,
            #[serde(rename = "type")]
            kind: String,
            #[serde(default)]
            data: Value,
        }

        let Raw { id, kind, data } =
            serde_json::from_slice(body).map_err(|error| format!("must be an event with id and type: {error}"))?;
        let is_name = |text: &str| (1..=255).contains(&text.len()) && !text.contains(char::is_control);
        if !is_name(&id) || !is_name(&kind) {
            return Err("must be an event whose id and type are short texts".into());
        }
        let subject = subject(&kind, &data["object"]);
        Ok(Self { id, kind, subject })
    }
}

fn subject(kind: &str, object: &Value) -> Option<Subject> {
    let (intent, fact) = match kind {
        "payment_intent.succeeded" => (&object["id"], Fact::Captured(captured(object, "amount_received"))),
        "payment_intent.payment_failed" => (&object["id"], Fact::Failed),
        "payment_intent.canceled" => (&object["id"], Fact::Cancelled),
        "charge.refunded" => {
            let total = object["amount_refunded"].as_i64()?;
            (&object["payment_intent"], Fact::Refunded { captured: captured(object, "amount_captured"), total })
        }
        "refund.updated" | "refund.failed" | "charge.refund.updated" => {
            let status = refund_status(object["status"].as_str()?);
            (&object["payment_intent"], Fact::RefundChanged { refund: object["id"].as_str()?.to_owned(), status })
        }
        _ => return None,
    };
    let payment_id = object["metadata"]["payment_id"].as_str().and_then(|id| Uuid::try_parse(id).ok());
    Some(Subject { intent: id_of(intent)?, payment_id, fact })
}

/// An object's id, whether it is only named or expanded. A text that PostgreSQL could not hold is nobody's id.
fn id_of(value: &Value) -> Option<String> {
    let id = value.as_str().or_else(|| value["id"].as_str())?;
    (!id.is_empty() && !id.contains(char::is_control)).then(|| id.to_owned())
}

fn captured(object: &Value, amount: &str) -> Captured {
    Captured {
        amount: object[amount].as_i64().or_else(|| object["amount"].as_i64()),
        currency: object["currency"].as_str().map(str::to_ascii_uppercase),
    }
}

/// Where a refund stands, in our words (<https://docs.stripe.com/api/refunds/object#refund_object-status>).
pub(super) fn refund_status(status: &str) -> RefundStatus {
    match status {
        "succeeded" => RefundStatus::Succeeded,
        "failed" | "canceled" => RefundStatus::Failed,
        _ => RefundStatus::Pending,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(kind: &str, object: Value) -> Option<Subject> {
        let body = json!({"id": "evt_1", "type": kind, "livemode": false, "data": {"object": object}}).to_string();
        Event::parse(body.as_bytes()).unwrap().subject
    }

    #[test]
    fn a_captured_intent_tells_how_much_of_what() {
        let payment_id = Uuid::from_u128(7);
        let subject = parse(
            "payment_intent.succeeded",
            json!({"id": "pi_1", "amount": 2000, "amount_received": 1999, "currency": "usd", "new": {"field": 1},
                "metadata": {"payment_id": payment_id}}),
        );
        let captured = Captured { amount: Some(1999), currency: Some("USD".into()) };
        let expected = Subject { intent: "pi_1".into(), payment_id: Some(payment_id), fact: Fact::Captured(captured) };
        assert_eq!(subject, Some(expected));
    }

    #[test]
    fn what_is_missing_or_strange_is_left_out() {
        let subject =
            parse("payment_intent.succeeded", json!({"id": "pi_1", "amount": "x", "metadata": {"payment_id": "7"}}));
        let expected = Subject { intent: "pi_1".into(), payment_id: None, fact: Fact::Captured(Captured::default()) };
        assert_eq!(subject, Some(expected));
        assert_eq!(parse("payment_intent.succeeded", json!({"id": "pi_\u{0}"})), None);
        assert_eq!(parse("payment_intent.succeeded", json!({"id": 1})), None);
        assert_eq!(parse("charge.refunded", json!({"payment_intent": "pi_1"})), None);
        assert_eq!(parse("customer.created", json!({"id": "cus_1"})), None);
    }

    #[test]
    fn refunds_name_their_intent_in_either_form() {
        let captured = Captured { amount: Some(2000), currency: Some("EUR".into()) };
        for intent in [json!("pi_1"), json!({"id": "pi_1", "object": "payment_intent"})] {
            let charge = json!({"payment_intent": intent, "amount": 2000, "amount_refunded": 500, "currency": "eur"});
            let subject = parse("charge.refunded", charge).unwrap();
            let fact = Fact::Refunded { captured: captured.clone(), total: 500 };
            assert_eq!((subject.intent.as_str(), subject.fact), ("pi_1", fact));
        }
        let refund = json!({"id": "re_1", "payment_intent": "pi_1", "status": "canceled"});
        let changed = Fact::RefundChanged { refund: "re_1".into(), status: RefundStatus::Failed };
        assert_eq!(parse("charge.refund.updated", refund).unwrap().fact, changed);
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for body in [
            "",
            "{",
            "[]",
            "{}",
            r#"{"id": 1, "type": "x"}"#,
            r#"{"id": "", "type": "x"}"#,
            r#"{"id": "a\u0000", "type": "x"}"#,
        ] {
            assert!(Event::parse(body.as_bytes()).is_err(), "{body}");
        }
    }
}
