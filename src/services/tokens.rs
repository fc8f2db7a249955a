//! Access tokens: JSON Web Tokens (RFC 7519) signed with RS256, checked as RFC 8725 advises.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use moka::sync::Cache;
use sha2::{Digest, Sha256};

use crate::domain::actor::Role;
use crate::domain::auth::{ACCESS_TOKEN_SECONDS, CHALLENGE_SECONDS, Claims, Grant};
use crate::domain::sources::SharedSources;
use crate::error::{Error, Result};

const ISSUER: &str = "mercato";
const AUDIENCE: &str = "mercato-api";

/// Whom the token between password and second factor is meant for: nobody else takes it, and here no other is taken.
const CHALLENGE_AUDIENCE: &str = "mercato-mfa";

/// How far clocks may differ, in seconds.
const LEEWAY_SECONDS: i64 = 5;

/// Issues and checks access tokens.
pub struct Tokens {
    signing: EncodingKey,
    /// The id of the key that signs.
    kid: String,
    /// Every key that is taken, by its id.
    checking: Vec<(String, DecodingKey)>,
    jwks: JwkSet,
    access: Validation,
    challenge: Validation,
    sources: SharedSources,
    /// Tokens whose signature was checked, by their SHA-256. Checking costs more than all else that reads a request.
    verified: Cache<[u8; 32], (Grant, i64)>,
}

/// How many checked tokens are remembered, at about 300 bytes each.
const REMEMBERED: u64 = 10_000;

/// A token and the moment at which it ends.
#[derive(Clone)]
pub struct SignedToken {
    /// The compact form, for `Authorization: Bearer`.
    pub token: String,
    /// When it ends.
    pub expires_at: chrono::DateTime<chrono::Utc>,
}

impl Tokens {
    /// Reads RSA private keys in PEM (PKCS #8 or PKCS #1), one behind the other. The first one signs; what any of them has
    /// signed is taken.
    pub fn new(private_keys_pem: &[u8], sources: SharedSources) -> anyhow::Result<Self> {
        let mut keys = Vec::new();
        for block in pem::parse_many(private_keys_pem)? {
            let signing = EncodingKey::from_rsa_pem(pem::encode(&block).as_bytes())?;
            let mut jwk = Jwk::from_encoding_key(&signing, Algorithm::RS256)?;
            let kid = jwk.thumbprint(ThumbprintHash::SHA256)?;
            jwk.common.key_id = Some(kid.clone());
            jwk.common.public_key_use = Some(PublicKeyUse::Signature);
            keys.push((kid, signing, jwk));
        }
        let checking = keys.iter().map(|(kid, _, jwk)| Ok((kid.clone(), DecodingKey::from_jwk(jwk)?)));
        let checking = checking.collect::<anyhow::Result<_>>()?;
        let jwks = JwkSet { keys: keys.iter().map(|(_, _, jwk)| jwk.clone()).collect() };
        let first = keys.into_iter().next();
        let (kid, signing, _) = first.ok_or_else(|| anyhow::anyhow!("there is no private key in it"))?;
        let (access, challenge) = (validation(AUDIENCE), validation(CHALLENGE_AUDIENCE));
        let verified = Cache::new(REMEMBERED);
        Ok(Self { signing, kid, checking, jwks, access, challenge, sources, verified })
    }

    /// The public keys, as `/.well-known/jwks.json` shows them (RFC 7517, section 5).
    #[must_use]
    pub const fn jwks(&self) -> &JwkSet {
        &self.jwks
    }

    /// An access token, valid for an hour.
    pub fn issue(&self, grant: &Grant) -> Result<SignedToken> {
        self.sign(grant, AUDIENCE, ACCESS_TOKEN_SECONDS)
    }

    /// A token that shows that the password was right, and opens nothing.
    pub fn challenge(&self, grant: &Grant) -> Result<SignedToken> {
        self.sign(grant, CHALLENGE_AUDIENCE, CHALLENGE_SECONDS)
    }

    fn sign(&self, grant: &Grant, audience: &str, seconds: i64) -> Result<SignedToken> {
        let now = self.sources.now();
        let expires_at = now + chrono::Duration::seconds(seconds);
        let claims = Claims {
            iss: ISSUER.into(),
            aud: audience.into(),
            sub: grant.user_id,
            user_id: grant.user_id,
            tenant_id: grant.tenant_id,
            role: grant.role.as_str().into(),
            iat: now.timestamp(),
            exp: expires_at.timestamp(),
            jti: self.sources.id(),
            sid: grant.session_id,
            ver: grant.version,
            mfa: grant.mfa,
        };
        let token = jsonwebtoken::encode(&header_of(&self.kid), &claims, &self.signing).map_err(Error::internal)?;
        Ok(SignedToken { token, expires_at })
    }

    /// What an access token that we signed and that has not ended grants. Every failure looks the same from outside.
    pub fn verify(&self, token: &str) -> Result<Grant> {
        const REFUSED: Error = Error::Unauthenticated("the token is not valid, or no longer; log in again");
        let digest: [u8; 32] = Sha256::digest(token).into();
        if let Some((grant, exp)) = self.verified.get(&digest) {
            let ended = exp.saturating_add(LEEWAY_SECONDS) < self.sources.now().timestamp();
            return if ended { Err(REFUSED) } else { Ok(grant) };
        }
        let (grant, exp) = self.check(token, &self.access).ok_or(REFUSED)?;
        self.verified.insert(digest, (grant, exp));
        Ok(grant)
    }

    /// What a challenge's token says of the one who knew the password.
    #[must_use]
    pub fn verify_challenge(&self, token: &str) -> Option<Grant> {
        self.check(token, &self.challenge).map(|(grant, _)| grant)
    }

    /// The grant of a token and when it ends.
    fn check(&self, token: &str, validation: &Validation) -> Option<(Grant, i64)> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        let (kid, key) = self.checking.iter().find(|(known, _)| header.kid.as_ref() == Some(known))?;
        // The library passes over what it does not know, even where `crit` forbids that (RFC 7515, section 4.1.11).
        if header != header_of(kid) {
            return None;
        }
        let claims = jsonwebtoken::decode::<Claims>(token, key, validation).ok()?.claims;
        let begins = self.sources.now().timestamp() + LEEWAY_SECONDS;
        if claims.sub != claims.user_id || claims.iat > begins {
            return None;
        }
        let grant = Grant {
            user_id: claims.user_id,
            tenant_id: claims.tenant_id,
            role: Role::parse(&claims.role)?,
            session_id: claims.sid,
            version: claims.ver,
            mfa: claims.mfa,
        };
        Some((grant, claims.exp))
    }
}

/// The header of a token that this key signs.
fn header_of(kid: &str) -> Header {
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some(kid.to_owned());
    header
}

/// What RFC 8725 wants checked: the one algorithm, issuer, audience and times.
fn validation(audience: &str) -> Validation {
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.validate_nbf = true;
    validation.leeway = LEEWAY_SECONDS.unsigned_abs();
    validation
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
