//! What PostgreSQL refuses, in our own terms. Constraint names become codes here and nowhere else.

use diesel::result::{DatabaseErrorInformation, DatabaseErrorKind, Error as DieselError};

use crate::error::Error;

impl From<DieselError> for Error {
    fn from(error: DieselError) -> Self {
        match &error {
            DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, info) => {
                taken(info.as_ref()).unwrap_or_else(|| Self::Internal(error.into()))
            }
            DieselError::DatabaseError(
                DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand,
                _,
            ) => Self::Unavailable(error.into()),
            // The one text that JSON can say and PostgreSQL cannot store.
            DieselError::DatabaseError(_, info) if info.message().starts_with("invalid byte sequence") => {
                Self::field("input", "text must not contain the character NUL")
            }
            DieselError::DatabaseError(_, info) if is_passing(info.message()) => Self::Unavailable(error.into()),
            _ => Self::Internal(error.into()),
        }
    }
}

/// The field whose value another row has already.
fn taken(info: &(dyn DatabaseErrorInformation + Send + Sync)) -> Option<Error> {
    let (field, message) = match info.constraint_name()? {
        "tenants_subdomain_key" => ("subdomain", "this subdomain is taken"),
        "users_tenant_email_key" => ("email", "a user with this e-mail address exists"),
        "products_tenant_sku_key" => ("sku", "a product with this SKU exists"),
        _ => return None,
    };
    Some(Error::Conflict { field, message })
}

/// Failures that pass: the same request can succeed later. Diesel keeps no SQLSTATE for these, hence the texts.
fn is_passing(message: &str) -> bool {
    const PASSING: [&str; 8] = [
        "canceling statement due to",
        "deadlock detected",
        "terminating connection",
        "the database system is",
        "too many connections",
        "remaining connection slots",
        "could not serialize access",
        // Its cause is reported beside it.
        "current transaction is aborted",
    ];
    PASSING.iter().any(|start| message.contains(start))
}
