//! The Lambda function `whoami`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), shared::http::Error> {
    shared::http::serve::<whoami::Whoami>().await
}
