//! The `wayhold` command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod command;

use command::order::Order;
use wayhold::sys::allocation::CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Run(args) => command::run::main(&args),
        Command::Check(args) => command::check::main(&args),
        Command::Explain(args) => command::explain::main(&args),
        Command::Status(args) => command::status::main(&args),
        Command::Where(args) => command::locate::main(&args),
        Command::Drain(args) => command::order::main(&args, Order::Drain),
        Command::Undrain(args) => command::order::main(&args, Order::Undrain),
        Command::Reload(args) => command::order::main(&args, Order::Reload),
        Command::Upgrade(args) => command::order::main(&args, Order::Upgrade),
        Command::Cid(args) => command::cid::main(&args),
        Command::Keys(args) => command::keys::main(args),
        Command::Get(args) => command::get::main(args),
        Command::Demo(args) => command::demo::main(args),
        Command::Bench(args) => command::bench::main(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            command::complain(&error);
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, Parser)]
#[command(name = "wayhold", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Run(command::run::Args),
    /// Check a configuration without binding anything
    Check(command::check::Args),
    /// Show every key with its value and where that comes from
    Explain(command::explain::Args),
    /// Show what a running gateway knows of itself and its fleet
    Status(command::status::Args),
    /// Show where packets with a connection ID go, and why
    Where(command::locate::Args),
    /// Send new clients of a running gateway elsewhere
    Drain(command::order::Args),
    /// Take a drain back
    Undrain(command::order::Args),
    /// Let a running gateway read its configuration and all files again
    Reload(command::order::Args),
    /// Let a new process of the same program take over from a running gateway
    Upgrade(command::order::Args),
    /// Encode or decode a QUIC-LB connection ID
    Cid(command::cid::Args),
    /// Make the key file of a fleet
    Keys(command::keys::Args),
    /// Fetch a URL over HTTP/3 or HTTP/2
    Get(command::get::Args),
    /// Show three nodes keep their clients while everything moves
    Demo(command::demo::Args),
    /// Measure what handshakes and moves cost
    Bench(command::bench::Args),
}
