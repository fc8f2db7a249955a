//! Access tokens: JSON Web Tokens (RFC 7519) signed with RS256, checked as RFC 8725 advises.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use moka::sync::Cache;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::domain::actor::Role;
use crate::domain::auth::{ACCESS_TOKEN_SECONDS, Claims};
use crate::domain::sources::SharedSources;
use crate::error::{Error, Result};

const ISSUER: &str = "mercato";
const AUDIENCE: &str = "mercato-api";

/// How far clocks may differ, in seconds.
const LEEWAY_SECONDS: i64 = 5;

/// Issues and checks access tokens.
pub struct Tokens {
    signing: EncodingKey,
    checking: DecodingKey,
    kid: String,
    jwks: JwkSet,
    validation: Validation,
    sources: SharedSources,
    /// Tokens whose signature was checked, by their SHA-256. Checking costs more than all else that reads a request.
    verified: Cache<[u8; 32], (Claims, Role)>,
}

/// How many checked tokens are remembered, at about 300 bytes each.
const REMEMBERED: u64 = 10_000;

/// A token and the moment at which it ends.
#[derive(Clone, Debug)]
pub struct AccessToken {
    /// The compact form, for `Authorization: Bearer`.
    pub token: String,
    /// When it ends.
    pub expires_at: chrono::DateTime<chrono::Utc>,
}

impl Tokens {
    /// Reads an RSA private key in PEM (PKCS #8 or PKCS #1).
    pub fn new(private_key_pem: &[u8], sources: SharedSources) -> anyhow::Result<Self> {
        let signing = EncodingKey::from_rsa_pem(private_key_pem)?;
        let mut jwk = Jwk::from_encoding_key(&signing, Algorithm::RS256)?;
        let kid = jwk.thumbprint(ThumbprintHash::SHA256)?;
        jwk.common.key_id = Some(kid.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.leeway = LEEWAY_SECONDS.unsigned_abs();
        Ok(Self {
            signing,
            checking: DecodingKey::from_jwk(&jwk)?,
            kid,
            jwks: JwkSet { keys: vec![jwk] },
            validation,
            sources,
            verified: Cache::new(REMEMBERED),
        })
    }

    /// The public keys, as `/.well-known/jwks.json` shows them (RFC 7517, section 5).
    #[must_use]
    pub const fn jwks(&self) -> &JwkSet {
        &self.jwks
    }

    /// A token for this user, valid for an hour.
    pub fn issue(&self, user: Uuid, tenant: Uuid, role: Role) -> Result<AccessToken> {
        let now = self.sources.now();
        let expires_at = now + chrono::Duration::seconds(ACCESS_TOKEN_SECONDS);
        let claims = Claims {
            iss: ISSUER.into(),
            aud: AUDIENCE.into(),
            sub: user,
            user_id: user,
            tenant_id: tenant,
            role: role.as_str().into(),
            iat: now.timestamp(),
            exp: expires_at.timestamp(),
            jti: self.sources.id(),
        };
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(self.kid.clone());
        let token = jsonwebtoken::encode(&header, &claims, &self.signing).map_err(Error::internal)?;
        Ok(AccessToken { token, expires_at })
    }

    /// The claims of a token that we signed and that has not ended. Every failure looks the same from outside.
    pub fn verify(&self, token: &str) -> Result<(Claims, Role)> {
        const REFUSED: Error = Error::Unauthenticated("the token is not valid, or no longer; log in again");
        let digest: [u8; 32] = Sha256::digest(token).into();
        if let Some((claims, role)) = self.verified.get(&digest) {
            let ended = claims.exp.saturating_add(LEEWAY_SECONDS) < self.sources.now().timestamp();
            return if ended { Err(REFUSED) } else { Ok((claims, role)) };
        }
        let decoded = jsonwebtoken::decode::<Claims>(token, &self.checking, &self.validation).map_err(|_| REFUSED)?;
        if decoded.header.kid.as_deref() != Some(&self.kid) {
            return Err(REFUSED);
        }
        let role = Role::parse(&decoded.claims.role).ok_or(REFUSED)?;
        self.verified.insert(digest, (decoded.claims.clone(), role));
        Ok((decoded.claims, role))
    }
}

/// A new 3072-bit RSA private key in PEM (PKCS #8), good beyond 2030 by NIST SP 800-57.
pub fn generate_private_key() -> anyhow::Result<String> {
    let key = KeyPair::generate(KeySize::Rsa3072).map_err(|_| anyhow::anyhow!("cannot generate an RSA key"))?;
    let der: Pkcs8V1Der<'_> = key.as_der().map_err(|_| anyhow::anyhow!("cannot encode the RSA key"))?;
    Ok(pem::encode_config(
        &pem::Pem::new("PRIVATE KEY", der.as_ref()),
        pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF),
    ))
}
