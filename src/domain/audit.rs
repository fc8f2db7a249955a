//! What the audit log tells of a change.

use crate::domain::named::named;

named! {
    /// What was done to an object.
    AuditAction {
        /// It was made.
        Create = "CREATE",
        /// It was changed.
        Update = "UPDATE",
        /// It was taken away.
        Delete = "DELETE",
    }
}
