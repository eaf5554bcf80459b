//! The console: who gets in, what a browser may do with its pages, and that a
//! key's secret is shown once. What takes a real browser is in `tests/browser`.

use std::collections::BTreeMap;
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

/// Creates an account on the pages, and gives its path.
async fn create(browser: &mut Browser<'_>, name: &str) -> String {
    let form = browser.get("/accounts/new").await.expect(200);
    let created = browser.submit(&form, "/accounts", &[("name", name), ("description", name)]).await;
    created.expect(303).location().to_owned()
}

/// Issues a key on the pages: the page that shows it, and its secret.
async fn issue(browser: &mut Browser<'_>, account: &str) -> (Page, String) {
    let form = browser.get(&format!("{account}/keys/new")).await.expect(200);
    let page = browser.submit(&form, &format!("{account}/keys"), &[("name", "first")]).await.expect(200);
    let secret = secret(&page).expect("the secret is shown");
    (page, secret)
}

/// Every page of an account and the two above it.
fn pages(account: &str, key: &str) -> Vec<String> {
    let of_account = ["", "/edit", "/delete", "/history", "/keys/new", "/keys/revoke", "/keys/retired"];
    let mut pages: Vec<_> = of_account.iter().map(|page| format!("{account}{page}")).collect();
    let of_key = ["revoke", "rotate"].map(|page| format!("{account}/keys/{key}/{page}"));
    pages
        .extend(["/".to_owned(), "/accounts/new".to_owned(), "/leaked".to_owned()].into_iter().chain(of_key));
    pages
}

/// The name of the session's cookie in a console without TLS.
fn session_name(harness: &Harness) -> String {
    let port = harness.system.facts().console.rsplit(':').next().unwrap().to_owned();
    format!("keyward-session-{port}")
}

fn key_id(page: &Page) -> String {
    let start = page.text.find("key_").unwrap();
    page.text[start..start + 20].to_owned()
}

#[tokio::test]
async fn whoever_is_not_signed_in_signs_in_and_comes_back() {
    let harness = Harness::start().await;
    let mut browser = Browser::new(&harness);
    let sent = browser.get("/accounts/new?a=b%20c").await.expect(303);
    assert_eq!(sent.location(), "/sign-in?back=%2Faccounts%2Fnew%3Fa%3Db%2520c");
    let to_issuer = browser.get(sent.location()).await.expect(303);
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
async fn it_never_sends_anybody_to_another_site() {
    let harness = Harness::start().await;
    for back in ["//evil.example", "/%5Cevil.example", "https://evil.example", "evil", "/%0Aevil", "/a%5C/b"]
    {
        let mut browser = Browser::new(&harness);
        let signed_in = browser.sign_in(&format!("/sign-in?back={back}")).await.expect(303);
        assert_eq!(signed_in.location(), "/", "{back}");
    }
}

#[tokio::test]
async fn cookies_are_bound_to_the_host_and_out_of_reach() {
    let harness = Harness::builder().variable(variable::CONSOLE_URL, "https://console.example").start().await;
    let mut browser = Browser::new(&harness);
    browser.origin = "https://console.example".to_owned();
    browser.sign_in("/sign-in").await.expect(303);
    let account = create(&mut browser, "a").await;
    browser.get(&account).await.expect(200);
    // One cookie, whose value is the token and nothing else, encrypted.
    assert_eq!(browser.cookies.keys().collect::<Vec<_>>(), ["__Host-keyward-session"]);
    let value = &browser.cookies["__Host-keyward-session"];
    assert!(!value.contains("eyJ") && !value.contains('.'), "{value}");
    let attributes = browser.set_cookies.iter().map(|cookie| {
        let (name, rest) = cookie.split_once('=').unwrap();
        let (value, attributes) = rest.split_once(';').unwrap();
        let attributes = attributes.split("; Expires=").next().unwrap();
        format!("{name}={};{attributes}", if value.is_empty() { "" } else { "[value]" })
    });
    // Those of one answer come in no order.
    let sorted: std::collections::BTreeSet<_> = attributes.collect();
    assert_snapshot!(sorted.into_iter().collect::<Vec<_>>().join("\n"));
}

/// A browser sends the cookies of one port to every port of the same host.
#[tokio::test]
async fn consoles_on_two_ports_leave_each_others_session_alone() {
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
async fn an_altered_session_is_none() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let good = browser.cookies.clone();
    let session = good[&session_name(&harness)].clone();
    let token = harness.system.facts().admin_token.clone();
    let altered = format!("{}{}", if session.starts_with('A') { "B" } else { "A" }, &session[1..]);
    for value in [altered, token, String::new(), "%00".to_owned()] {
        browser.cookies.insert(session_name(&harness), value.clone());
        assert_eq!(browser.get("/").await.expect(303).location(), "/sign-in", "{value}");
    }
    // A cookie of one name is none of another.
    browser.cookies.clear();
    let sign_in = session_name(&harness).replace("session", "sign-in");
    browser.cookies.insert(sign_in, session);
    assert_eq!(browser.get("/").await.expect(303).location(), "/sign-in");
}

#[tokio::test]
async fn every_answer_says_what_a_browser_may_do_with_it() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let account = create(&mut browser, "a").await;
    let (shown, _) = issue(&mut browser, &account).await;
    let mut answers = vec![shown];
    for path in ["/", "/accounts/new", &account, "/nowhere", "/sign-in", "/callback", "/signed-out"] {
        answers.push(browser.get(path).await);
    }
    answers.push(browser.send("POST", "/accounts", Some(&BTreeMap::new()), &[]).await.expect(403));
    for answer in &answers {
        for (name, part) in [
            ("cache-control", "no-store"),
            ("content-security-policy", "default-src 'none'"),
            ("referrer-policy", "same-origin"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
        ] {
            assert!(answer.header(name).contains(part), "{name}: {answer:?}");
        }
        let policy = answer.header("content-security-policy");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
        assert!(!answer.text.contains("style=") && !answer.text.contains("onclick"), "{answer:?}");
        assert_eq!(
            answer.text.matches("<script").count(),
            answer.text.matches("<script src=\"/assets/").count()
        );
    }
    let css = browser.get("/assets/console.css").await.expect(200);
    assert_eq!(css.header("cache-control"), "public, max-age=31536000, immutable");
    for answer in answers {
        assert!(answer.text.len() + css.text.len() < 60_000, "a page and its style are under 60 KB");
    }
}

#[tokio::test]
async fn a_form_that_is_not_from_a_page_of_this_session_does_nothing() {
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
    assert_ne!(good, others, "another session has another token");

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
        format!("{account}/switch"),
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
    // Where a key is pasted, the answer is a page of another address.
    for (headers, token) in forged {
        let refused = browser.send("POST", "/leaked", Some(&fields(token)), headers).await.expect(303);
        assert!(["/leaked?why=forged", "/leaked?why=old_page"].contains(&refused.location()), "{refused:?}");
    }
    assert_eq!(before, harness.table.dump().await);
    // What they lacked is all that they lacked.
    let by_fetch = [("sec-fetch-site", "same-origin")];
    browser.send("POST", &forms[3], Some(&fields(&good)), &by_fetch).await.expect(303);
    assert_ne!(before, harness.table.dump().await);
}

#[tokio::test]
async fn somebody_who_is_no_admin_is_told_so_and_gets_no_session() {
    let harness = Harness::start().await;
    let mut browser = Browser::new(&harness);
    let page = browser.sign_in_as_visitor().await.expect(403);
    assert!(page.text.contains("You are not an admin"), "{}", page.text);
    assert!(!browser.cookies.contains_key(&session_name(&harness)));
}

#[tokio::test]
async fn a_session_ends_with_its_token_and_comes_back_to_its_page() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let account = create(&mut browser, "a").await;
    let edit = format!("{account}/edit");
    let form = browser.get(&edit).await.expect(200);
    harness.clock.advance_seconds(3600);
    let sent = browser.get(&edit).await.expect(303);
    let back = sent.location().to_owned();
    assert!(back.starts_with("/sign-in?back=%2Faccounts%2Fsa%5F"), "{back}");
    let referer = format!("{}{edit}", browser.origin);
    let origin = browser.origin.clone();
    let headers = [("origin", origin.as_str()), ("referer", referer.as_str())];
    let mut fields = form.fields(&edit);
    fields.insert("owner".to_owned(), HOSTILE.to_owned());
    let ended = browser.send("POST", &edit, Some(&fields), &headers).await.expect(401);
    assert!(ended.text.contains("Your session has expired") && ended.text.contains(&back), "{}", ended.text);
    assert!(ended.text.contains("target=\"_blank\""), "this page stays where it is: {}", ended.text);
    assert_eq!(browser.sign_in(&back).await.expect(303).location(), edit);
    browser.get(&edit).await.expect(200);

    // What was typed is sent again by hand, and never by itself.
    let before = harness.table.dump().await;
    let asked = browser.submit(&ended, &edit, &[]).await.expect(403);
    assert_eq!(before, harness.table.dump().await);
    assert!(asked.text.contains("opened before you signed in again"), "{}", asked.text);
    browser.submit(&asked, &edit, &[]).await.expect(303);
    assert!(browser.get(&account).await.expect(200).text.contains("<bdi>&#60;script&#62;alert"));
}

#[tokio::test]
async fn a_form_of_a_lapsed_session_is_kept_on_no_page_if_it_may_hold_a_key() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let account = create(&mut browser, "a").await;
    let (_, key) = issue(&mut browser, &account).await;
    let form = browser.get("/explain").await.expect(200);
    for typed in [key.as_str(), "not a key"] {
        let mut other = browser.clone();
        let asked = [("account", typed), ("method", "GET"), ("path", "/"), ("csrf", "")];
        let old = other.submit(&form, "/explain", &asked).await.expect(403);
        other.cookies.clear();
        let ended = other.submit(&form, "/explain", &asked).await.expect(401);
        for page in [old, ended] {
            assert_eq!(page.text.contains("action=\"/explain\""), typed != key, "{}", page.text);
            assert!(!page.text.contains(&key[..20]), "{}", page.text);
        }
    }
}

#[tokio::test]
async fn methods_are_answered_as_they_should_be() {
    let harness = Harness::start().await;
    let mut browser = Browser::new(&harness);
    for method in ["GET", "HEAD"] {
        let sent = browser.send(method, "/accounts/new", None, &[]).await.expect(303);
        assert_eq!(sent.location(), "/sign-in?back=%2Faccounts%2Fnew", "{method}");
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
        let answer = browser.send(method, path, None, &own).await.expect(405);
        let mut methods: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
        methods.sort_unstable();
        assert_eq!(methods.join(","), allow, "{method} {path}");
        assert!(answer.text.contains("This page does not accept forms"), "{}", answer.text);
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
    // Also one that has ended by itself, in another window or by its token.
    browser.submit(&page, "/sign-out", &[]).await.expect(303);
    let mut late = Browser::signed_in(&harness).await;
    let page_of_late = late.get("/").await.expect(200);
    harness.clock.advance_seconds(3600);
    assert_eq!(late.submit(&page_of_late, "/sign-out", &[]).await.expect(303).location(), "/signed-out");
    assert_eq!(late.cookies, BTreeMap::new());
    assert!(browser.get("/signed-out").await.expect(200).text.contains("You are signed out"));
    assert_eq!(browser.get("/").await.expect(303).location(), "/sign-in");
}

#[tokio::test]
async fn an_answer_to_another_attempt_signs_nobody_in() {
    let harness = Harness::start().await;
    let email = harness.system.facts().admin_email.clone();
    let mut victim = Browser::new(&harness);
    let mut attacker = Browser::new(&harness);
    let theirs = attacker.authorize(&email, "/sign-in").await;
    // Without an attempt, and to another one.
    assert!(victim.get(&theirs).await.expect(400).text.contains("Sign-in failed"));
    let own = victim.authorize(&email, "/sign-in").await;
    victim.get(&theirs).await.expect(400);
    let code = theirs.split(['=', '&']).nth(1).unwrap();
    let state = own.rsplit('=').next().unwrap();
    // With the right state, an injected code fails by its PKCE challenge.
    victim.get(&format!("/callback?code={code}&state={state}")).await.expect(400);
    victim.get(&format!("/callback?error=access_denied&state={state}")).await.expect(400);
    assert!(!victim.cookies.contains_key(&session_name(&harness)));
    victim.get(&own).await.expect(303);
    // Once: neither the code nor the attempt is left. Who is signed in stays so.
    let session = victim.cookies[&session_name(&harness)].clone();
    for path in [&own, &theirs] {
        assert_eq!(victim.get(path).await.expect(303).location(), "/");
    }
    assert_eq!(victim.cookies[&session_name(&harness)], session);
    victim.cookies.clear();
    victim.get(&own).await.expect(400);
    // And not for ever.
    let mut late = Browser::new(&harness);
    let callback = late.authorize(&email, "/sign-in").await;
    harness.clock.advance_seconds(60);
    late.get(&callback).await.expect(400);
}

/// An issuer whose ID tokens are as a test wants them.
fn issuer(harness: &Harness, change: Arc<Mutex<Value>>, nonce: Arc<Mutex<String>>, listener: TcpListener) {
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
async fn an_id_token_that_is_not_for_this_attempt_signs_nobody_in() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let harness = Harness::builder().variable(variable::OIDC_ISSUER, &url).start().await;
    let (change, nonce) = (Arc::new(Mutex::new(json!({}))), Arc::new(Mutex::new(String::new())));
    issuer(&harness, Arc::clone(&change), Arc::clone(&nonce), listener);
    let attempt = async |changes: Value| {
        let mut browser = Browser::new(&harness);
        let begun = browser.get("/sign-in").await.expect(303);
        let parameter = |name: &str| {
            let (_, rest) = begun.location().split_once(&format!("{name}=")).unwrap();
            rest.split('&').next().unwrap().to_owned()
        };
        *nonce.lock().unwrap() = parameter("nonce");
        *change.lock().unwrap() = changes;
        let answer = browser.get(&format!("/callback?code=c&state={}", parameter("state"))).await;
        (answer.status, browser.cookies.contains_key(&session_name(&harness)))
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
        // Its cookie would be longer than browsers take.
        json!({ "access.scope": "s".repeat(3000) }),
    ] {
        assert_eq!(attempt(changes.clone()).await, (400, false), "{changes}");
    }
}

/// The parameters of the request to authorize, with the names `audience` and
/// `resource`.
fn audiences(location: &str) -> Vec<String> {
    let (_, query) = location.split_once('?').unwrap();
    let named =
        query.split('&').filter(|part| part.starts_with("audience=") || part.starts_with("resource="));
    named.map(str::to_owned).collect()
}

#[tokio::test]
async fn the_console_asks_for_its_audience() {
    for (audience, expected) in [
        ("", vec![]),
        (
            "https://iam.example/",
            vec!["audience=https%3A%2F%2Fiam.example%2F", "resource=https%3A%2F%2Fiam.example%2F"],
        ),
        ("urn:keyward:iam", vec!["audience=urn%3Akeyward%3Aiam", "resource=urn%3Akeyward%3Aiam"]),
        // RFC 8707, section 2: not an absolute URI, and one with a fragment.
        ("keyward-iam", vec!["audience=keyward-iam"]),
        ("https://iam.example/#a", vec!["audience=https%3A%2F%2Fiam.example%2F%23a"]),
    ] {
        let harness = Harness::builder().variable(variable::CONSOLE_AUDIENCE, audience).start().await;
        let mut browser = Browser::new(&harness);
        let begun = browser.get("/sign-in").await.expect(303);
        assert_eq!(audiences(begun.location()), expected);
        assert_eq!(browser.sign_in("/sign-in").await.expect(303).location(), "/");
    }
}

/// An issuer that counts the requests for its configuration and records what its
/// token endpoint receives.
#[tokio::test]
async fn the_issuers_configuration_is_fetched_once_until_it_expires() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let harness = Harness::builder()
        .variable(variable::OIDC_ISSUER, &url)
        .variable(variable::CONSOLE_AUDIENCE, "https://iam.example")
        .start()
        .await;
    let (asked, fails) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
    let exchanged = Arc::new(Mutex::new(String::new()));
    let configuration = json!({
        "issuer": url, "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"), "jwks_uri": harness.system.issuer().jwks_uri(),
    });
    let (counter, failing) = (Arc::clone(&asked), Arc::clone(&fails));
    let answer = move || async move {
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
    let router = Router::new().route("/.well-known/openid-configuration", get(answer)).route("/token", token);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let begin = async || {
        let browsers: Vec<_> = (0..8).map(|_| Browser::new(&harness)).collect();
        let begun =
            browsers.into_iter().map(|mut browser| async move { browser.get("/sign-in").await.status });
        let statuses: std::collections::BTreeSet<_> = join_all(begun).await.into_iter().collect();
        (statuses.into_iter().collect::<Vec<_>>(), asked.load(Ordering::SeqCst))
    };
    assert_eq!(begin().await, (vec![400], 1), "a failure is shared by those who wait");
    fails.store(false, Ordering::SeqCst);
    assert_eq!(begin().await, (vec![400], 1), "and for two seconds more");
    harness.clock.advance_seconds(2);
    assert_eq!(begin().await, (vec![303], 2));
    harness.clock.advance_seconds(899);
    assert_eq!(begin().await, (vec![303], 2));
    fails.store(true, Ordering::SeqCst);
    harness.clock.advance_seconds(1);
    assert_eq!(begin().await, (vec![400], 3), "an old one is not used");
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
async fn a_key_is_shown_once_and_issued_once() {
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
    // A reload, a second click, and the same with something else in it.
    let again = browser.submit(&form, &action, &typed).await.expect(409);
    assert!(again.text.contains("This key was already issued"), "{}", again.text);
    let other = browser.submit(&form, &action, &[("name", "second")]).await.expect(422);
    for answer in [&again, &other] {
        assert_eq!(secret(answer), None);
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
    // Its page is no dead end.
    assert_eq!(browser.get(&revoke).await.expect(303).location(), account);
}

#[tokio::test]
async fn what_was_done_is_said_on_its_own_page_alone() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let other = create(&mut browser, "other").await;
    browser.get(&other).await.expect(200);
    let account = create(&mut browser, "mine").await;
    // Another window comes first.
    for path in ["/", "/roles", &other, &format!("{account}/edit")] {
        let page = browser.get(path).await.expect(200);
        assert!(!page.text.contains("role=\"status\""), "{path}: {}", page.text);
    }
    assert!(browser.get(&account).await.expect(200).text.contains("mine was created."));
    assert!(!browser.get(&account).await.expect(200).text.contains("mine was created."));
}

#[tokio::test]
async fn an_account_is_created_once_changed_switched_and_deleted() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let form = browser.get("/accounts/new").await.expect(200);
    let typed = [("name", "once"), ("role", "ServiceAccountWriter")];
    let first = browser.submit(&form, "/accounts", &typed).await.expect(303).location().to_owned();
    assert_eq!(browser.submit(&form, "/accounts", &typed).await.expect(303).location(), first);
    let (_, key) = issue(&mut browser, &first).await;
    let check = async || harness.request("POST", "/organizations").bearer(&key).send().await.status;
    assert_eq!(check().await, 200);

    let page = browser.get(&first).await.expect(200);
    browser.submit(&page, &format!("{first}/switch"), &[("enabled", "false")]).await.expect(303);
    assert_eq!(check().await, 403);
    let page = browser.get(&first).await.expect(200);
    assert!(
        page.text.contains("once was disabled. All of its keys have been refused since"),
        "{}",
        page.text
    );
    browser.submit(&page, &format!("{first}/switch"), &[("enabled", "true")]).await.expect(303);
    assert_eq!(check().await, 200);

    let edit = format!("{first}/edit");
    let seen = browser.get(&edit).await.expect(200);
    let narrower = [("role", "ServiceAccountReader"), ("owner", "ops")];
    let asked = browser.submit(&seen, &edit, &narrower).await.expect(200);
    browser.submit(&asked, &edit, &[("button", "confirm")]).await.expect(303);
    assert_eq!(check().await, 403);
    // Somebody who saw the version before overwrites nothing.
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
    assert_eq!(browser.submit(&confirm, &delete, &[("name", "once")]).await.expect(303).location(), "/");
    assert!(browser.get(&first).await.expect(404).text.contains("does not exist"));
    assert!(browser.get(&format!("{first}/history")).await.expect(200).text.contains("deleted the account"));
}

#[tokio::test]
async fn what_the_api_refuses_stands_beside_its_field_with_what_was_typed() {
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
        let start = page.text.find("id=\"name-wrong\"").unwrap_or_else(|| panic!("{}", page.text));
        assert!(page.text[start..].contains(problem), "{}", page.text);
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
        (("role", "Nobody"), "role", "Role not found. Choose another role."),
    ] {
        let page =
            browser.submit(&form, &format!("{account}/keys"), &[("name", "k"), typed]).await.expect(422);
        let start =
            page.text.find(&format!("id=\"{field}-wrong\"")).unwrap_or_else(|| panic!("{}", page.text));
        assert!(page.text[start..].to_lowercase().contains(&problem.to_lowercase()), "{}", page.text);
    }
}

#[tokio::test]
async fn the_focus_is_on_what_is_wrong_first() {
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
        (&new_account, "/accounts", vec![("name", "b"), ("role", "Nobody")], "<fieldset"),
        (&new_key, &keys, vec![("name", "k"), ("expires_in_days", "0")], "id=\"expiresInDays\""),
        (&new_key, &keys, vec![("name", "k"), ("allowed_cidrs", "x")], "id=\"allowedCidrs\""),
        (&new_role, "/new-role", vec![("name", "R"), ("permissions", "x")], "id=\"permissions\""),
    ] {
        let form = browser.get(path).await.expect(200);
        assert_eq!(focus(&form), ["id=\"name\""], "the first field");
        let page = browser.submit(&form, action, &typed).await.expect(422);
        let focus = focus(&page);
        assert!(focus.len() == 1 && focus[0].contains(focused), "{focused}: {focus:?}");
    }
}

/// The elements of a page that ask for the focus: their ids, or else their tags.
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
async fn a_form_takes_whatever_is_not_too_long() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    // In UTF-16, as a browser counts, each of these has two units.
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
async fn hostile_text_is_text_everywhere() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let account = create(&mut browser, HOSTILE).await;
    let form = browser.get(&format!("{account}/keys/new")).await.expect(200);
    let shown = browser.submit(&form, &format!("{account}/keys"), &[("name", HOSTILE)]).await.expect(200);
    let mut texts = vec![shown.text.clone()];
    for path in pages(&account, &key_id(&shown)) {
        texts.push(browser.get(&path).await.expect(200).text);
    }
    let search = "/?prefix=%3Cscript%3Ealert(1)%3C%2Fscript%3E%22%3E&role=%22%3E&cursor=";
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
async fn an_api_that_is_down_is_said_with_its_request_and_can_be_tried_again() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let account = create(&mut browser, "a").await;
    let form = browser.get(&format!("{account}/keys/new")).await.expect(200);
    harness.wire.disturb(|_| Action::Refuse);
    let page = browser.get(&account).await.expect(503);
    assert!(page.text.contains("Keyward is not responding") && page.text.contains("request <code>"));
    assert!(page.text.contains(&format!("href=\"{account}\">Try again")), "{}", page.text);
    let lost = browser.submit(&form, &format!("{account}/keys"), &[("name", "k")]).await.expect(503);
    assert!(lost.text.contains("value=\"k\""), "what was typed is still there: {}", lost.text);
    harness.wire.calm();
    // So long a keyring that could not be read is not asked for again.
    harness.clock.advance_seconds(1);
    let again = browser.submit(&lost, &format!("{account}/keys"), &[]).await.expect(200);
    assert!(secret(&again).is_some(), "nothing was issued before");
    let once_more = browser.submit(&lost, &format!("{account}/keys"), &[]).await.expect(409);
    assert!(secret(&once_more).is_none(), "it is the same attempt");
}

#[tokio::test]
async fn a_key_that_was_issued_unseen_is_not_issued_again() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let account = create(&mut browser, "a").await;
    let path = format!("{account}/keys");
    let form = browser.get(&format!("{path}/new")).await.expect(200);
    // It is written, and from then on nobody hears of it.
    let is_written = AtomicBool::new(false);
    harness.wire.disturb(move |call| match call.operation.as_str() {
        _ if is_written.load(Ordering::SeqCst) => Action::Refuse,
        "TransactWriteItems" => {
            is_written.store(true, Ordering::SeqCst);
            Action::LoseResponse
        }
        _ => Action::Pass,
    });
    let lost = browser.submit(&form, &path, &[("name", "k")]).await.expect(503);
    harness.wire.calm();
    let again = browser.submit(&lost, &path, &[]).await.expect(409);
    assert!(again.text.contains("This key was already issued"), "{}", again.text);
    let keys = harness.get(&format!("/iam/v1/service-{}", account.trim_start_matches('/'))).await.json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1, "{keys}");
}

#[tokio::test]
async fn what_stops_something_is_offered_again_when_its_answer_is_lost() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let account = create(&mut browser, "a").await;
    issue(&mut browser, &account).await;
    let (_, key) = issue(&mut browser, &account).await;
    let key_id = format!("key_{}", key.split('_').nth(3).unwrap());
    let forms = [
        (format!("{account}/switch"), account.clone(), vec![("enabled", "false")]),
        (format!("{account}/keys/{key_id}/revoke"), format!("{account}/keys/{key_id}/revoke"), vec![]),
        (format!("{account}/keys/revoke"), format!("{account}/keys/revoke"), vec![]),
        (format!("{account}/delete"), format!("{account}/delete"), vec![("name", "a")]),
    ];
    for (action, page, typed) in forms {
        let page = browser.get(&page).await.expect(200);
        harness.wire.disturb(|call| match call.operation.as_str() {
            "TransactWriteItems" => Action::Refuse,
            _ => Action::Pass,
        });
        let lost = browser.submit(&page, &action, &typed).await.expect(503);
        assert!(lost.text.contains("The change may or may not have been made"), "{}", lost.text);
        harness.wire.calm();
        browser.submit(&lost, &action, &[]).await.expect(303);
    }
    browser.get(&account).await.expect(404);
}

#[tokio::test]
async fn signing_in_while_the_api_is_down_is_said_and_begins_anew() {
    // Nothing listens there.
    let nowhere = "http://127.0.0.1:9";
    let harness = Harness::builder().variable(variable::API_URL, nowhere).start().await;
    let mut browser = Browser::new(&harness);
    let callback = browser.authorize("admin@keyward.local", "/sign-in").await;
    let page = browser.get(&callback).await.expect(503);
    assert!(page.text.contains("request <code>") && page.text.contains("href=\"/sign-in\""), "{}", page.text);
}

#[tokio::test]
async fn an_account_can_be_stopped_though_its_role_and_history_cannot_be_told() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    harness.put_role("Custom", &["GET /a"]).await;
    let account = harness.create_account("a", "Custom").await;
    harness.wire.disturb(|call| {
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
async fn a_key_in_an_address_leads_to_where_leaked_keys_are_looked_up() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    for path in ["/?prefix=kwsa_local_x", "/history?actor=kwsa_local_x", "/history?account=kwsa_local_x"] {
        assert_eq!(browser.get(path).await.expect(303).location(), "/leaked");
    }
}

#[tokio::test]
async fn what_the_api_cannot_read_of_a_form_leaves_the_form() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let form = browser.get("/accounts/new").await.expect(200);
    let page = browser.submit(&form, "/accounts", &[("name", "typed"), ("attempt", "")]).await.expect(400);
    assert!(page.text.contains("value=\"typed\""), "{}", page.text);
    for path in ["/accounts/%ff", "/?enabled=x&enabled=y"] {
        assert!(browser.get(path).await.expect(404).text.contains("Page not found"));
    }
}

/// A hidden field becomes a header of the request to the API, and a header cannot
/// contain a control character. This must not look like an outage.
#[tokio::test]
async fn a_control_character_in_any_field_is_an_error_of_the_form() {
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
        (account.clone(), format!("{account}/switch")),
        (format!("{account}/keys/new"), format!("{account}/keys")),
        same(format!("{account}/keys/{key}/rotate")),
        same("/new-role".to_owned()),
        same("/roles/Custom/edit".to_owned()),
        same("/roles/Custom/delete".to_owned()),
        same(format!("{account}/delete")),
        same("/leaked".to_owned()),
    ];
    let mut judged = std::collections::BTreeSet::new();
    for (path, action) in forms {
        let form = browser.get(&path).await.expect(200);
        for name in form.fields(&action).keys().map(String::as_str) {
            for text in ["a\0b", "a\rb", "a\nb", "a\u{7f}b"] {
                let page = browser.submit(&form, &action, &[(name, text)]).await;
                assert!(page.status < 500, "{action}: {name} {text:?}: {page:?}");
                let said = match name {
                    // A new role has no version yet.
                    "attempt" | "version" if action != "/new-role" => {
                        "A hidden field of this form is damaged"
                    }
                    // What is typed to confirm a deletion is compared and no more.
                    "name" | "description" | "owner"
                        if !action.ends_with("/delete") && action != "/new-role" =>
                    {
                        "Must not contain control characters"
                    }
                    _ => continue,
                };
                assert_eq!(page.status, 422, "{action}: {name} {text:?}: {page:?}");
                assert!(page.text.contains(said), "{action}: {name} {text:?}: {}", page.text);
                judged.insert(name.to_owned());
            }
        }
    }
    assert_eq!(
        judged.into_iter().collect::<Vec<_>>(),
        ["attempt", "description", "name", "owner", "version"]
    );
}

#[tokio::test]
async fn an_attempt_with_other_values_is_said_and_becomes_another() {
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
    let made = browser.submit(&form, "/accounts", &[("name", "b")]).await.expect(303).location().to_owned();
    let other = browser.submit(&form, "/accounts", &[("name", "c")]).await.expect(422);
    browser.submit(&other, "/accounts", &[]).await.expect(303);
    // What it made has been deleted since.
    let delete = format!("{made}/delete");
    let confirm = browser.get(&delete).await.expect(200);
    browser.submit(&confirm, &delete, &[("name", "b")]).await.expect(303);
    let again = browser.submit(&form, "/accounts", &[("name", "b")]).await.expect(409);
    assert!(again.text.contains("If you submit it again, it creates another account."), "{}", again.text);
    browser.submit(&again, "/accounts", &[]).await.expect(303);
}

#[tokio::test]
async fn another_cookie_key_ends_sessions_within_five_minutes() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let secrets = harness.system.console_secrets();
    let value = secrets.versions()[0].2.clone().unwrap();
    let mut members: Value = serde_json::from_str(&value).unwrap();
    members["cookieKey"] = "k".repeat(64).into();
    secrets.set(members.to_string());
    harness.clock.advance_seconds(299);
    browser.get("/").await.expect(200);
    // A secret that cannot be read just now leaves the one that was read before.
    harness
        .wire
        .disturb(|call| if call.operation == "GetSecretValue" { Action::Refuse } else { Action::Pass });
    harness.clock.advance_seconds(1);
    browser.get("/").await.expect(200);
    harness.wire.calm();
    harness.clock.advance_seconds(300);
    assert_eq!(browser.get("/").await.expect(303).location(), "/sign-in");
    browser.sign_in("/sign-in").await.expect(303);
    browser.get("/").await.expect(200);
}

#[tokio::test]
async fn a_deletion_whose_answer_was_lost_is_said_to_be_done() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let account = create(&mut browser, "two  spaces").await;
    let path = format!("{account}/delete");
    let form = browser.get(&path).await.expect(200);
    for _ in 0..2 {
        let done = browser.submit(&form, &path, &[("name", "two spaces")]).await.expect(303);
        assert_eq!(done.location(), "/");
    }
    assert!(browser.get("/").await.expect(200).text.contains("This account has been deleted."));
}

#[tokio::test]
async fn a_page_of_an_earlier_session_is_said_to_be_one() {
    let harness = Harness::start().await;
    let mut browser = Browser::signed_in(&harness).await;
    let form = browser.get("/accounts/new").await.expect(200);
    harness.clock.advance_seconds(1);
    browser.sign_in("/sign-in").await.expect(303);
    let old = browser.submit(&form, "/accounts", &[("name", "a")]).await.expect(403);
    assert!(old.text.contains("opened before you signed in again"), "{}", old.text);
}

#[tokio::test]
async fn no_credential_is_in_its_logs() {
    let harness = Harness::start().await;
    let logs = Logs::capture(LevelFilter::TRACE);
    let mut browser = Browser::signed_in(&harness).await;
    let account = create(&mut browser, "a").await;
    let (_, key) = issue(&mut browser, &account).await;
    browser.get(&format!("/{key}")).await.expect(404);
    browser.get(&format!("/accounts/{key}")).await.expect(404);
    Browser::new(&harness).get("/callback?code=tops3cret&state=tops3cret").await.expect(400);
    let logged = logs.take();
    assert!(logged.contains("\"page\":\"/callback\""), "it logs: {logged}");
    let session = &browser.cookies[&session_name(&harness)];
    let password = &harness.system.facts().admin_password;
    for line in logged.lines() {
        for secret in [&key, session, password, "tops3cret", "Bearer ey"] {
            assert!(!line.contains(secret), "{secret} in {line}");
        }
    }
}
