//! Paths, methods and headers that Keyward and a backend could interpret differently.
//! Keyward refuses them, or decides by the form that the backend receives.

use proptest::prelude::*;
use serde_json::{Value, json};
use shared::domain::BuiltInRole;
use shared::policy::{Api, BuiltInRoles, Grant, GrantRoles, PathPrefix, Target, decide};
use tests::{Harness, Shape, Verdict};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The response to a request that no HTTP client would send, because the test writes
/// its bytes itself.
struct RawResponse {
    status: u16,
    body: String,
}

impl RawResponse {
    /// The request as the echo backend received it.
    fn echo(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Sends a request with this method and path, and these header lines.
async fn send_raw(harness: &Harness, request: &str, headers: &[String]) -> RawResponse {
    let address = harness.system.facts().api.strip_prefix("http://").unwrap().to_owned();
    let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    let mut lines =
        vec![format!("{request} HTTP/1.1"), format!("Host: {address}"), "Connection: close".to_owned()];
    lines.extend_from_slice(headers);
    let request = format!("{}\r\n\r\n", lines.join("\r\n"));
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.unwrap();
    let response = String::from_utf8(response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    RawResponse { status, body: body.to_owned() }
}

fn bearer(key: &str) -> String {
    format!("Authorization: Bearer {key}")
}

async fn get(harness: &Harness, key: &str, path: &str) -> RawResponse {
    send_raw(harness, &format!("GET {path}"), &[bearer(key)]).await
}

/// Issues a key of the most powerful role.
async fn admin_key(harness: &Harness) -> String {
    harness.account_with_key("admin", "ServiceAccountAdmin").await.1.secret
}

#[tokio::test]
async fn backend_receives_the_path_that_was_checked() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await.secret;
    for (sent, received) in [
        ("/organizations/42", "/organizations/42"),
        ("/organizations/42/", "/organizations/42/"),
        ("/organizations/42;x=1", "/organizations/42;x=1"),
        ("/organizations/a@b:c,d", "/organizations/a@b:c,d"),
        ("/organizations/...", "/organizations/..."),
        ("/organizations/a..b", "/organizations/a..b"),
        // API Gateway decodes these before it calls the authorizer.
        ("/organizations%2F42", "/organizations/42"),
        ("/organizations%2f42", "/organizations/42"),
        ("/%6frganizations/42", "/organizations/42"),
        ("/organizations/%34%32", "/organizations/42"),
        ("/organizations/%C3%A9", "/organizations/é"),
        ("/organizations/a%20b", "/organizations/a b"),
        ("/organizations/42?x=/../iam/v1/service-accounts", "/organizations/42"),
    ] {
        assert_eq!(get(&harness, &key, sent).await.echo()["path"], received, "{sent}");
    }
}

#[tokio::test]
async fn ambiguous_paths_are_refused() {
    let harness = Harness::start().await;
    let keys = [harness.reader_key().await.secret, admin_key(&harness).await];
    let paths = [
        "//organizations/42",
        "///organizations/42",
        "/organizations//42",
        "/organizations/42//",
        "/organizations/.",
        "/organizations/..",
        "/organizations/./42",
        "/organizations/../teams",
        "/./organizations/42",
        "/../organizations/42",
        "/organizations/42/..",
        "/organizations/%2e%2e/x",
        "/organizations/%2E%2E/x",
        "/organizations/.%2e/x",
        "/organizations/%2e/x",
        "/organizations/..;/x",
        "/organizations/..;a=b/x",
        "/organizations/.;/x",
        "/organizations/;/x",
        "/organizations/;x/y",
        "/organizations/%2e%2e%3b/x",
        "/organizations/..%3bx/y",
        "/organizations\\42",
        "/organizations%5C42",
        "/organizations%5c42",
        "/organizations/..%5cx",
        "/organizations/..\\x",
        "/organizations/%252e%252e/x",
        "/organizations/%252F",
        "/organizations/%25",
        "/organizations/%2525",
        "/organizations/100%",
        "/organizations/%zz",
        "/organizations/%4",
        "/organizations/%",
        "/organizations/%00",
        "/organizations/42%00.json",
        "/organizations/%0a",
        "/organizations/%0d%0aX:y",
        "/organizations/%09",
        "/organizations/%7f",
        "/organizations/%1f",
        "/organizations/%C2%85",
        "/organizations/%E2%80%A8",
        "/organizations/%E2%80%A9",
        "/organizations/%C0%AF",
        "/organizations/%C0%AE%C0%AE/x",
        "/organizations/%FF",
        "/organizations/%ED%A0%80",
        "/organizations/*",
        "/organizations/%2A",
        "/organizations/%3F",
        "/organizations/x%3Fy",
        "/organizations/x%23y",
        "/organizations/$x",
        "/organizations/%24%7Bx%7D",
    ];
    for path in paths {
        for key in &keys {
            let response = get(&harness, key, path).await;
            assert!(matches!(response.status, 400 | 403), "{path}: {} {}", response.status, response.body);
        }
        // A REST API can pass the path on without decoding it.
        for shape in Shape::ALL {
            let event = shape.request("GET", path, &keys[1]);
            assert_eq!(harness.verdict(&event).await, Verdict::Deny, "{shape:?} {path}");
        }
    }
    assert_eq!(get(&harness, &keys[0], "/organizations/42").await.status, 200);
}

#[tokio::test]
async fn paths_differ_by_case_and_trailing_slash() {
    let harness = Harness::start().await;
    harness.put_role("exact", &["GET /organizations/{id}", "GET /teams/"]).await;
    let key = harness.account_with_key("exact", "exact").await.1.secret;
    for (path, status) in [
        ("/organizations/42", 200),
        ("/organizations/42/", 403),
        ("/Organizations/42", 403),
        ("/ORGANIZATIONS/42", 403),
        ("/organizations", 403),
        ("/organizations/", 403),
        ("/teams/", 200),
        ("/teams", 403),
        ("/organizations/42/x", 403),
    ] {
        assert_eq!(get(&harness, &key, path).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn keys_cannot_reach_the_iam_api_with_any_spelling_of_its_paths() {
    let harness = Harness::start().await;
    let key = admin_key(&harness).await;
    let paths = [
        "/iam",
        "/iam/",
        "/iam/v1",
        "/iam/v1/",
        "/iam/v1/service-accounts",
        "/iam/v1/service-accounts/",
        "/IAM/v1/service-accounts",
        "/Iam/v1/service-accounts",
        "/iaM",
        "/iam/V1/service-accounts",
        "//iam/v1/service-accounts",
        "/iam//v1/service-accounts",
        "/iam/v1//service-accounts",
        "/./iam/v1/service-accounts",
        "/x/../iam/v1/service-accounts",
        "/x/..;/iam/v1/service-accounts",
        "/iam;x/v1/service-accounts",
        "/iam;/v1/service-accounts",
        "/iam%3bx/v1/service-accounts",
        "/IAM;x/v1/service-accounts",
        "/%69am/v1/service-accounts",
        "/%69%61%6d/v1/service-accounts",
        "/i%61m/v1/service-accounts",
        "/%49AM/v1/service-accounts",
        "/iam%2Fv1%2Fservice-accounts",
        "/%2Fiam/v1/service-accounts",
        "/%2e/iam/v1/service-accounts",
        "/iam%5Cv1%5Cservice-accounts",
        "\\iam\\v1\\service-accounts",
        "/iam%00/v1/service-accounts",
        "/iam%23/v1",
        "/%2569am/v1/service-accounts",
        "/iam/v1/whoami/",
        "/iam/v1/whoami/x",
        "/iam/v1/./whoami",
        "/iam/v1/whoami%2F..%2Fservice-accounts",
        "/iam/v1/WHOAMI",
        "/IAM/v1/whoami",
        "/iam/v1/whoami;x",
        "/iam/v1/whoam%69x",
        "http://evil.example/iam/v1/service-accounts",
    ];
    for path in paths {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"] {
            let response = send_raw(&harness, &format!("{method} {path}"), &[bearer(&key)]).await;
            assert!(
                matches!(response.status, 400 | 403 | 404 | 421),
                "{method} {path}: {} {}",
                response.status,
                response.body
            );
            for shape in Shape::ALL {
                let event = shape.request(method, path, &key);
                assert_ne!(harness.verdict(&event).await, Verdict::Allow, "{shape:?} {method} {path}");
            }
        }
    }
    assert_eq!(get(&harness, &key, "/iam/v1/whoami").await.status, 200);
    assert_eq!(get(&harness, &key, "/iamx").await.status, 200, "only the segment `iam` is reserved");
    for method in ["HEAD", "POST", "OPTIONS", "DELETE"] {
        let response = send_raw(&harness, &format!("{method} /iam/v1/whoami"), &[bearer(&key)]).await;
        assert!(matches!(response.status, 403 | 404), "{method}: {}", response.status);
    }
}

#[tokio::test]
async fn only_the_request_line_sets_the_method_and_path() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await.secret;
    for method in ["get", "Get", "gET", "TRACE", "CONNECT", "QUERY", "PROPFIND", "GET\t", "ANY"] {
        let response = send_raw(&harness, &format!("{method} /organizations/42"), &[bearer(&key)]).await;
        assert!(matches!(response.status, 400 | 403), "{method}: {}", response.status);
    }
    let send = async |request: &str, header: Option<String>| {
        let headers: Vec<_> = [bearer(&key)].into_iter().chain(header).collect();
        send_raw(&harness, request, &headers).await
    };
    for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "x-http-method-override"] {
        let post = send("POST /organizations/42", Some(format!("{name}: GET"))).await;
        assert_eq!(post.status, 403, "{name}");
        let get = send("GET /organizations/42", Some(format!("{name}: DELETE"))).await;
        assert_eq!(get.echo()["method"], "GET", "{name}");
    }
    for query in ["_method=GET", "_method=get&method=GET"] {
        let delete = send(&format!("DELETE /organizations/42?{query}"), None).await;
        assert_eq!(delete.status, 403, "{query}");
    }
    let get = send("GET /organizations/42?_method=DELETE", None).await.echo();
    assert_eq!((&get["method"], &get["query"]), (&json!("GET"), &json!("_method=DELETE")));
    for name in ["X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix", "X-Forwarded-Path"] {
        let response = send("GET /orders", Some(format!("{name}: /organizations/42"))).await;
        assert_eq!(response.status, 403, "{name}");
    }
}

#[tokio::test]
async fn only_a_single_bearer_authorization_header_is_accepted() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await.secret;
    let other = admin_key(&harness).await;
    let status = async |headers: &[&str]| {
        let headers: Vec<_> =
            headers.iter().map(|line| line.replace("KEY", &key).replace("OTHER", &other)).collect();
        send_raw(&harness, "GET /organizations/42", &headers).await.status
    };
    for accepted in [
        &["Authorization: Bearer KEY"][..],
        &["authorization: bearer KEY"],
        &["AUTHORIZATION:BEARER   KEY  "],
    ] {
        assert_eq!(status(accepted).await, 200, "{accepted:?}");
    }
    for refused in [
        &["Authorization: Bearer KEY", "Authorization: Bearer KEY"][..],
        &["Authorization: Bearer KEY", "authorization: Bearer OTHER"],
        &["Authorization: Basic eA==", "Authorization: Bearer KEY"],
        &["Authorization: Bearer KEY, Bearer OTHER"],
        &["Authorization: Bearer KEY,"],
        &["Authorization: Basic KEY"],
        &["Authorization: Basic dXNlcjpwYXNz"],
        &["Authorization: KEY"],
        &["Authorization: Bearer\tKEY"],
        &["Authorization: Bearer \tKEY"],
        &["Authorization: Bearer"],
        &["Authorization: Bearer KEY x"],
        &["Authorization: Bearer\u{a0}KEY"],
        &["Authorization: Bearer KEY", "Authorization:"],
        &["Authorization : Bearer KEY"],
        &["Authorization: Bearer", " KEY"],
    ] {
        let status = status(refused).await;
        assert!(matches!(status, 400 | 403), "{refused:?}: {status}");
    }
    for ignored in [
        &[][..],
        &["X-Api-Key: KEY"],
        &["Cookie: Authorization=Bearer KEY"],
        &["Proxy-Authorization: Bearer KEY"],
        &["X-Authorization: Bearer KEY"],
    ] {
        assert_eq!(status(ignored).await, 401, "{ignored:?}");
    }
    let query = format!("GET /organizations/42?access_token={key}&authorization=Bearer%20{key}");
    assert_eq!(send_raw(&harness, &query, &[]).await.status, 401);
}

#[tokio::test]
async fn backend_receives_the_real_principal_and_no_credential() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await;
    let forged = [
        "x-keyward-principal-type: admin",
        "X-Keyward-Principal-Id: sa_forged",
        "X-KEYWARD-ROLE: ServiceAccountAdmin",
        "x-keyward-role: another",
        "x-keyward-key-role: forged",
        "x-keyward-anything: forged",
        "X_Keyward_Role: forged",
        "x_keyward-principal_type: forged",
        "x-keyward_principal-name: forged",
    ];
    let mut headers = vec![bearer(&key.secret), "X-Mine: kept".to_owned()];
    headers.extend(forged.map(str::to_owned));
    let echo = send_raw(&harness, "GET /organizations/42", &headers).await.echo();
    assert_eq!(
        echo["principal"],
        json!({
            "type": "serviceAccount", "id": key.account, "name": "reader", "keyId": key.id, "role": "ServiceAccountReader",
        })
    );
    let received = echo["headers"].as_object().unwrap();
    assert_eq!(received["x-mine"], "kept");
    assert!(!echo.to_string().contains("forged") && !echo.to_string().contains(&key.secret));
    assert!(!received.contains_key("authorization"));
    let ours: Vec<_> =
        received.keys().filter(|name| name.replace('_', "-").starts_with("x-keyward-")).collect();
    assert_eq!(
        ours,
        [
            "x-keyward-key-id",
            "x-keyward-principal-id",
            "x-keyward-principal-name",
            "x-keyward-principal-type",
            "x-keyward-role"
        ]
    );
}

#[tokio::test]
async fn iam_api_ignores_principal_headers() {
    let harness = Harness::start().await;
    let forged =
        ["x-keyward-principal-type: admin", "x-keyward-principal-id: me", "x-keyward-principal-name: me"];
    for headers in [Vec::new(), forged.map(str::to_owned).to_vec()] {
        let response = send_raw(&harness, "GET /iam/v1/service-accounts", &headers).await;
        assert_eq!(response.status, 401, "{headers:?}");
    }
}

/// The paths that a backend could take `path` for: decoded up to three times, cut at `?`,
/// `#` or NUL, with backslashes as slashes, without parameters, and with merged
/// slashes and resolved dot segments.
fn interpretations(path: &str) -> Vec<String> {
    let mut paths = vec![path.to_owned()];
    for _ in 0..3 {
        let last = paths.last().unwrap();
        paths.push(lossy_decode(last));
    }
    let cut = |path: &String| path.split(['?', '#', '\0']).next().unwrap().to_owned();
    paths.extend(paths.clone().iter().map(cut));
    paths.extend(paths.clone().iter().map(|path| path.replace('\\', "/")));
    let without_parameters = |path: &String| {
        path.split('/').map(|part| part.split(';').next().unwrap()).collect::<Vec<_>>().join("/")
    };
    paths.extend(paths.clone().iter().map(without_parameters));
    paths.extend(paths.clone().iter().map(|path| resolve(path)));
    paths
}

/// Decodes percent-encoded bytes, and keeps malformed escapes.
fn lossy_decode(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let escape = path.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        if let Some(byte) = escape.filter(|_| bytes[at] == b'%') {
            decoded.push(byte);
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Merges slashes and resolves dot segments.
fn resolve(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

/// Paths of pieces that parsers treat differently.
fn ambiguous_path() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "/",
        "//",
        "/.",
        "/..",
        ".",
        "..",
        ";",
        ";x",
        "\\",
        "%2f",
        "%2F",
        "%5c",
        "%2e",
        "%2E",
        "%25",
        "%252e",
        "%3b",
        "%3B",
        "%3f",
        "%23",
        "?",
        "#",
        "%00",
        "%",
        "%zz",
        "%c0%af",
        "organizations",
        "/organizations",
        "/teams",
        "/42",
        "iam",
        "/iam",
        "/IAM",
        "%69am",
        "/%69am",
        "i%61m",
        "/v1",
        "/service-accounts",
        "x",
        "é",
        "*",
        "$",
        " ",
        "%20",
        "\n",
        "\u{85}",
        "~",
        "+",
        "@",
    ]);
    let start = prop::sample::select(vec!["", "/organizations", "/teams/1", "/"]);
    (start, prop::collection::vec(piece, 1..7))
        .prop_map(|(start, pieces)| format!("{start}{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn allowed_path_has_no_interpretation_outside_its_role(path in ambiguous_path()) {
        let roles = BuiltInRoles::new(&PathPrefix::parse_list("/organizations,/teams").unwrap());
        let Ok(target) = Target::parse("GET", &path) else { return Ok(()) };
        let allows = |role| {
            let grant = Grant::ServiceAccount(GrantRoles::new(roles.get(role)));
            decide(Api::Business, grant, &target).is_ok()
        };
        for other in interpretations(&path) {
            let first = other.split('/').nth(1).unwrap_or_default();
            if allows(BuiltInRole::Reader) {
                prop_assert!(["organizations", "teams"].contains(&first), "{:?} as {:?}", path, other);
            }
            if allows(BuiltInRole::Admin) {
                prop_assert!(!first.eq_ignore_ascii_case("iam"), "{:?} as {:?}", path, other);
            }
        }
    }
}
