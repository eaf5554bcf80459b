//! The Lambda function `update-service-account`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), shared::http::Error> {
    shared::http::serve::<update_service_account::UpdateServiceAccount>().await
}
