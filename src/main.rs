//! The command line.

mod cli;

use clap::Parser;

/// Faster than the system's allocator for many small objects, which is what a GraphQL answer is made of.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    let command = cli::Cli::parse().command;
    match command.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("mercato: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
