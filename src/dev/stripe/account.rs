//! What the simulated account holds, and by which rules: those of Stripe, as far as payments need them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

/// The code, and with Stripe the type, of a refusal of a key that came with another request before.
pub const IDEMPOTENCY_ERROR: &str = "idempotency_error";

/// Form fields, in the order in which they came.
pub type Form = Vec<(String, String)>;

/// A `PaymentIntent` with its charge and refunds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Intent {
    /// Its id.
    pub id: String,
    /// What the browser needs to pay it.
    pub client_secret: String,
    /// In the currency's smallest unit.
    pub amount: i64,
    /// ISO 4217 code, in small letters as Stripe has it.
    pub currency: String,
    /// Where it stands, in Stripe's words.
    pub status: String,
    /// What was given back.
    pub refunded: i64,
    /// What whoever made it said about it.
    pub metadata: BTreeMap<String, String>,
    /// When it was made, in seconds since 1970.
    pub created: i64,
}

/// The account: what was made, and what was answered to which idempotency key.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Account {
    /// Every intent.
    pub intents: Vec<Intent>,
    /// Every refund, as Stripe shows it.
    #[serde(default)]
    refunds: Vec<Value>,
    answers: BTreeMap<String, (Form, Value)>,
}

/// A refusal as Stripe words it.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// Stripe's code.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

/// What came of a request: the answer, and the event that it causes.
pub type Outcome = Result<(Value, Option<(&'static str, Value)>), Refusal>;

fn refuse(status: u16, code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal { status, code, message: message.into() }
}

fn field<'a>(form: &'a Form, name: &str) -> Option<&'a str> {
    form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn metadata(form: &Form) -> BTreeMap<String, String> {
    let named = |(name, value): &(String, String)| {
        Some((name.strip_prefix("metadata[")?.strip_suffix(']')?.to_owned(), value.clone()))
    };
    form.iter().filter_map(named).collect()
}

impl Account {
    /// Does something once for each key: the same key with the same form gets the first answer again.
    pub fn once(&mut self, key: Option<&str>, form: &Form, act: impl FnOnce(&mut Self) -> Outcome) -> Outcome {
        let Some(key) = key else { return act(self) };
        match self.answers.get(key) {
            Some((first, answer)) if first == form => Ok((answer.clone(), None)),
            Some(_) => Err(refuse(400, IDEMPOTENCY_ERROR, "this key came with other parameters before")),
            None => {
                let outcome = act(self);
                if let Ok((answer, _)) = &outcome {
                    self.answers.insert(key.to_owned(), (form.clone(), answer.clone()));
                }
                outcome
            }
        }
    }

    /// Makes an intent.
    pub fn create(&mut self, form: &Form, id: Uuid, created: i64) -> Outcome {
        let amount = field(form, "amount").and_then(|amount| amount.parse().ok()).filter(|amount| *amount > 0);
        let amount = amount.ok_or_else(|| refuse(400, "parameter_invalid_integer", "amount must be positive"))?;
        // As Stripe does for most currencies.
        match amount {
            ..50 => return Err(refuse(400, "amount_too_small", "amount must be at least 50")),
            100_000_000.. => return Err(refuse(400, "amount_too_large", "amount must be at most 99999999")),
            _ => {}
        }
        let currency = field(form, "currency").filter(|currency| currency.len() == 3);
        let currency = currency.ok_or_else(|| refuse(400, "parameter_missing", "currency is required"))?;
        let id = format!("pi_sim{}", id.simple());
        let intent = Intent {
            client_secret: format!("{id}_secret_simulated"),
            id,
            amount,
            currency: currency.to_owned(),
            status: "requires_payment_method".into(),
            refunded: 0,
            metadata: metadata(form),
            created,
        };
        let answer = intent.json();
        self.intents.push(intent);
        Ok((answer, None))
    }

    /// An intent by its id.
    pub fn find(&mut self, id: &str) -> Result<&mut Intent, Refusal> {
        let found = self.intents.iter_mut().find(|intent| intent.id == id);
        found.ok_or_else(|| refuse(404, "resource_missing", format!("no such payment_intent: {id}")))
    }

    /// Pays an intent, or lets its card be declined.
    pub fn confirm(&mut self, id: &str, is_declined: bool) -> Outcome {
        let intent = self.find(id)?;
        intent.must_be_open("confirm")?;
        if is_declined {
            let answer = intent.json();
            return Ok((answer.clone(), Some(("payment_intent.payment_failed", answer))));
        }
        intent.status = "succeeded".into();
        let answer = intent.json();
        Ok((answer.clone(), Some(("payment_intent.succeeded", answer))))
    }

    /// Cancels an intent.
    pub fn cancel(&mut self, id: &str) -> Outcome {
        let intent = self.find(id)?;
        intent.must_be_open("cancel")?;
        intent.status = "canceled".into();
        let answer = intent.json();
        Ok((answer.clone(), Some(("payment_intent.canceled", answer))))
    }

    /// The refunds of an intent, newest first.
    pub fn refunds_of(&self, intent: &str) -> Value {
        let of_intent = |refund: &&Value| refund["payment_intent"] == intent;
        let data: Vec<_> = self.refunds.iter().rev().filter(of_intent).collect();
        json!({"object": "list", "data": data, "has_more": false})
    }

    /// Gives money back, never more than came.
    pub fn refund(&mut self, form: &Form, id: Uuid) -> Outcome {
        let intent = self.find(field(form, "payment_intent").unwrap_or_default())?;
        if intent.status != "succeeded" {
            return Err(refuse(400, "payment_intent_unexpected_state", "nothing was captured"));
        }
        let left = intent.amount - intent.refunded;
        let amount = match field(form, "amount") {
            Some(amount) => amount.parse().ok().filter(|amount| *amount > 0),
            None => Some(left),
        };
        let amount = amount.ok_or_else(|| refuse(400, "parameter_invalid_integer", "amount must be positive"))?;
        if left == 0 {
            return Err(refuse(400, "charge_already_refunded", "all of it was refunded"));
        }
        if amount > left {
            return Err(refuse(400, "amount_too_large", format!("only {left} is left")));
        }
        intent.refunded += amount;
        let charge = intent.charge();
        let refund = json!({
            "id": format!("re_sim{}", id.simple()), "object": "refund", "amount": amount, "currency": intent.currency,
            "payment_intent": intent.id, "charge": charge, "status": "succeeded", "metadata": metadata(form),
        });
        self.refunds.push(refund.clone());
        Ok((refund, Some(("charge.refunded", charge))))
    }
}

impl Intent {
    fn must_be_open(&self, what: &str) -> Result<(), Refusal> {
        if self.status.starts_with("requires_") {
            return Ok(());
        }
        let message = format!("you cannot {what} this PaymentIntent because it is {}", self.status);
        Err(refuse(400, "payment_intent_unexpected_state", message))
    }

    /// The intent as Stripe shows it.
    #[must_use]
    pub fn json(&self) -> Value {
        let received = if self.status == "succeeded" { self.amount } else { 0 };
        json!({
            "id": self.id, "object": "payment_intent", "amount": self.amount, "amount_received": received,
            "currency": self.currency, "status": self.status, "client_secret": self.client_secret,
            "metadata": self.metadata, "created": self.created, "livemode": false,
        })
    }

    fn charge(&self) -> Value {
        json!({
            "id": format!("ch_{}", self.id.trim_start_matches("pi_")), "object": "charge", "amount": self.amount,
            "amount_captured": self.amount, "amount_refunded": self.refunded, "currency": self.currency,
            "refunded": self.refunded == self.amount, "payment_intent": self.id, "metadata": self.metadata,
            "livemode": false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(fields: &[(&str, &str)]) -> Form {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn account() -> (Account, String) {
        let mut account = Account::default();
        let new = form(&[("amount", "1999"), ("currency", "usd"), ("metadata[order_id]", "7")]);
        let (intent, event) = account.create(&new, Uuid::from_u128(1), 0).unwrap();
        assert_eq!((intent["metadata"]["order_id"].as_str(), event), (Some("7"), None));
        (account, intent["id"].as_str().unwrap().to_owned())
    }

    #[test]
    fn what_was_paid_can_be_given_back_once() {
        let (mut account, id) = account();
        let refund = |amount| form(&[("payment_intent", &id), ("amount", amount)]);
        assert_eq!(account.refund(&refund("1"), Uuid::nil()).unwrap_err().code, "payment_intent_unexpected_state");
        assert_eq!(account.confirm(&id, false).unwrap().1.unwrap().0, "payment_intent.succeeded");
        assert_eq!(account.cancel(&id).unwrap_err().code, "payment_intent_unexpected_state");
        let (part, _) = account.refund(&refund("999"), Uuid::nil()).unwrap();
        assert_eq!(part["charge"]["amount_refunded"], 999);
        assert_eq!(account.refund(&refund("1001"), Uuid::nil()).unwrap_err().code, "amount_too_large");
        account.refund(&form(&[("payment_intent", &id)]), Uuid::nil()).unwrap();
        assert_eq!(account.refund(&refund("1"), Uuid::nil()).unwrap_err().code, "charge_already_refunded");
    }

    #[test]
    fn a_key_makes_one_thing() {
        let (mut account, _) = account();
        let new = form(&[("amount", "50"), ("currency", "usd")]);
        let mut make =
            |form: &Form, id| account.once(Some("key"), form, |account| account.create(form, Uuid::from_u128(id), 0));
        let (first, again) = (make(&new, 2).unwrap().0, make(&new, 3).unwrap().0);
        assert_eq!(first, again);
        let other = form(&[("amount", "60"), ("currency", "usd")]);
        assert_eq!(make(&other, 4).unwrap_err().code, IDEMPOTENCY_ERROR);
        assert_eq!(account.intents.len(), 2);
    }

    #[test]
    fn a_declined_card_leaves_the_intent_open() {
        let (mut account, id) = account();
        assert_eq!(account.confirm(&id, true).unwrap().1.unwrap().0, "payment_intent.payment_failed");
        assert!(account.confirm(&id, false).is_ok());
    }
}
