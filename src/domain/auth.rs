//! What a token says.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How long an access token is valid, in seconds.
pub const ACCESS_TOKEN_SECONDS: i64 = 3600;

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
}
