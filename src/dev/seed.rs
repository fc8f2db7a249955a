//! `mercato seed`: shops full of made-up products.

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

use crate::db::tenants::TenantKey;
use crate::db::users::{self, UserInsert};
use crate::db::{Db, SystemReason, seed, tenants};
use crate::domain::actor::{Caller, RequestId, Role};
use crate::domain::sources::Sources;
use crate::domain::tenants::Tenant;
use crate::error::Result;
use crate::services::passwords::Passwords;

/// The password of every seeded account: `admin@seed.test`, `merchant@seed.test` and `customer@seed.test` in each shop.
pub const PASSWORD: &str = "seed-password";

/// Makes shops `seed-1` to `seed-N` with so many products each. Shops that are there already are left alone.
pub async fn run(db: &Db, sources: &dyn Sources, shops: u32, products: i32) -> anyhow::Result<u32> {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} shops, {eta} left").context("progress bar")?;
    let bar = ProgressBar::new(u64::from(shops)).with_style(style);
    let password_hash = Passwords::new(1).hash(PASSWORD.into()).await?;
    let mut made = 0;
    for number in 1..=shops {
        made += u32::from(shop(db, sources, &format!("seed-{number}"), &password_hash, products).await?);
        bar.inc(1);
    }
    bar.finish();
    Ok(made)
}

async fn shop(db: &Db, sources: &dyn Sources, subdomain: &str, password_hash: &str, products: i32) -> Result<bool> {
    let tx = db.system(SystemReason::RegisterTenant, None).await?;
    if tenants::find(&tx, &TenantKey::Subdomain(subdomain.into())).await?.is_some() {
        tx.commit().await?;
        return Ok(false);
    }
    let tenant = Tenant { id: sources.id(), subdomain: subdomain.into(), currency: "USD".into() };
    tenants::insert(&tx, &tenant, subdomain, &format!("pk_{subdomain}")).await?;
    for role in Role::ALL {
        let user = UserInsert {
            id: sources.id(),
            tenant_id: tenant.id,
            email: format!("{}@seed.test", role.as_str().to_lowercase()),
            password_hash: password_hash.into(),
            role: role.as_str(),
        };
        users::insert_first(&tx, user).await?;
    }
    tx.commit().await?;
    let request_id = RequestId::new(sources.id());
    let caller = Caller::nobody(Some(tenant), request_id);
    let tx = db.tenant(&caller).await?;
    seed::products(&tx, products).await?;
    tx.commit().await?;
    Ok(true)
}
