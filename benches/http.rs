//! What a request costs: `make bench`, or `cargo bench --bench http`.
//!
//! Starts private services, fills them, and drives the release server over HTTP. Beside it, in the same run, stand two
//! references: the same SQL straight on PostgreSQL, and an HTTP server that does nothing. The ratios to these say more
//! than the numbers, which are the machine's. `docs/performance.md` tells how to read them. Linux only.

mod http {
    pub mod bare;
    pub mod load;
    pub mod logins;
    pub mod operations;
    pub mod pgbench;
    pub mod processes;
    pub mod report;
    pub mod stack;
}

use std::time::Duration;

use clap::Parser;

use self::http::bare::{self, Bare};
use self::http::load::Load;
use self::http::logins;
use self::http::operations::Operation;
use self::http::pgbench::Pgbench;
use self::http::report::{Comparison, Report};
use self::http::stack::Stack;

/// Measures what a request costs, beside the same SQL in pgbench and a server that does nothing
#[derive(Parser)]
struct Arguments {
    /// For how long each is measured
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How many connections ask at the same time
    #[arg(long, default_value_t = 32)]
    connections: u32,
    /// Measure nothing but this
    #[arg(long, value_enum, default_values_t = Operation::ALL)]
    only: Vec<Operation>,
    /// Measure logging in instead: what its time tells, and what it costs those who read
    #[arg(long)]
    logins: bool,
    /// Serve so many bytes and do nothing else: the reference runs as a process of its own
    #[arg(long, hide = true)]
    bare: Option<usize>,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match arguments.bare {
        Some(bytes) => runtime.block_on(bare::serve(bytes)),
        None => runtime.block_on(measure(&arguments)),
    }
}

async fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let load = Load { connections: arguments.connections, measured: Duration::from_secs(arguments.seconds) };
    let stack = Stack::start().await?;
    if arguments.logins {
        print!("{}", logins::measure(&stack, load).await?);
        return Ok(());
    }
    let pgbench = Pgbench::new(&stack, arguments.seconds)?;
    let mut comparisons = Vec::new();
    for &operation in &arguments.only {
        eprintln!("{}: Mercato", operation.name());
        let mercato = load.run(stack.address, &stack.shops, operation, &stack.processes()).await?;
        eprintln!("{}: the same SQL in pgbench", operation.name());
        let sql = pgbench.run(&stack, operation)?;
        eprintln!("{}: a server that does nothing", operation.name());
        let bare = Bare::start(mercato.answer_bytes)?;
        let nothing = load.run(bare.address, &stack.shops, operation, &[("server", bare.pid())]).await?;
        comparisons.push(Comparison { operation, mercato, sql, bare: nothing });
    }
    let report = Report {
        comparisons,
        connections: arguments.connections,
        ready_after: stack.ready_after,
        peak_memory: stack.peak_memory()?,
    };
    print!("{report}");
    Ok(())
}
