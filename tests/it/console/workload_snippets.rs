//! The examples on the page of a federated identity. Each example runs as pasted, with a program in
//! the place of its platform, and calls the API with the token that it gets.

use std::path::Path;
use std::process::Stdio;

use axum::Router;
use axum::extract::Query;
use axum::http::HeaderMap;
use axum::routing::get;
use serde_json::{Value, json};
use shared::config::Variables;
use tests::workload::{self, KEYS};
use tests::{Account, Harness};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::support::browser::{Browser, Page};

/// An audience with characters that have a meaning in shells, YAML and Python.
const AUDIENCE: &str = "https://keyward.example/'\"$(id)`id`\\n";

/// Trusts `issuer`, adds an identity that requires `claims`, and opens the identity's page. Returns
/// the page, a matching JWT and the account.
async fn identity(harness: &Harness, issuer: &str, claims: &Value) -> (Page, String, Account) {
    let algorithms = ["RS256", "ES256", "ES384", "EdDSA"];
    let body = json!({ "issuer": issuer, "jwks": workload::jwks(KEYS.iter()), "algorithms": algorithms });
    let _ = harness.put_issuer("platform", &body).await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let body = json!({ "name": "job", "issuer": "platform", "audience": AUDIENCE, "claims": claims });
    let added = harness.add_identity(&account, &body).await;
    let jwt = workload::jwt_with(harness, |own| {
        own["iss"] = issuer.into();
        own["aud"] = AUDIENCE.into();
        for (name, value) in claims.as_object().unwrap() {
            own[name] = value.clone();
        }
    });
    let mut browser = Browser::signed_in(harness).await;
    let path = format!("/accounts/{}/identities/{}", account.id, added["id"].as_str().unwrap());
    (browser.get(&path).await.expect(200), jwt, account)
}

/// Runs a program with these environment variables and this standard input. Returns its output.
async fn run(folder: &Path, program: &[&str], variables: &[(&str, &str)], input: &str) -> String {
    let mut command = Command::new(program[0]);
    let path = format!("{}:{}", folder.display(), Variables::from_process().get("PATH").unwrap());
    command.args(&program[1..]).current_dir(folder).env("PATH", path).envs(variables.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Checks that the output ends with the response of `whoami` to the account.
fn expect_caller(output: &str, account: &Account) {
    let body = output.lines().last().unwrap();
    let caller: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{output}"));
    assert_eq!(caller["principalId"], account.id, "{caller}");
}

/// Puts a program into the folder, which is the first on the search path.
fn put_program(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.join(name), executable).unwrap();
}

#[tokio::test]
async fn github_workflow_masks_and_uses_a_token() {
    let harness = Harness::start().await;
    let claims = json!({ "repository_id": "1", "repository_owner_id": "2", "environment": "pro: \"d\"" });
    let issuer = "https://token.actions.githubusercontent.com";
    let (page, jwt, account) = identity(&harness, issuer, &claims).await;
    let workflow: Value = serde_norway::from_str(&page.code("use-1")).unwrap();
    assert_eq!(workflow["permissions"], json!({ "contents": "read", "id-token": "write" }));
    let job = &workflow["jobs"]["whoami"];
    assert_eq!(
        (&job["environment"], &job["env"]["KEYWARD_AUDIENCE"]),
        (&claims["environment"], &json!(AUDIENCE))
    );
    // GitHub's endpoint for JWTs.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token?api-version=2.0", listener.local_addr().unwrap());
    let own = jwt.clone();
    let handler = move |Query(query): Query<Value>, headers: HeaderMap| async move {
        assert_eq!(query, json!({ "api-version": "2.0", "audience": AUDIENCE }));
        assert_eq!(headers["authorization"], "Bearer of-the-job");
        json!({ "value": own }).to_string()
    };
    let server = axum::serve(listener, Router::new().route("/token", get(handler)));
    let server = tokio::spawn(server.into_future());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("env");
    let variables = [
        ("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of-the-job"),
        ("KEYWARD_AUDIENCE", AUDIENCE),
        ("GITHUB_ENV", file.to_str().unwrap()),
    ];
    let bash = |step: usize| {
        assert_eq!(job["steps"][step]["shell"], "bash");
        // GitHub's options for `shell: bash`.
        [
            "bash",
            "--noprofile",
            "--norc",
            "-eo",
            "pipefail",
            "-c",
            job["steps"][step]["run"].as_str().unwrap(),
        ]
    };
    let output = run(folder.path(), &bash(0), &variables, "").await;
    let stored = std::fs::read_to_string(&file).unwrap();
    let (name, token) = stored.trim_end().split_once('=').unwrap();
    assert_eq!(output, format!("::add-mask::{jwt}\n::add-mask::{token}\n"));
    expect_caller(&run(folder.path(), &bash(1), &[(name, token)], "").await, &account);
    server.abort();
}

#[tokio::test]
async fn gitlab_job_uses_a_token() {
    let harness = Harness::start().await;
    let claims = json!({ "project_id": "1", "ref": "main", "ref_type": "branch" });
    let (page, jwt, account) = identity(&harness, "https://gitlab.com", &claims).await;
    let jobs: Value = serde_norway::from_str(&page.code("use-1")).unwrap();
    let job = &jobs["whoami"];
    // GitLab reads `$$` as `$`.
    assert_eq!(job["id_tokens"]["KEYWARD_JWT"]["aud"], AUDIENCE.replace('$', "$$"));
    assert_eq!(job.get("environment"), None, "the identity requires no environment");
    let lines: Vec<_> = job["script"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    let folder = tempfile::tempdir().unwrap();
    put_program(folder.path(), "apk", "#!/bin/sh\n");
    let output = run(folder.path(), &["sh", "-ec", &lines.join("\n")], &[("KEYWARD_JWT", &jwt)], "").await;
    expect_caller(&output, &account);
}

#[tokio::test]
async fn kubernetes_pod_uses_a_token() {
    let harness = Harness::start().await;
    let claims = json!({ "sub": "system:serviceaccount:data:importer" });
    let issuer = "https://kubernetes.default.svc.cluster.local";
    let (page, jwt, account) = identity(&harness, issuer, &claims).await;
    let job: Value = serde_norway::from_str(&page.code("use-1")).unwrap();
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(
        (&job["metadata"]["namespace"], &pod["serviceAccountName"]),
        (&json!("data"), &json!("importer"))
    );
    let source = &pod["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"];
    assert_eq!(source["audience"], AUDIENCE);
    let container = &pod["containers"][0];
    let mount = container["volumeMounts"][0]["mountPath"].as_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    put_program(folder.path(), "apk", "#!/bin/sh\n");
    std::fs::write(folder.path().join(source["path"].as_str().unwrap()), jwt).unwrap();
    // The projected volume is somewhere else here.
    let script = container["args"][0].as_str().unwrap().replace(mount, folder.path().to_str().unwrap());
    assert_eq!(container["command"], json!(["sh", "-ec"]));
    expect_caller(&run(folder.path(), &["sh", "-ec", &script], &[], "").await, &account);
}

#[tokio::test]
async fn aws_program_uses_a_token() {
    let harness = Harness::start().await;
    let claims = json!({ "sub": "arn:aws:iam::123456789012:role/importer" });
    let issuer = "https://abc12345-def4-5678-90ab-cdef12345678.tokens.sts.global.api.aws";
    let (page, jwt, account) = identity(&harness, issuer, &claims).await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("jwt"), format!("{jwt}\n")).unwrap();
    put_program(folder, "aws", "#!/bin/sh\nprintf '%s\\n' \"$@\" > arguments\ncat jwt\n");
    expect_caller(&run(folder, &["sh", "-ec", &page.code("use-1")], &[], "").await, &account);
    let arguments = std::fs::read_to_string(folder.join("arguments")).unwrap();
    assert_eq!(
        arguments.lines().collect::<Vec<_>>(),
        [
            "sts",
            "get-web-identity-token",
            "--audience",
            AUDIENCE,
            "--signing-algorithm",
            "ES384",
            "--duration-seconds",
            "300"
        ]
        .into_iter()
        .chain(["--query", "WebIdentityToken", "--output", "text"])
        .collect::<Vec<_>>()
    );
    // A module that takes the place of boto3.
    let boto3 = "import json\nclass Sts:\n    def get_web_identity_token(self, **arguments):\n        json.dump(arguments, \
                 open('arguments', 'w'))\n        return {'WebIdentityToken': open('jwt').read().strip()}\ndef client(name, \
                 region_name):\n    assert (name, region_name) == ('sts', 'eu-central-1')\n    return Sts()\n";
    std::fs::write(folder.join("boto3.py"), boto3).unwrap();
    std::fs::write(folder.join("whoami.py"), page.code("use-2")).unwrap();
    let output = run(folder, &["python3", "whoami.py"], &[("AWS_REGION", "eu-central-1")], "").await;
    expect_caller(&output, &account);
    let arguments: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("arguments")).unwrap()).unwrap();
    assert_eq!(
        arguments,
        json!({ "Audience": [AUDIENCE], "SigningAlgorithm": "ES384", "DurationSeconds": 300 })
    );
}

#[tokio::test]
async fn program_with_another_jwt_uses_a_token_until_the_identity_is_ended() {
    let harness = Harness::start().await;
    let (page, jwt, account) =
        identity(&harness, "https://issuer.example", &json!({ "sub": "importer" })).await;
    let folder = tempfile::tempdir().unwrap();
    let script = format!("{}\n{}\nprintf '\\n%s' \"$token\"", page.code("use-1"), page.code("use-2"));
    let output = run(folder.path(), &["bash", "-ec", &script], &[], &format!("{jwt}\n")).await;
    let (body, token) = output.rsplit_once('\n').unwrap();
    expect_caller(body, &account);
    let status = async || harness.request("GET", "/organizations/1").bearer(token).send().await.status;
    assert_eq!(status().await, 200);
    // An admin finds a leaked token, and ends its identity.
    let mut browser = Browser::signed_in(&harness).await;
    let form = browser.get("/leaked").await.expect(200);
    let found = browser.submit(&form, "/leaked", &[("key", &format!("token={token};"))]).await.expect(303);
    let found = found.location().to_owned();
    assert!(found.starts_with("/leaked/token?found="), "{found}");
    let page = browser.get(&found).await.expect(200);
    page.expect_texts(&[
        "This token may be active",
        "Batch",
        "Federated identity job",
        "End the federated identity",
    ]);
    assert!(!page.text.contains("kwst_"), "{}", page.text);
    let link = page.text.split("href=\"").find(|link| link.contains("/end\"")).unwrap();
    let end = link.split('"').next().unwrap();
    let confirmation = browser.get(end).await.expect(200);
    confirmation
        .expect_texts(&["End federated identity job", "Programs that use the identity will be refused"]);
    browser.submit(&confirmation, end, &[]).await.expect(303);
    assert_eq!(status().await, 403);
    browser.get(&found).await.expect(200).expect_texts(&["This token no longer works"]);
    // A token pasted into the search box or an address is looked up and not shown.
    let overview = browser.get("/").await.expect(200);
    let redirect = browser.submit(&overview, "/search", &[("q", token)]).await.expect(303);
    assert!(redirect.location().starts_with("/leaked/token?found="), "{}", redirect.location());
    assert_eq!(browser.get(&format!("/accounts?owner={token}")).await.expect(303).location(), "/leaked");
}
