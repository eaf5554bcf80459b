//! `cargo dev`: the whole system on a laptop.

use std::process::ExitCode;

use clap::Parser as _;
use local::{Options, Parts, StartError, System};
use shared::config::Variables;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keyward: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), StartError> {
    let variables = Variables::from_process();
    local::refuse_inside_lambda(&variables)?;
    shared::telemetry::init(variables.get(shared::config::variable::LOG_LEVEL).or(Some("WARN")));
    let system = System::start(options, Parts::default()).await?;
    eprint!("{}", system.welcome());
    asked_to_stop().await;
    eprintln!("\nStopping. {}", system.kept());
    system.stop().await;
    Ok(())
}

/// Waits for Ctrl-C or a polite kill. Where no signal can come, for ever.
async fn asked_to_stop() {
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => terminate.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        Ok(()) = tokio::signal::ctrl_c() => {}
        Some(()) = terminate => {}
        else => std::future::pending().await,
    }
}
