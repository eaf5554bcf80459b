//! Paths, methods and headers that mean one thing to us and another to the
//! backend: each gives the decision of its canonical form, or a refusal.

use proptest::prelude::*;
use serde_json::{Value, json};
use shared::domain::BuiltInRole;
use shared::policy::{Api, BuiltInRoles, Grant, PathPrefix, Target, decide};
use tests::{Harness, Shape, Verdict};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// An answer to a request that was written byte by byte: what no HTTP client
/// would send.
struct Raw {
    status: u16,
    body: String,
}

impl Raw {
    /// What the echo says of the request that reached it.
    fn echo(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        serde_json::from_str(&self.body).unwrap()
    }
}

async fn raw(harness: &Harness, line: &str, headers: &[String]) -> Raw {
    let address = harness.system.facts().api.strip_prefix("http://").unwrap().to_owned();
    let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    let mut lines =
        vec![format!("{line} HTTP/1.1"), format!("Host: {address}"), "Connection: close".to_owned()];
    lines.extend_from_slice(headers);
    let request = format!("{}\r\n\r\n", lines.join("\r\n"));
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    Raw { status, body: body.to_owned() }
}

fn bearer(key: &str) -> String {
    format!("Authorization: Bearer {key}")
}

async fn get(harness: &Harness, key: &str, path: &str) -> Raw {
    raw(harness, &format!("GET {path}"), &[bearer(key)]).await
}

/// A key with every right that a key can have.
async fn root_key(harness: &Harness) -> String {
    let account = harness.create_account("root", "ServiceAccountAdmin").await;
    harness.issue_key(&account).await.secret
}

#[tokio::test]
async fn what_reaches_the_backend_is_what_was_decided_on() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await.secret;
    for (sent, seen) in [
        ("/organizations/42", "/organizations/42"),
        ("/organizations/42/", "/organizations/42/"),
        ("/organizations/42;x=1", "/organizations/42;x=1"),
        ("/organizations/a@b:c,d", "/organizations/a@b:c,d"),
        ("/organizations/...", "/organizations/..."),
        ("/organizations/a..b", "/organizations/a..b"),
        // API Gateway decodes these before it asks.
        ("/organizations%2F42", "/organizations/42"),
        ("/organizations%2f42", "/organizations/42"),
        ("/%6frganizations/42", "/organizations/42"),
        ("/organizations/%34%32", "/organizations/42"),
        ("/organizations/%C3%A9", "/organizations/é"),
        ("/organizations/a%20b", "/organizations/a b"),
        ("/organizations/42?x=/../iam/v1/service-accounts", "/organizations/42"),
    ] {
        assert_eq!(get(&harness, &key, sent).await.echo()["path"], seen, "{sent}");
    }
}

#[tokio::test]
async fn ambiguous_paths_are_refused() {
    let harness = Harness::start().await;
    let keys = [harness.reader_key().await.secret, root_key(&harness).await];
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
            let answer = get(&harness, key, path).await;
            assert!(matches!(answer.status, 400 | 403), "{path}: {} {}", answer.status, answer.body);
        }
        // And as a REST API might hand them on, undecoded.
        for shape in Shape::ALL {
            let event = shape.event("GET", path, &format!("Bearer {}", keys[1]));
            assert_eq!(harness.verdict(&event).await, Verdict::Deny, "{shape:?} {path}");
        }
    }
    assert_eq!(get(&harness, &keys[0], "/organizations/42").await.status, 200);
}

#[tokio::test]
async fn another_case_or_a_trailing_slash_is_another_path() {
    let harness = Harness::start().await;
    harness.put_role("exact", &["GET /organizations/{id}", "GET /teams/"]).await;
    let exact = harness.create_account("exact", "exact").await;
    let key = harness.issue_key(&exact).await.secret;
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
async fn no_key_reaches_the_iam_api_by_any_spelling() {
    let harness = Harness::start().await;
    let key = root_key(&harness).await;
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
            let answer = raw(&harness, &format!("{method} {path}"), &[bearer(&key)]).await;
            assert!(
                matches!(answer.status, 400 | 403 | 404 | 421),
                "{method} {path}: {} {}",
                answer.status,
                answer.body
            );
            for shape in Shape::ALL {
                let event = shape.event(method, path, &format!("Bearer {key}"));
                assert_ne!(harness.verdict(&event).await, Verdict::Allow, "{shape:?} {method} {path}");
            }
        }
    }
    assert_eq!(get(&harness, &key, "/iam/v1/whoami").await.status, 200);
    assert_eq!(get(&harness, &key, "/iamx").await.status, 200, "the control: only that word is reserved");
    for method in ["HEAD", "POST", "OPTIONS", "DELETE"] {
        let answer = raw(&harness, &format!("{method} /iam/v1/whoami"), &[bearer(&key)]).await;
        assert!(matches!(answer.status, 403 | 404), "{method}");
    }
}

#[tokio::test]
async fn the_method_is_the_one_of_the_request_line() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await.secret;
    for method in ["get", "Get", "gET", "TRACE", "CONNECT", "QUERY", "PROPFIND", "GET\t", "ANY"] {
        let answer = raw(&harness, &format!("{method} /organizations/42"), &[bearer(&key)]).await;
        assert!(matches!(answer.status, 400 | 403), "{method}: {}", answer.status);
    }
    for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "x-http-method-override"] {
        let post = raw(&harness, "POST /organizations/42", &[bearer(&key), format!("{name}: GET")]).await;
        assert_eq!(post.status, 403, "{name}");
        let get = raw(&harness, "GET /organizations/42", &[bearer(&key), format!("{name}: DELETE")]).await;
        assert_eq!(get.echo()["method"], "GET", "{name}");
    }
    for query in ["_method=GET", "_method=get&method=GET"] {
        assert_eq!(
            raw(&harness, &format!("DELETE /organizations/42?{query}"), &[bearer(&key)]).await.status,
            403
        );
    }
    let get = raw(&harness, "GET /organizations/42?_method=DELETE", &[bearer(&key)]).await.echo();
    assert_eq!((&get["method"], &get["query"]), (&json!("GET"), &json!("_method=DELETE")));
    for name in ["X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix", "X-Forwarded-Path"] {
        let answer =
            raw(&harness, "GET /orders", &[bearer(&key), format!("{name}: /organizations/42")]).await;
        assert_eq!(answer.status, 403, "{name}");
    }
}

#[tokio::test]
async fn one_authorization_header_of_one_form_counts() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await.secret;
    let other = root_key(&harness).await;
    let lines = |lines: &[&str]| {
        lines.iter().map(|line| line.replace("KEY", &key).replace("OTHER", &other)).collect::<Vec<_>>()
    };
    for good in [
        &["Authorization: Bearer KEY"][..],
        &["authorization: bearer KEY"],
        &["AUTHORIZATION:BEARER   KEY  "],
    ] {
        assert_eq!(raw(&harness, "GET /organizations/42", &lines(good)).await.status, 200, "{good:?}");
    }
    for bad in [
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
        let answer = raw(&harness, "GET /organizations/42", &lines(bad)).await;
        assert!(matches!(answer.status, 400 | 403), "{bad:?}: {}", answer.status);
    }
    for elsewhere in [
        &[][..],
        &["X-Api-Key: KEY"],
        &["Cookie: Authorization=Bearer KEY"],
        &["Proxy-Authorization: Bearer KEY"],
        &["X-Authorization: Bearer KEY"],
    ] {
        let answer = raw(&harness, "GET /organizations/42", &lines(elsewhere)).await;
        assert_eq!(answer.status, 401, "{elsewhere:?}");
    }
    let query = format!("GET /organizations/42?access_token={key}&authorization=Bearer%20{key}");
    assert_eq!(raw(&harness, &query, &[]).await.status, 401);
}

#[tokio::test]
async fn the_backend_gets_the_true_principal_and_no_credential() {
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
    let echo = raw(&harness, "GET /organizations/42", &headers).await.echo();
    assert_eq!(
        echo["principal"],
        json!({
            "type": "serviceAccount", "id": key.account, "name": "reader", "keyId": key.id, "role": "ServiceAccountReader",
        })
    );
    let seen = echo["headers"].as_object().unwrap();
    assert_eq!(seen["x-mine"], "kept");
    assert!(!echo.to_string().contains("forged") && !echo.to_string().contains(&key.secret));
    assert!(!seen.contains_key("authorization"));
    let ours: Vec<_> = seen.keys().filter(|name| name.replace('_', "-").starts_with("x-keyward-")).collect();
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
async fn a_management_function_believes_no_header() {
    let harness = Harness::start().await;
    for headers in [
        &[][..],
        &["x-keyward-principal-type: admin", "x-keyward-principal-id: me", "x-keyward-principal-name: me"],
    ] {
        let headers: Vec<String> = headers.iter().map(|header| (*header).to_owned()).collect();
        let answer = raw(&harness, "GET /iam/v1/service-accounts", &headers).await;
        assert_eq!(answer.status, 401);
    }
}

/// Every path that some backend might make of `path`: decoded once or more,
/// cut at `?` or `#`, with parameters dropped, backslashes turned, slashes
/// merged and dots resolved.
fn readings(path: &str) -> Vec<String> {
    let mut readings = vec![path.to_owned()];
    for _ in 0..3 {
        let last = readings.last().unwrap();
        readings.push(lossy_decode(last));
    }
    let cut = |path: &String| path.split(['?', '#', '\0']).next().unwrap().to_owned();
    readings.extend(readings.clone().iter().map(cut));
    readings.extend(readings.clone().iter().map(|path| path.replace('\\', "/")));
    let plain = |path: &String| {
        path.split('/').map(|part| part.split(';').next().unwrap()).collect::<Vec<_>>().join("/")
    };
    readings.extend(readings.clone().iter().map(plain));
    readings.extend(readings.clone().iter().map(|path| resolve(path)));
    readings
}

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

fn nasty() -> impl Strategy<Value = String> {
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
    fn no_reading_of_an_allowed_path_leads_elsewhere(path in nasty()) {
        let roles = BuiltInRoles::new(&PathPrefix::parse_list("/organizations,/teams").unwrap());
        let Ok(target) = Target::parse("GET", &path) else { return Ok(()) };
        let may = |role| decide(Api::Business, Grant::Key { role: roles.get(role), key_role: None }, &target).is_ok();
        for reading in readings(&path) {
            let first = reading.split('/').nth(1).unwrap_or_default().to_owned();
            if may(BuiltInRole::Reader) {
                prop_assert!(["organizations", "teams"].contains(&&*first), "{:?} reads {:?}", path, reading);
            }
            if may(BuiltInRole::Admin) {
                prop_assert!(!first.eq_ignore_ascii_case("iam"), "{:?} reads {:?}", path, reading);
            }
        }
    }
}
