//! The authorizer without fast reads, to compare the authorizer with.

use shared::config::Setup;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    authorizer::serve_with(Setup { fast_reads: None, ..Setup::from_process() }).await
}
