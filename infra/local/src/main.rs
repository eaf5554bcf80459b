//! `cargo dev`: the whole system on a laptop.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use local::{Options, Overrides, StartError, System};
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
    let system = System::start(options, Overrides::default()).await?;
    eprint!("{}", system.welcome());
    tokio::select! {
        () = stop_signal() => {}
        () = sweep_daily(&system) => {}
    }
    eprintln!("\nStopping. {}", system.storage());
    system.stop().await;
    Ok(())
}

/// Sweeps the keys at start-up and then once a day, like the template's schedule. Only
/// logs the notices.
async fn sweep_daily(system: &System) {
    let mut daily = tokio::time::interval(Duration::from_hours(24));
    loop {
        daily.tick().await;
        if let Err(error) = system.sweep_keys().sweep(jiff::Timestamp::MAX).await {
            tracing::error!(cause = %error, "the sweep of keys failed");
        }
        system.log_published();
    }
}

/// Waits for SIGINT or SIGTERM. If the process can receive neither, waits forever.
async fn stop_signal() {
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
