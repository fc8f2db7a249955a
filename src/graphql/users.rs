//! People of a shop.

use async_graphql::{Context, Enum, InputObject, Object};
use chrono::{DateTime, Utc};
use futures_util::FutureExt;

use crate::db::users::{UserFilter as ListFilter, UserRow};
use crate::domain::actor;
use crate::domain::page::{ListId, PageArgs};
use crate::domain::users::{NewUser, UserChanges};
use crate::graphql::context::RequestExt;
use crate::graphql::errors::payload;
use crate::graphql::guards::Access;
use crate::graphql::pagination::Connection;
use crate::graphql::scalars::Id;
use crate::services::users;

/// What a user may do in a shop.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "actor::Role")]
pub enum Role {
    /// Buys.
    Customer,
    /// Runs the shop: catalog, stock, orders.
    Merchant,
    /// Owns the shop: users and settings as well.
    Admin,
}

/// Somebody who can log in to a shop.
pub struct User(pub UserRow);

impl From<UserRow> for User {
    fn from(row: UserRow) -> Self {
        Self(row)
    }
}

/// Somebody who can log in to a shop.
#[Object]
impl User {
    /// The user's id.
    pub async fn id(&self) -> Id {
        Id(self.0.id)
    }

    /// The id of the user's shop.
    async fn tenant_id(&self) -> Id {
        Id(self.0.tenant_id)
    }

    /// The address to log in with, in lower case.
    async fn email(&self) -> &str {
        &self.0.email
    }

    /// What the user may do.
    async fn role(&self) -> Role {
        self.0.role.into()
    }

    /// Whether logging in takes a second factor.
    async fn mfa_enabled(&self) -> bool {
        self.0.mfa_enabled
    }

    /// Whether the user may log in.
    async fn is_active(&self) -> bool {
        self.0.is_active
    }

    /// When the account was made.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }
}

/// Which users to list.
#[derive(InputObject, Clone, Copy, Debug, Default)]
pub struct UserFilter {
    /// Only of this role.
    role: Option<Role>,
}

/// Reads of users.
#[derive(Default)]
pub struct UserQuery;

#[Object]
impl UserQuery {
    /// The shop's users, newest first. Requires ADMIN.
    #[graphql(guard = "Access::Admin")]
    #[expect(clippy::too_many_arguments, reason = "the arguments of a connection")]
    async fn users(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many, at most 100; 20 if nothing is said.")] first: Option<i32>,
        #[graphql(desc = "Behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many, at most 100.")] last: Option<i32>,
        #[graphql(desc = "Before this cursor.")] before: Option<String>,
        #[graphql(desc = "Skip so many, for numbered pages.")] offset: Option<i32>,
        #[graphql(desc = "Which users.")] filter: Option<UserFilter>,
    ) -> async_graphql::Result<Connection<User>> {
        let list = ListFilter { role: filter.unwrap_or_default().role.map(Into::into) };
        let window = PageArgs { first, after, last, before, offset }.window(ListId::of(&list))?;
        let page = list.page(&*ctx.request().session.tx().await?, &window).await?;
        Ok(Connection::new(page, move |tx| list.count(tx).boxed()))
    }
}

/// A new user of the shop.
#[derive(InputObject)]
pub struct UserCreateInput {
    /// The address to log in with, unique in the shop.
    email: String,
    /// The password: 12 to 128 characters, and none of the commonest.
    password: String,
    /// What the user may do.
    role: Role,
}

/// What to change of a user. What is left out stays as it is.
#[derive(InputObject)]
pub struct UserUpdateInput {
    /// What the user may do from now on.
    role: Option<Role>,
    /// Whether the user may log in.
    is_active: Option<bool>,
}

payload! {
    /// What `userCreate` answers.
    UserCreatePayload {
        /// The new user.
        user: User
    }
}

payload! {
    /// What `userUpdate` answers.
    UserUpdatePayload {
        /// The user as it is now.
        user: User
    }
}

payload! {
    /// What `userDeactivate` answers.
    UserDeactivatePayload {
        /// The user, who can no longer log in.
        user: User
    }
}

/// Changes of users.
#[derive(Default)]
pub struct UserMutation;

#[Object]
impl UserMutation {
    /// Adds a user of any role to the shop. Requires ADMIN.
    #[graphql(guard = "Access::Admin")]
    async fn user_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What the user logs in with, and may do.")] input: UserCreateInput,
    ) -> async_graphql::Result<UserCreatePayload> {
        let request = ctx.request();
        let UserCreateInput { email, password, role } = input;
        let new = NewUser { email, password, role: role.into() };
        UserCreatePayload::of(users::create(&request.services, &request.caller, new).await)
    }

    /// Changes a user's role or access. A shop always keeps an active admin. Requires ADMIN.
    #[graphql(guard = "Access::Admin")]
    async fn user_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The `id` of the user to change.")] id: Id,
        #[graphql(desc = "What to change; what is left out stays as it is.")] input: UserUpdateInput,
    ) -> async_graphql::Result<UserUpdatePayload> {
        let request = ctx.request();
        let changes = UserChanges { role: input.role.map(Into::into), is_active: input.is_active };
        UserUpdatePayload::of(users::update(&request.services, &request.caller, id.0, changes).await)
    }

    /// Keeps a user from logging in; the account stays in the books. Requires ADMIN.
    #[graphql(guard = "Access::Admin")]
    async fn user_deactivate(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The `id` of the user to keep out.")] id: Id,
    ) -> async_graphql::Result<UserDeactivatePayload> {
        let request = ctx.request();
        let changes = UserChanges { role: None, is_active: Some(false) };
        UserDeactivatePayload::of(users::update(&request.services, &request.caller, id.0, changes).await)
    }
}
