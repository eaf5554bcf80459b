//! The Lambda function `create-service-account`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), shared::http::Error> {
    shared::http::serve::<create_service_account::CreateServiceAccount>().await
}
