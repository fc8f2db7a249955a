//! A workshop for access tokens of every kind: signed with any key by any algorithm, whatever they say.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::database::variable;

/// The ways to sign with an RSA key, by their names in a token's header.
pub static RSA_ALGORITHMS: [(&str, &dyn RsaEncoding); 4] = [
    ("RS256", &RSA_PKCS1_SHA256),
    ("RS384", &RSA_PKCS1_SHA384),
    ("RS512", &RSA_PKCS1_SHA512),
    ("PS256", &RSA_PSS_SHA256),
];

/// Somebody with an RSA key.
pub struct Forger {
    key: RsaKeyPair,
}

impl Forger {
    /// The server itself, as it were: the key is the one that it signs with.
    pub fn with_our_key() -> Self {
        let pem = std::fs::read(variable("JWT_PRIVATE_KEY_FILE")).expect("the signing key");
        Self::of_pem(&pem)
    }

    /// Somebody with a key of their own.
    pub fn with_another_key() -> Self {
        let pem = mercato::services::tokens::generate_private_key().expect("a key");
        Self::of_pem(pem.as_bytes())
    }

    fn of_pem(pem: &[u8]) -> Self {
        let block = pem::parse(pem).expect("PEM");
        Self { key: RsaKeyPair::from_pkcs8(block.contents()).expect("an RSA key") }
    }

    /// A token with this header and these claims, signed as RS256 has it, whatever the header says.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_by(&RSA_PKCS1_SHA256, &header.to_string(), &claims.to_string())
    }

    /// The same with another way to sign, and texts that need not be JSON.
    pub fn sign_by(&self, algorithm: &'static dyn RsaEncoding, header: &str, claims: &str) -> String {
        let message = unsigned(header, claims);
        let mut signature = vec![0; self.key.public_modulus_len()];
        let random = SystemRandom::new();
        self.key.sign(algorithm, &random, message.as_bytes(), &mut signature).expect("a signature");
        format!("{message}.{}", encoded(&signature))
    }

    /// The public key in every form that somebody might take for the secret of an HMAC.
    pub fn public_forms(&self, jwk: &Value) -> Vec<(&'static str, Vec<u8>)> {
        let der: PublicKeyX509Der<'_> = self.key.public_key().as_der().expect("an encoding");
        let pem = pem::encode_config(
            &pem::Pem::new("PUBLIC KEY", der.as_ref()),
            pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF),
        );
        let field = |name: &str| jwk[name].as_str().unwrap_or_else(|| panic!("{name}: {jwk}")).to_owned();
        let modulus = URL_SAFE_NO_PAD.decode(field("n")).expect("base64");
        vec![
            ("PEM", pem.clone().into_bytes()),
            ("PEM without the last line end", pem.trim_end().as_bytes().to_vec()),
            ("PEM with CRLF", pem.replace('\n', "\r\n").into_bytes()),
            ("DER", der.as_ref().to_vec()),
            ("DER of PKCS #1", self.key.public_key().as_ref().to_vec()),
            ("JWK", jwk.to_string().into_bytes()),
            ("JWK set", json!({"keys": [jwk]}).to_string().into_bytes()),
            ("modulus", modulus),
            ("modulus as text", field("n").into_bytes()),
            ("kid", field("kid").into_bytes()),
            ("nothing", vec![]),
            ("a guess", b"secret".to_vec()),
        ]
    }

    /// The public key as a JWK (RFC 7517).
    pub fn jwk(&self, kid: &str) -> Value {
        let public = self.key.public_key();
        json!({"kty": "RSA", "alg": "RS256", "use": "sig", "kid": kid,
            "n": encoded(public.modulus().big_endian_without_leading_zero()),
            "e": encoded(public.exponent().big_endian_without_leading_zero())})
    }

    /// The public key, in DER.
    pub fn public_der(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = self.key.public_key().as_der().expect("an encoding");
        der.as_ref().to_vec()
    }
}

/// A token whose signature is an HMAC with this secret.
pub fn hmac_signed(algorithm: hmac::Algorithm, secret: &[u8], header: &Value, claims: &Value) -> String {
    let message = unsigned(&header.to_string(), &claims.to_string());
    let tag = hmac::sign(&hmac::Key::new(algorithm, secret), message.as_bytes());
    format!("{message}.{}", encoded(tag.as_ref()))
}

/// Header and claims without a signature.
pub fn unsigned(header: &str, claims: &str) -> String {
    format!("{}.{}", encoded(header.as_bytes()), encoded(claims.as_bytes()))
}

/// Bytes as tokens have them.
pub fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Header and claims of a genuine token.
pub fn parts(token: &str) -> (Value, Value) {
    let mut parts = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).expect("base64"));
    let mut json = || serde_json::from_slice(&parts.next().expect("a part")).expect("JSON");
    (json(), json())
}
