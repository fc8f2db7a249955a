//! The commands that do one thing and end.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use mercato::config;
use mercato::db::{Db, migrations};
use mercato::domain::sources::SystemSources;
use secrecy::ExposeSecret;

/// Prints a generated text as it is.
pub fn print(text: &str) -> anyhow::Result<ExitCode> {
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// `mercato migrate`
pub async fn migrate() -> anyhow::Result<ExitCode> {
    let url = config::for_migrate()?;
    let ran = migrations::run(url.expose_secret()).await?;
    match ran.as_slice() {
        [] => println!("The database is up to date."),
        ran => ran.iter().for_each(|name| println!("Ran {name}")),
    }
    Ok(ExitCode::SUCCESS)
}

/// `mercato seed`
pub async fn seed(tenants: u32, products: i32) -> anyhow::Result<ExitCode> {
    let db = Db::new(config::for_seed()?.expose_secret(), 2, Duration::from_secs(5));
    migrations::check(&db).await?;
    let made = mercato::dev::seed::run(&db, &SystemSources, tenants, products).await?;
    println!("Made {made} shops of {products} products; {} were there already.", tenants - made);
    println!(
        "Log in as admin@seed.test, merchant@seed.test or customer@seed.test, password {}.",
        mercato::dev::seed::PASSWORD
    );
    Ok(ExitCode::SUCCESS)
}
