//! The Lambda function `revoke-key`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), shared::http::Error> {
    shared::http::serve::<revoke_key::RevokeKey>().await
}
