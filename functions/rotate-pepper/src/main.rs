//! The Lambda function `rotate-pepper`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    rotate_pepper::serve().await
}
