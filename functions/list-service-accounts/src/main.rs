//! The Lambda function `list-service-accounts`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), shared::http::Error> {
    shared::http::serve::<list_service_accounts::ListServiceAccounts>().await
}
