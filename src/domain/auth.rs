//! What a token says.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::actor::Role;

/// How long an access token is valid, in seconds.
pub const ACCESS_TOKEN_SECONDS: i64 = 3600;

/// How long a user has to give the second factor after the password, in seconds.
pub const CHALLENGE_SECONDS: i64 = 300;

/// Whom tokens are issued to, and on what grounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The user.
    pub user_id: Uuid,
    /// The user's shop.
    pub tenant_id: Uuid,
    /// What the user may do.
    pub role: Role,
    /// The session that begins or goes on.
    pub session_id: Uuid,
    /// The user's access version.
    pub version: i32,
    /// Whether a second factor was given.
    pub mfa: bool,
}

/// Claims of an access token (RFC 7519), signed with RS256.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who issued it.
    pub iss: String,
    /// Whom it is meant for.
    pub aud: String,
    /// The user's id, by its registered name.
    pub sub: Uuid,
    /// The user's id.
    #[serde(rename = "userId")]
    pub user_id: Uuid,
    /// The shop's id.
    #[serde(rename = "tenantId")]
    pub tenant_id: Uuid,
    /// ADMIN, MERCHANT or CUSTOMER.
    pub role: String,
    /// When it was issued, in seconds since 1970.
    pub iat: i64,
    /// When it ends, in seconds since 1970.
    pub exp: i64,
    /// The token's own id.
    pub jti: Uuid,
    /// The session that it belongs to: logging out ends all of its tokens.
    pub sid: Uuid,
    /// The user's access version when the session began: whatever changes what the user may do ends all that is older.
    pub ver: i32,
    /// Whether a second factor was given.
    pub mfa: bool,
}
