//! `GET /iam/v1/authorize`

use insta::assert_json_snapshot;
use tests::Harness;

#[tokio::test]
async fn says_what_to_use_instead_of_a_sign_in_page_400() {
    let harness = Harness::start().await;
    let reply = harness.request("GET", "/iam/v1/authorize").send().await;
    assert_json_snapshot!(reply.snapshot());
    let query =
        "?response_type=code&client_id=sa_0000000000000000&redirect_uri=http%3A%2F%2Flocalhost%2F&state=x";
    let asked = harness.request("GET", &format!("/iam/v1/authorize{query}")).send().await;
    assert_eq!((asked.status, &asked.text), (reply.status, &reply.text));
}
