//! Who asks, and on behalf of which shop.

use std::net::{IpAddr, Ipv4Addr};

use uuid::Uuid;

use crate::domain::auth::Grant;
use crate::domain::idempotency::IdempotencyKey;
use crate::domain::limits::Meter;
use crate::domain::service_accounts::{Scope, Scopes};
use crate::domain::tenants::Tenant;
use crate::error::{Error, Result};

/// What a user may do in a shop. Each role may do all that the one before it may, except that only
/// customers own orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Buys.
    Customer,
    /// Runs the shop: catalog, stock, orders.
    Merchant,
    /// Owns the shop: users and settings as well.
    Admin,
}

impl Role {
    /// Every role, least powerful first.
    pub const ALL: [Self; 3] = [Self::Customer, Self::Merchant, Self::Admin];

    /// The name on the wire and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "CUSTOMER",
            Self::Merchant => "MERCHANT",
            Self::Admin => "ADMIN",
        }
    }

    /// The role of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }

    /// Whether this role runs the shop.
    #[must_use]
    pub const fn is_staff(self) -> bool {
        matches!(self, Self::Merchant | Self::Admin)
    }
}

/// The one who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Nobody is logged in: a shopper who looks around.
    Anonymous,
    /// A logged-in user of the caller's tenant, or a service account, which acts as a merchant does.
    User {
        /// The user's id.
        id: Uuid,
        /// What the token says the user may do.
        role: Role,
    },
}

/// Everything that rules need to know of a request: shop, actor, and the id that ties logs and audit rows together.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The shop, from the token or, for anonymous callers, from a header.
    pub tenant: Option<Tenant>,
    /// Who asks.
    pub actor: Actor,
    /// What the user's token says.
    pub grant: Option<Grant>,
    /// What a service account may do of what its role may; none for people.
    pub scopes: Option<Scopes>,
    /// Whether the user must give, or set up, a second factor before anything else.
    pub owes_second_factor: bool,
    /// Where the request comes from.
    pub address: IpAddr,
    /// Where what the request costs is noted.
    pub meter: Meter,
    /// The request's correlation id.
    pub request_id: RequestId,
    /// The request's `Idempotency-Key`, if it has one.
    pub idempotency: Option<IdempotencyKey>,
}

impl Caller {
    /// Nobody in particular: background work, and what strangers start before they are known.
    #[must_use]
    pub fn nobody(tenant: Option<Tenant>, request_id: RequestId) -> Self {
        Self {
            tenant,
            actor: Actor::Anonymous,
            grant: None,
            scopes: None,
            owes_second_factor: false,
            address: Ipv4Addr::UNSPECIFIED.into(),
            meter: Meter::default(),
            request_id,
            idempotency: None,
        }
    }

    /// The shop that is asked, or an error that says how to name one.
    pub fn tenant(&self) -> Result<&Tenant> {
        self.tenant.as_ref().ok_or(Error::Unauthenticated(
            "name the shop: log in, or send its key in X-API-Key or its subdomain in X-Tenant",
        ))
    }

    /// The logged-in user, or an error that asks for a token.
    pub fn user(&self) -> Result<(Uuid, Role)> {
        match self.actor {
            Actor::User { id, role } => Ok((id, role)),
            Actor::Anonymous => {
                Err(Error::Unauthenticated("log in first, and send the token as `Authorization: Bearer …`"))
            }
        }
    }

    /// The user's id, when somebody is logged in.
    #[must_use]
    pub const fn user_id(&self) -> Option<Uuid> {
        match self.actor {
            Actor::User { id, .. } => Some(id),
            Actor::Anonymous => None,
        }
    }

    /// Whether the caller may see this customer's orders: staff see all of their shop, customers their own, nobody else any.
    #[must_use]
    pub fn sees_orders_of(&self, customer: Uuid) -> bool {
        self.is_staff() || self.user_id() == Some(customer)
    }

    /// Refuses a service account that does not have this scope. People need none.
    pub fn check_scope(&self, scope: Option<Scope>) -> Result<()> {
        self.scopes.map_or(Ok(()), |scopes| scopes.check(scope))
    }

    /// Whether the caller runs the shop.
    #[must_use]
    pub const fn is_staff(&self) -> bool {
        matches!(self.actor, Actor::User { role, .. } if role.is_staff())
    }
}

/// A correlation id: 1 to 64 letters, digits, `-`, `_` and `.`, so that it is safe in a header, a log and SQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// Takes over a client's id when it is well-formed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let well_formed = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        well_formed.then(|| Self(text.to_owned()))
    }

    /// An id of our own making.
    #[must_use]
    pub fn new(id: Uuid) -> Self {
        Self(id.to_string())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
