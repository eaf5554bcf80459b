//! `POST /iam/v1/token`

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tests::{Action, Harness, Key, Reply};

use crate::support::keys;
use tests::workload::{
    Identity, JWT_BEARER, JWT_TYPE, KEY_TYPE, TOKEN_EXCHANGE, TOKEN_TYPE, add_identity, another_instance,
    exchange, exchange_jwt, form, jwt, jwt_exchange, logged, post, post_to, reason, start, start_with, token,
};

/// The whole response. Replaces the token, which differs in each run.
fn snapshot(reply: &Reply) -> Value {
    let mut snapshot = reply.snapshot();
    if let Some(token) = snapshot["body"].get_mut("access_token") {
        assert!(token.as_str().unwrap().starts_with("kwst_local_"), "{token}");
        *token = "[token]".into();
    }
    snapshot
}

/// `Authorization: Basic` for this user name and password.
fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Sends client credentials in this header and form.
async fn with_header(harness: &Harness, authorization: &str, parameters: &[(&str, &str)]) -> Reply {
    let request = harness.request("POST", "/iam/v1/token").header("authorization", authorization);
    request.text("application/x-www-form-urlencoded", &form(parameters)).send().await
}

const CLIENT: (&str, &str) = ("grant_type", "client_credentials");

/// A system with a key of a Writer.
async fn start_with_key() -> (Harness, Key) {
    let harness = Harness::start().await;
    let (_, key) = harness.account_with_key("Batch", "ServiceAccountWriter").await;
    (harness, key)
}

#[tokio::test]
async fn exchanges_a_jwt_200() {
    let (harness, identity) = start().await;
    let (reply, mut line) = logged(exchange_jwt(&harness, &identity, &jwt(&harness))).await;
    assert_json_snapshot!("exchanges_a_jwt", snapshot(&reply));
    let token = token(&reply);
    assert_eq!(harness.check(&token).await, 200);
    for (name, expected) in
        [("principal", identity.account.id.as_str()), ("identity_id", identity.id.as_str())]
    {
        assert_eq!(line[name], expected);
        line[name] = json!(format!("[{name}]"));
    }
    assert!(line["token_id"].as_str().unwrap().starts_with("tok_"), "{line}");
    for name in ["token_id", "request_id", "timestamp"] {
        line[name] = json!(format!("[{name}]"));
    }
    assert_json_snapshot!("logs_a_jwt", line);
}

#[tokio::test]
async fn each_way_to_present_a_jwt_200() {
    let (harness, identity) = start().await;
    let (jwt, audience) = (jwt(&harness), identity.audience());
    let id_token = "urn:ietf:params:oauth:token-type:id_token";
    for form in [
        vec![
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", jwt.as_str()),
            ("subject_token_type", id_token),
            ("audience", &audience),
            ("requested_token_type", TOKEN_TYPE),
        ],
        vec![("grant_type", JWT_BEARER), ("assertion", &jwt), ("audience", &audience)],
        vec![("grant_type", JWT_BEARER), ("assertion", &jwt), ("client_id", &audience)],
        // Unknown and empty parameters. MCP clients always send `resource` (RFC 8707).
        [
            jwt_exchange(&jwt, &audience),
            vec![("unknown", "x"), ("scope", ""), ("resource", "https://mcp.example.com/mcp/orders")],
        ]
        .concat(),
    ] {
        let reply = post(&harness, &form).await;
        assert_eq!(harness.check(&token(&reply)).await, 200, "{form:?}");
    }
}

#[tokio::test]
async fn exchanges_a_key_200() {
    let (harness, key) = start_with_key().await;
    let reply = exchange(&harness, KEY_TYPE, &key.secret, &[]).await;
    assert_json_snapshot!(snapshot(&reply));
    assert_eq!(harness.check(&token(&reply)).await, 200);
}

#[tokio::test]
async fn client_credentials_200() {
    let (harness, key) = start_with_key().await;
    let (id, secret) = (key.account.as_str(), key.secret.as_str());
    let in_body = post(&harness, &[CLIENT, ("client_id", id), ("client_secret", secret)]).await;
    assert_json_snapshot!(snapshot(&in_body));
    let escaped = basic(&id.replace('_', "%5F"), &secret.replace('_', "%5f"));
    for reply in [
        with_header(&harness, &basic(id, secret), &[CLIENT]).await,
        with_header(&harness, &basic(id, secret), &[CLIENT, ("client_id", id)]).await,
        with_header(&harness, &escaped, &[CLIENT]).await,
        with_header(&harness, &basic(id, secret).replace("Basic", "bAsIc"), &[CLIENT]).await,
    ] {
        assert_eq!(snapshot(&reply), snapshot(&in_body));
        assert_eq!(harness.check(&token(&reply)).await, 200);
    }
}

#[tokio::test]
async fn a_scope_narrows_a_token_200() {
    let (harness, key) = start_with_key().await;
    harness.put_role("teams.read", &["GET /teams/{id}"]).await;
    let reader = exchange(&harness, KEY_TYPE, &key.secret, &[("scope", "ServiceAccountReader")]).await;
    assert_json_snapshot!(snapshot(&reader));
    let teams = exchange(&harness, KEY_TYPE, &key.secret, &[("scope", "teams.read")]).await;
    let get = async |token: &str, path: &str| harness.request("GET", path).bearer(token).send().await.status;
    assert_eq!(get(&token(&reader), "/organizations/42").await, 200);
    let post = harness.request("POST", "/organizations").bearer(&token(&reader)).send().await;
    assert_eq!(post.status, 403, "a Reader's token cannot write");
    assert_eq!(get(&token(&teams), "/organizations/42").await, 403);
}

#[tokio::test]
async fn children_keep_the_roles_of_their_parents_200() {
    let (harness, key) = start_with_key().await;
    for (name, permission) in [
        ("one", "GET /organizations/{id}"),
        ("two", "GET /organizations/{id}"),
        ("three", "GET /organizations/{id}"),
    ] {
        harness.put_role(name, &[permission]).await;
    }
    let narrow = async |parent: &str, parameters: &[(&str, &str)]| {
        exchange(&harness, TOKEN_TYPE, parent, parameters).await
    };
    let root = token(&exchange(&harness, KEY_TYPE, &key.secret, &[("scope", "one")]).await);
    let (child, line) = logged(narrow(&root, &[("scope", "two")])).await;
    assert_eq!(child.json()["scope"], "one two");
    assert!(line["parent_id"].as_str().unwrap().starts_with("tok_"), "{line}");
    let child = token(&child);
    assert_eq!(harness.check(&child).await, 200);
    // The same role again is no other role.
    let same = narrow(&child, &[("scope", "one")]).await;
    assert_eq!(same.json()["scope"], "one two");
    let (reply, reason) = reason(narrow(&child, &[("scope", "three")])).await;
    assert_eq!((reply.status, reason.as_str()), (400, "scope"));
    assert_json_snapshot!("too_many_roles", reply.snapshot());
    // A role that permits less than before narrows all its tokens.
    harness.put_role("one", &["GET /elsewhere"]).await;
    assert_eq!(harness.check(&child).await, 403);
    assert_eq!(harness.check(&token(&same)).await, 403);
}

#[tokio::test]
async fn a_chain_has_at_most_four_tokens_400() {
    let (harness, key) = start_with_key().await;
    let mut last = token(&exchange(&harness, KEY_TYPE, &key.secret, &[]).await);
    for depth in 2..=4 {
        last = token(&exchange(&harness, TOKEN_TYPE, &last, &[]).await);
        assert_eq!(harness.check(&last).await, 200, "{depth}");
    }
    let (reply, reason) = reason(exchange(&harness, TOKEN_TYPE, &last, &[])).await;
    assert_eq!((reply.status, reason.as_str()), (400, "depth"));
}

#[tokio::test]
async fn a_token_lives_as_long_as_requested_and_never_outlives_its_parent_200() {
    let (harness, key) = start_with_key().await;
    let lifetime = |reply: &Reply| reply.json()["expires_in"].as_u64().unwrap();
    let requested = async |kind: &str, credential: &str, seconds: &str| {
        exchange(&harness, kind, credential, &[("expires_in", seconds)]).await
    };
    assert_eq!(lifetime(&requested(KEY_TYPE, &key.secret, "60").await), 60);
    assert_eq!(lifetime(&requested(KEY_TYPE, &key.secret, "3600").await), 3600);
    let parent = exchange(&harness, KEY_TYPE, &key.secret, &[]).await;
    assert_eq!(lifetime(&parent), 900);
    harness.clock.advance_seconds(300);
    let child = requested(TOKEN_TYPE, &token(&parent), "3600").await;
    assert_eq!(lifetime(&child), 600);
    harness.clock.advance_seconds(590);
    let last = requested(TOKEN_TYPE, &token(&parent), "60").await;
    assert_eq!(lifetime(&last), 10, "shorter than can be requested");
    harness.clock.advance_seconds(10);
    for token in [token(&parent), token(&child), token(&last)] {
        assert_eq!(harness.check(&token).await, 403);
        let (_, reason) = reason(exchange(&harness, TOKEN_TYPE, &token, &[])).await;
        assert_eq!(reason, "expired");
    }
}

#[tokio::test]
async fn a_token_never_outlives_its_key_or_identity_200() {
    let (harness, identity) = start_with(&json!({ "expiresInDays": 1 })).await;
    let key = harness.issue_key_with(&identity.account, &json!({ "name": "k", "expiresInDays": 1 })).await;
    harness.clock.advance_seconds(24 * 3600 - 100);
    let of_key = exchange(&harness, KEY_TYPE, &key.secret, &[]).await;
    let of_identity = exchange_jwt(&harness, &identity, &jwt(&harness)).await;
    for reply in [&of_key, &of_identity] {
        assert_eq!(reply.json()["expires_in"], 100);
    }
    harness.clock.advance_seconds(100);
    let jwt = jwt(&harness);
    assert_eq!(reason(exchange(&harness, KEY_TYPE, &key.secret, &[])).await.1, "expired");
    assert_eq!(reason(exchange_jwt(&harness, &identity, &jwt)).await.1, "identity_expired");
}

#[tokio::test]
async fn malformed_requests_400() {
    let (harness, identity) = start().await;
    let key = harness.issue_key(&identity.account).await;
    let (jwt, audience) = (jwt(&harness), identity.audience());
    let good = jwt_exchange(&jwt, &audience);
    let without = |name: &str| good.iter().copied().filter(|(own, _)| *own != name).collect::<Vec<_>>();
    let with = |more: &[(&'static str, &'static str)]| [good.clone(), more.to_vec()].concat();
    let of =
        |kind: &'static str| [without("subject_token_type"), vec![("subject_token_type", kind)]].concat();
    let at = |audience: &'static str| [without("audience"), vec![("audience", audience)]].concat();
    let client = |more: &[(&'static str, &'static str)]| [&[CLIENT], more].concat();
    let key_with_audience = vec![
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", key.secret.as_str()),
        ("subject_token_type", KEY_TYPE),
        ("audience", &audience),
    ];
    let cases: Vec<(&str, Vec<(&str, &str)>)> = vec![
        ("nothing", Vec::new()),
        ("no grant type", without("grant_type")),
        ("another grant type", vec![("grant_type", "password")]),
        ("grant type in another case", vec![("grant_type", "CLIENT_CREDENTIALS")]),
        ("no subject token", without("subject_token")),
        ("an empty subject token", [without("subject_token"), vec![("subject_token", "")]].concat()),
        ("no subject token type", without("subject_token_type")),
        ("another subject token type", of("urn:ietf:params:oauth:token-type:saml2")),
        ("no audience", without("audience")),
        ("an audience of one id", at("sa_AAAAAAAAAAAAAAAA")),
        ("an audience with a key", at("sa_AAAAAAAAAAAAAAAA/key_AAAAAAAAAAAAAAAA")),
        ("an audience with a URL", at("https://example.com/x")),
        ("a key with an audience", key_with_audience),
        ("a repeated parameter", with(&[("audience", "x")])),
        ("a repeated unknown parameter", with(&[("x", "1"), ("x", "2")])),
        ("an actor token", with(&[("actor_token", "x")])),
        ("another requested type", with(&[("requested_token_type", JWT_TYPE)])),
        ("a client secret", with(&[("client_secret", "x")])),
        ("a scope of two roles", with(&[("scope", "one two")])),
        ("a scope that is no role's name", with(&[("scope", "read:teams")])),
        ("an unknown role", with(&[("scope", "nobody.has.this")])),
        ("a lifetime of 59 s", with(&[("expires_in", "59")])),
        ("a lifetime of 3601 s", with(&[("expires_in", "3601")])),
        ("a lifetime with a sign", with(&[("expires_in", "+900")])),
        ("a lifetime with a fraction", with(&[("expires_in", "900.0")])),
        ("a huge lifetime", with(&[("expires_in", "99999999999999999999")])),
        ("JWT bearer without an assertion", vec![("grant_type", JWT_BEARER), ("audience", &audience)]),
        ("JWT bearer without an audience", vec![("grant_type", JWT_BEARER), ("assertion", &jwt)]),
        ("client credentials without a client", client(&[])),
        ("client credentials without a key", client(&[("client_id", "sa_AAAAAAAAAAAAAAAA")])),
        ("client credentials without an id", client(&[("client_secret", "x")])),
    ];
    let mut responses = BTreeMap::new();
    for (name, form) in cases {
        let (reply, reason) = reason(post(&harness, &form)).await;
        assert_eq!(reply.status, 400, "{name}: {reply:?}");
        assert_eq!(reply.headers["cache-control"], "no-store", "{name}");
        responses.insert(name, json!([reason, reply.json()]));
    }
    assert_json_snapshot!(responses);
}

#[tokio::test]
async fn malformed_bodies_and_headers_400() {
    let (harness, key) = start_with_key().await;
    let body = form(&[CLIENT, ("client_id", &key.account), ("client_secret", &key.secret)]);
    let send = async |path: &str, media_type: &str, body: &str| {
        harness.request("POST", path).text(media_type, body).send().await
    };
    let form_type = "application/x-www-form-urlencoded";
    let mut responses = BTreeMap::from([
        ("JSON", send("/iam/v1/token", "application/json", "{}").await),
        ("no media type", send("/iam/v1/token", "", &body).await),
        ("a query", send("/iam/v1/token?grant_type=client_credentials", form_type, &body).await),
        ("a large body", send("/iam/v1/token", form_type, &format!("{body}&x={}", "x".repeat(40_000))).await),
    ]);
    let (id, secret) = (key.account.as_str(), key.secret.as_str());
    for (name, header, more) in [
        ("Bearer", format!("Bearer {secret}"), vec![CLIENT]),
        ("no scheme", secret.to_owned(), vec![CLIENT]),
        ("Basic that is not base64", "Basic ???".to_owned(), vec![CLIENT]),
        ("Basic without a colon", format!("Basic {}", STANDARD.encode(secret)), vec![CLIENT]),
        ("Basic that is not UTF-8", format!("Basic {}", STANDARD.encode([0xff, b':', 0xff])), vec![CLIENT]),
        ("Basic and a key in the body", basic(id, secret), vec![CLIENT, ("client_secret", secret)]),
        ("Basic and another client", basic(id, secret), vec![CLIENT, ("client_id", "sa_AAAAAAAAAAAAAAAA")]),
        (
            "Basic and token exchange",
            basic(id, secret),
            vec![("grant_type", TOKEN_EXCHANGE), ("subject_token", secret), ("subject_token_type", KEY_TYPE)],
        ),
    ] {
        responses.insert(name, with_header(&harness, &header, &more).await);
    }
    let responses: BTreeMap<_, _> = responses
        .into_iter()
        .map(|(name, reply)| {
            assert_eq!(reply.status, 400, "{name}: {reply:?}");
            (name, reply.json())
        })
        .collect();
    assert_json_snapshot!(responses);
    let charset = send("/iam/v1/token", "Application/X-WWW-Form-URLEncoded; charset=utf-8", &body).await;
    assert_eq!(charset.status, 200);
}

#[tokio::test]
async fn refused_credentials_400() {
    let (harness, identity) = start().await;
    let key = harness.issue_key(&identity.account).await;
    let networked = json!({ "name": "network", "allowedCidrs": ["203.0.113.0/24"] });
    let networked = harness.issue_key_with(&identity.account, &networked).await;
    let revoked = harness.issue_key(&identity.account).await;
    let _ = harness.revoke(&revoked).await.expect(204);
    let disabled = harness.create_account("Disabled", "ServiceAccountReader").await;
    let disabled_key = harness.issue_key(&disabled).await;
    let disabled_identity = add_identity(&harness, &disabled, &json!({})).await;
    let disable = harness.request("PATCH", &disabled.path()).admin().json(&json!({ "enabled": false }));
    let _ = disable.send().await.expect(200);
    let token = token(&exchange(&harness, KEY_TYPE, &key.secret, &[]).await);
    let jwt = jwt(&harness);
    let (start, last) = token.split_at(token.len() - 1);
    let wrong_checksum = format!("{start}{}", if last == "x" { "y" } else { "x" });
    let unknown = Identity { account: identity.account.clone(), id: "fid_AAAAAAAAAAAAAAAA".to_owned() };
    let secret = &key.secret;
    let mut outcomes = BTreeMap::new();
    for (name, kind, credential) in [
        ("an empty key", KEY_TYPE, "x"),
        ("a mistyped key", KEY_TYPE, &secret[1..]),
        ("a key of another environment", KEY_TYPE, &keys::foreign(&key, "prod")),
        ("a key with a wrong secret", KEY_TYPE, &keys::forged(&key, 1)),
        ("an unknown key", KEY_TYPE, &keys::unknown(&key, 1)),
        ("a revoked key", KEY_TYPE, &revoked.secret),
        ("a key of another network", KEY_TYPE, &networked.secret),
        ("a key of a disabled account", KEY_TYPE, &disabled_key.secret),
        ("a key as a token", TOKEN_TYPE, secret),
        ("a token as a key", KEY_TYPE, &token),
        ("a JWT as a token", TOKEN_TYPE, &jwt),
        ("a token with a wrong checksum", TOKEN_TYPE, &wrong_checksum),
    ] {
        outcomes.insert(name, reason(exchange(&harness, kind, credential, &[])).await);
    }
    for (name, identity, jwt) in [
        ("an unknown identity", &unknown, jwt.as_str()),
        ("an identity of a disabled account", &disabled_identity, &jwt),
        ("a key as a JWT", &identity, secret),
    ] {
        outcomes.insert(name, reason(exchange_jwt(&harness, identity, jwt)).await);
    }
    let (first, _) = outcomes.values().next().unwrap().clone();
    assert_json_snapshot!("refused_credential", first.snapshot());
    let reasons: BTreeMap<_, _> = outcomes
        .into_iter()
        .map(|(name, (reply, reason))| {
            assert_eq!(reply.snapshot(), first.snapshot(), "{name}");
            (name, reason)
        })
        .collect();
    assert_json_snapshot!("reasons_of_refused_credentials", reasons);
}

#[tokio::test]
async fn refused_clients_401() {
    let (harness, key) = start_with_key().await;
    let other = harness.create_account("Other", "ServiceAccountReader").await;
    let (id, secret) = (key.account.as_str(), key.secret.as_str());
    let mut outcomes = BTreeMap::new();
    for (name, client, secret) in [
        ("a malformed key", id, "x"),
        ("a key with a wrong secret", id, &keys::forged(&key, 1)),
        ("a key of another account", other.id.as_str(), secret),
        ("an unknown account", "sa_AAAAAAAAAAAAAAAA", secret),
        ("a client id that is no account id", "client", secret),
    ] {
        let (in_body, reason) =
            reason(post(&harness, &[CLIENT, ("client_id", client), ("client_secret", secret)])).await;
        let in_header = with_header(&harness, &basic(client, secret), &[CLIENT]).await;
        outcomes.insert(name, json!([reason, in_body.snapshot(), in_header.snapshot()]));
    }
    assert_json_snapshot!(outcomes);
}

#[tokio::test]
async fn a_token_ends_with_its_grant_400() {
    let (harness, identity) = start().await;
    let key = harness.issue_key(&identity.account).await;
    let of_key = token(&exchange(&harness, KEY_TYPE, &key.secret, &[]).await);
    let of_identity = token(&exchange_jwt(&harness, &identity, &jwt(&harness)).await);
    let _ = harness.revoke(&key).await.expect(204);
    let _ = harness.request("DELETE", &identity.path()).admin().send().await.expect(204);
    for token in [of_key, of_identity] {
        let (reply, reason) = reason(exchange(&harness, TOKEN_TYPE, &token, &[])).await;
        assert_eq!((reply.status, reason.as_str()), (400, "revoked"));
    }
}

#[tokio::test]
async fn an_issuer_that_is_deleted_ends_its_identities_and_their_tokens_400() {
    let (harness, identity) = start().await;
    let old = token(&exchange_jwt(&harness, &identity, &jwt(&harness)).await);
    let _ = harness.request("DELETE", "/iam/v1/issuers/test").admin().send().await.expect(204);
    let (_, refused) = reason(exchange_jwt(&harness, &identity, &jwt(&harness))).await;
    assert_eq!(refused, "issuer_unknown");
    let (_, refused) = reason(exchange(&harness, TOKEN_TYPE, &old, &[])).await;
    assert_eq!(refused, "issuer_unknown");
    // Registered again, the issuer is another one for tokens, but not for JWTs.
    harness.clock.advance_seconds(1);
    tests::workload::put_inline_issuer(&harness).await;
    let (_, refused) = reason(exchange(&harness, TOKEN_TYPE, &old, &[])).await;
    assert_eq!(refused, "issuer_unknown");
    assert_eq!(exchange_jwt(&harness, &identity, &jwt(&harness)).await.status, 200);
}

#[tokio::test]
async fn networks_apply_to_the_client_of_an_exchange_400() {
    let (harness, key) = start_with_key().await;
    let body = json!({ "name": "k", "allowedCidrs": ["203.0.113.0/24"] });
    let account = tests::Account { id: key.account.clone() };
    let networked = harness.issue_key_with(&account, &body).await;
    let instance = another_instance(&harness, false);
    let send = async |kind: &str, credential: &str, source: &str| {
        let form =
            [("grant_type", TOKEN_EXCHANGE), ("subject_token", credential), ("subject_token_type", kind)];
        reason(post_to(&instance, &form, source)).await
    };
    let (reply, _) = send(KEY_TYPE, &networked.secret, "203.0.113.9").await;
    let parent = token(&reply);
    for (kind, credential) in [(KEY_TYPE, &networked.secret), (TOKEN_TYPE, &parent)] {
        assert_eq!(send(kind, credential, "203.0.113.9").await.1, "issued");
        assert_eq!(send(kind, credential, "203.0.114.9").await.1, "network");
        assert_eq!(send(kind, credential, "::1").await.1, "network");
        assert_eq!(send(kind, credential, "not an address").await.1, "network");
    }
}

#[tokio::test]
async fn an_outage_503() {
    let (harness, identity) = start().await;
    harness.wire.intercept(|_| Action::Refuse);
    let (reply, line) = logged(exchange_jwt(&harness, &identity, &jwt(&harness))).await;
    assert_json_snapshot!(reply.snapshot());
    assert_eq!((line["reason"].as_str(), line["level"].as_str()), (Some("outage"), Some("ERROR")));
    harness.wire.pass_all();
    let reply = exchange_jwt(&harness, &identity, &jwt(&harness)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[tokio::test]
async fn a_lost_response_to_the_record_of_a_use_does_not_refuse_the_jwt_200() {
    let (harness, identity) = start_with(&json!({ "singleUse": true })).await;
    let is_first = std::sync::atomic::AtomicBool::new(true);
    harness.wire.intercept(move |call| {
        let is_lost =
            call.operation == "PutItem" && is_first.swap(false, std::sync::atomic::Ordering::Relaxed);
        if is_lost { Action::LoseResponse } else { Action::Pass }
    });
    let jwt = jwt(&harness);
    let reply = exchange_jwt(&harness, &identity, &jwt).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let (_, reason) = reason(exchange_jwt(&harness, &identity, &jwt)).await;
    assert_eq!(reason, "replayed");
}
