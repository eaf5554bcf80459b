//! The Lambda function `mcp`.

use shared::config::{Setup, variable};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), shared::http::Error> {
    let setup = Setup::from_process();
    shared::telemetry::init(setup.variables.get(variable::LOG_LEVEL));
    let mcp = mcp::Mcp::new(&setup)?;
    mcp.warm().await;
    shared::http::run(mcp.router()).await
}
