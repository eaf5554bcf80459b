//! Nothing leaks: a key, the pepper, verifiers, an admin's token and password go
//! every way there is, good and bad, at the most verbose log level, and are
//! found nowhere but in the one answer that issues the key.
//!
//! A log is of a whole process, so a process of its own does it: this binary,
//! started again to run [`child`] alone, with the very set-up of logs that the
//! functions have ([`shared::telemetry`]).
//!
//! What this build can show and what it cannot: our own events are judged at
//! every level, the libraries' from `INFO` on. Below that `aws_smithy_runtime`
//! writes whole requests and responses, and with them what the table and the
//! secret hold. (It and no other: the test prints which it found.) A release build has no
//! such events: the feature `release_max_level_info` of `tracing`, which
//! [`libraries_are_silent_below_info_in_a_release_build`] asserts, leaves them
//! out when it is compiled.

use std::collections::BTreeSet;
use std::process::Stdio;

use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use shared::config::Variables;
use tests::{Account, Action, Harness, Item, Reply};

use crate::support::{STEPS, check, event, rotate_pepper, this_binary};

/// Says to this binary, started again, that it is that process.
const CHILD: &str = "KEYWARD_TEST_LEAKS";
/// Begins the line that says what the process did. All others are its log.
const REPORT: &str = "report ";
/// 64 letters and digits, as `CloudFormation` generates them.
const PEPPER: &str = "PepperCanary0123456789PepperCanary0123456789PepperCanary01234567";
/// The packages whose events are judged at every level.
const OUR_OWN: [&str; 10] = [
    "authorizer",
    "create_service_account",
    "issue_key",
    "list_service_accounts",
    "local",
    "revoke_key",
    "rotate_pepper",
    "shared",
    "sweep_keys",
    "update_service_account",
];

/// All that a client was answered.
#[derive(Default)]
struct Answers(Vec<String>);

impl Answers {
    fn add(&mut self, reply: Reply) -> Reply {
        self.0.push(format!("{} {:?} {}", reply.status, reply.headers, reply.text));
        reply
    }
}

#[tokio::test]
#[ignore = "the test below starts it in a process of its own"]
async fn child() {
    use std::io::Write as _;
    if Variables::from_process().get(CHILD).is_none() {
        return;
    }
    shared::telemetry::init(Some("TRACE"));
    let harness = Harness::start().await;
    harness.system.set_secret(json!({ "current": "v1", "v1": PEPPER }).to_string());
    let mut answers = Answers::default();
    let account = harness.create_account("canary", "ServiceAccountReader").await;
    let key = issue(&harness, &account, &mut answers).await.expect(201).json();
    let secret = key["secret"].as_str().unwrap().to_owned();
    let verifiers = verifiers(&harness).await;

    good_and_bad_requests(&harness, &account, &secret, &mut answers).await;
    outages(&harness, &account, &secret, &mut answers).await;
    broken_items(&harness, &account, &secret, &mut answers).await;
    the_end_of_the_key(&harness, &account, &secret, &mut answers).await;

    let report = json!({
        "secret": secret,
        "verifiers": verifiers,
        "token": harness.admin_token(|_| ()),
        "startToken": harness.system.facts().admin_token,
        "password": harness.system.facts().admin_password,
        "answers": answers.0,
    });
    writeln!(std::io::stdout(), "\n{REPORT}{report}").unwrap();
}

async fn issue(harness: &Harness, account: &Account, answers: &mut Answers) -> Reply {
    let request = harness.request("POST", &format!("{}/keys", account.path())).admin();
    let request = request.header("Idempotency-Key", "the-attempt").json(&json!({ "name": "canary" }));
    answers.add(request.send().await)
}

/// The verifiers in the table, in each way that bytes may be written.
async fn verifiers(harness: &Harness) -> Vec<String> {
    let items = harness.table.items("ACCOUNT#").await;
    let entries = items.iter().flat_map(|item| item["verifiers"].as_m().unwrap().values());
    let bytes = entries.map(|entry| entry.as_m().unwrap()["verifier"].as_b().unwrap().as_ref().to_vec());
    let spellings = bytes.flat_map(|bytes| {
        let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        let upper = hex.to_uppercase();
        let list = format!("{bytes:?}");
        [STANDARD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes), hex, upper, list]
    });
    spellings.collect()
}

async fn good_and_bad_requests(harness: &Harness, account: &Account, secret: &str, answers: &mut Answers) {
    let retry = issue(harness, account, answers).await;
    assert_eq!(retry.status, 409);
    let request = |method: &str, path: &str| harness.request(method, path);
    for (status, request) in [
        (200, request("GET", "/organizations/42").bearer(secret)),
        (200, request("GET", "/iam/v1/whoami").bearer(secret)),
        (403, request("POST", "/organizations/42").bearer(secret)),
        (403, request("GET", "/iam/v1/service-accounts").bearer(secret)),
        // Mistyped, cut off, too long, joined, under another scheme.
        (403, request("GET", "/organizations/42").bearer(&secret[..secret.len() - 1])),
        (403, request("GET", "/organizations/42").bearer(&format!("{secret}0"))),
        (403, request("GET", "/organizations/42").bearer(&secret.replace("_local_", "_prod_"))),
        (403, request("GET", "/organizations/42").bearer(secret).bearer(secret)),
        (403, request("GET", "/organizations/42").header("Authorization", &format!("Basic {secret}"))),
        (403, request("GET", "/organizations/42").header("Authorization", secret)),
        // Where it does not belong.
        (401, request("GET", &format!("/organizations/42?access_token={secret}"))),
        (200, request("GET", &format!("/organizations/{secret}")).bearer(secret)),
        (403, request("GET", &format!("/iam/v1/{secret}")).bearer(secret).header("X-Api-Key", secret)),
        // A person's token where it is good, and where it is not.
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
        // The echo shows a client its own path and query: that is no leak.
        if !reply.text.contains("\"principal\":") {
            answers.add(reply);
        }
    }
    // Events that the local gateway never makes.
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
    // An admin who looks it up, and sends it in every wrong way.
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
        let request = request("POST", "/iam/v1/keys/lookup").admin();
        answers.add(request.text("application/json", &body.to_string()).send().await);
        let request = harness.request("POST", "/iam/v1/keys/lookup").admin();
        answers.add(request.text("application/json", &format!("{{\"key\": {body} {secret}")).send().await);
    }
    // A client that sends a key in a body is told nothing of it.
    for body in [
        format!("{{\"name\": {secret}"),
        json!({ "name": "x", "role": "ServiceAccountReader", "owner": { "key": secret } }).to_string(),
        json!({ "name": "x", "role": secret }).to_string(),
        json!([secret]).to_string(),
    ] {
        let request = harness.request("POST", "/iam/v1/service-accounts").admin();
        answers.add(request.text("application/json", &body).send().await);
    }
}

/// Dependencies that answer with what they should never say.
async fn outages(harness: &Harness, account: &Account, secret: &str, answers: &mut Answers) {
    let canaries = format!("{secret} {PEPPER}");
    for action in [
        Action::Refuse,
        Action::LoseResponse,
        Action::Answer(500, canaries.clone()),
        Action::Answer(400, json!({ "__type": "ValidationException", "note": canaries }).to_string()),
        Action::Replace(canaries.clone()),
        Action::Replace(format!("{{\"Item\":{{\"name\":{{\"S\":\"{canaries}")),
        Action::Replace(
            json!({ "Item": { "role": { "S": canaries } }, "SecretString": canaries }).to_string(),
        ),
        Action::Replace(json!({ "SecretString": json!({ "current": PEPPER, "v1": PEPPER }) }).to_string()),
    ] {
        harness.wire.disturb(move |_| action.clone());
        check(&harness.another_authorizer(), secret).await;
        harness.check(secret).await;
        answers.add(harness.request("GET", "/organizations/42").bearer(secret).send().await);
        answers.add(issue(harness, account, &mut Answers::default()).await);
        answers.add(harness.request("GET", &account.path()).admin().send().await);
        answers.add(harness.request("DELETE", &account.path()).admin().send().await);
        let lookup = harness.request("POST", "/iam/v1/keys/lookup").admin();
        answers.add(lookup.json(&json!({ "key": secret })).send().await);
        harness.system.secrets().begin_rotation("rotation-1");
        for step in STEPS {
            let _ = harness.system.rotate_pepper(step, "rotation-1").await;
        }
    }
    harness.wire.calm();
    rotate_pepper(harness, "rotation-2").await;
}

/// Items that are not well-formed: what is wrong is said, and nothing quoted.
async fn broken_items(harness: &Harness, account: &Account, secret: &str, answers: &mut Answers) {
    for attribute in ["role", "enabled", "keys", "verifiers", "version", "createdAt", "createdBy"] {
        let broken = AttributeValue::S(format!("{secret} {PEPPER}"));
        let item = harness.table.get(&format!("ACCOUNT#{}", account.id), "ACCOUNT").await.unwrap();
        let breaks = |item: &mut Item| drop(item.insert(attribute.to_owned(), broken));
        harness.table.tamper(&account.id, breaks).await;
        answers.add(harness.request("GET", "/organizations/42").bearer(secret).send().await);
        answers.add(harness.request("GET", &account.path()).admin().send().await);
        answers.add(issue(harness, account, &mut Answers::default()).await);
        harness.table.put(item).await;
    }
}

async fn the_end_of_the_key(harness: &Harness, account: &Account, secret: &str, answers: &mut Answers) {
    assert_eq!(harness.check(secret).await, 200);
    for (method, path, status) in [
        ("PATCH", account.path(), 200),
        ("DELETE", format!("{}/keys", account.path()), 200),
        ("DELETE", account.path(), 204),
    ] {
        let body = json!({ "description": "soon gone" });
        let request = harness.request(method, &path).admin();
        let request = if method == "PATCH" { request.json(&body) } else { request };
        answers.add(request.send().await.expect(status));
        issue(harness, account, answers).await;
        answers.add(harness.request("GET", "/iam/v1/whoami").bearer(secret).send().await);
    }
    assert_eq!(harness.check(secret).await, 403);
}

#[tokio::test]
async fn nothing_is_in_the_log_and_the_secret_in_one_answer() {
    let output = this_binary(concat!(module_path!(), "::child"))
        .env(CHILD, "yes")
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{error}");
    let report = out.lines().find_map(|line| line.strip_prefix(REPORT)).expect("it reports");
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

    let (mut ours, mut leaky) = (0, BTreeSet::new());
    for line in out.lines().chain(error.lines()).filter(|line| !line.starts_with(REPORT)) {
        let found = canaries.iter().find(|(_, canary)| line.contains(canary)).map(|(what, _)| *what);
        let entry: Value = serde_json::from_str(line).unwrap_or_default();
        let (level, target) = (entry["level"].as_str(), entry["target"].as_str().unwrap_or_default());
        let package = target.split("::").next().unwrap_or_default();
        let is_ours = OUR_OWN.contains(&package);
        ours += usize::from(is_ours);
        if let Some(found) = found {
            let is_left_out = !is_ours && matches!(level, Some("DEBUG" | "TRACE"));
            assert!(is_left_out, "{found} is in the log: {line:.400}");
            leaky.insert(package.to_owned());
        }
    }
    eprintln!(
        "{ours} lines of our own, none with a canary; below INFO these libraries write some: {leaky:?}"
    );
    assert!(ours > 100, "the log has only {ours} lines of ours");

    let answers: Vec<&str> = report["answers"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let holding = |canary: &str| answers.iter().filter(|answer| answer.contains(canary)).count();
    assert_eq!(holding(&secret), 1, "the secret is in one answer, that of its issue");
    for (what, canary) in &canaries[1..] {
        assert_eq!(holding(canary), 0, "{what} is in an answer");
    }
}

#[test]
fn libraries_are_silent_below_info_in_a_release_build() {
    let manifest = include_str!("../../../Cargo.toml");
    let tracing = manifest.lines().find(|line| line.starts_with("tracing = ")).unwrap();
    assert!(tracing.contains("\"release_max_level_info\""), "{tracing}");
    // In a release build the compiler has left them out; in this one it has not.
    let expected = if cfg!(debug_assertions) { "trace" } else { "info" };
    assert_eq!(tracing::level_filters::STATIC_MAX_LEVEL.to_string(), expected);
}
