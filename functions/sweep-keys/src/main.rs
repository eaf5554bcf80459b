//! The Lambda function `sweep-keys`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    sweep_keys::serve().await
}
