//! The local issuer gives a CI job its JWT, as GitHub Actions does.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tests::Harness;

/// Requests the job's JWT, with these additional parameters.
async fn request(harness: &Harness, bearer: &str, parameters: &str) -> reqwest::Response {
    let url = format!("{}{parameters}", harness.system.facts().workload_token_url);
    harness.client.get(url).header("authorization", format!("bearer {bearer}")).send().await.unwrap()
}

/// The header and the claims of a JWT.
fn decode(jwt: &str) -> [Value; 2] {
    let mut parts = jwt.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
    [(); 2].map(|()| serde_json::from_slice(&parts.next().unwrap()).unwrap())
}

#[tokio::test]
async fn a_job_gets_a_jwt_with_the_claims_of_github_actions() {
    let harness = Harness::start().await;
    let bearer = harness.system.facts().workload_token_bearer.clone();
    let response = request(&harness, &bearer, "&audience=https://keyward.example.com").await;
    assert_eq!(response.headers()["cache-control"], "no-store");
    let body: Value = response.json().await.unwrap();
    let jwt = body["value"].as_str().unwrap();
    assert_eq!(body["count"], jwt.len());
    let [header, claims] = decode(jwt);
    assert_json_snapshot!(json!({ "header": header, "claims": claims }), {
        ".claims.iss" => "[issuer]",
        ".claims.jti" => "[id]",
    });
    // Each JWT has its own id, so a single-use rule accepts each once.
    let again: Value = request(&harness, &bearer, "&audience=x").await.json().await.unwrap();
    assert_ne!(decode(again["value"].as_str().unwrap())[1]["jti"], claims["jti"]);
}

#[tokio::test]
async fn parameters_replace_claims_and_the_subject_follows() {
    let harness = Harness::start().await;
    let bearer = harness.system.facts().workload_token_bearer.clone();
    for (parameters, subject) in [
        ("", "repo:example@123456/shop@456789:environment:production"),
        ("&environment=staging", "repo:example@123456/shop@456789:environment:staging"),
        ("&environment=&ref=refs/heads/fix", "repo:example@123456/shop@456789:ref:refs/heads/fix"),
        ("&repository=other/shop&repository_id=7", "repo:other@123456/shop@7:environment:production"),
        // These claims are the issuer's own.
        ("&iss=https://other.example&exp=1", "repo:example@123456/shop@456789:environment:production"),
    ] {
        let body: Value = request(&harness, &bearer, parameters).await.json().await.unwrap();
        let [_, claims] = decode(body["value"].as_str().unwrap());
        assert_eq!(claims["sub"], subject, "{parameters}");
        assert_eq!(claims["iss"], harness.system.issuer().url(), "{parameters}");
        assert_eq!(claims["exp"].as_i64(), claims["iat"].as_i64().map(|at| at + 300), "{parameters}");
    }
}

#[tokio::test]
async fn only_the_job_gets_its_jwt() {
    let harness = Harness::start().await;
    let facts = harness.system.facts();
    for bearer in ["", "x", &facts.admin_token, &facts.admin_password] {
        let response = request(&harness, bearer, "&audience=x").await;
        assert_eq!(response.status(), 401, "{bearer}");
    }
    let without = harness.client.get(&facts.workload_token_url).send().await.unwrap();
    assert_eq!(without.status(), 401);
}
