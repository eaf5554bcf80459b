//! Signing in, sessions, response headers, and the forms of accounts and keys. Tests that
//! need a real browser are in `tests/browser`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::{get, post};
use futures::future::join_all;
use insta::assert_snapshot;
use serde_json::{Value, json};
use shared::config::variable;
use tests::{Action, Harness, Logs};
use tokio::net::TcpListener;
use tracing::level_filters::LevelFilter;

use crate::support::browser::{Browser, HOSTILE, Page, secret};

/// Creates an account through the console. Returns the path of its page.
async fn create(browser: &mut Browser<'_>, name: &str) -> String {
    let form = browser.get("/accounts/new").await.expect(200);
    let created = browser.submit(&form, "/accounts", &[("name", name), ("description", name)]).await;
    created.expect(303).location().to_owned()
}

/// Issues a key through the console. Returns the page that shows the key, and the key.
async fn issue(browser: &mut Browser<'_>, account: &str) -> (Page, String) {
    let form = browser.get(&format!("{account}/keys/new")).await.expect(200);
    let page = browser.submit(&form, &format!("{account}/keys"), &[("name", "first")]).await.expect(200);
    let secret = secret(&page).expect("the page shows the key");
    (page, secret)
}

/// The pages of an account and its key, and the pages outside of it with forms.
fn pages(account: &str, key: &str) -> Vec<String> {
    let of_account = [
        "",
        "/edit",
        "/disable",
        "/delete",
        "/history",
        "/keys/new",
        "/keys/revoke",
        "/keys/retired",
        "/role-usage",
        "/access",
        "/identities/new?platform=githubActions",
        "/identities/new?platform=other",
    ];
    let mut pages: Vec<_> = of_account.iter().map(|page| format!("{account}{page}")).collect();
    let of_key = ["", "/revoke", "/rotate"].map(|page| format!("{account}/keys/{key}{page}"));
    pages.extend(
        ["/", "/accounts", "/accounts/new", "/leaked", "/review", "/issuers", "/new-issuer"]
            .map(str::to_owned)
            .into_iter()
            .chain(of_key),
    );
    pages
}

/// The name of the session cookie of a console without TLS.
fn session_name(harness: &Harness) -> String {
    let port = harness.system.facts().console.rsplit(':').next().unwrap().to_owned();
    format!("keyward-session-{port}")
}

fn key_id(page: &Page) -> String {
    let start = page.text.find("key_").unwrap();
    page.text[start..start + 20].to_owned()
}

#[tokio::test]
async fn signing_in_returns_to_the_requested_page() {
    let harness = Harness::start().await;
    let mut browser = Browser::new(&harness);
    let to_sign_in = browser.get("/accounts/new?a=b%20c").await.expect(303);
    assert_eq!(to_sign_in.location(), "/sign-in?back=%2Faccounts%2Fnew%3Fa%3Db%2520c");
    let to_issuer = browser.get(to_sign_in.location()).await.expect(303);
    for part in [
        "response_type=code",
        "code_challenge_method=S256",
        "code_challenge=",
        "state=",
        "nonce=",
        "scope=openid",
    ] {
        assert!(to_issuer.location().contains(part), "{part} in {}", to_issuer.location());
    }
    let back = browser.sign_in("/sign-in?back=%2Faccounts%2Fnew%3Fa%3Db%2520c").await.expect(303);
    assert_eq!(back.location(), "/accounts/new?a=b%20c");
    let page = browser.get("/accounts/new").await.expect(200);
    assert!(page.text.contains("admin@keyward.local"));
}

#[tokio::test]
async fn signing_in_never_redirects_to_another_site() {
    let harness = Harness::start().await;
    for back in ["//evil.example", "/%5Cevil.example", "https://evil.example", "evil", "/%0Aevil", "/a%5C/b"]
    {
        let mut browser = Browser::new(&harness);
        let signed_in = browser.sign_in(&format!("/sign-in?back={back}")).await.expect(303);
        assert_eq!(signed_in.location(), "/", "{back}");
    }
}

#[tokio::test]
async fn cookies_are_bound_to_the_host_and_hidden_from_scripts() {
    let harness = Harness::builder().variable(variable::CONSOLE_URL, "https://console.example").start().await;
    let mut browser = Browser::new(&harness);
    browser.origin = "https://console.example".to_owned();
    browser.sign_in("/sign-in").await.expect(303);
    let account = create(&mut browser, "a").await;
    browser.get(&account).await.expect(200);
    // The only cookie contains the encrypted token.
    assert_eq!(browser.cookies.keys().collect::<Vec<_>>(), ["__Host-keyward-session"]);
    let value = &browser.cookies["__Host-keyward-session"];
    assert!(!value.contains("eyJ") && !value.contains('.'), "{value}");
    let attributes = browser.set_cookies.iter().map(|cookie| {
        let (name, rest) = cookie.split_once('=').unwrap();
        let (value, attributes) = rest.split_once(';').unwrap();
        let attributes = attributes.split("; Expires=").next().unwrap();
        format!("{name}={};{attributes}", if value.is_empty() { "" } else { "[value]" })
    });
    // The cookies of one response are in no particular order.
    let sorted: BTreeSet<_> = attributes.collect();
    assert_snapshot!(sorted.into_iter().collect::<Vec<_>>().join("\n"));
}

/// A browser sends a cookie to every port of its host.
#[tokio::test]
async fn consoles_on_two_ports_keep_separate_sessions() {
    let (one, other) = (Harness::start().await, Harness::start().await);
    let mut first = Browser::signed_in(&one).await;
    let mut second = Browser::new(&other);
    second.cookies.clone_from(&first.cookies);
    assert_eq!(second.sign_in("/sign-in").await.expect(303).location(), "/");
    assert_eq!(second.cookies.len(), 2, "{:?}", second.cookies.keys());
    first.cookies.clone_from(&second.cookies);
    first.get("/accounts/new").await.expect(200);
    let page = second.get("/accounts/new").await.expect(200);
    second.submit(&page, "/sign-out", &[]).await.expect(303);
    first.cookies.clone_from(&second.cookies);
    first.get("/accounts/new").await.expect(200);
}

#[tokio::test]
async fn altered_session_cookie_is_ignored() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let session = browser.cookies[&session_name(&harness)].clone();
    let token = harness.system.facts().admin_token.clone();
    let altered = format!("{}{}", if session.starts_with('A') { "B" } else { "A" }, &session[1..]);
    for value in [altered, token, String::new(), "%00".to_owned()] {
        browser.cookies.insert(session_name(&harness), value.clone());
        assert_eq!(browser.get("/").await.expect(303).location(), "/sign-in", "{value}");
    }
    // A session cookie under another name is not valid.
    browser.cookies.clear();
    let sign_in = session_name(&harness).replace("session", "sign-in");
    browser.cookies.insert(sign_in, session);
    assert_eq!(browser.get("/").await.expect(303).location(), "/sign-in");
}

#[tokio::test]
async fn every_response_has_the_security_headers() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let account = create(&mut browser, "a").await;
    let (shown, _) = issue(&mut browser, &account).await;
    let mut responses = vec![shown];
    for path in ["/", "/accounts/new", &account, "/nowhere", "/sign-in", "/callback", "/signed-out"] {
        responses.push(browser.get(path).await);
    }
    responses.push(browser.send("POST", "/accounts", Some(&BTreeMap::new()), &[]).await.expect(403));
    for response in &responses {
        for (name, part) in [
            ("cache-control", "no-store"),
            ("content-security-policy", "default-src 'none'"),
            ("referrer-policy", "same-origin"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
        ] {
            assert!(response.header(name).contains(part), "{name}: {response:?}");
        }
        let policy = response.header("content-security-policy");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
        assert!(!response.text.contains("style=") && !response.text.contains("onclick"), "{response:?}");
        let scripts = ["<script", "<script src=\"/assets/"].map(|tag| response.text.matches(tag).count());
        assert_eq!(scripts[0], scripts[1], "every script is one of the console's files");
        browser.expect_small(response).await;
    }
    let css = browser.get("/assets/console.css").await.expect(200);
    assert_eq!(css.header("cache-control"), "public, max-age=31536000, immutable");
}

#[tokio::test]
async fn form_without_this_origin_and_session_changes_nothing() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let account = create(&mut browser, "a").await;
    let (shown, _) = issue(&mut browser, &account).await;
    let key = key_id(&shown);
    let good =
        browser.get(&format!("{account}/edit")).await.fields(&format!("{account}/edit"))["csrf"].clone();
    harness.clock.advance_seconds(1);
    let mut other = Browser::signed_in(&harness).await;
    let others = other.get("/accounts/new").await.fields("/accounts")["csrf"].clone();
    assert_ne!(good, others, "each session has its own token");

    let own = browser.origin.clone();
    let before = harness.table.dump().await;
    let forged: [(&[(&str, &str)], &str); 9] = [
        (&[], &good),
        (&[("origin", "https://evil.example")], &good),
        (&[("origin", "null")], &good),
        (&[("origin", "https://evil.example"), ("sec-fetch-site", "same-origin")], &good),
        (&[("sec-fetch-site", "cross-site")], &good),
        (&[("sec-fetch-site", "same-site")], &good),
        (&[("origin", &own)], ""),
        (&[("origin", &own)], &others),
        (&[("origin", &own)], &good[1..]),
    ];
    let forms = [
        "/accounts".to_owned(),
        "/sign-out".to_owned(),
        format!("{account}/edit"),
        format!("{account}/disable"),
        format!("{account}/enable"),
        format!("{account}/delete"),
        format!("{account}/keys"),
        format!("{account}/keys/revoke"),
        format!("{account}/keys/{key}/revoke"),
        format!("{account}/keys/{key}/rotate"),
    ];
    let fields = |token: &str| -> BTreeMap<String, String> {
        [
            ("csrf", token),
            ("name", "a"),
            ("role", "ServiceAccountAdmin"),
            ("enabled", "false"),
            ("version", "*"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    };
    for form in &forms {
        for (headers, token) in forged {
            let refused = browser.send("POST", form, Some(&fields(token)), headers).await;
            assert_eq!(refused.status, 403, "{form} with {headers:?} and {token}");
        }
    }
    // The response to a form with a key is always a redirect.
    for (headers, token) in forged {
        let refused = browser.send("POST", "/leaked", Some(&fields(token)), headers).await.expect(303);
        assert!(["/leaked?why=forged", "/leaked?why=old_page"].contains(&refused.location()), "{refused:?}");
    }
    assert_eq!(before, harness.table.dump().await);
    // With a valid origin and token, the same form is accepted.
    let by_fetch = [("sec-fetch-site", "same-origin")];
    browser.send("POST", &forms[3], Some(&fields(&good)), &by_fetch).await.expect(303);
    assert_ne!(before, harness.table.dump().await);
}

#[tokio::test]
async fn user_who_is_not_an_admin_gets_no_session() {
    let harness = Harness::start().await;
    let mut browser = Browser::new(&harness);
    let page = browser.sign_in_as_visitor().await.expect(403);
    assert!(page.text.contains("You are not an admin"), "{}", page.text);
    assert!(!browser.cookies.contains_key(&session_name(&harness)));
}

#[tokio::test]
async fn session_expires_with_its_token_and_returns_to_the_same_page() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let account = create(&mut browser, "a").await;
    let edit = format!("{account}/edit");
    let form = browser.get(&edit).await.expect(200);
    harness.clock.advance_seconds(3600);
    let to_sign_in = browser.get(&edit).await.expect(303);
    let back = to_sign_in.location().to_owned();
    assert!(back.starts_with("/sign-in?back=%2Faccounts%2Fsa%5F"), "{back}");
    let referer = format!("{}{edit}", browser.origin);
    let origin = browser.origin.clone();
    let headers = [("origin", origin.as_str()), ("referer", referer.as_str())];
    let mut fields = form.fields(&edit);
    fields.insert("owner".to_owned(), HOSTILE.to_owned());
    let expired = browser.send("POST", &edit, Some(&fields), &headers).await.expect(401);
    expired.expect_texts(&["Your session has expired", "this page still has your input", "Owner", HOSTILE]);
    expired.expect_no_script();
    let in_new_tab = "href=\"/sign-in?back=%2Fsigned%2Din\" target=\"_blank\"";
    assert!(expired.text.contains(in_new_tab), "this page stays open: {}", expired.text);
    assert_eq!(browser.sign_in(&back).await.expect(303).location(), edit);
    browser.get(&edit).await.expect(200);

    // The form is sent again only after the admin confirms it.
    let before = harness.table.dump().await;
    let stale = browser.submit(&expired, &edit, &[]).await.expect(403);
    assert_eq!(before, harness.table.dump().await);
    stale.expect_texts(&["opened before you signed in again", "Owner", HOSTILE]);
    browser.submit(&stale, &edit, &[]).await.expect(303);
    assert!(browser.get(&account).await.expect(200).text.contains("<bdi>&#60;script&#62;alert"));
}

#[tokio::test]
async fn form_of_an_expired_session_is_not_repeated_on_a_page_if_it_can_contain_a_key() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let account = create(&mut browser, "a").await;
    let (_, key) = issue(&mut browser, &account).await;
    let form = browser.get("/explain").await.expect(200);
    for typed in [key.as_str(), "not a key"] {
        let mut other = browser.clone();
        let fields = [("account", typed), ("method", "GET"), ("path", "/"), ("csrf", "")];
        let stale = other.submit(&form, "/explain", &fields).await.expect(403);
        other.cookies.clear();
        let expired = other.submit(&form, "/explain", &fields).await.expect(401);
        for page in [stale, expired] {
            assert_eq!(page.text.contains("action=\"/explain\""), typed != key, "{}", page.text);
            assert!(!page.text.contains(&key[..20]), "{}", page.text);
        }
    }
}

#[tokio::test]
async fn each_route_accepts_only_its_methods() {
    let harness = Harness::start().await;
    let mut browser = Browser::new(&harness);
    for method in ["GET", "HEAD"] {
        let to_sign_in = browser.send(method, "/accounts/new", None, &[]).await.expect(303);
        assert_eq!(to_sign_in.location(), "/sign-in?back=%2Faccounts%2Fnew", "{method}");
    }
    browser.sign_in("/sign-in").await.expect(303);
    let head = browser.send("HEAD", "/accounts/new", None, &[]).await.expect(200);
    assert_eq!(head.text, "");
    let origin = browser.origin.clone();
    let own = [("origin", origin.as_str())];
    for (method, path, allow) in [
        ("POST", "/history", "GET,HEAD"),
        ("PUT", "/leaked", "GET,HEAD,POST"),
        ("DELETE", "/accounts", "GET,HEAD,POST"),
        ("POST", "/assets/console.css", "GET,HEAD"),
    ] {
        let response = browser.send(method, path, None, &own).await.expect(405);
        let mut methods: Vec<_> = response.header("allow").split(',').map(str::trim).collect();
        methods.sort_unstable();
        assert_eq!(methods.join(","), allow, "{method} {path}");
        assert!(response.text.contains("This page does not accept forms"), "{}", response.text);
    }
    browser.send("POST", "/nowhere", None, &own).await.expect(404);
    browser.send("PUT", "/history", None, &[]).await.expect(403);
}

#[tokio::test]
async fn signing_out_ends_the_session() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let page = browser.get("/").await.expect(200);
    assert_eq!(browser.submit(&page, "/sign-out", &[]).await.expect(303).location(), "/signed-out");
    assert_eq!(browser.cookies, BTreeMap::new());
    // The same if the session has already ended in another window, or has expired.
    browser.submit(&page, "/sign-out", &[]).await.expect(303);
    let mut late = Browser::signed_in(&harness).await;
    let page = late.get("/").await.expect(200);
    harness.clock.advance_seconds(3600);
    assert_eq!(late.submit(&page, "/sign-out", &[]).await.expect(303).location(), "/signed-out");
    assert_eq!(late.cookies, BTreeMap::new());
    assert!(browser.get("/signed-out").await.expect(200).text.contains("You are signed out"));
    assert_eq!(browser.get("/").await.expect(303).location(), "/sign-in");
}

#[tokio::test]
async fn callback_of_another_sign_in_creates_no_session() {
    let harness = Harness::start().await;
    let email = harness.system.facts().admin_email.clone();
    let mut victim = Browser::new(&harness);
    let mut attacker = Browser::new(&harness);
    let theirs = attacker.authorize(&email, "/sign-in").await;
    // Without a sign-in of their own, and with one of their own.
    assert!(victim.get(&theirs).await.expect(400).text.contains("Sign-in failed"));
    let own = victim.authorize(&email, "/sign-in").await;
    victim.get(&theirs).await.expect(400);
    let code = theirs.split(['=', '&']).nth(1).unwrap();
    let state = own.rsplit('=').next().unwrap();
    // With the right state, an injected code fails the PKCE check.
    victim.get(&format!("/callback?code={code}&state={state}")).await.expect(400);
    victim.get(&format!("/callback?error=access_denied&state={state}")).await.expect(400);
    assert!(!victim.cookies.contains_key(&session_name(&harness)));
    victim.get(&own).await.expect(303);
    // A callback works once. Opening it again does not change the session.
    let session = victim.cookies[&session_name(&harness)].clone();
    for path in [&own, &theirs] {
        assert_eq!(victim.get(path).await.expect(303).location(), "/");
    }
    assert_eq!(victim.cookies[&session_name(&harness)], session);
    victim.cookies.clear();
    victim.get(&own).await.expect(400);
    // The authorization code expires.
    let mut late = Browser::new(&harness);
    let callback = late.authorize(&email, "/sign-in").await;
    harness.clock.advance_seconds(60);
    late.get(&callback).await.expect(400);
}

/// Starts an issuer whose tokens have the claims and headers in `change`: `name` for the ID
/// token, `header.name` for its header, `access.name` for the access token.
fn start_issuer(
    harness: &Harness,
    change: Arc<Mutex<Value>>,
    nonce: Arc<Mutex<String>>,
    listener: TcpListener,
) {
    let url = format!("http://{}", listener.local_addr().unwrap());
    let configuration = json!({
        "issuer": url, "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"), "jwks_uri": harness.system.issuer().jwks_uri(),
    });
    let real = harness.system.issuer().clone();
    let mut access = real.claims("keyward-console");
    access["iss"] = url.clone().into();
    let now = 1_767_225_600;
    let token = post(move || async move {
        let mut access = access;
        let mut claims = json!({ "iss": url, "aud": "keyward-console", "sub": "a", "iat": now, "exp": now + 3600,
            "nonce": *nonce.lock().unwrap() });
        let mut header = real.header();
        for (name, value) in change.lock().unwrap().as_object().unwrap() {
            match name.split_once('.') {
                Some(("header", name)) => header[name] = value.clone(),
                Some((_, name)) => access[name] = value.clone(),
                None => claims[name] = value.clone(),
            }
        }
        let access = tests::sign(&real.header(), &access);
        let id_token = tests::sign(&header, &claims);
        axum::Json(json!({ "access_token": access, "token_type": "Bearer", "id_token": id_token }))
    });
    let router = Router::new()
        .route("/.well-known/openid-configuration", get(|| async { axum::Json(configuration) }))
        .route("/token", token);
    tokio::spawn(async move { axum::serve(listener, router).await });
}

#[tokio::test]
async fn invalid_id_token_creates_no_session() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let harness = Harness::builder().variable(variable::OIDC_ISSUER, &url).start().await;
    let (change, nonce) = (Arc::new(Mutex::new(json!({}))), Arc::new(Mutex::new(String::new())));
    start_issuer(&harness, Arc::clone(&change), Arc::clone(&nonce), listener);
    let attempt = async |changes: Value| {
        let mut browser = Browser::new(&harness);
        let to_issuer = browser.get("/sign-in").await.expect(303);
        let parameter = |name: &str| {
            let (_, rest) = to_issuer.location().split_once(&format!("{name}=")).unwrap();
            rest.split('&').next().unwrap().to_owned()
        };
        *nonce.lock().unwrap() = parameter("nonce");
        *change.lock().unwrap() = changes;
        let response = browser.get(&format!("/callback?code=c&state={}", parameter("state"))).await;
        (response.status, browser.cookies.contains_key(&session_name(&harness)))
    };
    assert_eq!(attempt(json!({})).await, (303, true));
    assert_eq!(attempt(json!({ "access.scope": "s".repeat(1500) })).await, (303, true));
    for changes in [
        json!({ "nonce": "another" }),
        json!({ "nonce": null }),
        json!({ "aud": "keyward-api" }),
        json!({ "iss": "https://evil.example" }),
        json!({ "exp": 1_767_225_600 }),
        json!({ "exp": null }),
        json!({ "header.kid": "unknown" }),
        json!({ "header.alg": "HS256" }),
        json!({ "header.alg": "none" }),
        // The session cookie would be longer than browsers accept.
        json!({ "access.scope": "s".repeat(3000) }),
    ] {
        assert_eq!(attempt(changes.clone()).await, (400, false), "{changes}");
    }
}

/// The parameters `audience` and `resource` of an authorization request.
fn audiences(location: &str) -> Vec<String> {
    let (_, query) = location.split_once('?').unwrap();
    let named =
        query.split('&').filter(|part| part.starts_with("audience=") || part.starts_with("resource="));
    named.map(str::to_owned).collect()
}

#[tokio::test]
async fn sign_in_requests_the_configured_audience() {
    for (audience, expected) in [
        ("", vec![]),
        (
            "https://iam.example/",
            vec!["audience=https%3A%2F%2Fiam.example%2F", "resource=https%3A%2F%2Fiam.example%2F"],
        ),
        ("urn:keyward:iam", vec!["audience=urn%3Akeyward%3Aiam", "resource=urn%3Akeyward%3Aiam"]),
        // RFC 8707, section 2: `resource` must be an absolute URI without a fragment.
        ("keyward-iam", vec!["audience=keyward-iam"]),
        ("https://iam.example/#a", vec!["audience=https%3A%2F%2Fiam.example%2F%23a"]),
    ] {
        let harness = Harness::builder().variable(variable::CONSOLE_AUDIENCE, audience).start().await;
        let mut browser = Browser::new(&harness);
        let to_issuer = browser.get("/sign-in").await.expect(303);
        assert_eq!(audiences(to_issuer.location()), expected);
        assert_eq!(browser.sign_in("/sign-in").await.expect(303).location(), "/");
    }
}

/// The test's issuer counts the requests for its configuration, and records the last
/// request to its token endpoint.
#[tokio::test]
async fn issuer_configuration_is_fetched_once_until_it_expires() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let harness = Harness::builder()
        .variable(variable::OIDC_ISSUER, &url)
        .variable(variable::CONSOLE_AUDIENCE, "https://iam.example")
        .start()
        .await;
    let (requests, fails) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
    let exchanged = Arc::new(Mutex::new(String::new()));
    let configuration = json!({
        "issuer": url, "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"), "jwks_uri": harness.system.issuer().jwks_uri(),
    });
    let (counter, failing) = (Arc::clone(&requests), Arc::clone(&fails));
    let respond = move || async move {
        counter.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        if failing.load(Ordering::SeqCst) {
            Err(axum::http::StatusCode::SERVICE_UNAVAILABLE)
        } else {
            Ok(axum::Json(configuration))
        }
    };
    let seen = Arc::clone(&exchanged);
    let token = post(move |body: String| async move {
        *seen.lock().unwrap() = body;
        axum::http::StatusCode::BAD_REQUEST
    });
    let router =
        Router::new().route("/.well-known/openid-configuration", get(respond)).route("/token", token);
    tokio::spawn(async move { axum::serve(listener, router).await });
    // Eight sign-ins at once: their different statuses, and the number of requests so far.
    let sign_in = async || {
        let browsers: Vec<_> = (0..8).map(|_| Browser::new(&harness)).collect();
        let responses =
            browsers.into_iter().map(|mut browser| async move { browser.get("/sign-in").await.status });
        let statuses: BTreeSet<_> = join_all(responses).await.into_iter().collect();
        (statuses.into_iter().collect::<Vec<_>>(), requests.load(Ordering::SeqCst))
    };
    assert_eq!(sign_in().await, (vec![400], 1), "concurrent callers share one failure");
    fails.store(false, Ordering::SeqCst);
    assert_eq!(sign_in().await, (vec![400], 1), "the failure is cached for two seconds");
    harness.clock.advance_seconds(2);
    assert_eq!(sign_in().await, (vec![303], 2));
    harness.clock.advance_seconds(899);
    assert_eq!(sign_in().await, (vec![303], 2));
    fails.store(true, Ordering::SeqCst);
    harness.clock.advance_seconds(1);
    assert_eq!(sign_in().await, (vec![400], 3), "an expired configuration is not used");
    fails.store(false, Ordering::SeqCst);
    harness.clock.advance_seconds(2);

    let mut browser = Browser::new(&harness);
    let to_issuer = browser.get("/sign-in").await.expect(303);
    let (_, rest) = to_issuer.location().split_once("state=").unwrap();
    let state = rest.split('&').next().unwrap();
    browser.get(&format!("/callback?code=c&state={state}")).await.expect(400);
    let exchanged = exchanged.lock().unwrap().clone();
    assert!(exchanged.contains("resource=https%3A%2F%2Fiam.example"), "{exchanged}");
}

#[tokio::test]
async fn key_is_issued_once_and_shown_once() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let account = create(&mut browser, "nightly").await;
    let created = browser.get(&account).await.expect(200);
    assert!(created.text.contains("nightly was created. Next, issue a key."));
    assert!(!browser.get(&account).await.text.contains("was created"), "a notice is shown once");

    let action = format!("{account}/keys");
    let form = browser.get(&format!("{account}/keys/new")).await.expect(200);
    let typed = [("name", "first"), ("expires_in_days", "7")];
    let shown = browser.submit(&form, &action, &typed).await.expect(200);
    let key = secret(&shown).unwrap();
    let works = harness.request("GET", "/organizations/1").bearer(&key).send().await;
    assert_eq!(works.status, 200);
    // The same form again, as after a reload or a second click, and with another name.
    let again = browser.submit(&form, &action, &typed).await.expect(409);
    assert!(again.text.contains("This key was already issued"), "{}", again.text);
    let other = browser.submit(&form, &action, &[("name", "second")]).await.expect(422);
    for response in [&again, &other] {
        assert_eq!(secret(response), None);
    }
    let id = key_id(&shown);
    for path in pages(&account, &id) {
        assert_eq!(secret(&browser.get(&path).await.expect(200)), None, "{path}");
    }
    assert_eq!(browser.get(&action).await.expect(303).location(), account);
    let page = browser.get(&account).await.expect(200);
    assert_eq!(page.text.matches("/revoke\">Revoke<").count(), 1, "one key was issued");

    let revoke = format!("{account}/keys/{id}/revoke");
    let confirm = browser.get(&revoke).await.expect(200);
    browser.submit(&confirm, &revoke, &[]).await.expect(303);
    let page = browser.get(&account).await.expect(200);
    assert!(page.text.contains("Key first was revoked at 2026-01-01 00:00:00 UTC."), "{}", page.text);
    let refused = harness.request("GET", "/organizations/1").bearer(&key).send().await;
    assert_eq!(refused.status, 403);
    // The page to revoke the key redirects to the account.
    assert_eq!(browser.get(&revoke).await.expect(303).location(), account);
}

#[tokio::test]
async fn notice_is_shown_only_on_its_page() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let other = create(&mut browser, "other").await;
    browser.get(&other).await.expect(200);
    let account = create(&mut browser, "mine").await;
    // Pages in another window do not show the notice.
    for path in ["/", "/roles", &other, &format!("{account}/edit")] {
        let page = browser.get(path).await.expect(200);
        assert!(!page.text.contains("class=\"notice\" role=\"status\""), "{path}: {}", page.text);
    }
    assert!(browser.get(&account).await.expect(200).text.contains("mine was created."));
    assert!(!browser.get(&account).await.expect(200).text.contains("mine was created."));
}

#[tokio::test]
async fn account_is_created_once_then_edited_disabled_enabled_and_deleted() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let form = browser.get("/accounts/new").await.expect(200);
    let typed = [("name", "once"), ("role", "ServiceAccountWriter")];
    let first = browser.submit(&form, "/accounts", &typed).await.expect(303).location().to_owned();
    assert_eq!(browser.submit(&form, "/accounts", &typed).await.expect(303).location(), first);
    let (_, key) = issue(&mut browser, &first).await;
    let check = async || harness.request("POST", "/organizations").bearer(&key).send().await.status;
    assert_eq!(check().await, 200);

    let disable = format!("{first}/disable");
    let page = browser.get(&disable).await.expect(200);
    browser.submit(&page, &disable, &[]).await.expect(303);
    assert_eq!(check().await, 403);
    let page = browser.get(&first).await.expect(200);
    assert!(
        page.text.contains("once was disabled. All of its keys and tokens have been refused since"),
        "{}",
        page.text
    );
    assert_eq!(browser.get(&disable).await.expect(303).location(), first);
    assert!(browser.get(&first).await.text.contains("once is already disabled."));
    browser.submit(&page, &format!("{first}/enable"), &[]).await.expect(303);
    assert_eq!(check().await, 200);

    let edit = format!("{first}/edit");
    let seen = browser.get(&edit).await.expect(200);
    let narrower = [("role", "ServiceAccountReader"), ("owner", "ops")];
    let confirm = browser.submit(&seen, &edit, &narrower).await.expect(200);
    browser.submit(&confirm, &edit, &[("button", "confirm")]).await.expect(303);
    assert_eq!(check().await, 403);
    // A form with an older version overwrites nothing.
    let stale = browser.submit(&seen, &edit, &[("owner", "stale")]).await.expect(412);
    assert!(stale.text.contains("This page is out of date") && stale.text.contains("value=\"stale\""));

    let all = format!("{first}/keys/revoke");
    let confirm = browser.get(&all).await.expect(200);
    browser.submit(&confirm, &all, &[]).await.expect(303);
    assert!(browser.get(&first).await.text.contains("1 key revoked at"));

    let delete = format!("{first}/delete");
    let confirm = browser.get(&delete).await.expect(200);
    let refused = browser.submit(&confirm, &delete, &[("name", "onc")]).await.expect(422);
    assert!(refused.text.contains("so nothing was deleted."), "{}", refused.text);
    assert_eq!(
        browser.submit(&confirm, &delete, &[("name", "once")]).await.expect(303).location(),
        "/accounts"
    );
    assert!(browser.get(&first).await.expect(404).text.contains("does not exist"));
    assert!(browser.get(&format!("{first}/history")).await.expect(200).text.contains("deleted the account"));
}

#[tokio::test]
async fn form_shows_the_apis_errors_next_to_the_fields_and_keeps_the_input() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    create(&mut browser, "taken").await;
    let form = browser.get("/accounts/new").await.expect(200);
    let long = "x".repeat(65);
    for (name, status, problem) in [
        ("", 422, "Must not be empty."),
        (&long, 422, "Must be at most 64 characters."),
        ("right to left \u{202e}", 422, "Must not contain"),
        ("TAKEN", 409, "Another service account has this name"),
    ] {
        let typed = [("name", name), ("owner", "the \"team\""), ("role", "ServiceAccountWriter")];
        let page = browser.submit(&form, "/accounts", &typed).await.expect(status);
        assert!(page.field_error("name").contains(problem), "{}", page.text);
        let fields = page.fields("/accounts");
        assert_eq!((fields["name"].as_str(), fields["owner"].as_str()), (name, "the \"team\""));
        assert_eq!(fields["role"], "ServiceAccountWriter");
        assert!(page.text.contains("aria-invalid=\"true\" aria-describedby=\"name-wrong name-hint\""));
    }
    let account = create(&mut browser, "free").await;
    let form = browser.get(&format!("{account}/keys/new")).await.expect(200);
    for (typed, field, problem) in [
        (("expires_in_days", "400"), "expiresInDays", "Must be from 1 to 365 days."),
        (("expires_in_days", "soon"), "expiresInDays", "Must be a whole number of days."),
        (("allowed_cidrs", "10.0.0.0/8 nonsense"), "allowedCidrs", ""),
        (("role", "Unknown"), "role", "Role not found. Choose another role."),
    ] {
        let page =
            browser.submit(&form, &format!("{account}/keys"), &[("name", "k"), typed]).await.expect(422);
        assert!(page.field_error(field).contains(problem), "{}", page.text);
    }
}

#[tokio::test]
async fn first_field_with_an_error_has_the_focus() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let account = create(&mut browser, "a").await;
    let [new_account, new_key, new_role] =
        ["/accounts/new".to_owned(), format!("{account}/keys/new"), "/new-role".to_owned()];
    let (keys, long) = (format!("{account}/keys"), "x".repeat(300));
    for (path, action, typed, focused) in [
        (&new_account, "/accounts", vec![("name", ""), ("description", &long)], "id=\"name\""),
        (
            &new_account,
            "/accounts",
            vec![("name", "b"), ("owner", &long), ("description", &long)],
            "id=\"description\"",
        ),
        (&new_account, "/accounts", vec![("name", "b"), ("role", "Unknown")], "<fieldset"),
        (&new_key, &keys, vec![("name", "k"), ("expires_in_days", "0")], "id=\"expiresInDays\""),
        (&new_key, &keys, vec![("name", "k"), ("allowed_cidrs", "x")], "id=\"allowedCidrs\""),
        (&new_role, "/new-role", vec![("name", "R"), ("permissions", "x")], "id=\"permissions\""),
    ] {
        let form = browser.get(path).await.expect(200);
        assert_eq!(focus(&form), ["id=\"name\""], "the first field has the focus");
        let page = browser.submit(&form, action, &typed).await.expect(422);
        let focus = focus(&page);
        assert!(focus.len() == 1 && focus[0].contains(focused), "{focused}: {focus:?}");
    }
}

/// The elements of a page with `autofocus`: their IDs, or their tags if they have no ID.
fn focus(page: &Page) -> Vec<String> {
    let tags = page.text.split('<').map(|tag| tag.split('>').next().unwrap());
    let focused = tags.filter(|tag| tag.split_whitespace().any(|part| part == "autofocus"));
    let named = focused.map(|tag| {
        let id = tag.split_whitespace().find(|part| part.starts_with("id="));
        id.map_or_else(|| format!("<{tag}"), str::to_owned)
    });
    named.collect()
}

#[tokio::test]
async fn fields_accept_the_longest_valid_text() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    // Each of these characters is two UTF-16 code units, which `maxlength` counts.
    let (name, description) = ("😀".repeat(64), "😀".repeat(256));
    let form = browser.get("/accounts/new").await.expect(200);
    let typed = [("name", name.as_str()), ("description", &description), ("owner", &"😀".repeat(128))];
    for (field, text) in typed {
        let (_, input) = form.text.split_once(&format!("<input id=\"{field}\"")).unwrap();
        let (_, most) = input.split_once("maxlength=\"").unwrap();
        let most: usize = most.split('"').next().unwrap().parse().unwrap();
        assert_eq!(text.encode_utf16().count(), most, "{field}");
    }
    browser.submit(&form, "/accounts", &typed).await.expect(303);
}

#[tokio::test]
async fn hostile_text_is_escaped_on_every_page() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let account = create(&mut browser, HOSTILE).await;
    let form = browser.get(&format!("{account}/keys/new")).await.expect(200);
    let shown = browser.submit(&form, &format!("{account}/keys"), &[("name", HOSTILE)]).await.expect(200);
    let mut texts = vec![shown.text.clone()];
    for path in pages(&account, &key_id(&shown)) {
        texts.push(browser.get(&path).await.expect(200).text);
    }
    let search = "/accounts?prefix=%3Cscript%3Ealert(1)%3C%2Fscript%3E%22%3E&role=%22%3E&cursor=";
    texts.push(browser.get(search).await.expect(422).text);
    texts.push(browser.get(search.split("&role").next().unwrap()).await.expect(200).text);
    texts.push(
        browser.submit(&form, &format!("{account}/keys"), &[("name", HOSTILE), ("role", HOSTILE)]).await.text,
    );
    for text in texts {
        assert!(!text.contains("<script>alert"), "{text}");
        assert!(!text.contains("value=\"<") && !text.contains("&#34;\">\""), "{text}");
    }
}

#[tokio::test]
async fn page_of_an_outage_names_the_request_and_lets_the_admin_retry() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let account = create(&mut browser, "a").await;
    let form = browser.get(&format!("{account}/keys/new")).await.expect(200);
    harness.wire.intercept(|_| Action::Refuse);
    let page = browser.get(&account).await.expect(503);
    assert!(page.text.contains("Keyward is not responding") && page.text.contains("request <code>"));
    assert!(page.text.contains(&format!("href=\"{account}\">Try again")), "{}", page.text);
    let lost = browser.submit(&form, &format!("{account}/keys"), &[("name", "k")]).await.expect(503);
    assert!(lost.text.contains("value=\"k\""), "the page keeps the input: {}", lost.text);
    harness.wire.pass_all();
    // A failure to read the keyring is cached for a second.
    harness.clock.advance_seconds(1);
    let again = browser.submit(&lost, &format!("{account}/keys"), &[]).await.expect(200);
    assert!(secret(&again).is_some(), "the first request issued no key");
    let once_more = browser.submit(&lost, &format!("{account}/keys"), &[]).await.expect(409);
    assert!(secret(&once_more).is_none(), "it is the same attempt");
}

#[tokio::test]
async fn key_whose_response_was_lost_is_not_issued_again() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let account = create(&mut browser, "a").await;
    let path = format!("{account}/keys");
    let form = browser.get(&format!("{path}/new")).await.expect(200);
    // The write succeeds, but its response is lost, and every later call fails.
    let is_written = AtomicBool::new(false);
    harness.wire.intercept(move |call| match call.operation.as_str() {
        _ if is_written.load(Ordering::SeqCst) => Action::Refuse,
        "TransactWriteItems" => {
            is_written.store(true, Ordering::SeqCst);
            Action::LoseResponse
        }
        _ => Action::Pass,
    });
    let lost = browser.submit(&form, &path, &[("name", "k")]).await.expect(503);
    harness.wire.pass_all();
    let again = browser.submit(&lost, &path, &[]).await.expect(409);
    assert!(again.text.contains("This key was already issued"), "{}", again.text);
    let keys = harness.get(&format!("/iam/v1/service-{}", account.trim_start_matches('/'))).await.json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1, "{keys}");
}

#[tokio::test]
async fn form_can_be_resent_when_the_outcome_is_unknown() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let account = create(&mut browser, "a").await;
    issue(&mut browser, &account).await;
    let (_, key) = issue(&mut browser, &account).await;
    let key_id = format!("key_{}", key.split('_').nth(3).unwrap());
    let forms = [
        (format!("{account}/disable"), format!("{account}/disable"), vec![]),
        (format!("{account}/keys/{key_id}/revoke"), format!("{account}/keys/{key_id}/revoke"), vec![]),
        (format!("{account}/keys/revoke"), format!("{account}/keys/revoke"), vec![]),
        (format!("{account}/delete"), format!("{account}/delete"), vec![("name", "a")]),
    ];
    for (action, page, typed) in forms {
        let page = browser.get(&page).await.expect(200);
        harness.wire.intercept(|call| match call.operation.as_str() {
            "TransactWriteItems" => Action::Refuse,
            _ => Action::Pass,
        });
        let lost = browser.submit(&page, &action, &typed).await.expect(503);
        assert!(lost.text.contains("The change may or may not have been made"), "{}", lost.text);
        harness.wire.pass_all();
        browser.submit(&lost, &action, &[]).await.expect(303);
    }
    browser.get(&account).await.expect(404);
}

#[tokio::test]
async fn sign_in_during_an_outage_can_be_started_again() {
    // Nothing listens there.
    let nowhere = "http://127.0.0.1:9";
    let harness = Harness::builder().variable(variable::API_URL, nowhere).start().await;
    let mut browser = Browser::new(&harness);
    let callback = browser.authorize("admin@keyward.local", "/sign-in").await;
    let page = browser.get(&callback).await.expect(503);
    assert!(page.text.contains("request <code>") && page.text.contains("href=\"/sign-in\""), "{}", page.text);
}

#[tokio::test]
async fn account_page_works_without_its_role_and_history() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    harness.put_role("Custom", &["GET /a"]).await;
    let account = harness.create_account("a", "Custom").await;
    harness.wire.intercept(|call| {
        let is_role = call.body["Key"]["pk"]["S"].as_str().is_some_and(|key| key.starts_with("ROLE#"));
        let is_event = call.body["ExpressionAttributeValues"][":pk"]["S"]
            .as_str()
            .is_some_and(|key| key.starts_with("EVENTS#"));
        if is_role || is_event { Action::Refuse } else { Action::Pass }
    });
    let page = browser.get(&format!("/accounts/{}", account.id)).await.expect(200);
    assert!(page.text.contains("The permissions of this role are currently unavailable."), "{}", page.text);
    assert!(page.text.contains("Recent activity is currently unavailable."), "{}", page.text);
}

#[tokio::test]
async fn address_with_a_key_redirects_to_the_page_for_leaked_keys() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    for path in
        ["/accounts?prefix=kwsa_local_x", "/history?actor=kwsa_local_x", "/history?account=kwsa_local_x"]
    {
        assert_eq!(browser.get(path).await.expect(303).location(), "/leaked");
    }
}

#[tokio::test]
async fn malformed_request_keeps_the_input_and_malformed_address_is_404() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let form = browser.get("/accounts/new").await.expect(200);
    let page = browser.submit(&form, "/accounts", &[("name", "typed"), ("attempt", "")]).await.expect(400);
    assert!(page.text.contains("value=\"typed\""), "{}", page.text);
    for path in ["/accounts/%ff", "/accounts?enabled=x&enabled=y"] {
        assert!(browser.get(path).await.expect(404).text.contains("Page not found"));
    }
}

/// A hidden field becomes a header of the request to the API, and a header cannot
/// contain a control character. This must not look like an outage.
#[tokio::test]
async fn control_character_in_a_field_is_a_form_error() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let account = create(&mut browser, "a").await;
    let (shown, _) = issue(&mut browser, &account).await;
    let key = key_id(&shown);
    harness.put_role("Custom", &["GET /reports"]).await;
    let same = |path: String| (path.clone(), path);
    let forms = [
        ("/accounts/new".to_owned(), "/accounts".to_owned()),
        same(format!("{account}/edit")),
        same(format!("{account}/disable")),
        (format!("{account}/keys/new"), format!("{account}/keys")),
        same(format!("{account}/keys/{key}/rotate")),
        same("/new-role".to_owned()),
        same("/roles/Custom/edit".to_owned()),
        same("/roles/Custom/delete".to_owned()),
        same(format!("{account}/delete")),
        same("/leaked".to_owned()),
    ];
    let mut checked = BTreeSet::new();
    for (path, action) in forms {
        let form = browser.get(&path).await.expect(200);
        for name in form.fields(&action).keys().map(String::as_str) {
            for text in ["a\0b", "a\rb", "a\nb", "a\u{7f}b"] {
                let page = browser.submit(&form, &action, &[(name, text)]).await;
                assert!(page.status < 500, "{action}: {name} {text:?}: {page:?}");
                let (status, message) = match name {
                    // The page compares the version with the current one.
                    "version" if action == "/roles/Custom/edit" => (412, "This page is out of date"),
                    // A new role has no version yet.
                    "attempt" | "version" if action != "/new-role" => {
                        (422, "A hidden field of this form is invalid")
                    }
                    // The name that confirms a deletion is only compared.
                    "name" | "description" | "owner"
                        if !action.ends_with("/delete") && action != "/new-role" =>
                    {
                        (422, "Must not contain control characters")
                    }
                    _ => continue,
                };
                assert_eq!(page.status, status, "{action}: {name} {text:?}: {page:?}");
                assert!(page.text.contains(message), "{action}: {name} {text:?}: {}", page.text);
                checked.insert(name.to_owned());
            }
        }
    }
    assert_eq!(
        checked.into_iter().collect::<Vec<_>>(),
        ["attempt", "description", "name", "owner", "version"]
    );
}

#[tokio::test]
async fn resubmission_with_other_values_is_reported_and_becomes_a_new_attempt() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let account = create(&mut browser, "a").await;
    let path = format!("{account}/keys");
    let form = browser.get(&format!("{path}/new")).await.expect(200);
    browser.submit(&form, &path, &[("name", "one")]).await.expect(200);
    let other = browser.submit(&form, &path, &[("name", "two")]).await.expect(422);
    assert!(other.text.contains("This form was already submitted with other values"), "{}", other.text);
    assert!(secret(&browser.submit(&other, &path, &[]).await.expect(200)).is_some());
    let form = browser.get("/accounts/new").await.expect(200);
    let created =
        browser.submit(&form, "/accounts", &[("name", "b")]).await.expect(303).location().to_owned();
    let other = browser.submit(&form, "/accounts", &[("name", "c")]).await.expect(422);
    browser.submit(&other, "/accounts", &[]).await.expect(303);
    // The account that the form created has been deleted.
    let delete = format!("{created}/delete");
    let confirm = browser.get(&delete).await.expect(200);
    browser.submit(&confirm, &delete, &[("name", "b")]).await.expect(303);
    let again = browser.submit(&form, "/accounts", &[("name", "b")]).await.expect(409);
    assert!(again.text.contains("If you submit it again, it creates another account."), "{}", again.text);
    browser.submit(&again, "/accounts", &[]).await.expect(303);
}

#[tokio::test]
async fn new_cookie_key_ends_sessions_within_five_minutes() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let secrets = harness.system.console_secrets();
    let value = secrets.versions()[0].2.clone().unwrap();
    let mut members: Value = serde_json::from_str(&value).unwrap();
    members["cookieKey"] = "k".repeat(64).into();
    secrets.set(members.to_string());
    harness.clock.advance_seconds(299);
    browser.get("/").await.expect(200);
    // If the secret cannot be read, the cached secret stays in use.
    harness
        .wire
        .intercept(|call| if call.operation == "GetSecretValue" { Action::Refuse } else { Action::Pass });
    harness.clock.advance_seconds(1);
    browser.get("/").await.expect(200);
    harness.wire.pass_all();
    harness.clock.advance_seconds(300);
    assert_eq!(browser.get("/").await.expect(303).location(), "/sign-in");
    browser.sign_in("/sign-in").await.expect(303);
    browser.get("/").await.expect(200);
}

#[tokio::test]
async fn repeated_deletion_reports_that_the_account_was_deleted() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let account = create(&mut browser, "two  spaces").await;
    let path = format!("{account}/delete");
    let form = browser.get(&path).await.expect(200);
    for _ in 0..2 {
        let response = browser.submit(&form, &path, &[("name", "two spaces")]).await.expect(303);
        assert_eq!(response.location(), "/accounts");
    }
    assert!(browser.get("/accounts").await.expect(200).text.contains("This account has been deleted."));
}

#[tokio::test]
async fn form_from_an_earlier_session_is_refused() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let form = browser.get("/accounts/new").await.expect(200);
    harness.clock.advance_seconds(1);
    browser.sign_in("/sign-in").await.expect(303);
    let stale = browser.submit(&form, "/accounts", &[("name", "a")]).await.expect(403);
    assert!(stale.text.contains("opened before you signed in again"), "{}", stale.text);
}

#[tokio::test]
async fn console_logs_contain_no_credential() {
    let harness = Harness::start().await;
    let logs = Logs::capture(LevelFilter::TRACE);
    let mut browser = Browser::signed_in(&harness).await;
    let account = create(&mut browser, "a").await;
    let (_, key) = issue(&mut browser, &account).await;
    browser.get(&format!("/{key}")).await.expect(404);
    browser.get(&format!("/accounts/{key}")).await.expect(404);
    Browser::new(&harness).get("/callback?code=tops3cret&state=tops3cret").await.expect(400);
    let logged = logs.take();
    assert!(logged.contains("\"page\":\"/callback\""), "the request is logged: {logged}");
    let session = &browser.cookies[&session_name(&harness)];
    let password = &harness.system.facts().admin_password;
    for line in logged.lines() {
        for secret in [&key, session, password, "tops3cret", "Bearer ey"] {
            assert!(!line.contains(secret), "{secret} in {line}");
        }
    }
}
