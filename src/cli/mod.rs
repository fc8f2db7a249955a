//! What `mercato` can be asked to do.

mod dev;
mod keys;
mod open_files;
mod serve;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use self::keys::Keys;

/// A multi-tenant e-commerce backend: GraphQL first, REST beside it, every shop walled off by PostgreSQL itself.
#[derive(Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Serve a demo shop on private PostgreSQL and Redis: the way to try things out
    Dev(Dev),
    /// Serve in production: every setting is checked first, nothing is started or made up
    #[command(after_long_help = mercato::config::help())]
    Serve,
    /// Bring the database up to date (needs `MIGRATION_DATABASE_URL`)
    Migrate,
    /// Fill the database of `DATABASE_URL` with shops of made-up products, for benchmarks
    Seed(Seed),
    /// Print the GraphQL schema
    Schema,
    /// Print the REST layer's `OpenAPI` document
    Openapi,
    /// Print `.env.example`: every setting with its default
    EnvExample,
    /// Make and replace keys
    #[command(subcommand)]
    Keys(Keys),
}

#[derive(Args)]
pub struct Dev {
    /// The port to serve on [default: 3000, or PORT]
    #[arg(long)]
    port: Option<u16>,
    /// Where PostgreSQL, Redis and the signing key live from one start to the next
    #[arg(long, default_value = ".mercato")]
    data_dir: PathBuf,
    /// Throw the data away first
    #[arg(long)]
    fresh: bool,
    /// Instead of serving, run this command beside the services, with their addresses in its environment
    #[arg(last = true)]
    command: Vec<String>,
}

#[derive(Args)]
pub struct Seed {
    /// How many shops, `seed-1` to `seed-N`; those that are there already are left alone
    #[arg(long, default_value_t = 20)]
    tenants: u32,
    /// How many products in each
    #[arg(long, default_value_t = 1000)]
    products: i32,
}

impl Command {
    /// Does it, and says how it went.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        // A missing file is fine; the environment counts more than the file.
        if let Err(error) = dotenvy::dotenv()
            && !error.not_found()
        {
            anyhow::bail!(".env: {error}");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        match self {
            Self::Dev(dev) => dev.run(&runtime),
            Self::Serve => runtime.block_on(serve::run()),
            Self::Migrate => runtime.block_on(tools::migrate()),
            Self::Seed(seed) => runtime.block_on(tools::seed(seed.tenants, seed.products)),
            Self::Schema => tools::print(&mercato::graphql::sdl()),
            Self::Openapi => tools::print(&mercato::rest::openapi_json()?),
            Self::EnvExample => tools::print(&mercato::config::env_example()),
            Self::Keys(keys) => keys.run(),
        }
    }
}
