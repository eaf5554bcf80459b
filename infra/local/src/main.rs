//! `cargo dev`: the whole system on a laptop.

use std::process::ExitCode;

use clap::Parser as _;
use local::{Options, Parts, StartError, System};
use shared::config::Variables;

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
    // Without a terminal or a signal to come, wait for ever.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
    eprintln!("\nStopping. What was created is kept in {}.", system.kept_in());
    system.stop().await;
    Ok(())
}
