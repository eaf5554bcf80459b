//! `cargo dev` as a process: it is for one laptop alone, says in one sentence
//! why it does not start, and keeps what was created.

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

/// What it says instead of starting: one line, without this run's folder.
async fn refusal(data: &Folder, arguments: &[&str]) -> String {
    refusal_of(command(data, arguments), data).await
}

async fn refusal_of(command: tokio::process::Command, data: &Folder) -> String {
    let output = run(command).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code().is_some_and(|code| code != 0), "{:?}: {said}", output.status);
    assert_eq!(said.trim_end().lines().count(), 1, "not one line: {said}");
    said.trim_end().replace(data.text(), "[data]")
}

#[tokio::test]
async fn refuses_to_listen_to_others() {
    let data = Folder::new();
    let mut said = Vec::new();
    for host in ["0.0.0.0", "192.0.2.1", "::"] {
        said.push(refusal(&data, &["--host", host]).await);
    }
    assert_eq!(data.files(), [""; 0], "a refused start leaves nothing behind");
    assert_snapshot!(said.join("\n"));
}

#[tokio::test]
async fn refuses_to_run_inside_lambda() {
    let data = Folder::new();
    let mut said = Vec::new();
    for name in ["AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT"] {
        let mut command = command(&data, &[]);
        command.env(name, "anything");
        said.push(refusal_of(command, &data).await);
    }
    assert_eq!(data.files(), [""; 0]);
    assert_snapshot!(said.join("\n"));
}

#[tokio::test]
async fn says_which_flag_chooses_another_port() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut said = Vec::new();
    for flag in ["--port", "--console-port", "--issuer-port"] {
        said.push(refusal(&Folder::new(), &[flag, &port]).await.replace(&port, "[port]"));
    }
    assert_snapshot!(said.join("\n"));
}

#[tokio::test]
async fn starts_once_on_one_folder() {
    let data = Folder::new();
    let first = LocalProcess::start(&data, &[]).await;
    assert_snapshot!(refusal(&data, &[]).await);
    let account = first.create_account("still-served").await;
    assert_eq!(first.check(&first.issue_key(&account).await).await, 200);
}

#[tokio::test]
async fn names_the_file_that_is_broken_and_quotes_nothing_of_it() {
    let mut said = Vec::new();
    for (file, content) in [
        ("keyward.sqlite", "this is no database, and tops.3cret".repeat(100)),
        ("secrets.json", r#"{"adminPassword": "tops.3cret", "#.to_owned()),
        ("secrets.json", r#"{"adminPassword": "tops.3cret"}"#.to_owned()),
    ] {
        let data = Folder::new();
        std::fs::write(data.path().join(file), content).unwrap();
        let refusal = refusal(&data, &[]).await;
        assert!(!refusal.contains("tops.3cret"), "{refusal}");
        said.push(refusal);
    }
    assert_snapshot!(said.join("\n"));
}

#[tokio::test]
async fn refuses_an_upstream_that_is_no_web_address() {
    let data = Folder::new();
    let mut said = Vec::new();
    for upstream in [
        "localhost",
        "ftp://127.0.0.1",
        "localhost:3000",
        "",
        "http://localhost:3000/api?v=1",
        "http://localhost:3000/#a",
    ] {
        said.push(refusal(&data, &["--upstream", upstream]).await);
    }
    assert_snapshot!(said.join("\n"));
}

#[tokio::test]
async fn explains_a_wrong_command_line() {
    let mut said = Vec::new();
    for arguments in [["--prot", "1"], ["--environment", "Prod_1"], ["--port", "eighty"], ["--host", "here"]]
    {
        let data = Folder::new();
        let output = run(command(&data, &arguments)).await;
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8(output.stderr).unwrap();
        said.push(text.lines().next().unwrap_or_default().to_owned());
    }
    assert_snapshot!(said.join("\n"));
}

#[tokio::test]
async fn stops_at_ctrl_c_and_goes_on_where_it_was() {
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
    let (code, said) = first.interrupt().await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.replace(data.text(), "[data]"), "\nStopping. Data is stored in [data].\n");

    let second = LocalProcess::start(&data, &[]).await;
    assert_eq!(second.facts["adminPassword"], password);
    assert_eq!(second.check(&kept).await, 200);
    assert_eq!(second.check(&revoked).await, 403);
    let accounts = second.admin("GET", "/iam/v1/service-accounts", None, 200).await;
    assert_eq!(accounts["items"][0]["name"], "kept");
    for secret in [&kept, &revoked].map(|key| part(key, 4)) {
        for file in data.files() {
            let bytes = std::fs::read(data.path().join(&file)).unwrap();
            let is_there = bytes.windows(43).any(|window| window == &secret.as_bytes()[..43]);
            assert!(!is_there, "{file} holds a key's secret");
        }
    }
}

/// A part of a key: 0 is its prefix.
fn part(key: &str, at: usize) -> &str {
    key.split('_').nth(at).unwrap()
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode_of(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn refuses_a_folder_that_others_can_open() {
    let data = Folder::new();
    let mut said = Vec::new();
    for mode in [0o777, 0o770, 0o755, 0o750, 0o705, 0o711] {
        set_mode(data.path(), mode);
        said.push(refusal(&data, &[]).await);
        assert_eq!(mode_of(data.path()), mode, "it changes nothing by itself");
        assert_eq!(data.files(), [""; 0]);
    }
    assert_snapshot!(said.join("\n"));
    set_mode(data.path(), 0o700);
    LocalProcess::start(&data, &[]).await;
}

/// A user who can rename the folder could get all that is written there later.
#[tokio::test]
async fn refuses_a_folder_that_others_can_replace() {
    let above = Folder::new();
    let data = above.path().join("data");
    let argument = data.display().to_string();
    let mut said = Vec::new();
    for mode in [0o777, 0o703] {
        set_mode(above.path(), mode);
        said.push(refusal(&above, &["--data", &argument]).await);
        assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0);
    }
    // Root alone can give a folder away, and CI runs as root.
    set_mode(above.path(), 0o1777);
    if std::os::unix::fs::chown(above.path(), Some(12_345), None).is_ok() {
        said.push(refusal(&above, &["--data", &argument]).await);
        std::os::unix::fs::chown(above.path(), Some(0), None).unwrap();
        assert_eq!(said[2], said[0]);
    }
    assert_eq!(said[0], said[1]);
    assert_snapshot!(said[0]);
}

/// Root alone can give a file away, and CI runs as root.
#[tokio::test]
async fn refuses_what_belongs_to_another_user() {
    let other = 12_345;
    let data = Folder::new();
    let mut said = Vec::new();
    for name in ["secrets.json", "keyward.sqlite", "keyward.sqlite-wal", "lock"] {
        let file = data.path().join(name);
        std::fs::write(&file, "{}").unwrap();
        if std::os::unix::fs::chown(&file, Some(other), None).is_err() {
            return;
        }
        said.push(refusal(&data, &[]).await);
        std::fs::remove_file(file).unwrap();
    }
    std::os::unix::fs::chown(data.path(), Some(other), None).unwrap();
    said.push(refusal(&data, &[]).await);
    assert_snapshot!(said.join("\n"));
}

#[tokio::test]
async fn follows_no_link() {
    let data = Folder::new();
    let elsewhere = Folder::new();
    let target = elsewhere.path().join("target");
    std::fs::write(&target, "precious").unwrap();
    let mut said = Vec::new();
    for name in
        ["local.json", "secrets.json", "lock", "keyward.sqlite", "keyward.sqlite-wal", "keyward.sqlite-shm"]
    {
        let link = data.path().join(name);
        // A link to a file, and a link to a path that does not exist.
        for target in [target.clone(), elsewhere.path().join("new")] {
            symlink(target, &link).unwrap();
            said.push(refusal(&data, &[]).await);
            std::fs::remove_file(&link).unwrap();
        }
    }
    std::fs::create_dir(data.path().join("lock")).unwrap();
    said.push(refusal(&data, &[]).await);
    for slash in ["", "/"] {
        let linked = elsewhere.path().join("linked");
        let _ = symlink(data.path(), &linked);
        let argument = format!("{}{slash}", linked.display());
        let refusal = refusal(&data, &["--data", &argument]).await;
        said.push(refusal.replace(elsewhere.text(), "[elsewhere]"));
    }
    assert_snapshot!(said.join("\n"));
    assert_eq!(elsewhere.files(), ["linked", "target"]);
    assert_eq!(std::fs::read_to_string(target).unwrap(), "precious");
}

#[tokio::test]
async fn keeps_nothing_in_memory_but_the_facts_for_scripts() {
    let data = Folder::new();
    let first = LocalProcess::start(&data, &["--memory"]).await;
    let account = first.create_account("forgotten").await;
    let key = first.issue_key(&account).await;
    assert_eq!(first.check(&key).await, 200);
    let (code, _) = first.interrupt().await;
    assert_eq!(code, Some(0));
    let files: Vec<String> = data.files().into_iter().filter(|file| file != "lock").collect();
    assert_eq!(files, ["local.json"]);

    let second = LocalProcess::start(&data, &["--memory"]).await;
    assert_eq!(second.check(&key).await, 403);
    assert_eq!(second.admin("GET", "/iam/v1/service-accounts", None, 200).await["items"], json!([]));
}

#[tokio::test]
async fn tells_scripts_and_nobody_else() {
    let data = Folder::new();
    let local = LocalProcess::start(&data, &[]).await;
    let files = data.files();
    assert!(files.len() > 4, "the database has files of its own: {files:?}");
    for file in files {
        assert_eq!(mode_of(&data.path().join(&file)), 0o600, "{file}");
    }
    assert_json_snapshot!(local.facts, {
        ".api" => "[url]",
        ".console" => "[url]",
        ".issuer" => "[url]",
        ".adminToken" => "[token]",
        ".adminApiToken" => "[token]",
        ".adminPassword" => "[password]",
    });
    let ids = ["adminToken", "adminApiToken"].map(|member| {
        let payload = local.facts[member].as_str().unwrap().split('.').nth(1).unwrap();
        let claims: serde_json::Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        claims["jti"].as_str().expect("a token has an id").to_owned()
    });
    assert_ne!(ids[0], ids[1]);
    let token = local.facts["adminApiToken"].as_str().unwrap();
    assert_eq!(local.check(token).await, 200);
    assert_eq!(local.check(local.facts["adminToken"].as_str().unwrap()).await, 403);
}

/// The table and the secrets have no port that another user could connect to.
#[tokio::test]
async fn listens_on_the_ports_of_the_api_the_console_and_the_issuer_alone() {
    let data = Folder::new();
    let local = LocalProcess::start(&data, &[]).await;
    let mut expected: Vec<String> = ["api", "console", "issuer"]
        .iter()
        .map(|member| {
            let port = local.facts[*member].as_str().unwrap().rsplit(':').next().unwrap();
            // 127.0.0.1, as a little-endian machine keeps it.
            format!("0100007F:{:04X}", port.parse::<u16>().unwrap())
        })
        .collect();
    expected.sort();
    assert_eq!(local.listeners(), expected);
}

/// A server, and a request that it answers with this status.
struct Door {
    method: &'static str,
    url: String,
    token: String,
    form: Vec<(&'static str, String)>,
    status: u16,
}

/// What an attacker would try: to read, to write, and to get a token.
fn doors(local: &LocalProcess) -> Vec<Door> {
    let fact = |member: &str| local.facts[member].as_str().unwrap().to_owned();
    let grant = [
        ("grant_type", "password".to_owned()),
        ("client_id", "keyward-iam".to_owned()),
        ("username", fact("adminEmail")),
        ("password", fact("adminPassword")),
    ];
    let door = |method, server: &str, path: &str, status| Door {
        method,
        url: fact(server) + path,
        token: fact("adminToken"),
        form: Vec::new(),
        status,
    };
    let token = Door { form: grant.into(), ..door("POST", "issuer", "/token", 200) };
    vec![
        door("GET", "api", "/iam/v1/service-accounts", 200),
        door("DELETE", "api", "/iam/v1/service-accounts/sa_0000000000000000", 404),
        door("GET", "api", "/organizations/1", 403),
        door("GET", "console", "/accounts/new", 303),
        door("GET", "issuer", "/.well-known/jwks.json", 200),
        token,
    ]
}

/// The response to `door`'s request with these headers besides.
async fn knock(local: &LocalProcess, door: &Door, headers: &[(&str, &str)]) -> reqwest::Response {
    let mut request = local.request_to(door.method, &door.url).bearer_auth(&door.token);
    if !door.form.is_empty() {
        request = request.form(&door.form);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

#[tokio::test]
async fn answers_only_under_its_own_host_names() {
    let data = Folder::new();
    let local = LocalProcess::start(&data, &[]).await;
    for door in doors(&local) {
        let port = door.url.split(['/', ':']).nth(4).unwrap();
        for host in ["127.0.0.1", "localhost", "LOCALHOST", "[::1]", "127.9.9.9"] {
            let host = format!("{host}:{port}");
            let answer = knock(&local, &door, &[("host", &host)]).await;
            assert_eq!(answer.status(), door.status, "{host}: {} {}", door.method, door.url);
        }
        let with_port =
            ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "192.0.2.1", "0.0.0.0"]
                .map(|host| format!("{host}:{port}"));
        let others = ["localhost", "127.0.0.1", "127.0.0.1:1", "evil.example", "", "a b"].map(str::to_owned);
        let user = format!("evil.example@127.0.0.1:{port}");
        for host in with_port.into_iter().chain(others).chain([user]) {
            let answer = knock(&local, &door, &[("host", &host)]).await;
            assert_eq!(answer.status(), 421, "{host}: {} {}", door.method, door.url);
            assert_eq!(answer.text().await.unwrap(), "The Host header does not name this server.\n");
        }
    }
}

/// Requests that no client library sends: without `Host`, with two of them, and
/// with the request target of another server.
#[tokio::test]
async fn answers_no_request_that_names_two_hosts_or_none() {
    let data = Folder::new();
    let local = LocalProcess::start(&data, &[]).await;
    for server in ["api", "console", "issuer"] {
        let own = local.facts[server].as_str().unwrap().strip_prefix("http://").unwrap();
        for (target, hosts, status) in [
            ("/", vec![own], ""),
            ("/", vec![], "421"),
            ("/", vec![own, "evil.example"], "421"),
            ("/", vec!["evil.example", own], "421"),
            ("http://evil.example/", vec![own], "421"),
        ] {
            let hosts = hosts.iter().fold(String::new(), |all, host| format!("{all}Host: {host}\r\n"));
            let request = format!("GET {target} HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n");
            let mut stream = TcpStream::connect(own).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            let answered = answer.split(' ').nth(1).unwrap();
            assert_eq!(answered == "421", status == "421", "{server}: {request}: {answer}");
        }
    }
}

#[tokio::test]
async fn refuses_pages_of_other_origins() {
    let data = Folder::new();
    let local = LocalProcess::start(&data, &[]).await;
    // Another port of this machine is another origin too.
    let strangers =
        ["https://evil.example", "http://evil.example", "null", "", "http://127.0.0.1:1", "http://localhost"];
    for door in doors(&local) {
        let own = door.url.split('/').take(3).collect::<Vec<_>>().join("/");
        let answer = knock(&local, &door, &[("origin", &own)]).await;
        assert_eq!(answer.status(), door.status, "{} {}", door.method, door.url);
        // Under another of its names, a page has that name too.
        let (host, origin) = (&own["http://".len()..], own.replace("127.0.0.1", "localhost"));
        let named = [("host", &*host.replace("127.0.0.1", "localhost")), ("origin", &*origin)];
        assert_eq!(knock(&local, &door, &named).await.status(), door.status, "{} {}", door.method, door.url);
        // The console's pages are judged in `console`.
        if door.url.starts_with(local.facts["console"].as_str().unwrap()) {
            continue;
        }
        let (secure, deceptive) = (own.replace("http:", "https:"), format!("{own}.evil.example"));
        // The same port of another loopback address can be another user's.
        let neighbours = ["127.0.0.2", "[::1]", "localhost"].map(|host| own.replace("127.0.0.1", host));
        let neighbours = neighbours.iter().map(String::as_str);
        for origin in strangers.into_iter().chain([&*secure, &*deceptive]).chain(neighbours) {
            let answer = knock(&local, &door, &[("origin", origin)]).await;
            assert_eq!(answer.status(), 403, "{origin}: {} {}", door.method, door.url);
            let cors = answer.headers().keys().find(|name| name.as_str().starts_with("access-control-"));
            assert_eq!(cors, None, "{origin}: {} {}", door.method, door.url);
            let text = answer.text().await.unwrap();
            assert_eq!(text, "Pages from other origins cannot use this server.\n");
        }
        let asks_first = [
            ("origin", "https://evil.example"),
            ("access-control-request-method", door.method),
            ("access-control-request-headers", "authorization"),
        ];
        let preflight = Door { method: "OPTIONS", form: Vec::new(), ..door };
        let answer = knock(&local, &preflight, &asks_first).await;
        assert_eq!(answer.status(), 403, "{}", preflight.url);
        assert!(!answer.headers().contains_key("access-control-allow-origin"));
    }
    assert_eq!(local.admin("GET", "/iam/v1/service-accounts", None, 200).await["items"], json!([]));
}

#[tokio::test]
async fn says_how_to_begin() {
    let data = Folder::new();
    let local = LocalProcess::start(&data, &["--environment", "dev1"]).await;
    let mut said = local.said.replace(data.text(), "[data]");
    for (member, value) in local.facts.as_object().unwrap() {
        if member != "adminEmail" {
            said = said.replace(value.as_str().unwrap(), &format!("[{member}]"));
        }
    }
    assert_snapshot!(said);
    // The shell's lines work as they stand.
    let lines: String = local
        .said
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
async fn puts_the_users_own_api_behind_the_authorizer() {
    type Seen = Arc<Mutex<Vec<(String, Vec<(String, String)>)>>>;
    let seen = Seen::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/base/", listener.local_addr().unwrap());
    let log = Arc::clone(&seen);
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

    let seen = seen.lock().unwrap();
    let [(line, headers)] = seen.as_slice() else { panic!("more than one request arrived: {seen:?}") };
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
    assert!(!headers.iter().any(|(_, value)| value.contains(part(&key, 4))), "the upstream sees the key");
}

#[tokio::test]
async fn an_upstream_that_is_down_is_no_permission() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let data = Folder::new();
    let local = LocalProcess::start(&data, &["--upstream", &format!("http://{free}")]).await;
    let account = local.create_account("waiting").await;
    let key = local.issue_key(&account).await;
    assert_eq!(local.check(&key).await, 503);
    assert_eq!(local.check("nonsense").await, 403);
}
