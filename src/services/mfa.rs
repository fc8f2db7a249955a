//! Second factors: setting one up, giving it, and taking it away.
//!
//! A secret counts once a code of it has been given. A code counts once, and so do all before it; recovery codes count once
//! each. Guesses are few for each user, wherever they come from.

use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use crate::clients::redis::limits::Take;
use crate::db::TenantTx;
use crate::db::mfa::{self, SecondFactor};
use crate::db::tenants::TenantKey;
use crate::db::users::{self, UserRow};
use crate::domain::actor::{Actor, Caller};
use crate::domain::auth::Grant;
use crate::domain::limits::{Charge, Quota};
use crate::domain::mfa::{Given, RECOVERY_BYTES, RECOVERY_CODES, SECRET_BYTES, recovery_code, recovery_hash, totp};
use crate::error::{Error, Result};
use crate::services::Services;
use crate::services::limits::{network, tenant_key};
use crate::services::qr::png_data_uri;
use crate::services::sessions::{self, LoggedIn};
use crate::services::tokens::SignedToken;
use crate::telemetry::metrics::{Outcome, Proof};

/// How often codes may be guessed: five times, and once more every five minutes. Of a million codes three are right at any
/// time, so that a year of guessing finds one with a chance of less than a third; and the password comes first.
const GUESSES: Quota = Quota::new(5, 5 * 300);

/// How often recovery codes may be tried for a user from one address: ten times, and once more every minute. It keeps off work,
/// not luck.
const RECOVERIES: Quota = Quota::new(10, 600);

/// What an authenticator app needs.
pub struct Setup {
    /// The secret in base 32, to be typed.
    pub secret: SecretString,
    /// The same and more as an `otpauth:` URI.
    pub otpauth_url: SecretString,
    /// That URI as a QR code: a PNG in a `data:` URI.
    pub qr_code: SecretString,
}

/// What somebody gets who has set up a second factor.
pub struct Enrolled {
    /// The user.
    pub user: UserRow,
    /// What helps once each when the app is gone. Shown this one time.
    pub recovery_codes: Vec<SecretString>,
    /// A token for which the second factor was given.
    pub access: SignedToken,
}

/// Begins to set up the caller's second factor. Nothing changes for logging in until a code has verified it.
pub async fn set_up(services: &Services, caller: &Caller) -> Result<Setup> {
    let (id, _) = caller.user()?;
    let secret = services.sources.secret()?;
    let (secret, _) = secret.split_at(SECRET_BYTES);
    let tenant = caller.tenant()?;
    let sealed = services.vault.seal(&context(tenant.id, id), secret.to_vec())?;
    let tx = services.db.tenant(caller).await?;
    let user = mfa::offer(&tx, id, sealed).await?.ok_or(ALREADY)?;
    tx.commit().await?;
    let totp = totp(secret, &format!("{} ({})", user.email, tenant.subdomain)).map_err(broken)?;
    let url = totp.to_url().map_err(broken)?;
    let qr_code = png_data_uri(&url).map_err(Error::internal)?;
    Ok(Setup { secret: totp.secret().to_base32().into(), otpauth_url: url.into(), qr_code: qr_code.into() })
}

/// Ends setting up: from now on, logging in takes a code.
pub async fn enroll(services: &Services, caller: &Caller, code: &str) -> Result<Enrolled> {
    const WRONG: &str = "is not the code that the app shows now; check the device's clock";
    let (grant, tenant) = (grant(caller)?, caller.tenant()?.id);
    let factor = factor(services, tenant, grant.user_id).await?.ok_or_else(|| Error::not_found("User"))?;
    if factor.user.mfa_enabled {
        return Err(ALREADY);
    }
    let sealed = factor.mfa_secret.clone();
    let sealed = sealed.ok_or_else(|| Error::field("code", "set up a second factor first, with mfaSetup"))?;
    let given = Given::read(code);
    let Given::Totp(code) = &given else { return Err(Error::field("code", "must be six digits")) };
    guess(services, caller, (tenant, grant.user_id), &given).await?;
    let step = step_of(services, &factor, code)?.ok_or_else(|| Error::field("code", WRONG))?;
    let recovery_codes = new_recovery_codes(services)?;
    let hashes = recovery_codes.iter().map(|code| recovery_hash(code.expose_secret())).collect();
    let tx = services.db.tenant(caller).await?;
    let user = mfa::enable(&tx, grant.user_id, sealed, step, hashes).await?;
    let user = user.ok_or_else(|| Error::field("code", WRONG))?;
    tx.commit().await?;
    services.limits.forgive(&guesses_key(tenant, grant.user_id)).await;
    // Without Redis only this token knows of it, for its hour.
    let _ = services.redis.session_has_second_factor(tenant, grant.session_id).await;
    let access = services.tokens.issue(&Grant { mfa: true, ..grant })?;
    Ok(Enrolled { user, recovery_codes, access })
}

/// Ends a login that was answered with a challenge.
pub async fn log_in(services: &Services, caller: &Caller, challenge: &str, code: &str) -> Result<LoggedIn> {
    const EXPIRED: Error = Error::Unauthenticated("the mfaToken is not valid, or no longer; log in again");
    const WRONG: Error = Error::Unauthenticated("the code is wrong, or was used already");
    let grant = services.tokens.verify_challenge(challenge).ok_or(EXPIRED)?;
    let (tenant, id) = (grant.tenant_id, grant.user_id);
    let given = Given::read(code);
    guess(services, caller, (tenant, id), &given).await?;
    let tx = services.db.tenant_read(tenant).await?;
    let account = users::credentials_of(&tx, id).await?;
    let factor = mfa::find(&tx, id).await?.filter(|factor| factor.user.mfa_enabled);
    tx.commit().await?;
    let account = account.filter(|account| account.user.is_active && account.access_version == grant.version);
    let (account, factor) = account.zip(factor).ok_or(EXPIRED)?;
    let tenant = services.directory.find(TenantKey::Id(tenant)).await?.ok_or(EXPIRED)?;
    let actor = Actor::User { id, role: account.user.role };
    // Whoever has got this far is known to the audit log.
    let known = Caller { actor, ..Caller::nobody(Some(tenant), caller.request_id.clone()) };
    let tx = services.db.tenant(&known).await?;
    if !accept(services, &tx, factor, given).await? {
        return Err(WRONG);
    }
    tx.commit().await?;
    services.limits.forgive(&guesses_key(grant.tenant_id, id)).await;
    sessions::begin(services, account, true).await
}

/// Takes the caller's second factor away, which takes that factor. All that was opened with it ends.
pub async fn disable(services: &Services, caller: &Caller, code: &str) -> Result<UserRow> {
    let (id, tenant) = (caller.user()?.0, caller.tenant()?.id);
    let factor = factor(services, tenant, id).await?.filter(|factor| factor.user.mfa_enabled);
    let none = || Error::field("code", "there is no second factor to take away");
    let factor = factor.ok_or_else(none)?;
    let given = Given::read(code);
    guess(services, caller, (tenant, id), &given).await?;
    let tx = services.db.tenant(caller).await?;
    if !accept(services, &tx, factor, given).await? {
        return Err(Error::field("code", "is wrong, or was used already"));
    }
    let user = mfa::disable(&tx, id).await?.ok_or_else(none)?;
    services.access_changed(&tx, id);
    tx.commit().await?;
    services.limits.forgive(&guesses_key(tenant, id)).await;
    Ok(user)
}

/// Uses up what was given, if it is right.
async fn accept(services: &Services, tx: &TenantTx, factor: SecondFactor, given: Given) -> Result<bool> {
    let (tenant, id, proof) = (factor.user.tenant_id, factor.user.id, proof(&given));
    let is_right = match given {
        Given::Recovery(hash) => mfa::use_recovery_code(tx, id, hash).await?,
        Given::Totp(code) => match step_of(services, &factor, &code)? {
            Some(step) => {
                let secret = open(services, &factor)?;
                let sealed = services.vault.seal(&context(tenant, id), secret)?;
                mfa::use_step(tx, id, step, factor.mfa_secret, sealed).await?
            }
            None => false,
        },
    };
    let outcome = if is_right { Outcome::Accepted } else { Outcome::Refused };
    services.attempted(proof, outcome, Some(tenant), Some(id));
    Ok(is_right)
}

/// The time step whose code this is, among those that are acceptable now.
fn step_of(services: &Services, factor: &SecondFactor, code: &str) -> Result<Option<i64>> {
    let totp = totp(&open(services, factor)?, &factor.user.email).map_err(broken)?;
    let now = u64::try_from(services.sources.now().timestamp()).map_err(Error::internal)?;
    totp.check(code, now).map(|step| i64::try_from(step).map_err(Error::internal)).transpose()
}

fn open(services: &Services, factor: &SecondFactor) -> Result<Vec<u8>> {
    let none = || Error::internal(anyhow::anyhow!("a second factor without a secret"));
    let sealed = factor.mfa_secret.as_ref().ok_or_else(none)?;
    services.vault.open(&context(factor.user.tenant_id, factor.user.id), sealed)
}

async fn factor(services: &Services, tenant: Uuid, id: Uuid) -> Result<Option<SecondFactor>> {
    let tx = services.db.tenant_read(tenant).await?;
    let factor = mfa::find(&tx, id).await?;
    tx.commit().await?;
    Ok(factor)
}

/// Counts a guess before it is looked at, so that a thousand at once are no more than one after the other.
///
/// Recovery codes are counted for each address, because nobody guesses one: whoever has stolen the password and uses up the
/// guesses of codes does not keep out the owner, who has recovery codes.
async fn guess(services: &Services, caller: &Caller, (tenant, user): (Uuid, Uuid), given: &Given) -> Result<()> {
    let (key, quota) = match given {
        Given::Totp(_) => (guesses_key(tenant, user), GUESSES),
        Given::Recovery(_) => {
            let address = network(caller.address);
            (format!("{}:recovery:{user}:{address}", tenant_key(tenant)), RECOVERIES)
        }
    };
    let take = Take { key, quota, units: 1, ahead: 0 };
    let verdicts = services.limits.take(&[take]).await.into_iter();
    let charge = |verdict| Charge { policy: "mfa", quota, units: 1, verdict };
    let charged = verdicts.map(charge).try_for_each(|charge| caller.meter.charge(charge));
    if charged.is_err() {
        services.attempted(proof(given), Outcome::Throttled, Some(tenant), Some(user));
    }
    charged
}

const fn proof(given: &Given) -> Proof {
    match given {
        Given::Totp(_) => Proof::Code,
        Given::Recovery(_) => Proof::RecoveryCode,
    }
}

fn guesses_key(tenant: Uuid, user: Uuid) -> String {
    format!("{}:mfa:{user}", tenant_key(tenant))
}

fn new_recovery_codes(services: &Services) -> Result<Vec<SecretString>> {
    let code = |_| {
        let secret = services.sources.secret()?;
        let mut bytes = [0; RECOVERY_BYTES];
        bytes.copy_from_slice(&secret[..RECOVERY_BYTES]);
        Ok(recovery_code(bytes).into())
    };
    (0..RECOVERY_CODES).map(code).collect()
}

/// What binds a secret to its user.
fn context(tenant: Uuid, user: Uuid) -> Vec<u8> {
    [b"mfa secret", tenant.as_bytes().as_slice(), user.as_bytes()].concat()
}

fn grant(caller: &Caller) -> Result<Grant> {
    caller.user()?;
    caller.grant.ok_or_else(|| Error::internal(anyhow::anyhow!("a user without a session")))
}

const ALREADY: Error =
    Error::Conflict { field: "mfaEnabled", message: "a second factor is set up already; take it away first" };

fn broken(error: totp_rs::TotpError) -> Error {
    Error::internal(anyhow::anyhow!("a second factor that cannot be used: {error}"))
}
