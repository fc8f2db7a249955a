//! Who may ask what.

use async_graphql::{Context, Guard, ServerError};

use crate::domain::actor::{Actor, Caller, Role};
use crate::domain::service_accounts::Scope;
use crate::error::{Error, Result};
use crate::graphql::context::RequestExt;

/// What a field requires of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    Public,
    /// A logged-in user, also one who still owes a second factor.
    Session,
    /// An admin, also one who still owes a second factor.
    Enrolling,
    /// A shop, named by token, key or subdomain.
    Shop,
    /// A logged-in user.
    User,
    /// A merchant or an admin.
    Staff,
    /// An admin.
    Admin,
}

impl Access {
    /// Whether this caller has it, or the error that says what is missing.
    pub fn check(self, caller: &Caller) -> Result<()> {
        if self == Self::Public {
            return Ok(());
        }
        caller.tenant()?;
        if caller.owes_second_factor && !matches!(self, Self::Session | Self::Enrolling) {
            return Err(Error::MfaRequired("set up a second factor with mfaSetup and mfaVerify, or log in with it"));
        }
        if self == Self::Shop {
            return Ok(());
        }
        let (_, role) = caller.user()?;
        match self {
            Self::Staff if !role.is_staff() => Err(Error::Forbidden("this needs the role MERCHANT or ADMIN")),
            Self::Admin | Self::Enrolling if role != Role::Admin => Err(Error::Forbidden("this needs the role ADMIN")),
            _ => Ok(()),
        }
    }
}

impl Guard for Access {
    async fn check(&self, ctx: &Context<'_>) -> async_graphql::Result<()> {
        let request = ctx.request();
        let (caller, field) = (&request.caller, ctx.field().name());
        if ctx.path_node.is_none_or(|node| node.parent.is_none()) {
            request.begin_field().await?;
        }
        // What everybody sees of a shop, its machines see too.
        if *self != Self::Public && field != "tenant" {
            caller.check_scope(Scope::of_field(field))?;
        }
        Ok(Self::check(*self, caller)?)
    }
}

/// For a field inside an object that not everybody may see: whether this caller may. If not, the error is recorded at
/// the field's path and the field answers null, while everything beside it is answered. (A guard would null the parent.)
pub fn may_see(ctx: &Context<'_>, verdict: Result<()>) -> bool {
    match verdict {
        Ok(()) => true,
        Err(error) => {
            let error = async_graphql::Error::from(error);
            ctx.add_error(ctx.set_error_path(ServerError {
                locations: vec![ctx.item.pos],
                ..error.into_server_error(ctx.item.pos)
            }));
            false
        }
    }
}

/// Whether the caller may see what belongs to this user: the user and admins may.
pub fn own_or_admin(caller: &Caller, owner: uuid::Uuid) -> Result<()> {
    match caller.actor {
        Actor::User { id, .. } if id == owner => Ok(()),
        _ => Access::Admin.check(caller),
    }
}
