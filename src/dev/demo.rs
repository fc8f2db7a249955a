//! The demo shop: what a newcomer finds after `make run`.

use uuid::Uuid;

use crate::db::products::ProductList;
use crate::db::tenants::{TenantKey, TenantRow};
use crate::db::{SystemReason, tenants};
use crate::domain::actor::{Actor, Caller, RequestId, Role};
use crate::domain::money::Amount;
use crate::domain::page::{ListId, PageArgs};
use crate::domain::products::NewProduct;
use crate::domain::tenants::NewTenant;
use crate::domain::users::NewUser;
use crate::error::Result;
use crate::services::{Services, products, users};

/// The demo shop's subdomain.
pub const SUBDOMAIN: &str = "demo";
/// The password of all its accounts.
pub const PASSWORD: &str = "demo-password";
/// Its accounts, in the order in which they are offered.
pub const ACCOUNTS: [(&str, &str); 3] =
    [("Customer", "customer@demo.test"), ("Merchant", "merchant@demo.test"), ("Admin", "admin@demo.test")];

/// The demo shop as it is.
#[derive(Clone, Debug)]
pub struct DemoShop {
    /// The shop.
    pub tenant: TenantRow,
    /// A product that is in stock.
    pub product_id: Option<Uuid>,
}

/// Name, price in cents, SKU, category, pieces in stock, description.
const PRODUCTS: [(&str, i64, &str, &str, i32, &str); 12] = [
    ("Stoneware mug", 1490, "MUG-STONE", "kitchen", 120, "Holds 300 ml and keeps it warm. Glazed by hand."),
    ("Espresso mug", 990, "MUG-ESPRESSO", "kitchen", 80, "Small, heavy, dark."),
    ("Enamel camping mug", 1250, "MUG-ENAMEL", "outdoor", 200, "Survives the campfire."),
    ("Linen apron", 3900, "APRON-LINEN", "kitchen", 40, "Washed linen with two pockets."),
    ("Walnut cutting board", 5450, "BOARD-WALNUT", "kitchen", 25, "End grain, oiled, with a groove for juice."),
    ("Cast iron pan", 7900, "PAN-IRON", "kitchen", 30, "Twenty-six centimetres, seasoned twice."),
    ("Wool blanket", 8900, "BLANKET-WOOL", "living", 18, "Woven from undyed wool."),
    ("Beeswax candle", 1200, "CANDLE-WAX", "living", 150, "Burns for forty hours."),
    ("Reading lamp", 11900, "LAMP-READ", "living", 12, "Brass, dimmable, with a linen cord."),
    ("Garden shears", 4200, "SHEARS-GARDEN", "outdoor", 35, "Forged steel, replaceable spring."),
    ("Seed box", 2100, "SEEDS-BOX", "outdoor", 60, "Twelve heirloom vegetables."),
    ("Field notebook", 850, "NOTE-FIELD", "office", 300, "Dotted paper, lies flat."),
];

/// The demo shop, made when it is not there yet.
pub async fn ensure(services: &Services) -> Result<DemoShop> {
    let tenant = match find(services).await? {
        Some(tenant) => tenant,
        None => create(services).await?,
    };
    let list = ProductList { is_active: Some(true), descending: true, ..ProductList::default() };
    let window = PageArgs { first: Some(1), ..PageArgs::default() }.window(ListId::of(&list))?;
    let tx = services.db.tenant_read(tenant.id).await?;
    let product_id = list.page(&tx, &window).await?.rows.first().map(|(_, product)| product.id);
    tx.commit().await?;
    Ok(DemoShop { tenant, product_id })
}

async fn find(services: &Services) -> Result<Option<TenantRow>> {
    let tx = services.db.system(SystemReason::FindTenant, None).await?;
    let tenant = tenants::find(&tx, &TenantKey::Subdomain(SUBDOMAIN.into())).await?;
    tx.commit().await?;
    Ok(tenant)
}

async fn create(services: &Services) -> Result<TenantRow> {
    let mut caller = Caller::nobody(None, RequestId::new(services.sources.id()));
    let new = NewTenant {
        name: "Demo shop".into(),
        subdomain: SUBDOMAIN.into(),
        admin_email: "admin@demo.test".into(),
        admin_password: PASSWORD.into(),
        currency: "USD".into(),
    };
    let registered = crate::services::tenants::register(services, &caller, new).await?;
    caller.tenant = Some(registered.tenant.tenant());
    caller.actor = Actor::User { id: registered.admin_id, role: Role::Admin };
    for (email, role) in [("merchant@demo.test", Role::Merchant), ("customer@demo.test", Role::Customer)] {
        let user = NewUser { email: email.into(), password: PASSWORD.into(), role };
        users::create(services, &caller, user).await?;
    }
    // The page lists the newest first.
    for (name, cents, sku, category, quantity, description) in PRODUCTS.into_iter().rev() {
        let product = NewProduct {
            name: name.into(),
            description: description.into(),
            price: Amount::from_cents(cents).unwrap_or_default(),
            sku: sku.into(),
            category: Some(category.into()),
            image_urls: Vec::new(),
            quantity,
            threshold: None,
        };
        products::create(services, &caller, product).await?;
    }
    Ok(registered.tenant)
}
