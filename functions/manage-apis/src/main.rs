//! The Lambda function `manage-apis`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), shared::http::Error> {
    shared::http::serve::<manage_apis::ManageApis>().await
}
