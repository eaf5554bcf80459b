//! The Lambda function `rotate-secret`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    rotate_secret::serve().await
}
