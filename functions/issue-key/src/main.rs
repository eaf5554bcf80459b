//! The Lambda function `issue-key`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), shared::http::Error> {
    shared::http::serve::<issue_key::IssueKey>().await
}
