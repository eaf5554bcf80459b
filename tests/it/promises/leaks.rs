//! Logs contain no key, pepper, verifier, seal, admin token or admin password, and the only
//! response that contains a key is the one that issues it. The test sends these secrets
//! in valid and invalid requests at the most verbose log level.
//!
//! Logging is set up once per process, so the requests run in a new process of this
//! binary, which runs only [`child`] and logs like the functions
//! ([`shared::telemetry`]).
//!
//! The test checks Keyward's own log lines at every level, and those of libraries from
//! `INFO` up. At `DEBUG` and `TRACE`, `aws_smithy_runtime` logs whole requests and
//! responses, which contain verifiers and the pepper. (The test prints the names of the
//! libraries that do so.) A release build contains no `DEBUG` and `TRACE` events: the
//! feature `release_max_level_info` of `tracing` removes them, as
//! [`a_release_build_has_no_events_below_info`] checks.

use std::collections::BTreeSet;
use std::process::Stdio;

use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use shared::config::Variables;
use tests::{Account, Action, Harness, Reply};

use crate::support::{ROTATION_STEPS, check, event, rotate_pepper, this_binary};

/// The environment variable that makes [`child`] run.
const CHILD: &str = "KEYWARD_TEST_LEAKS";
/// The prefix of the line that contains the child's report, as JSON. All other lines of
/// its output are its log.
const REPORT: &str = "report ";
/// A pepper of 64 letters and digits, like those that `CloudFormation` generates.
const PEPPER: &str = "PepperCanary0123456789PepperCanary0123456789PepperCanary01234567";
/// Keyward's own packages, whose events are checked at every level.
const OWN_PACKAGES: [&str; 16] = [
    "authorizer",
    "console",
    "create_service_account",
    "exchange_token",
    "issue_key",
    "list_service_accounts",
    "local",
    "manage_apis",
    "manage_issuers",
    "manage_roles",
    "revoke_key",
    "rotate_secret",
    "shared",
    "sweep_keys",
    "update_service_account",
    "whoami",
];

/// The responses that clients received: status, headers and body.
#[derive(Default)]
struct Responses(Vec<String>);

impl Responses {
    fn add(&mut self, reply: Reply) -> Reply {
        self.0.push(format!("{} {:?} {}", reply.status, reply.headers, reply.text));
        reply
    }
}

#[tokio::test]
#[ignore = "a test below starts it in a new process"]
async fn child() {
    use std::io::Write as _;
    if Variables::from_process().get(CHILD).is_none() {
        return;
    }
    shared::telemetry::init(Some("TRACE"));
    let harness = Harness::start().await;
    harness.system.secrets().set(json!({ "current": "v1", "v1": PEPPER }).to_string());
    let mut responses = Responses::default();
    let account = harness.create_account("canary", "ServiceAccountReader").await;
    let key = responses.add(issue(&harness, &account).await.expect(201)).json();
    let secret = key["secret"].as_str().unwrap().to_owned();
    add_identity(&harness, &account, &mut responses).await;
    let verifiers = encoded_verifiers(&harness).await;

    send_valid_and_invalid_requests(&harness, &account, &secret, &mut responses).await;
    send_requests_during_outages(&harness, &account, &secret, &mut responses).await;
    send_requests_with_malformed_items(&harness, &account, &secret, &mut responses).await;
    end_key(&harness, &account, &secret, &mut responses).await;

    let report = json!({
        "secret": secret,
        "verifiers": verifiers,
        "token": harness.admin_token(|_| ()),
        "startToken": harness.system.facts().admin_token,
        "password": harness.system.facts().admin_password,
        "responses": responses.0,
    });
    writeln!(std::io::stdout(), "\n{REPORT}{report}").unwrap();
}

/// Issues a key. All calls use the same `Idempotency-Key`.
async fn issue(harness: &Harness, account: &Account) -> Reply {
    let request = harness.request("POST", &format!("{}/keys", account.path())).admin();
    request.idempotency_key("the-attempt").json(&json!({ "name": "canary" })).send().await
}

/// Registers an issuer and adds a federated identity.
async fn add_identity(harness: &Harness, account: &Account, responses: &mut Responses) {
    responses.add(harness.put_issuer("corp", &json!({ "issuer": "https://id.example.com" })).await);
    let body = json!({ "name": "canary", "issuer": "corp", "audience": "a", "claims": { "sub": "w" } });
    let request = harness.request("POST", &format!("{}/federated-identities", account.path())).admin();
    responses.add(request.json(&body).send().await.expect(201));
    responses.add(harness.get("/iam/v1/issuers").await);
}

/// The verifiers and seals in the table, in the usual encodings of bytes.
async fn encoded_verifiers(harness: &Harness) -> Vec<String> {
    let mut items = harness.table.items("ISSUERS").await;
    for account in harness.table.items("ACCOUNT#").await {
        items
            .extend(account["verifiers"].as_m().unwrap().values().map(|entry| entry.as_m().unwrap().clone()));
    }
    let names = ["verifier", "seal"];
    let secrets = items.iter().flat_map(|item| names.into_iter().filter_map(|name| item.get(name)));
    let bytes: Vec<_> = secrets.map(|value| value.as_b().unwrap().as_ref().to_vec()).collect();
    assert_eq!(bytes.len(), 4, "a verifier of each grant, and the seals of the identity and the issuer");
    let bytes = bytes.into_iter();
    let encoded = bytes.flat_map(|bytes| {
        let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        let upper = hex.to_uppercase();
        let list = format!("{bytes:?}");
        [STANDARD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes), hex, upper, list]
    });
    encoded.collect()
}

async fn send_valid_and_invalid_requests(
    harness: &Harness,
    account: &Account,
    secret: &str,
    responses: &mut Responses,
) {
    responses.add(issue(harness, account).await.expect(409));
    let request = |method: &str, path: &str| harness.request(method, path);
    for (status, request) in [
        (200, request("GET", "/organizations/42").bearer(secret)),
        (200, request("GET", "/iam/v1/whoami").bearer(secret)),
        (403, request("POST", "/organizations/42").bearer(secret)),
        (403, request("GET", "/iam/v1/service-accounts").bearer(secret)),
        // Cut off, too long, of another environment, sent twice, and without `Bearer`.
        (403, request("GET", "/organizations/42").bearer(&secret[..secret.len() - 1])),
        (403, request("GET", "/organizations/42").bearer(&format!("{secret}0"))),
        (403, request("GET", "/organizations/42").bearer(&secret.replace("_local_", "_prod_"))),
        (403, request("GET", "/organizations/42").bearer(secret).bearer(secret)),
        (403, request("GET", "/organizations/42").header("Authorization", &format!("Basic {secret}"))),
        (403, request("GET", "/organizations/42").header("Authorization", secret)),
        // In a query, in a path and in another header.
        (401, request("GET", &format!("/organizations/42?access_token={secret}"))),
        (200, request("GET", &format!("/organizations/{secret}")).bearer(secret)),
        (403, request("GET", &format!("/iam/v1/{secret}")).bearer(secret).header("X-Api-Key", secret)),
        // An admin's token at the IAM API, at a business API, and after it expired.
        (200, request("GET", "/iam/v1/service-accounts").admin()),
        (200, request("GET", &account.path()).admin()),
        (200, request("GET", &format!("{}/events", account.path())).admin()),
        (403, request("GET", "/organizations/42").admin()),
        (
            403,
            request("GET", "/iam/v1/service-accounts").bearer(&harness.admin_token(|claims| {
                claims["exp"] = 1.into();
            })),
        ),
    ] {
        let reply = request.send().await;
        assert!(reply.status == status || reply.status == 404, "{status}: {reply:?}");
        // The echo backend returns the client's own path and query. This is not a leak.
        if !reply.text.contains("\"principal\":") {
            responses.add(reply);
        }
    }
    // Events that the local gateway never sends.
    let authorizer = harness.another_authorizer();
    let arn = "arn:aws:execute-api:eu-central-1:123456789012:api/test/GET/organizations/42";
    for event in [
        json!({ "type": "TOKEN", "authorizationToken": format!("Bearer {secret}"), "methodArn": arn }),
        json!({ "type": "TOKEN", "authorizationToken": secret, "methodArn": secret }),
        json!({ "type": secret, "version": secret, "routeArn": secret, "headers": secret }),
        event(&format!("{secret}.{secret}.{secret}")),
    ] {
        let _ = authorizer.answer(&event.to_string(), "invocation-1").await;
    }
    let _ = authorizer.answer(&format!("{{\"authorizationToken\": {secret}"), "invocation-1").await;
    // Valid and invalid lookups of the key.
    for body in [
        json!({ "key": secret }),
        json!({ "key": format!("Authorization: Bearer {secret}\nand more") }),
        json!({ "key": format!("{secret}0") }),
        json!({ "key": secret.replace("_local_", "_prod_") }),
        json!({ "key": [secret] }),
        json!({ "key": { secret: secret } }),
        json!({ secret: secret }),
        json!([secret]),
    ] {
        for text in [body.to_string(), format!("{{\"key\": {body} {secret}")] {
            let lookup = request("POST", "/iam/v1/keys/lookup").admin();
            responses.add(lookup.text("application/json", &text).send().await);
        }
    }
    // A key in the body of another request.
    for body in [
        format!("{{\"name\": {secret}"),
        json!({ "name": "x", "role": "ServiceAccountReader", "owner": { "key": secret } }).to_string(),
        json!({ "name": "x", "role": secret }).to_string(),
        json!([secret]).to_string(),
    ] {
        let create = request("POST", "/iam/v1/service-accounts").admin();
        responses.add(create.text("application/json", &body).send().await);
    }
}

/// Sends requests while AWS is unreachable or responds with secrets.
async fn send_requests_during_outages(
    harness: &Harness,
    account: &Account,
    secret: &str,
    responses: &mut Responses,
) {
    let canaries = format!("{secret} {PEPPER}");
    for action in [
        Action::Refuse,
        Action::LoseResponse,
        Action::Respond(500, canaries.clone()),
        Action::Respond(400, json!({ "__type": "ValidationException", "note": canaries }).to_string()),
        Action::ReplaceBody(canaries.clone()),
        Action::ReplaceBody(format!("{{\"Item\":{{\"name\":{{\"S\":\"{canaries}")),
        Action::ReplaceBody(
            json!({ "Item": { "role": { "S": canaries } }, "SecretString": canaries }).to_string(),
        ),
        Action::ReplaceBody(
            json!({ "SecretString": json!({ "current": PEPPER, "v1": PEPPER }) }).to_string(),
        ),
    ] {
        harness.wire.intercept(move |_| action.clone());
        check(&harness.another_authorizer(), secret).await;
        harness.check(secret).await;
        responses.add(harness.request("GET", "/organizations/42").bearer(secret).send().await);
        responses.add(issue(harness, account).await);
        responses.add(harness.request("GET", &account.path()).admin().send().await);
        responses.add(harness.request("DELETE", &account.path()).admin().send().await);
        let lookup = harness.request("POST", "/iam/v1/keys/lookup").admin();
        responses.add(lookup.json(&json!({ "key": secret })).send().await);
        harness.system.secrets().begin_rotation("rotation-1");
        for step in ROTATION_STEPS {
            let _ = harness.system.rotate_pepper(step, "rotation-1").await;
        }
    }
    harness.wire.pass_all();
    rotate_pepper(harness, "rotation-2").await;
}

/// Sends requests while an attribute of the account's item contains secrets, to check
/// that errors about malformed items do not quote them.
async fn send_requests_with_malformed_items(
    harness: &Harness,
    account: &Account,
    secret: &str,
    responses: &mut Responses,
) {
    let secrets = AttributeValue::S(format!("{secret} {PEPPER}"));
    let item = harness.table.account(&account.id).await;
    for attribute in ["role", "enabled", "keys", "verifiers", "version", "createdAt", "createdBy"] {
        let mut malformed = item.clone();
        malformed.insert(attribute.to_owned(), secrets.clone());
        harness.table.put(malformed).await;
        responses.add(harness.request("GET", "/organizations/42").bearer(secret).send().await);
        responses.add(harness.request("GET", &account.path()).admin().send().await);
        responses.add(issue(harness, account).await);
    }
    harness.table.put(item).await;
}

/// Updates the account, revokes its keys and deletes it.
async fn end_key(harness: &Harness, account: &Account, secret: &str, responses: &mut Responses) {
    assert_eq!(harness.check(secret).await, 200);
    for (method, path, status) in [
        ("PATCH", account.path(), 200),
        ("DELETE", format!("{}/keys", account.path()), 200),
        ("DELETE", account.path(), 204),
    ] {
        let body = json!({ "description": "soon gone" });
        let request = harness.request(method, &path).admin();
        let request = if method == "PATCH" { request.json(&body) } else { request };
        responses.add(request.send().await.expect(status));
        responses.add(issue(harness, account).await);
        responses.add(harness.request("GET", "/iam/v1/whoami").bearer(secret).send().await);
    }
    assert_eq!(harness.check(secret).await, 403);
}

#[tokio::test]
async fn logs_contain_no_secret_and_only_the_issue_response_contains_the_key() {
    let output = this_binary(concat!(module_path!(), "::child"))
        .env(CHILD, "yes")
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{error}");
    let report = out.lines().find_map(|line| line.strip_prefix(REPORT)).expect("a report");
    let report: Value = serde_json::from_str(report).unwrap();
    let text = |name: &str| report[name].as_str().unwrap().to_owned();
    let whole = text("secret");
    let secret = whole.rsplit('_').next().unwrap()[..43].to_owned();

    let mut canaries = vec![("the secret", secret.clone()), ("the pepper", PEPPER.to_owned())];
    canaries.push(("the pepper's bytes", format!("{:?}", PEPPER.as_bytes()).replace(['[', ']'], "")));
    canaries.push(("the secret's bytes", format!("{:?}", secret.as_bytes()).replace(['[', ']'], "")));
    canaries.push(("the secret in base64", STANDARD_NO_PAD.encode(&whole)[..60].to_owned()));
    canaries.push(("the admin's password", text("password")));
    for token in ["token", "startToken"] {
        canaries.push(("a token's signature", text(token).rsplit('.').next().unwrap().to_owned()));
    }
    for verifier in report["verifiers"].as_array().unwrap() {
        canaries.push(("a verifier", verifier.as_str().unwrap().to_owned()));
    }

    let (mut own_lines, mut leaky) = (0, BTreeSet::new());
    for line in out.lines().chain(error.lines()).filter(|line| !line.starts_with(REPORT)) {
        let found = canaries.iter().find(|(_, canary)| line.contains(canary)).map(|(name, _)| *name);
        let entry: Value = serde_json::from_str(line).unwrap_or_default();
        let (level, target) = (entry["level"].as_str(), entry["target"].as_str().unwrap_or_default());
        let package = target.split("::").next().unwrap_or_default();
        let is_own = OWN_PACKAGES.contains(&package);
        own_lines += usize::from(is_own);
        if let Some(found) = found {
            let is_removed_in_release = !is_own && matches!(level, Some("DEBUG" | "TRACE"));
            assert!(is_removed_in_release, "the log contains {found}: {line:.400}");
            leaky.insert(package.to_owned());
        }
    }
    eprintln!(
        "Keyward logged {own_lines} lines without a secret. Libraries that log secrets below INFO: {leaky:?}"
    );
    assert!(own_lines > 100, "Keyward logged only {own_lines} lines");

    let responses: Vec<&str> =
        report["responses"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let count = |canary: &str| responses.iter().filter(|response| response.contains(canary)).count();
    assert_eq!(count(&secret), 1, "only the response that issues the key contains its secret");
    for (name, canary) in &canaries[1..] {
        assert_eq!(count(canary), 0, "a response contains {name}");
    }
}

#[test]
fn a_release_build_has_no_events_below_info() {
    let manifest = include_str!("../../../Cargo.toml");
    let tracing = manifest.lines().find(|line| line.starts_with("tracing = ")).unwrap();
    assert!(tracing.contains("\"release_max_level_info\""), "{tracing}");
    let expected = if cfg!(debug_assertions) { "trace" } else { "info" };
    assert_eq!(tracing::level_filters::STATIC_MAX_LEVEL.to_string(), expected);
}
