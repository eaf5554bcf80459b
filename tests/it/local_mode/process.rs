//! `cargo dev` as a process: it serves only this machine and this user, explains in one line
//! why it does not start, and keeps its data.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use insta::{assert_json_snapshot, assert_snapshot};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::local_process::{Folder, LocalProcess, command, run};

/// The one-line error of a start that fails, with a placeholder for the data folder.
async fn start_error(data: &Folder, arguments: &[&str]) -> String {
    start_error_of(command(data, arguments), data).await
}

/// The errors of a start with each of these values of a flag, one per line. Fails if a start
/// leaves files.
async fn start_errors(flag: &str, values: &[&str]) -> String {
    let data = Folder::new();
    let mut errors = Vec::new();
    for value in values {
        errors.push(start_error(&data, &[flag, value]).await);
    }
    assert_eq!(data.files(), [""; 0], "a failed start leaves no files");
    errors.join("\n")
}

async fn start_error_of(command: tokio::process::Command, data: &Folder) -> String {
    let output = run(command).await;
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code().is_some_and(|code| code != 0), "{:?}: {error}", output.status);
    assert_eq!(error.trim_end().lines().count(), 1, "not one line: {error}");
    error.trim_end().replace(data.text(), "[data]")
}

#[tokio::test]
async fn refuses_to_listen_on_non_loopback_addresses() {
    assert_snapshot!(start_errors("--host", &["0.0.0.0", "192.0.2.1", "::"]).await);
}

#[tokio::test]
async fn refuses_to_run_inside_lambda() {
    let data = Folder::new();
    let mut errors = Vec::new();
    for name in ["AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT"] {
        let mut command = command(&data, &[]);
        command.env(name, "anything");
        errors.push(start_error_of(command, &data).await);
    }
    assert_eq!(data.files(), [""; 0]);
    assert_snapshot!(errors.join("\n"));
}

#[tokio::test]
async fn names_the_flag_for_a_port_that_is_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut errors = Vec::new();
    for flag in ["--port", "--console-port", "--issuer-port", "--mcp-port"] {
        errors.push(start_error(&Folder::new(), &[flag, &port]).await.replace(&port, "[port]"));
    }
    assert_snapshot!(errors.join("\n"));
}

#[tokio::test]
async fn refuses_a_data_folder_that_is_in_use() {
    let data = Folder::new();
    let first = LocalProcess::start(&data, &[]).await;
    assert_snapshot!(start_error(&data, &[]).await);
    let account = first.create_account("still-running").await;
    assert_eq!(first.check(&first.issue_key(&account).await).await, 200);
}

#[tokio::test]
async fn names_a_broken_file_and_does_not_quote_its_content() {
    let mut errors = Vec::new();
    for (file, content) in [
        ("keyward.sqlite", "not a database, but tops.3cret".repeat(100)),
        ("secrets.json", r#"{"adminPassword": "tops.3cret", "#.to_owned()),
        ("secrets.json", r#"{"adminPassword": "tops.3cret"}"#.to_owned()),
    ] {
        let data = Folder::new();
        std::fs::write(data.path().join(file), content).unwrap();
        let error = start_error(&data, &[]).await;
        assert!(!error.contains("tops.3cret"), "{error}");
        errors.push(error);
    }
    assert_snapshot!(errors.join("\n"));
}

#[tokio::test]
async fn refuses_an_upstream_that_is_not_an_http_url() {
    let upstreams = [
        "localhost",
        "ftp://127.0.0.1",
        "localhost:3000",
        "",
        "http://localhost:3000/api?v=1",
        "http://localhost:3000/#a",
    ];
    assert_snapshot!(start_errors("--upstream", &upstreams).await);
}

#[tokio::test]
async fn refuses_an_openapi_document_that_cannot_be_used_and_names_the_position_of_the_error() {
    let data = Folder::new();
    let files = Folder::new();
    let operation = |parameters: serde_json::Value| {
        let operation = json!({ "operationId": "get_team", "parameters": parameters });
        json!({ "openapi": "3.1.0", "paths": { "/teams/{id}": { "get": operation } } }).to_string()
    };
    let mut errors = Vec::new();
    for (file, document) in [
        ("missing.yaml", None),
        ("empty.yaml", Some(String::new())),
        ("broken.json", Some("{\"openapi\": ".to_owned())),
        ("swagger.yaml", Some("swagger: '2.0'".to_owned())),
        ("reference.json", Some(operation(json!([{ "$ref": "#/components/parameters/none" }])))),
        ("elsewhere.json", Some(operation(json!([{ "$ref": "https://evil.example/parameter.json" }])))),
        ("123.json", Some(operation(json!([])))),
        ("large.yaml", Some("#".repeat(1_000_001))),
    ] {
        let path = files.path().join(file);
        if let Some(document) = document {
            std::fs::write(&path, document).unwrap();
        }
        let argument = path.display().to_string();
        let error = start_error(&data, &["--openapi", &argument]).await;
        errors.push(error.replace(files.text(), "[files]"));
    }
    assert_eq!(data.files(), [""; 0], "a failed start leaves no files");
    assert_snapshot!(errors.join("\n"));
}

#[tokio::test]
async fn serves_the_operations_of_an_openapi_document_as_tools() {
    let (data, files) = (Folder::new(), Folder::new());
    let file = files.path().join("Team API.json");
    let document = |name: &str| {
        let operation = json!({ "operationId": name, "description": "Lists teams." });
        let info = json!({ "title": "Teams", "version": "1" });
        json!({ "openapi": "3.1.0", "info": info, "paths": { "/teams": { "get": operation } } }).to_string()
    };
    std::fs::write(&file, document("list_teams")).unwrap();
    let argument = file.display().to_string();
    let mut keys = Vec::new();
    for name in ["list_teams", "all_teams"] {
        std::fs::write(&file, document(name)).unwrap();
        let local = LocalProcess::start(&data, &["--openapi", &argument]).await;
        if keys.is_empty() {
            let account = local.create_account("agent").await;
            keys.push(local.issue_key(&account).await);
            let mut api = local.admin("GET", "/iam/v1/apis/team-api", None, 200).await;
            assert_eq!((&api["title"], &api["baseUrl"]), (&json!("Teams"), &local.facts["api"]));
            api = json!({ "title": "Renamed", "baseUrl": api["baseUrl"], "confirmation": "ask" });
            local.admin("PUT", "/iam/v1/apis/team-api", Some(api), 200).await;
        }
        let url = format!("{}/team-api", local.facts["mcp"].as_str().unwrap());
        assert!(local.output.contains(&url), "the start-up text has the URL: {}", local.output);
        let listed = list_tools(&local, &url, &keys[0]).await;
        assert_eq!(listed, [name]);
        let api = local.admin("GET", "/iam/v1/apis/team-api", None, 200).await;
        assert_eq!((&api["title"], &api["confirmation"]), (&json!("Renamed"), &json!("ask")));
        assert_eq!(api["baseUrl"], local.facts["api"], "the base URL has the current port");
        local.interrupt().await;
    }
}

/// The names of the tools that an agent with this key gets.
async fn list_tools(local: &LocalProcess, url: &str, key: &str) -> Vec<String> {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    let request = local.request_to("POST", url).bearer_auth(key).json(&body);
    let request = request
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2025-11-25");
    let response: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
    let tools = response["result"]["tools"].as_array().unwrap_or_else(|| panic!("{response}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn explains_an_invalid_argument() {
    let mut errors = Vec::new();
    for arguments in [
        &["--prot", "1"][..],
        &["--environment", "Prod_1"],
        &["--port", "eighty"],
        &["--host", "here"],
        &["--data-prefixes", "teams"],
        &["--data-prefixes", "/teams,/iam/v1"],
        &["--data-prefixes", ","],
        &["--demo", "--data-prefixes", "/teams"],
    ] {
        let data = Folder::new();
        let output = run(command(&data, arguments)).await;
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8(output.stderr).unwrap();
        errors.push(text.lines().next().unwrap_or_default().to_owned());
    }
    assert_snapshot!(errors.join("\n"));
}

#[tokio::test]
async fn stops_at_ctrl_c_and_keeps_its_data() {
    let data = Folder::new();
    let first = LocalProcess::start(&data, &[]).await;
    let (kept, revoked) = {
        let account = first.create_account("kept").await;
        let keys = (first.issue_key(&account).await, first.issue_key(&account).await);
        let path = format!("/iam/v1/service-accounts/{account}/keys/key_{}", part(&keys.1, 3));
        first.admin("DELETE", &path, None, 204).await;
        keys
    };
    let password = first.facts["adminPassword"].clone();
    let stopped = first.interrupt().await;
    assert_eq!(stopped.code, Some(0), "{}", stopped.stderr);
    assert_eq!(stopped.stderr.replace(data.text(), "[data]"), "\nStopping. Data is stored in [data].\n");

    let second = LocalProcess::start(&data, &[]).await;
    assert_eq!(second.facts["adminPassword"], password);
    assert_eq!(second.check(&kept).await, 200);
    assert_eq!(second.check(&revoked).await, 403);
    let accounts = second.admin("GET", "/iam/v1/service-accounts", None, 200).await;
    assert_eq!(accounts["items"][0]["name"], "kept");
    for secret in [&kept, &revoked].map(|key| part(key, 4)) {
        for file in data.files() {
            let bytes = std::fs::read(data.path().join(&file)).unwrap();
            let is_stored = bytes.windows(43).any(|window| window == &secret.as_bytes()[..43]);
            assert!(!is_stored, "{file} contains a key's secret");
        }
    }
}

/// A part of a key. Part 0 is the prefix.
fn part(key: &str, index: usize) -> &str {
    key.split('_').nth(index).unwrap()
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode_of(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn refuses_a_data_folder_that_other_users_can_open() {
    let data = Folder::new();
    let mut errors = Vec::new();
    for mode in [0o777, 0o770, 0o755, 0o750, 0o705, 0o711] {
        set_mode(data.path(), mode);
        errors.push(start_error(&data, &[]).await);
        assert_eq!(mode_of(data.path()), mode, "the mode is unchanged");
        assert_eq!(data.files(), [""; 0]);
    }
    assert_snapshot!(errors.join("\n"));
    set_mode(data.path(), 0o700);
    LocalProcess::start(&data, &[]).await;
}

/// A user who can rename the folder could put another one in its place, and read all later data.
#[tokio::test]
async fn refuses_a_data_folder_that_other_users_can_replace() {
    let parent = Folder::new();
    let data = parent.path().join("data");
    let argument = data.display().to_string();
    let mut errors = Vec::new();
    for mode in [0o777, 0o703] {
        set_mode(parent.path(), mode);
        errors.push(start_error(&parent, &["--data", &argument]).await);
        assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0);
    }
    // Only root can change the owner. CI runs as root.
    set_mode(parent.path(), 0o1777);
    if std::os::unix::fs::chown(parent.path(), Some(12_345), None).is_ok() {
        errors.push(start_error(&parent, &["--data", &argument]).await);
        std::os::unix::fs::chown(parent.path(), Some(0), None).unwrap();
        assert_eq!(errors[2], errors[0]);
    }
    assert_eq!(errors[0], errors[1]);
    assert_snapshot!(errors[0]);
}

/// Only root can change the owner. CI runs as root.
#[tokio::test]
async fn refuses_files_and_folders_of_another_user() {
    let other = 12_345;
    let data = Folder::new();
    let mut errors = Vec::new();
    for name in ["secrets.json", "keyward.sqlite", "keyward.sqlite-wal", "lock"] {
        let file = data.path().join(name);
        std::fs::write(&file, "{}").unwrap();
        if std::os::unix::fs::chown(&file, Some(other), None).is_err() {
            return;
        }
        errors.push(start_error(&data, &[]).await);
        std::fs::remove_file(file).unwrap();
    }
    std::os::unix::fs::chown(data.path(), Some(other), None).unwrap();
    errors.push(start_error(&data, &[]).await);
    assert_snapshot!(errors.join("\n"));
}

#[tokio::test]
async fn follows_no_symbolic_link() {
    let data = Folder::new();
    let elsewhere = Folder::new();
    let target = elsewhere.path().join("target");
    std::fs::write(&target, "precious").unwrap();
    let mut errors = Vec::new();
    for name in [
        "local.json",
        "secrets.json",
        "lock",
        "log.jsonl",
        "log.1.jsonl",
        "keyward.sqlite",
        "keyward.sqlite-wal",
        "keyward.sqlite-shm",
    ] {
        let link = data.path().join(name);
        // A link to a file, and a link to a path that does not exist.
        for target in [target.clone(), elsewhere.path().join("new")] {
            symlink(target, &link).unwrap();
            errors.push(start_error(&data, &[]).await);
            std::fs::remove_file(&link).unwrap();
        }
    }
    std::fs::create_dir(data.path().join("lock")).unwrap();
    errors.push(start_error(&data, &[]).await);
    for slash in ["", "/"] {
        let linked = elsewhere.path().join("linked");
        let _ = symlink(data.path(), &linked);
        let argument = format!("{}{slash}", linked.display());
        let error = start_error(&data, &["--data", &argument]).await;
        errors.push(error.replace(elsewhere.text(), "[elsewhere]"));
    }
    assert_snapshot!(errors.join("\n"));
    assert_eq!(elsewhere.files(), ["linked", "target"]);
    assert_eq!(std::fs::read_to_string(target).unwrap(), "precious");
}

#[tokio::test]
async fn memory_mode_stores_only_local_json_and_the_log() {
    let data = Folder::new();
    let first = LocalProcess::start(&data, &["--memory"]).await;
    let account = first.create_account("forgotten").await;
    let key = first.issue_key(&account).await;
    assert_eq!(first.check(&key).await, 200);
    assert_eq!(first.interrupt().await.code, Some(0));
    assert_eq!(data.files(), ["local.json", "lock", "log.jsonl"]);

    let second = LocalProcess::start(&data, &["--memory"]).await;
    assert_eq!(second.check(&key).await, 403);
    assert_eq!(second.admin("GET", "/iam/v1/service-accounts", None, 200).await["items"], json!([]));
}

#[tokio::test]
async fn local_json_has_what_scripts_need_and_is_private() {
    let data = Folder::new();
    let local = LocalProcess::start(&data, &[]).await;
    let files = data.files();
    assert!(files.len() > 4, "the database has several files: {files:?}");
    for file in files {
        assert_eq!(mode_of(&data.path().join(&file)), 0o600, "{file}");
    }
    assert_json_snapshot!(local.facts, {
        ".api" => "[url]",
        ".console" => "[url]",
        ".issuer" => "[url]",
        ".mcp" => "[url]",
        ".adminToken" => "[token]",
        ".adminApiToken" => "[token]",
        ".adminPassword" => "[password]",
        ".workloadTokenUrl" => "[url]",
        ".workloadTokenBearer" => "[token]",
    });
    let ids = ["adminToken", "adminApiToken"].map(|member| {
        let payload = local.facts[member].as_str().unwrap().split('.').nth(1).unwrap();
        let claims: serde_json::Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        claims["jti"].as_str().expect("the token has an id").to_owned()
    });
    assert_ne!(ids[0], ids[1]);
    let token = local.facts["adminApiToken"].as_str().unwrap();
    assert_eq!(local.check(token).await, 200);
    assert_eq!(local.check(local.facts["adminToken"].as_str().unwrap()).await, 403);
}

/// Another user of this machine cannot connect to the table or to the secrets.
#[tokio::test]
async fn listens_only_on_the_ports_that_local_json_names() {
    let data = Folder::new();
    let local = LocalProcess::start(&data, &[]).await;
    let mut expected: Vec<String> = ["api", "console", "issuer", "mcp"]
        .iter()
        .map(|member| {
            let port = local.facts[*member].as_str().unwrap().split(['/', ':']).nth(4).unwrap();
            // 127.0.0.1 in the byte order of a little-endian machine.
            format!("0100007F:{:04X}", port.parse::<u16>().unwrap())
        })
        .collect();
    expected.sort();
    assert_eq!(local.listeners(), expected);
}

/// A request to one of the servers, and the expected status.
struct Probe {
    method: &'static str,
    url: String,
    token: String,
    form: Vec<(&'static str, String)>,
    status: u16,
}

/// What an attacker would try: reads, writes, and a request for a token.
fn probes(local: &LocalProcess) -> Vec<Probe> {
    let fact = |member: &str| local.facts[member].as_str().unwrap().to_owned();
    let grant = [
        ("grant_type", "password".to_owned()),
        ("client_id", "keyward-iam".to_owned()),
        ("username", fact("adminEmail")),
        ("password", fact("adminPassword")),
    ];
    let probe = |method, server: &str, path: &str, status| Probe {
        method,
        url: fact(server) + path,
        token: fact("adminToken"),
        form: Vec::new(),
        status,
    };
    let token = Probe { form: grant.into(), ..probe("POST", "issuer", "/token", 200) };
    vec![
        probe("GET", "api", "/iam/v1/service-accounts", 200),
        probe("DELETE", "api", "/iam/v1/service-accounts/sa_0000000000000000", 404),
        probe("GET", "api", "/organizations/1", 403),
        probe("GET", "console", "/accounts/new", 303),
        probe("GET", "issuer", "/.well-known/jwks.json", 200),
        // An admin's token is not a credential of an agent.
        probe("POST", "mcp", "/none", 401),
        token,
    ]
}

impl Probe {
    /// Sends the request with these additional headers.
    async fn send(&self, local: &LocalProcess, headers: &[(&str, &str)]) -> reqwest::Response {
        let mut request = local.request_to(self.method, &self.url).bearer_auth(&self.token);
        if !self.form.is_empty() {
            request = request.form(&self.form);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }
}

#[tokio::test]
async fn serves_only_its_own_host_names() {
    let data = Folder::new();
    let local = LocalProcess::start(&data, &[]).await;
    for probe in probes(&local) {
        let port = probe.url.split(['/', ':']).nth(4).unwrap();
        for host in ["127.0.0.1", "localhost", "LOCALHOST", "[::1]", "127.9.9.9"] {
            // The MCP server knows its names, because its metadata name the server.
            let is_unknown = host == "127.9.9.9" && probe.url.ends_with("/mcp/none");
            let host = format!("{host}:{port}");
            let response = probe.send(&local, &[("host", &host)]).await;
            let status = if is_unknown { 421 } else { probe.status };
            assert_eq!(response.status(), status, "{host}: {} {}", probe.method, probe.url);
        }
        let with_port =
            ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "192.0.2.1", "0.0.0.0"]
                .map(|host| format!("{host}:{port}"));
        let others = ["localhost", "127.0.0.1", "127.0.0.1:1", "evil.example", "", "a b"].map(str::to_owned);
        let user = format!("evil.example@127.0.0.1:{port}");
        for host in with_port.into_iter().chain(others).chain([user]) {
            let response = probe.send(&local, &[("host", &host)]).await;
            assert_eq!(response.status(), 421, "{host}: {} {}", probe.method, probe.url);
            assert_eq!(response.text().await.unwrap(), "The Host header does not name this server.\n");
        }
    }
}

/// Sends requests that no client library sends: without `Host`, with two `Host` headers, and
/// with another server in the request target.
#[tokio::test]
async fn refuses_requests_that_name_no_host_or_two_hosts() {
    let data = Folder::new();
    let local = LocalProcess::start(&data, &[]).await;
    for server in ["api", "console", "issuer", "mcp"] {
        let own = local.facts[server].as_str().unwrap().split('/').nth(2).unwrap();
        for (target, hosts, is_refused) in [
            ("/", vec![own], false),
            ("/", vec![], true),
            ("/", vec![own, "evil.example"], true),
            ("/", vec!["evil.example", own], true),
            ("http://evil.example/", vec![own], true),
        ] {
            let hosts = hosts.iter().fold(String::new(), |all, host| format!("{all}Host: {host}\r\n"));
            let request = format!("GET {target} HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n");
            let mut stream = TcpStream::connect(own).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut response = String::new();
            stream.read_to_string(&mut response).await.unwrap();
            let status = response.split(' ').nth(1).unwrap();
            assert_eq!(status == "421", is_refused, "{server}: {request}: {response}");
        }
    }
}

#[tokio::test]
async fn refuses_requests_from_pages_of_other_origins() {
    let data = Folder::new();
    let local = LocalProcess::start(&data, &[]).await;
    // Another port of this machine is another origin.
    let foreign =
        ["https://evil.example", "http://evil.example", "null", "", "http://127.0.0.1:1", "http://localhost"];
    for probe in probes(&local) {
        let own = probe.url.split('/').take(3).collect::<Vec<_>>().join("/");
        let response = probe.send(&local, &[("origin", &own)]).await;
        assert_eq!(response.status(), probe.status, "{} {}", probe.method, probe.url);
        // A page that was loaded from `localhost` sends that name as host and as origin.
        let (host, origin) = (&own["http://".len()..], own.replace("127.0.0.1", "localhost"));
        let named = [("host", &*host.replace("127.0.0.1", "localhost")), ("origin", &*origin)];
        let response = probe.send(&local, &named).await;
        assert_eq!(response.status(), probe.status, "{} {}", probe.method, probe.url);
        // The tests in `console` cover the origins of the console.
        if probe.url.starts_with(local.facts["console"].as_str().unwrap()) {
            continue;
        }
        let (secure, deceptive) = (own.replace("http:", "https:"), format!("{own}.evil.example"));
        // Another user can listen on the same port of another loopback address.
        let neighbours = ["127.0.0.2", "[::1]", "localhost"].map(|host| own.replace("127.0.0.1", host));
        let neighbours = neighbours.iter().map(String::as_str);
        for origin in foreign.into_iter().chain([&*secure, &*deceptive]).chain(neighbours) {
            let response = probe.send(&local, &[("origin", origin)]).await;
            assert_eq!(response.status(), 403, "{origin}: {} {}", probe.method, probe.url);
            let cors = response.headers().keys().find(|name| name.as_str().starts_with("access-control-"));
            assert_eq!(cors, None, "{origin}: {} {}", probe.method, probe.url);
            let text = response.text().await.unwrap();
            assert_eq!(text, "Pages from other origins cannot use this server.\n");
        }
        let preflight_headers = [
            ("origin", "https://evil.example"),
            ("access-control-request-method", probe.method),
            ("access-control-request-headers", "authorization"),
        ];
        let preflight = Probe { method: "OPTIONS", form: Vec::new(), ..probe };
        let response = preflight.send(&local, &preflight_headers).await;
        assert_eq!(response.status(), 403, "{}", preflight.url);
        assert!(!response.headers().contains_key("access-control-allow-origin"));
    }
    assert_eq!(local.admin("GET", "/iam/v1/service-accounts", None, 200).await["items"], json!([]));
}

#[tokio::test]
async fn prints_the_first_steps() {
    let data = Folder::new();
    let local = LocalProcess::start(&data, &["--environment", "dev1"]).await;
    let mut output = local.output.replace(data.text(), "[data]");
    for (member, value) in local.facts.as_object().unwrap() {
        if member != "adminEmail" {
            output = output.replace(value.as_str().unwrap(), &format!("[{member}]"));
        }
    }
    assert_snapshot!(output);
    // The shell commands work as they are printed.
    let lines: String = local
        .output
        .lines()
        .filter(|line| line.contains("export "))
        .fold(String::new(), |all, line| all + line + "\n");
    let echo = format!("{lines} echo $ADMIN_TOKEN $ADMIN_API_TOKEN");
    let output = std::process::Command::new("sh").arg("-c").arg(echo).output().unwrap();
    let tokens = ["adminToken", "adminApiToken"].map(|member| local.facts[member].as_str().unwrap());
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), tokens.join(" "));
    let account = local.create_account("labelled").await;
    assert!(local.issue_key(&account).await.starts_with("kwsa_dev1_"));
}

#[tokio::test]
async fn help_lists_all_options() {
    let help = run(command(&Folder::new(), &["--help"])).await;
    assert_eq!(help.status.code(), Some(0));
    assert_snapshot!(String::from_utf8(help.stdout).unwrap());
}

#[tokio::test]
async fn a_reader_has_access_to_the_data_prefixes_only() {
    let data = Folder::new();
    let local = LocalProcess::start(&data, &["--data-prefixes", "/orders, /billing/invoices"]).await;
    let account = local.create_account("reader").await;
    let key = local.issue_key(&account).await;
    for (path, status) in [
        ("/orders", 200),
        ("/orders/42", 200),
        ("/billing/invoices/7", 200),
        ("/billing", 403),
        ("/organizations/42", 403),
    ] {
        let response = local.request("GET", path).bearer_auth(&key).send().await.unwrap();
        assert_eq!(response.status(), status, "{path}");
    }
    assert!(local.output.contains("/orders/42"), "the first steps use a data prefix: {}", local.output);
}

#[tokio::test]
async fn forwards_allowed_requests_to_the_upstream() {
    type Requests = Arc<Mutex<Vec<(String, Vec<(String, String)>)>>>;
    let received = Requests::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/base/", listener.local_addr().unwrap());
    let log = Arc::clone(&received);
    let upstream = Router::new().fallback(move |request: Request| async move {
        let headers = request.headers().iter();
        let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        let line = format!("{} {}", request.method(), request.uri());
        log.lock().unwrap().push((line, headers.collect()));
        (axum::http::StatusCode::IM_A_TEAPOT, [("x-from", "upstream")], "short and stout")
    });
    tokio::spawn(async move { axum::serve(listener, upstream).await });

    let data = Folder::new();
    let local = LocalProcess::start(&data, &["--upstream", &url]).await;
    let account = local.create_account("Bäckerei").await;
    let key = local.issue_key(&account).await;
    let response = local
        .request("GET", "/organizations/42?full=yes%20please")
        .bearer_auth(&key)
        .header("x-keyward-role", "ServiceAccountAdmin")
        .header("X-Keyward-Principal-Id", "sa_forged")
        .header("x-keyward-anything", "forged")
        .header("x-other", "kept")
        .header("cookie", "keyward-session-8081=a; theme=dark;keyward-notice-80=b; keyward-theme=c; =d; odd")
        .header("cookie", "__Host-keyward-session=e; keyward-sign-in-65535=f")
        .header("cookie", "keyward-found-1=g; keyward-session=h; keyward-session-x=i")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 418);
    assert_eq!(response.headers()["x-from"], "upstream");
    assert_eq!(response.text().await.unwrap(), "short and stout");
    let refused = local.request("POST", "/organizations/42").bearer_auth(&key).send().await.unwrap();
    assert_eq!(refused.status(), 403);

    let received = received.lock().unwrap();
    let [(line, headers)] = received.as_slice() else { panic!("not one request: {received:?}") };
    assert_eq!(line, "GET /base/organizations/42?full=yes%20please");
    let named = |prefix: &str| -> Vec<String> {
        let named = headers.iter().filter(|(name, _)| name.starts_with(prefix));
        let mut lines: Vec<_> = named.map(|(name, value)| format!("{name}: {value}")).collect();
        lines.sort();
        lines
    };
    assert_eq!(named("authorization"), [""; 0]);
    assert_eq!(named("x-other"), ["x-other: kept"]);
    assert_eq!(
        named("cookie"),
        ["cookie: keyward-session=h; keyward-session-x=i", "cookie: theme=dark; keyward-theme=c; =d; odd"]
    );
    assert_eq!(
        named("x-keyward-"),
        [
            format!("x-keyward-key-id: key_{}", part(&key, 3)),
            format!("x-keyward-principal-id: {account}"),
            "x-keyward-principal-name: B%C3%A4ckerei".to_owned(),
            "x-keyward-principal-type: serviceAccount".to_owned(),
            "x-keyward-role: ServiceAccountReader".to_owned(),
        ]
    );
    assert!(!headers.iter().any(|(_, value)| value.contains(part(&key, 4))), "the upstream receives the key");
}

#[tokio::test]
async fn an_unavailable_upstream_is_503_only_for_allowed_requests() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let data = Folder::new();
    let local = LocalProcess::start(&data, &["--upstream", &format!("http://{free}")]).await;
    let account = local.create_account("waiting").await;
    let key = local.issue_key(&account).await;
    assert_eq!(local.check(&key).await, 503);
    assert_eq!(local.check("nonsense").await, 403);
}
