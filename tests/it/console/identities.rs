//! The pages of federated identities, and the page that asks whether a key is needed.

use insta::assert_snapshot;
use serde_json::{Value, json};
use tests::{Account, Harness};

use super::disable;
use crate::support::browser::{Browser, HOSTILE, Page};

/// Registers a trusted issuer through the API.
async fn trust(harness: &Harness, name: &str, issuer: &str) {
    let request = harness.request("PUT", &format!("/iam/v1/issuers/{name}")).admin();
    let _ = request.json(&json!({ "issuer": issuer })).send().await.expect(201);
}

const GITHUB: &str = "https://token.actions.githubusercontent.com";

/// The form that adds an identity, and the path that the form is sent to.
async fn form(browser: &mut Browser<'_>, account: &Account, platform: &str) -> (Page, String) {
    let action = format!("/accounts/{}/identities", account.id);
    let page = browser.get(&format!("{action}/new?platform={platform}")).await.expect(200);
    (page, action)
}

/// The only federated identity of an account, from the API.
async fn identity(harness: &Harness, account: &Account) -> Value {
    let account = harness.get(&account.path()).await.expect(200).json();
    account["federatedIdentities"][0].clone()
}

/// Adds an identity of a platform, and returns it.
async fn add(harness: &Harness, platform: &str, issuer: &str, typed: &[(&str, &str)]) -> Value {
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    trust(harness, "trusted", issuer).await;
    let mut browser = Browser::signed_in(harness).await;
    let (page, action) = form(&mut browser, &account, platform).await;
    let typed: Vec<_> =
        [("name", "job"), ("issuer", "trusted")].into_iter().chain(typed.iter().copied()).collect();
    let added = browser.submit(&page, &action, &typed).await.expect(303);
    let identity = identity(harness, &account).await;
    assert_eq!(added.location(), format!("{action}/{}", identity["id"].as_str().unwrap()));
    identity
}

#[tokio::test]
async fn console_asks_where_a_program_runs_before_a_key_is_issued() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let mut browser = Browser::signed_in(&harness).await;
    let path = format!("/accounts/{}", account.id);
    let page = browser.get(&path).await.expect(200);
    assert!(!page.text.contains("/keys/new"), "{}", page.text);
    let asked = browser.get(&format!("{path}/access")).await.expect(200);
    assert_snapshot!(asked.main_text());
    // One link leads to the form of a key, and one for each platform to the form of an identity.
    let links = asked.text.split("href=\"").skip(1).map(|link| link.split('"').next().unwrap());
    let links: Vec<_> =
        links.filter(|link| link.contains("/new")).map(|link| link.replace(&path, "")).collect();
    assert_eq!(
        links,
        [
            "/identities/new?platform=githubActions",
            "/identities/new?platform=gitlab",
            "/identities/new?platform=kubernetes",
            "/identities/new?platform=aws",
            "/identities/new?platform=other",
            "/keys/new"
        ]
    );
}

#[tokio::test]
async fn platform_that_is_not_trusted_yet_is_added_first() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let mut browser = Browser::signed_in(&harness).await;
    let (page, action) = form(&mut browser, &account, "githubActions").await;
    page.expect_texts(&["First, add GitHub as a trusted issuer", "Add trusted issuer"]);
    let address = format!("/new-issuer?platform=githubActions&account={}", account.id);
    assert!(page.text.contains(&address.replace('&', "&amp;")), "{}", page.text);
    let page = browser.get(&address).await.expect(200);
    let added = browser.submit(&page, "/new-issuer", &[]).await.expect(303);
    assert_eq!(added.location(), format!("{action}/new?platform=githubActions"));
    let page = browser.get(added.location()).await.expect(200);
    page.expect_texts(&["Issuer github is now trusted", "Repository ID"]);
}

#[tokio::test]
async fn github_workflow_is_accepted_by_the_ids_of_its_repository() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    trust(&harness, "github", GITHUB).await;
    trust(&harness, "gitlab", "https://gitlab.com").await;
    let mut browser = Browser::signed_in(&harness).await;
    let (page, action) = form(&mut browser, &account, "githubActions").await;
    // Issuers of other known platforms are not offered.
    assert!(
        page.text.contains("<option value=\"github\">") && !page.text.contains("<option value=\"gitlab\"")
    );
    assert_eq!(page.code("gh"), "gh api repos/OWNER/REPOSITORY --jq '.id, .owner.id'");
    for address in [
        "https://github.com/octo-org/octo.repo",
        "https://github.com/octo-org/octo.repo.git",
        "git@github.com:octo-org/octo.repo.git",
        "octo-org/octo.repo",
    ] {
        let typed = [("name", "deploy"), ("repository", address), ("button", "commands")];
        let page = browser.submit(&page, &action, &typed).await.expect(200);
        assert_eq!(page.code("gh"), "gh api repos/octo-org/octo.repo --jq '.id, .owner.id'");
        assert_eq!(
            page.code("curl"),
            "curl -sS https://api.github.com/repos/octo-org/octo.repo | jq '.id, .owner.id'"
        );
        assert_eq!([&page.fields(&action)["name"], &page.fields(&action)["repository"]], ["deploy", address]);
    }
    let typed = [
        ("name", "deploy"),
        ("issuer", "github"),
        ("repository", "https://github.com/octo-org/octo.repo"),
        ("repository_id", "123"),
        ("repository_owner_id", " 456 "),
        ("environment", "production"),
        ("ref", "main"),
        ("workflow", ".github/workflows/deploy.yml@refs/heads/main"),
    ];
    browser.submit(&page, &action, &typed).await.expect(303);
    let identity = identity(&harness, &account).await;
    assert_eq!(
        identity["claims"],
        json!({
            "repository_id": ["123"], "repository_owner_id": ["456"], "environment": ["production"], "ref": ["refs/heads/main"],
            "job_workflow_ref": ["octo-org/octo.repo/.github/workflows/deploy.yml@refs/heads/main"],
        })
    );
    assert_eq!(
        (&identity["singleUse"], &identity["audience"]),
        (&json!(true), &json!(harness.system.facts().api))
    );
}

#[tokio::test]
async fn text_that_is_no_address_of_a_repository_gets_into_no_command() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    trust(&harness, "github", GITHUB).await;
    trust(&harness, "gitlab", "https://gitlab.com").await;
    let mut browser = Browser::signed_in(&harness).await;
    for platform in ["githubActions", "gitlab"] {
        let (page, action) = form(&mut browser, &account, platform).await;
        for address in [
            "octo",
            HOSTILE,
            "octo-org/$(id)",
            "https://github.com/octo-org/octo repo",
            "https://github.com/octo-org/../..",
            "https://$(id)/a/b",
            "-x/-y",
            "a/b;id",
            "a/b\nid",
        ] {
            let typed = [("repository", address), ("button", "commands")];
            let page = browser.submit(&page, &action, &typed).await.expect(422);
            page.expect_no_script();
            assert!(page.field_error("repository").starts_with("Must be the address of a"), "{address}");
            assert!(
                !page.code("curl").contains("id)") && page.code("curl").lines().count() == 1,
                "{address}"
            );
        }
    }
}

#[tokio::test]
async fn gitlab_job_is_accepted_by_the_ids_of_its_project() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    trust(&harness, "own", "https://gitlab.example.com").await;
    let mut browser = Browser::signed_in(&harness).await;
    let (page, action) = form(&mut browser, &account, "gitlab").await;
    let address = "https://gitlab.example.com/group/sub.group/project/-/tree/main?ref_type=heads";
    let typed = [("repository", address), ("button", "commands")];
    let shown = browser.submit(&page, &action, &typed).await.expect(200);
    assert_eq!(
        shown.code("curl"),
        "curl -sS https://gitlab.example.com/api/v4/projects/group%2Fsub%2Egroup%2Fproject | jq '.id, .namespace.id'"
    );
    let typed = [
        ("name", "job"),
        ("issuer", "own"),
        ("project_id", "12"),
        ("namespace_id", "34"),
        ("ref", "v1"),
        ("ref_type", "tag"),
    ];
    browser.submit(&page, &action, &typed).await.expect(303);
    let identity = identity(&harness, &account).await;
    assert_eq!(
        identity["claims"],
        json!({ "project_id": ["12"], "namespace_id": ["34"], "ref": ["v1"], "ref_type": ["tag"], "ref_protected": ["true"] })
    );
}

#[tokio::test]
async fn kubernetes_pod_is_accepted_by_its_service_account() {
    let harness = Harness::start().await;
    let typed = [("namespace", "data"), ("service_account", "importer")];
    let identity = add(&harness, "kubernetes", "https://cluster.example.com", &typed).await;
    assert_eq!(identity["claims"], json!({ "sub": ["system:serviceaccount:data:importer"] }));
}

#[tokio::test]
async fn aws_program_is_accepted_by_its_role() {
    let harness = Harness::start().await;
    let role = "arn:aws:iam::123456789012:role/importer";
    let issuer = "https://abc12345-def4-5678-90ab-cdef12345678.tokens.sts.global.api.aws";
    let identity = add(&harness, "aws", issuer, &[("role_arn", role)]).await;
    assert_eq!(identity["claims"], json!({ "sub": [role] }));
}

#[tokio::test]
async fn program_with_another_jwt_is_accepted_by_any_claims() {
    let harness = Harness::start().await;
    let claims = "sub=a=b\n\nsub=c\n admin = true \nlevel=3\nproject=\"42\"\n/kubernetes.io/namespace=data\n";
    let typed = [
        ("claims", claims),
        ("audience", "urn:keyward"),
        ("role", "ServiceAccountReader"),
        ("expires_in_days", "30"),
        ("single_use", "true"),
        ("max_age_seconds", "120"),
    ];
    let identity = add(&harness, "other", "https://issuer.example", &typed).await;
    assert_eq!(
        identity["claims"],
        json!({ "sub": ["a=b", "c"], "admin": [true], "level": [3], "project": ["42"], "/kubernetes.io/namespace": ["data"] })
    );
    assert_eq!(
        [&identity["audience"], &identity["role"], &identity["singleUse"], &identity["maxAgeSeconds"]],
        [&json!("urn:keyward"), &json!("ServiceAccountReader"), &json!(true), &json!(120)]
    );
}

#[tokio::test]
async fn refused_identity_keeps_the_input_and_shows_the_reasons_at_their_fields() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    trust(&harness, "github", GITHUB).await;
    trust(&harness, "other", "https://issuer.example").await;
    let mut browser = Browser::signed_in(&harness).await;
    let (page, action) = form(&mut browser, &account, "githubActions").await;
    let typed =
        [("name", HOSTILE), ("issuer", "github"), ("repository_id", "octo"), ("environment", HOSTILE)];
    let page = browser.submit(&page, &action, &typed).await.expect(422);
    page.expect_no_script();
    for field in ["repository_id", "repository_owner_id"] {
        assert_eq!(page.field_error(field), "Must be a number. Run one of the commands to find it.");
    }
    let fields = page.fields(&action);
    assert_eq!(
        [&fields["name"], &fields["repository_id"], &fields["environment"]],
        [HOSTILE, "octo", HOSTILE]
    );
    // Without an environment, a branch or a workflow, every job of the repository would match.
    let typed = [
        ("name", "deploy"),
        ("issuer", "github"),
        ("repository_id", "1"),
        ("repository_owner_id", "2"),
        ("environment", ""),
    ];
    let page = browser.submit(&page, &action, &typed).await.expect(422);
    assert_snapshot!(page.field_error("claims"));
    let typed: Vec<_> =
        typed.into_iter().chain([("environment", "production"), ("audience", "two words")]).collect();
    let page = browser.submit(&page, &action, &typed).await.expect(422);
    assert!(page.field_error("audience").starts_with("Must be 1 to 255"), "{}", page.field_error("audience"));

    let (page, action) = form(&mut browser, &account, "other").await;
    let typed = [("name", "any"), ("issuer", "other"), ("claims", "sub"), ("expires_in_days", "soon")];
    let page = browser.submit(&page, &action, &typed).await.expect(422);
    assert_eq!(page.field_error("claims"), "Line 1 must be a claim and its value, such as sub=importer.");
    assert_eq!(page.field_error("expiresInDays"), "Must be a whole number.");
    let typed = [("name", "any"), ("issuer", "other"), ("claims", "aud=x"), ("expires_in_days", "")];
    let page = browser.submit(&page, &action, &typed).await.expect(422);
    assert!(
        page.field_error("claims")
            .starts_with("Claim “aud” must not be listed: Keyward always checks this claim"),
        "{}",
        page.field_error("claims")
    );
    let account = harness.get(&account.path()).await.expect(200).json();
    assert_eq!(account["federatedIdentities"], json!([]));
}

#[tokio::test]
async fn form_that_is_sent_twice_adds_one_identity() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    trust(&harness, "other", "https://issuer.example").await;
    let mut browser = Browser::signed_in(&harness).await;
    let (page, action) = form(&mut browser, &account, "other").await;
    let typed = [("name", "once"), ("issuer", "other"), ("claims", "sub=importer")];
    let first = browser.submit(&page, &action, &typed).await.expect(303);
    let second = browser.submit(&page, &action, &typed).await.expect(303);
    assert_eq!(first.location(), second.location());
    let read = harness.get(&account.path()).await.expect(200).json();
    assert_eq!(read["federatedIdentities"].as_array().unwrap().len(), 1);
    // With other values, the form counts as a new request only when it is sent again.
    let page = browser
        .submit(&page, &action, &[("name", "twice"), ("issuer", "other"), ("claims", "sub=importer")])
        .await;
    let page = page.expect(422);
    page.expect_texts(&["This form was already submitted with other values"]);
    browser.submit(&page, &action, &[("issuer", "other"), ("claims", "sub=importer")]).await.expect(303);
}

/// Adds an identity through the API, and returns the path of its page.
async fn identity_page(harness: &Harness, account: &Account, body: &Value) -> String {
    let request = harness.request("POST", &format!("{}/federated-identities", account.path())).admin();
    let added = request.json(body).send().await.expect(201).json();
    format!("/accounts/{}/identities/{}", account.id, added["id"].as_str().unwrap())
}

/// The text of a page, in which random IDs are replaced.
fn without_ids(text: &str) -> String {
    let mut text = text.to_owned();
    for prefix in ["sa_", "fid_", "· request "] {
        let mut parts = text.split(prefix);
        let mut replaced = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part
                .find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_'))
                .unwrap_or(part.len());
            replaced.extend([prefix, "[id]", &part[end..]]);
        }
        text = replaced;
    }
    text
}

#[tokio::test]
async fn page_shows_everything_about_an_identity_until_it_is_ended() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    trust(&harness, "github", GITHUB).await;
    let body = json!({
        "name": "deploy", "issuer": "github", "audience": "https://keyward.example.com", "expiresInDays": 90,
        "claims": { "repository_id": "1", "repository_owner_id": "2", "environment": ["production", "staging"] },
    });
    let path = identity_page(&harness, &account, &body).await;
    let mut browser = Browser::signed_in(&harness).await;
    let api = harness.system.facts().api.clone();
    let page = browser.get(&path).await.expect(200);
    assert_snapshot!(without_ids(&page.main_text()).replace(&api, "[api]"));
    let account_page = format!("/accounts/{}", account.id);
    let page = browser.get(&account_page).await.expect(200);
    page.expect_texts(&["Federated identities", "deploy", "Active", "github", "environment", "Never"]);

    disable(&harness, &account).await;
    browser.get(&path).await.expect(200).expect_texts(&["Federated identity deploy Disabled"]);
    let confirmation = browser.get(&format!("{path}/end")).await.expect(200);
    assert_snapshot!(without_ids(&confirmation.main_text()));
    let ended = browser.submit(&confirmation, &format!("{path}/end"), &[]).await.expect(303);
    assert_eq!(ended.location(), account_page);
    browser.get(&account_page).await.expect(200).expect_texts(&["was ended at"]);
    let page = browser.get(&path).await.expect(200);
    page.expect_texts(&["Federated identity deploy Ended", "Ended", "by admin", "Accepted JWTs"]);
    page.expect_without("Use this identity");
    // The page that asks does not end anything twice.
    browser.get(&format!("{path}/end")).await.expect(303);
}

#[tokio::test]
async fn identity_whose_issuer_is_not_trusted_any_more_says_so() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    trust(&harness, "gone", "https://issuer.example").await;
    let body = json!({ "name": "job", "issuer": "gone", "audience": "a", "claims": { "sub": "importer" } });
    let path = identity_page(&harness, &account, &body).await;
    let _ = harness.request("DELETE", "/iam/v1/issuers/gone").admin().send().await.expect(204);
    let mut browser = Browser::signed_in(&harness).await;
    browser.get(&path).await.expect(200).expect_texts(&[
        "Issuer not trusted",
        "End identity",
        "Its issuer is no longer trusted.",
    ]);
}

#[tokio::test]
async fn hostile_values_are_escaped() {
    let harness = Harness::start().await;
    let account = harness.create_account(HOSTILE, "ServiceAccountReader").await;
    trust(&harness, "other", "https://issuer.example").await;
    let claim = format!("/{}", HOSTILE.replace('/', "~1"));
    let body = json!({ "name": HOSTILE, "issuer": "other", "audience": "<script>alert(1)</script>'\"`$(id)", "claims": { claim: HOSTILE } });
    let path = identity_page(&harness, &account, &body).await;
    let mut browser = Browser::signed_in(&harness).await;
    let account_page = format!("/accounts/{}", account.id);
    for page in [&path, &format!("{path}/end"), &account_page, &format!("{account_page}/history")] {
        let page = browser.get(page).await.expect(200);
        page.expect_no_script();
        page.expect_texts(&[HOSTILE]);
    }
}

#[tokio::test]
async fn identities_are_found_exported_and_counted() {
    let harness = Harness::start().await;
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    trust(&harness, "other", "https://issuer.example").await;
    let body = json!({
        "name": "deploy job", "issuer": "other", "audience": "a", "claims": { "sub": ["=importer", "x"] }, "expiresInDays": 5,
    });
    let path = identity_page(&harness, &account, &body).await;
    let id = path.rsplit('/').next().unwrap();
    let mut browser = Browser::signed_in(&harness).await;
    browser.get("/search?q=deploy").await.expect(200).expect_texts(&[
        "Federated identities",
        "deploy job",
        id,
    ]);
    assert_eq!(browser.get(&format!("/search?q={id}")).await.expect(303).location(), path);
    let csv = browser.get("/accounts/export?what=keys&format=csv").await.expect(200);
    let line = csv.text.lines().nth(1).unwrap();
    assert!(line.contains(&format!(",{id},deploy job,,active,")), "{line}");
    assert!(line.ends_with(",federatedIdentity,other,a,sub==importer; x"), "{line}");
    browser.get("/accounts").await.expect(200).expect_texts(&["batch", "1 federated identity"]);
    browser.get("/review").await.expect(200).expect_texts(&[
        "batch",
        "1 federated identity",
        "1 expiring identity",
    ]);
    browser.get("/attention").await.expect(200).expect_texts(&[
        "deploy job",
        "Expires soon",
        "View identity",
    ]);
    let page = browser.get("/history?issuer=other").await.expect(200);
    page.expect_texts(&["added the trusted issuer other"]);
    page.expect_without("deploy job");
    browser.get("/history?issuer=other&role=x").await.expect(422);
    // All access of an account ends at once.
    let form = browser.get(&format!("/accounts/{}/keys/revoke", account.id)).await.expect(200);
    form.expect_texts(&["Revoke all keys and identities of batch", "Federated identity deploy job"]);
    let revoked =
        browser.submit(&form, &format!("/accounts/{}/keys/revoke", account.id), &[]).await.expect(303);
    let page = browser.get(revoked.location()).await.expect(200);
    page.expect_texts(&[
        "0 keys revoked and 1 federated identity ended at",
        "Ended federated identities",
        "deploy job",
    ]);
}
