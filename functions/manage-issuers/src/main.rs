//! The Lambda function `manage-issuers`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), shared::http::Error> {
    shared::http::serve::<manage_issuers::ManageIssuers>().await
}
