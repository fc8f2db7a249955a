//! People of a shop.

use garde::Validate;

use crate::domain::actor::Role;
use crate::domain::validation::{is_email, is_password};

/// What a new user needs.
#[derive(Clone, Validate)]
pub struct NewUser {
    /// Unique in the shop, in any case of letters.
    #[garde(custom(is_email))]
    pub email: String,
    /// The password in the clear, on its way to being hashed.
    #[garde(custom(is_password))]
    pub password: String,
    /// What the user may do.
    #[garde(skip)]
    pub role: Role,
}

/// What can be changed of a user. None leaves a field as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct UserChanges {
    /// What the user may do from now on.
    pub role: Option<Role>,
    /// Whether the user may log in.
    pub is_active: Option<bool>,
}

/// What changing one's own password takes.
#[derive(Clone, Validate)]
pub struct PasswordChange {
    /// The present password, which shows that it is not just somebody at an unlocked screen.
    #[garde(skip)]
    pub current_password: String,
    /// The password from now on.
    #[garde(custom(is_password))]
    pub new_password: String,
}

/// The form in which addresses are stored and compared.
#[must_use]
pub fn normalize_email(email: &str) -> String {
    email.to_lowercase()
}
