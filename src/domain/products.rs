//! What a shop sells.

use garde::Validate;

use crate::domain::money::Amount;
use crate::domain::validation::{is_https_url, is_quantity, is_text};

/// What a new product needs.
#[derive(Clone, Debug, Validate)]
pub struct NewProduct {
    /// What it is called.
    #[garde(custom(is_text::<1, 200>))]
    pub name: String,
    /// All about it.
    #[garde(custom(is_text::<0, 10_000>))]
    pub description: String,
    /// What one piece costs.
    #[garde(skip)]
    pub price: Amount,
    /// The shop's own code for it, unique in the shop.
    #[garde(custom(is_text::<1, 64>))]
    pub sku: String,
    /// The shelf it is on.
    #[garde(inner(custom(is_text::<1, 100>)))]
    pub category: Option<String>,
    /// Pictures, at most twenty.
    #[garde(custom(are_image_urls))]
    pub image_urls: Vec<String>,
    /// Pieces in stock at the start.
    #[garde(custom(is_quantity::<0>))]
    pub quantity: i32,
    /// When stock is called low; None takes the shop-wide default of ten.
    #[garde(inner(custom(is_quantity::<0>)))]
    pub threshold: Option<i32>,
}

/// What can be changed of a product. None leaves a field as it is.
#[derive(Clone, Debug, Default, Validate)]
pub struct ProductChanges {
    /// What it is called.
    #[garde(inner(custom(is_text::<1, 200>)))]
    pub name: Option<String>,
    /// All about it.
    #[garde(inner(custom(is_text::<0, 10_000>)))]
    pub description: Option<String>,
    /// What one piece costs; orders that were placed keep their price.
    #[garde(skip)]
    pub price: Option<Amount>,
    /// The shop's own code for it.
    #[garde(inner(custom(is_text::<1, 64>)))]
    pub sku: Option<String>,
    /// The shelf it is on; `Some(None)` takes it off.
    #[garde(inner(inner(custom(is_text::<1, 100>))))]
    pub category: Option<Option<String>>,
    /// Pictures, replacing all there were.
    #[garde(inner(custom(are_image_urls)))]
    pub image_urls: Option<Vec<String>>,
    /// Whether it can be seen and bought.
    #[garde(skip)]
    pub is_active: Option<bool>,
}

impl ProductChanges {
    /// Whether nothing would change.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.name.is_none()
            && self.description.is_none()
            && self.price.is_none()
            && self.sku.is_none()
            && self.category.is_none()
            && self.image_urls.is_none()
            && self.is_active.is_none()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde calls it so")]
fn are_image_urls(urls: &[String], (): &()) -> garde::Result {
    if urls.len() > 20 {
        return Err(garde::Error::new("must be at most 20 URLs"));
    }
    urls.iter().try_for_each(|url| is_https_url(url, &()))
}
