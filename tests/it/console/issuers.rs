//! The pages of trusted issuers.

use insta::assert_snapshot;
use serde_json::{Value, json};
use tests::Harness;

use crate::support::browser::{Browser, HOSTILE};

/// A JWK set with a public key (RFC 7517, appendix A.1).
const JWKS: &str = r#"{"keys": [{"kty": "EC", "crv": "P-256", "kid": "1", "use": "sig",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#;

/// Registers a trusted issuer through the API.
async fn trust(harness: &Harness, name: &str, body: &Value) {
    let request = harness.request("PUT", &format!("/iam/v1/issuers/{name}")).admin();
    let _ = request.json(body).send().await.expect(201);
}

async fn issuer(harness: &Harness, name: &str) -> Value {
    harness.get(&format!("/iam/v1/issuers/{name}")).await.expect(200).json()
}

#[tokio::test]
async fn issuer_is_added_changed_and_deleted() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    browser.get("/issuers").await.expect(200).expect_texts(&["No trusted issuers yet", "GitHub Actions"]);
    let form = browser.get("/new-issuer?platform=githubActions").await.expect(200);
    let fields = form.fields("/new-issuer");
    assert_eq!(
        [&fields["name"], &fields["issuer"], &fields["source"]],
        ["github", "https://token.actions.githubusercontent.com", "discovery"]
    );
    let added = browser.submit(&form, "/new-issuer", &[]).await.expect(303);
    assert_eq!(added.location(), "/issuers/github");
    let page = browser.get("/issuers/github").await.expect(200);
    assert_snapshot!(page.main_text());
    assert_snapshot!(browser.get("/issuers").await.expect(200).main_text());

    let edit = "/issuers/github/edit";
    let form = browser.get(edit).await.expect(200);
    let typed = [("source", "uri"), ("jwksUri", "https://keys.example.com/jwks"), ("algorithms", "ES256")];
    let saved = browser.submit(&form, edit, &typed).await.expect(303);
    let page = browser.get(saved.location()).await.expect(200);
    page.expect_texts(&["Issuer github was saved", "ES256", "Fetched from https://keys.example.com/jwks"]);
    let stored = issuer(&harness, "github").await;
    assert_eq!(stored["issuer"], "https://token.actions.githubusercontent.com");

    let delete = "/issuers/github/delete";
    let form = browser.get(delete).await.expect(200);
    assert_snapshot!(form.main_text());
    let deleted = browser.submit(&form, delete, &[]).await.expect(303);
    assert_eq!(deleted.location(), "/issuers");
    let page = browser.get("/issuers").await.expect(200);
    page.expect_texts(&["Issuer github was deleted", "No trusted issuers yet"]);
    browser.get("/issuers/github").await.expect(404);
}

#[tokio::test]
async fn keys_of_an_unreachable_issuer_are_pasted() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let form = browser.get("/new-issuer?platform=kubernetes").await.expect(200);
    form.expect_texts(&["Find the issuer of your cluster", "kubectl get --raw /openid/v1/jwks"]);
    let typed = [
        ("name", "cluster-a"),
        ("issuer", "https://kubernetes.default.svc.cluster.local"),
        ("source", "inline"),
        ("jwks", JWKS),
        ("algorithms", "ES256"),
    ];
    let added = browser.submit(&form, "/new-issuer", &typed).await.expect(303);
    let page = browser.get(added.location()).await.expect(200);
    page.expect_texts(&["Inline JWK set, as shown below", "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4"]);
    // The form of the issuer has its keys.
    let page = browser.get("/issuers/cluster-a/edit").await.expect(200);
    assert!(page.text.contains("MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4"), "{}", page.text);
    assert_eq!(page.fields("/issuers/cluster-a/edit")["source"], "inline");
}

#[tokio::test]
async fn commands_find_the_issuer_of_an_aws_account() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let form = browser.get("/new-issuer?platform=aws").await.expect(200);
    assert_eq!(
        form.code("issuer-command"),
        "aws iam get-outbound-web-identity-federation-info --query IssuerIdentifier --output text"
    );
    // A form for another platform has no commands.
    browser.get("/new-issuer").await.expect(200).expect_without("aws iam");
}

#[tokio::test]
async fn refused_issuer_keeps_the_input_and_shows_the_reason_at_its_field() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let form = browser.get("/new-issuer").await.expect(200);
    let typed =
        [("name", "private"), ("issuer", HOSTILE), ("source", "uri"), ("jwksUri", "http://keys.example.com")];
    let page = browser.submit(&form, "/new-issuer", &typed).await.expect(422);
    page.expect_no_script();
    assert!(page.field_error("issuer").starts_with("Must"), "{}", page.field_error("issuer"));
    assert!(page.field_error("jwksUri").starts_with("Must"), "{}", page.field_error("jwksUri"));
    let fields = page.fields("/new-issuer");
    assert_eq!([&fields["name"], &fields["issuer"], &fields["source"]], ["private", HOSTILE, "uri"]);

    let typed =
        [("name", "private"), ("issuer", "https://issuer.example"), ("source", "inline"), ("jwks", "keys")];
    let page = browser.submit(&form, "/new-issuer", &typed).await.expect(422);
    assert_eq!(page.field_error("jwks"), "Must be a JWK set in JSON, such as {\"keys\": […]}.");
    assert!(page.text.contains("\nkeys</textarea>"), "{}", page.text);

    let page = browser.submit(&form, "/new-issuer", &[("name", "no name")]).await.expect(422);
    assert!(page.field_error("name").starts_with("Must start with a letter"), "{}", page.field_error("name"));

    trust(&harness, "taken", &json!({ "issuer": "https://issuer.example" })).await;
    let typed = [("name", "taken"), ("issuer", "https://other.example")];
    let page = browser.submit(&form, "/new-issuer", &typed).await.expect(422);
    assert_eq!(page.field_error("name"), "Is the name of another trusted issuer. Choose another name.");
}

#[tokio::test]
async fn private_key_is_refused_and_not_shown_again() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let form = browser.get("/new-issuer").await.expect(200);
    let private = JWKS.replace("\"kid\"", "\"d\": \"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE\", \"kid\"");
    let typed = [
        ("name", "private"),
        ("issuer", "https://issuer.example"),
        ("source", "inline"),
        ("jwks", private.as_str()),
    ];
    let page = browser.submit(&form, "/new-issuer", &typed).await.expect(422);
    assert!(page.field_error("jwks").contains("private"), "{}", page.field_error("jwks"));
    assert!(!page.text.contains("870MB6gf"), "{}", page.text);
    // A form that arrives after the session has ended is not repeated either.
    browser.cookies.clear();
    let page = browser.submit(&form, "/new-issuer", &typed).await.expect(401);
    assert!(!page.text.contains("870MB6gf"), "{}", page.text);
}

#[tokio::test]
async fn change_of_an_outdated_issuer_is_refused() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    trust(&harness, "ci", &json!({ "issuer": "https://issuer.example" })).await;
    let (edit, delete) = ("/issuers/ci/edit", "/issuers/ci/delete");
    let (form, confirmation) = (browser.get(edit).await.expect(200), browser.get(delete).await.expect(200));
    let typed = [("algorithms", "ES384")];
    browser.submit(&form, edit, &typed).await.expect(303);
    let page = browser.submit(&form, edit, &typed).await.expect(412);
    page.expect_texts(&["This page is out of date", "Nothing was saved."]);
    let page = browser.submit(&confirmation, delete, &[]).await.expect(412);
    page.expect_texts(&["This page is out of date"]);
    browser.submit(&page, delete, &[]).await.expect(303);
}
