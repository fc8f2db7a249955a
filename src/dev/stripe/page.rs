//! The simulator's page, for people: what is asked for, and a button to pay it.

use std::fmt::Write;

use super::Intent;
use crate::domain::money::Amount;

const HEAD: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Simulated payments</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; margin: 3rem auto; max-width: 60rem; padding: 0 1rem; color: #1d2433 }
  table { border-collapse: collapse; width: 100% }
  th, td { text-align: left; padding: .5rem .75rem; border-bottom: 1px solid #e3e7ef; vertical-align: middle }
  td.amount { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
  code { font-size: .8em; color: #5b6579 }
  form { display: inline }
  button { font: inherit; padding: .2rem .8rem; border: 1px solid #c3cad8; border-radius: 6px; background: #fff; cursor: pointer }
  button.pay { background: #2f6feb; border-color: #2f6feb; color: #fff }
</style>
<h1>Simulated payments</h1>
<p>What a shop asks Stripe for appears here. Pay it as its customer would, decline the card, or give the money back: the shop hears
of it by signed webhook, as from Stripe.</p>
"#;

/// The page, newest first, for where its address begins with `base`.
pub fn render(intents: &[Intent], base: &str) -> String {
    let mut page = HEAD.to_owned();
    if intents.is_empty() {
        page.push_str(
            "<p><em>Nothing was asked for yet: place an order, then run <code>paymentIntentCreate</code>.</em></p>\n",
        );
        return page;
    }
    page.push_str("<table>\n<tr><th>Order<th>Amount<th>Status<th></tr>\n");
    for intent in intents.iter().rev() {
        let order = intent.metadata.get("order_id").map_or("", String::as_str);
        // Writing to a string cannot fail.
        let _ = writeln!(
            page,
            "<tr><td>{}<br><code>{}</code><td class=\"amount\">{}<td>{}<td>{}</tr>",
            escaped(order),
            escaped(&intent.id),
            escaped(&money(intent, intent.amount)),
            escaped(&status(intent)),
            buttons(intent, &escaped(base)),
        );
    }
    page.push_str("</table>\n");
    page
}

/// So much of the intent's money, as shops write it.
fn money(intent: &Intent, minor: i64) -> String {
    let currency = intent.currency.to_ascii_uppercase();
    match Amount::from_minor(minor, &currency) {
        Some(amount) => format!("{amount} {currency}"),
        None => format!("{minor} of the smallest unit of {currency}"),
    }
}

fn status(intent: &Intent) -> String {
    match intent.status.as_str() {
        "succeeded" if intent.refunded == intent.amount => "refunded".into(),
        "succeeded" if intent.refunded > 0 => format!("paid, {} refunded", money(intent, intent.refunded)),
        "succeeded" => "paid".into(),
        "canceled" => "cancelled".into(),
        _ => "waits for its payment".into(),
    }
}

fn buttons(intent: &Intent, base: &str) -> String {
    let button = |action: &str, label: &str| {
        let id = escaped(&intent.id);
        format!(
            "<form method=\"post\" action=\"{base}/page/{id}/{action}\"><button class=\"{action}\">{label}</button></form> "
        )
    };
    match intent.status.as_str() {
        "succeeded" if intent.refunded < intent.amount => button("refund", "Refund"),
        status if status.starts_with("requires_") => button("pay", "Pay") + &button("decline", "Decline"),
        _ => String::new(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
