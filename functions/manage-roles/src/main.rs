//! The Lambda function `manage-roles`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), shared::http::Error> {
    shared::http::serve::<manage_roles::ManageRoles>().await
}
