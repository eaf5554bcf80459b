//! The Lambda function `console`.

use shared::config::{Setup, variable};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), shared::http::Error> {
    let setup = Setup::from_process();
    shared::telemetry::init(setup.variables.get(variable::LOG_LEVEL));
    let console = console::Console::new(&setup)?;
    console.warm().await;
    shared::http::run(console.router()).await
}
