//! Requests with an `Idempotency-Key`: done once, answered alike every time.

use std::sync::Arc;

use async_graphql::parser::types::{OperationType, Selection};
use async_graphql::{Response, Value};
use uuid::Uuid;

use crate::db::idempotency::{Kept, Keyed};
use crate::domain::actor::Caller;
use crate::domain::idempotency::{Claim, IdempotencyKey};
use crate::error::{Code, Error, Result};
use crate::graphql::{self, Engine, Operation};
use crate::services::Services;

/// Mutations that keep no answer: to repeat them does nothing twice, and what they answer must not lie in a table.
const NOT_KEPT: [&str; 7] =
    ["login", "tokenRefresh", "logout", "mfaSetup", "mfaVerify", "mfaDisable", "passwordChange"];

/// What the request claims; none when it has no key, or nothing that a key counts for.
pub fn claim(services: &Services, caller: &Caller, operation: &Operation) -> Result<Option<Claim>> {
    let Some(key) = &caller.idempotency else { return Ok(None) };
    let Some(field) = mutation(operation)? else { return Ok(None) };
    // As a value first: that sorts the fields of objects, whose order says nothing.
    let variables = serde_json::to_value(&operation.variables).map_err(Error::internal)?.to_string();
    let text = hex::encode(operation.document.hash);
    let name = operation.name.as_deref().unwrap_or_default();
    let parts = [text.as_bytes(), name.as_bytes(), variables.as_bytes()];
    // A new shop is no affair of the one that the request may name.
    let tenant = caller.tenant.as_ref().filter(|_| field != "tenantRegister");
    Ok(Some(Claim {
        tenant_id: tenant.map_or(Uuid::nil(), |tenant| tenant.id),
        actor_id: caller.user_id().unwrap_or_default(),
        operation: field,
        key: key.as_str().to_owned(),
        fingerprint: services.answers.fingerprint(&parts),
    }))
}

/// The one mutation that the request is about; none for queries and for what keeps no answer.
fn mutation(operation: &Operation) -> Result<Option<String>> {
    let Some(definition) = operation.definition().filter(|definition| definition.ty == OperationType::Mutation) else {
        return Ok(None);
    };
    let mut fields = Vec::new();
    for selection in &definition.selection_set.node.items {
        match &selection.node {
            Selection::Field(field) if field.node.name.node == "__typename" => {}
            Selection::Field(field) => fields.push(field.node.name.node.to_string()),
            Selection::FragmentSpread(_) | Selection::InlineFragment(_) => {
                fields.extend([String::new(), String::new()]);
            }
        }
    }
    match fields.pop() {
        Some(field) if fields.is_empty() => Ok((!NOT_KEPT.contains(&field.as_str())).then_some(field)),
        Some(_) => {
            let message = "stands for one mutation: select one, and not through a fragment";
            Err(Error::field("Idempotency-Key", message))
        }
        None => Ok(None),
    }
}

impl Engine {
    /// Answers with what was answered before, or runs the operation and keeps its answer with its effect.
    pub(super) async fn once(
        &self,
        caller: Caller,
        key: &IdempotencyKey,
        operation: Operation,
        claim: Claim,
    ) -> Result<Response> {
        if let Some(response) = self.replayed(key, &claim).await? {
            return Ok(response);
        }
        let (db, keyed) = self.services.db.keyed(claim.clone());
        let services = Arc::new(Services { db, ..Services::clone(&self.services) });
        let response = self.run(services, caller, operation).await;
        if keyed.is_lost() {
            let gone = || Error::Unavailable(anyhow::anyhow!("an answer under the same key has just gone"));
            return self.replayed(key, &claim).await?.ok_or_else(gone);
        }
        if keyed.has_effect().await {
            return self.finish(&keyed, &claim, response).await;
        }
        // Another one that was refused alike may have been quicker; then its answer is the first.
        if is_refusal(&response) && !self.services.db.keep_answer(&claim, self.sealed(&claim, &response)?).await? {
            return Ok(self.replayed(key, &claim).await?.unwrap_or(response));
        }
        Ok(response)
    }

    /// Commits what was done together with its answer, unless a part of the answer could not be read: then nothing was done.
    async fn finish(&self, keyed: &Keyed, claim: &Claim, mut response: Response) -> Result<Response> {
        let failed = response.errors.iter().any(|error| graphql::code(error).status() >= 500);
        if !failed {
            keyed.commit(self.sealed(claim, &response)?).await?;
            return Ok(response);
        }
        keyed.rollback().await;
        response.data = Value::Null;
        for error in &mut response.errors {
            if let Some(extensions) = &mut error.extensions {
                extensions.set("retryable", true);
            }
        }
        Ok(response)
    }

    fn sealed(&self, claim: &Claim, response: &Response) -> Result<String> {
        let text = serde_json::to_string(response).map_err(Error::internal)?;
        self.services.answers.seal(&claim.fingerprint, text)
    }

    async fn replayed(&self, key: &IdempotencyKey, claim: &Claim) -> Result<Option<Response>> {
        match self.services.db.answer_of(claim).await? {
            None => Ok(None),
            Some(Kept::OtherRequest) => Err(Error::IdempotencyKeyReused),
            Some(Kept::Answer(sealed)) => {
                let text = self.services.answers.open(&claim.fingerprint, &sealed)?;
                key.set_replayed();
                serde_json::from_str(&text).map(Some).map_err(Error::internal)
            }
        }
    }
}

/// Whether the service refused for another reason than malformed input: that answer is kept too. Who does not ask for the
/// codes of `userErrors`, under these names, does not get it kept, because then it could be either.
fn is_refusal(response: &Response) -> bool {
    let Value::Object(data) = &response.data else { return false };
    let errors = data.values().filter_map(|payload| match payload {
        Value::Object(payload) => payload.get("userErrors"),
        _ => None,
    });
    let mut codes = errors.flat_map(|errors| match errors {
        Value::List(errors) => errors.iter().map(user_error_code).collect(),
        _ => Vec::new(),
    });
    let is_kept = |code: Option<Code>| code.is_some_and(|code| code != Code::ValidationError);
    response.errors.is_empty() && codes.next().is_some_and(is_kept) && codes.all(is_kept)
}

/// The code of an entry of `userErrors`, if it was selected.
fn user_error_code(error: &Value) -> Option<Code> {
    let Value::Object(error) = error else { return None };
    match error.get("code") {
        Some(Value::Enum(name)) => Code::parse(name),
        Some(Value::String(name)) => Code::parse(name),
        _ => None,
    }
}
