//! Admin users' tokens: hostile ones are refused, and the issuer's keys are
//! fetched no more often than they must be.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use authorizer::FunctionError;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding,
};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use local::issuer::{ADMIN_GROUP, API_CLIENT, GROUPS_CLAIM, IAM_CLIENT};
use serde_json::{Value, json};
use shared::config::variable;
use shared::policy::Api;
use tests::{Harness, Shape, Verdict};

/// An issuer's key of our own, for what the local issuer does not sign.
static RSA: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(KeySize::Rsa2048).unwrap());
static OTHER_RSA: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(KeySize::Rsa2048).unwrap());

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn sign(key: &KeyPair, algorithm: &'static dyn RsaEncoding, header: &Value, claims: &Value) -> String {
    let signed = format!("{}.{}", encode(header), encode(claims));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(algorithm, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn jwk(key: &KeyPair, id: &str) -> Value {
    let public = key.public_key();
    json!({
        "kty": "RSA", "kid": id,
        "n": URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero()),
        "e": URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero()),
    })
}

/// A JWKS server that does as it is told and counts.
#[derive(Clone, Default)]
struct Jwks {
    fetches: Arc<AtomicUsize>,
    answer: Arc<Mutex<(u16, String)>>,
}

impl Jwks {
    async fn start() -> (Self, Harness) {
        let jwks = Self::default();
        jwks.answer(200, &json!({ "keys": [jwk(&RSA, "one")] }).to_string());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/jwks", listener.local_addr().unwrap());
        let router = Router::new().fallback(fetch).with_state(jwks.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let harness = Harness::builder().variable(variable::OIDC_JWKS_URI, &uri).start().await;
        (jwks, harness)
    }

    fn answer(&self, status: u16, body: &str) {
        *self.answer.lock().unwrap() = (status, body.to_owned());
    }

    fn keys(&self, keys: &[Value]) {
        self.answer(200, &json!({ "keys": keys }).to_string());
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

async fn fetch(State(jwks): State<Jwks>) -> (StatusCode, String) {
    jwks.fetches.fetch_add(1, Ordering::SeqCst);
    let (status, body) = jwks.answer.lock().unwrap().clone();
    if status == 0 {
        // It never answers.
        std::future::pending::<()>().await;
    }
    (StatusCode::from_u16(status).unwrap(), body)
}

/// The claims of a good token that lives for long.
fn claims(harness: &Harness) -> Value {
    let mut claims = harness.system.issuer().claims(API_CLIENT);
    claims["exp"] = (claims["iat"].as_i64().unwrap() + 1_000_000).into();
    claims
}

fn token(harness: &Harness, key: &KeyPair, id: &str) -> String {
    sign(key, &RSA_PKCS1_SHA256, &json!({ "alg": "RS256", "kid": id }), &claims(harness))
}

async fn decide(harness: &Harness, token: &str) -> (Verdict, String) {
    harness.decide(&Shape::HttpV2.bearer(token)).await
}

fn refused(reason: &str) -> (Verdict, String) {
    (Verdict::Deny, reason.to_owned())
}

fn allowed() -> (Verdict, String) {
    (Verdict::Allow, "allowed".to_owned())
}

fn outage() -> (Verdict, String) {
    (Verdict::Failed(FunctionError::Unavailable), "outage".to_owned())
}

#[tokio::test]
async fn each_client_reaches_its_own_side_alone() {
    let harness = Harness::start().await;
    let token = |client| harness.system.issuer().token(client).unwrap();
    let (iam, api) = (token(IAM_CLIENT), token(API_CLIENT));
    for shape in Shape::ALL {
        for (path, good, bad) in [
            ("/organizations/42", &api, &iam),
            ("/iam/v1/service-accounts", &iam, &api),
            ("/iam/v1/whoami", &iam, &api),
            ("/anything", &api, &iam),
        ] {
            let event = |token: &str| shape.event("GET", path, &format!("Bearer {token}"));
            assert_eq!(harness.decide(&event(good)).await, allowed(), "{shape:?} {path}");
            assert_eq!(harness.decide(&event(bad)).await, refused("reserved"), "{shape:?} {path}");
        }
        for path in ["/iam", "/IAM/v1/service-accounts"] {
            for token in [&iam, &api] {
                let event = shape.event("GET", path, &format!("Bearer {token}"));
                assert_ne!(harness.verdict(&event).await, Verdict::Allow, "{shape:?} {path}");
            }
        }
    }
    let reply = harness.request("GET", "/organizations/42").bearer(&iam).send().await;
    assert_eq!(reply.status, 403);
    let reply = harness.request("GET", "/iam/v1/service-accounts").bearer(&api).send().await;
    assert_eq!(reply.status, 403);
}

/// What becomes of a good token's claims when one is set or (null) removed.
#[tokio::test]
async fn every_claim_is_judged() {
    let harness = Harness::start().await;
    let header = harness.system.issuer().header();
    let good = harness.system.issuer().claims(API_CLIENT);
    let now = good["iat"].as_i64().unwrap();
    let issuer = good["iss"].as_str().unwrap().to_owned();
    let float = |seconds: i64| serde_json::from_str::<Value>(&format!("{seconds}.0")).unwrap();
    let gone = Value::Null;
    let cases = [
        ("sub", json!("x"), allowed()),
        ("exp", json!(now + 1), allowed()),
        ("exp", json!(now), refused("expired")),
        ("exp", json!(now - 1), refused("expired")),
        ("exp", json!(0), refused("expired")),
        ("exp", json!(-1), refused("expired")),
        ("exp", gone.clone(), refused("malformed")),
        ("exp", json!((now + 3600).to_string()), refused("malformed")),
        ("exp", float(now + 3600), refused("malformed")),
        ("exp", json!([now + 3600]), refused("malformed")),
        ("exp", json!(true), refused("malformed")),
        ("exp", json!(u64::MAX), refused("malformed")),
        ("nbf", json!(now + 60), allowed()),
        ("nbf", json!(now + 61), refused("malformed")),
        ("nbf", json!(now.to_string()), refused("malformed")),
        ("nbf", float(now), refused("malformed")),
        ("iat", json!(now + 60), allowed()),
        ("iat", json!(now + 61), refused("malformed")),
        ("iat", json!("now"), refused("malformed")),
        ("iat", json!(now - 3599), allowed()),
        // Whatever it says, a token is accepted for an hour.
        ("iat", json!(now - 3600), refused("expired")),
        ("iat", gone.clone(), refused("malformed")),
        ("iss", json!(format!("{issuer}/")), refused("unknown")),
        ("iss", json!(issuer.to_uppercase()), refused("unknown")),
        ("iss", json!("https://evil.example"), refused("unknown")),
        ("iss", json!([issuer]), refused("unknown")),
        ("iss", json!(""), refused("unknown")),
        ("iss", gone.clone(), refused("unknown")),
        ("client_id", json!("keyward-api "), refused("unknown")),
        ("client_id", json!("KEYWARD-API"), refused("unknown")),
        ("client_id", json!("another-client"), refused("unknown")),
        ("client_id", json!("keyward-api,keyward-iam"), refused("unknown")),
        ("client_id", json!([API_CLIENT]), refused("unknown")),
        ("client_id", json!(""), refused("unknown")),
        ("client_id", gone.clone(), refused("unknown")),
        ("token_use", json!("id"), refused("malformed")),
        ("token_use", json!("refresh"), refused("malformed")),
        ("token_use", json!("Access"), refused("malformed")),
        ("token_use", json!(["access"]), refused("malformed")),
        ("token_use", gone.clone(), refused("malformed")),
        (GROUPS_CLAIM, json!([]), refused("role")),
        (GROUPS_CLAIM, json!(["others"]), refused("role")),
        (GROUPS_CLAIM, json!([format!("{ADMIN_GROUP}s")]), refused("role")),
        (GROUPS_CLAIM, json!([ADMIN_GROUP.to_uppercase()]), refused("role")),
        (GROUPS_CLAIM, json!(ADMIN_GROUP), refused("role")),
        (GROUPS_CLAIM, json!([[ADMIN_GROUP]]), refused("role")),
        (GROUPS_CLAIM, json!({ ADMIN_GROUP: true }), refused("role")),
        (GROUPS_CLAIM, json!(["others", ADMIN_GROUP]), allowed()),
        (GROUPS_CLAIM, gone.clone(), refused("role")),
        ("sub", json!(""), refused("malformed")),
        ("sub", json!(7), refused("malformed")),
        ("sub", gone, refused("malformed")),
    ];
    for (name, value, expected) in cases {
        let mut claims = good.clone();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
        assert_eq!(decide(&harness, &harness.sign(&header, &claims)).await, expected, "{name} = {value}");
    }
}

/// Providers name a token's client in different claims. Where a token has
/// several, they must agree.
#[tokio::test]
async fn the_client_is_named_by_one_of_three_claims() {
    let harness = Harness::start().await;
    let header = harness.system.issuer().header();
    let mut nameless = harness.system.issuer().claims(API_CLIENT);
    nameless.as_object_mut().unwrap().remove("client_id");
    let cases = [
        (json!({ "client_id": API_CLIENT }), allowed()),
        (json!({ "azp": API_CLIENT }), allowed()),
        (json!({ "cid": API_CLIENT }), allowed()),
        (json!({ "client_id": API_CLIENT, "azp": API_CLIENT, "cid": API_CLIENT }), allowed()),
        (json!({ "azp": IAM_CLIENT }), refused("reserved")),
        (json!({ "azp": "another-client" }), refused("unknown")),
        (json!({ "appid": API_CLIENT }), refused("unknown")),
        (json!({ "client_id": API_CLIENT, "azp": IAM_CLIENT }), refused("unknown")),
        (json!({ "client_id": "another-client", "azp": API_CLIENT }), refused("unknown")),
        (json!({ "azp": API_CLIENT, "cid": "another-client" }), refused("unknown")),
        (json!({ "azp": API_CLIENT, "cid": [API_CLIENT] }), refused("unknown")),
        (json!({ "client_id": null, "azp": API_CLIENT }), refused("unknown")),
        (json!({}), refused("unknown")),
    ];
    for (clients, expected) in cases {
        let mut claims = nameless.clone();
        claims.as_object_mut().unwrap().extend(clients.as_object().unwrap().clone());
        assert_eq!(decide(&harness, &harness.sign(&header, &claims)).await, expected, "{clients}");
    }
}

/// With an issuer of one's own, each lane has an audience (RFC 9068, section 4).
#[tokio::test]
async fn a_token_must_be_for_the_audience_of_its_lane() {
    let harness = Harness::builder()
        .variable(variable::OIDC_IAM_AUDIENCE, "https://iam.example")
        .variable(variable::OIDC_API_AUDIENCE, "https://api.example")
        .start()
        .await;
    let header = harness.system.issuer().header();
    let (iam, api) = (json!("https://iam.example"), json!("https://api.example"));
    let both = json!(["https://iam.example", "https://api.example"]);
    let lanes = [
        (IAM_CLIENT, Api::Iam, "/iam/v1/service-accounts", &iam, &api),
        (API_CLIENT, Api::Business, "/organizations/42", &api, &iam),
    ];
    for (client, lane, path, own, other) in lanes {
        let cases = [
            (own.clone(), "allowed"),
            (json!([own]), "allowed"),
            (json!([API_CLIENT, own]), "allowed"),
            (both.clone(), "allowed"),
            (other.clone(), "audience"),
            (json!([other]), "audience"),
            (json!([]), "audience"),
            (json!([[own]]), "audience"),
            (json!({ "aud": own }), "audience"),
            (json!(format!("{}/", own.as_str().unwrap())), "audience"),
            (json!(own.as_str().unwrap().to_uppercase()), "audience"),
            (json!(client), "audience"),
            (json!(true), "audience"),
            (Value::Null, "audience"),
        ];
        for (aud, reason) in cases {
            let mut claims = harness.system.issuer().claims(client);
            claims["aud"] = aud.clone();
            let event =
                Shape::HttpV2.event("GET", path, &format!("Bearer {}", harness.sign(&header, &claims)));
            assert_eq!(harness.decide(&event).await.1, reason, "{client} {aud}");
        }
        let without = Shape::HttpV2.event(
            "GET",
            path,
            &format!("Bearer {}", harness.sign(&header, &harness.system.issuer().claims(client))),
        );
        assert_eq!(harness.decide(&without).await.1, "audience", "{client} without an audience");
        assert_eq!(harness.verdict_at(lane, &without).await, Verdict::Deny);
    }
}

/// A business backend sees these tokens. With that scope it could take over the
/// admin's account at Cognito.
#[tokio::test]
async fn a_token_that_can_change_the_admins_account_is_refused_by_business_apis() {
    let harness = Harness::start().await;
    let header = harness.system.issuer().header();
    let cases = [
        (json!("openid"), allowed()),
        (json!("keyward/api"), allowed()),
        (json!("aws.cognito.signin.user.administrator"), allowed()),
        (json!("aws.cognito.signin.user.admin"), refused("scope")),
        (json!("keyward/api aws.cognito.signin.user.admin"), refused("scope")),
        (json!("aws.cognito.signin.user.admin openid"), refused("scope")),
        (json!(["openid", "aws.cognito.signin.user.admin"]), refused("scope")),
        (json!("openid\taws.cognito.signin.user.admin"), refused("scope")),
    ];
    for (scope, expected) in cases {
        let mut claims = harness.system.issuer().claims(API_CLIENT);
        claims["scope"] = scope.clone();
        assert_eq!(decide(&harness, &harness.sign(&header, &claims)).await, expected, "{scope}");
    }
    // Keyward's own functions alone see a token of the IAM client.
    let token = harness.admin_token(|claims| claims["scope"] = "aws.cognito.signin.user.admin".into());
    let event = Shape::HttpV2.event("GET", "/iam/v1/roles", &format!("Bearer {token}"));
    assert_eq!(harness.decide(&event).await, allowed());
}

#[tokio::test]
async fn a_token_expires_to_the_second() {
    let harness = Harness::start().await;
    let token = harness.system.issuer().token(API_CLIENT).unwrap();
    harness.clock.advance_seconds(3599);
    assert_eq!(decide(&harness, &token).await, allowed());
    harness.clock.advance_seconds(1);
    assert_eq!(decide(&harness, &token).await, refused("expired"));
}

/// RFC 9068 says in the header what Cognito says in a claim.
#[tokio::test]
async fn an_access_token_may_say_so_in_its_header() {
    let harness = Harness::start().await;
    let mut claims = harness.system.issuer().claims(API_CLIENT);
    claims.as_object_mut().unwrap().remove("token_use");
    for (kind, expected) in [
        (json!("at+jwt"), allowed()),
        (json!("AT+JWT"), allowed()),
        (json!("application/at+jwt"), allowed()),
        (json!("JWT"), refused("malformed")),
        (json!("id+jwt"), refused("malformed")),
        (json!("at+jwt "), refused("malformed")),
        (json!(""), refused("malformed")),
    ] {
        let mut header = harness.system.issuer().header();
        header["typ"] = kind.clone();
        assert_eq!(decide(&harness, &harness.sign(&header, &claims)).await, expected, "{kind}");
        // What the claim says counts before what the header says.
        let mut id_token = claims.clone();
        id_token["token_use"] = "id".into();
        assert_eq!(decide(&harness, &harness.sign(&header, &id_token)).await, refused("malformed"));
    }
}

#[tokio::test]
async fn a_client_in_both_lists_counts_for_neither() {
    let both = format!("{IAM_CLIENT},{API_CLIENT}");
    let harness = Harness::builder().variable(variable::IAM_CLIENT_IDS, &both).start().await;
    let [iam, api] = [IAM_CLIENT, API_CLIENT].map(|client| harness.system.issuer().token(client).unwrap());
    for path in ["/organizations/42", "/iam/v1/service-accounts"] {
        let event = |token: &str| Shape::HttpV2.event("GET", path, &format!("Bearer {token}"));
        assert_eq!(harness.decide(&event(&api)).await, refused("unknown"), "{path}");
    }
    let event = Shape::HttpV2.event("GET", "/iam/v1/service-accounts", &format!("Bearer {iam}"));
    assert_eq!(harness.decide(&event).await, allowed());
}

#[tokio::test]
async fn the_algorithm_is_pinned() {
    let (_jwks, harness) = Jwks::start().await;
    let claims = claims(&harness);
    let header = |algorithm: &str| json!({ "alg": algorithm, "kid": "one", "typ": "JWT" });
    let rsa = |encoding: &'static dyn RsaEncoding, algorithm: &str| {
        sign(&RSA, encoding, &header(algorithm), &claims)
    };
    assert_eq!(decide(&harness, &rsa(&RSA_PKCS1_SHA256, "RS256")).await, allowed());

    // Each of these is signed as it says.
    assert_eq!(decide(&harness, &rsa(&RSA_PKCS1_SHA384, "RS384")).await, refused("malformed"));
    assert_eq!(decide(&harness, &rsa(&RSA_PKCS1_SHA512, "RS512")).await, refused("malformed"));
    assert_eq!(decide(&harness, &rsa(&RSA_PSS_SHA256, "PS256")).await, refused("malformed"));
    // And these lie.
    assert_eq!(decide(&harness, &rsa(&RSA_PKCS1_SHA384, "RS256")).await, refused("wrong_secret"));
    assert_eq!(decide(&harness, &rsa(&RSA_PSS_SHA256, "RS256")).await, refused("wrong_secret"));
    assert_eq!(decide(&harness, &rsa(&RSA_PKCS1_SHA256, "rs256")).await, refused("malformed"));
    assert_eq!(
        decide(&harness, &sign(&OTHER_RSA, &RSA_PKCS1_SHA256, &header("RS256"), &claims)).await,
        refused("wrong_secret")
    );

    for algorithm in ["none", "None", "NONE", "", "HS256", "ES256", "EdDSA"] {
        let signed = format!("{}.{}", encode(&header(algorithm)), encode(&claims));
        for signature in ["", "AAAA"] {
            assert_eq!(
                decide(&harness, &format!("{signed}.{signature}")).await,
                refused("malformed"),
                "{algorithm}"
            );
        }
    }
    for header in [
        json!({ "kid": "one" }),
        json!({ "alg": null, "kid": "one" }),
        json!({ "alg": ["RS256"], "kid": "one" }),
        json!([]),
        json!("RS256"),
    ] {
        let token = sign(&RSA, &RSA_PKCS1_SHA256, &header, &claims);
        assert_eq!(decide(&harness, &token).await, refused("malformed"), "{header}");
    }
}

/// The public key is no secret: whoever takes it for one of an HMAC lets
/// everybody sign.
#[tokio::test]
async fn the_public_key_is_no_hmac_secret() {
    let (jwks, harness) = Jwks::start().await;
    let public = RSA.public_key();
    let modulus = public.modulus().big_endian_without_leading_zero().to_vec();
    let texts = [
        public.as_ref().to_vec(),
        modulus.clone(),
        URL_SAFE_NO_PAD.encode(&modulus).into_bytes(),
        jwk(&RSA, "one").to_string().into_bytes(),
    ];
    let signed =
        format!("{}.{}", encode(&json!({ "alg": "HS256", "kid": "one" })), encode(&claims(&harness)));
    let oct = json!({ "kty": "oct", "kid": "oct", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode("secret") });
    jwks.keys(&[jwk(&RSA, "one"), oct]);
    for secret in texts {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), signed.as_bytes());
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()));
        assert_eq!(decide(&harness, &token).await, refused("malformed"));
    }
    // Not even where the set really holds a secret.
    let signed =
        format!("{}.{}", encode(&json!({ "alg": "HS256", "kid": "oct" })), encode(&claims(&harness)));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"secret"), signed.as_bytes());
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()));
    assert_eq!(decide(&harness, &token).await, refused("malformed"));
    assert_eq!(decide(&harness, &self::token(&harness, &RSA, "one")).await, allowed());
}

#[tokio::test]
async fn what_the_header_brings_along_does_not_count() {
    let (_jwks, harness) = Jwks::start().await;
    let claims = claims(&harness);
    let with = |name: &str, value: Value| {
        let mut header = json!({ "alg": "RS256", "kid": "one" });
        header[name] = value;
        header
    };
    let uri = "http://127.0.0.1:1/jwks";
    for header in [with("jwk", jwk(&OTHER_RSA, "one")), with("jku", json!(uri)), with("x5u", json!(uri))] {
        let token = sign(&OTHER_RSA, &RSA_PKCS1_SHA256, &header, &claims);
        assert_ne!(decide(&harness, &token).await.0, Verdict::Allow, "{header}");
    }
    for header in [with("crit", json!(["b64"])), with("crit", json!(["exp"])), with("crit", json!([]))] {
        let token = sign(&RSA, &RSA_PKCS1_SHA256, &header, &claims);
        assert_eq!(decide(&harness, &token).await, refused("malformed"), "{header}");
    }
}

#[tokio::test]
async fn a_changed_token_is_refused() {
    let harness = Harness::start().await;
    let good = harness.system.issuer().token(API_CLIENT).unwrap();
    let parts: Vec<&str> = good.split('.').collect();
    let mut claims = harness.system.issuer().claims(API_CLIENT);
    claims["sub"] = "somebody else".into();
    let forged = format!("{}.{}.{}", parts[0], encode(&claims), parts[2]);
    assert_eq!(decide(&harness, &forged).await, refused("wrong_secret"));
    for part in 0..3 {
        for at in [0, parts[part].len() / 2] {
            let mut changed: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
            let old = changed[part].as_bytes()[at];
            changed[part].replace_range(at..=at, if old == b'A' { "B" } else { "A" });
            assert_ne!(decide(&harness, &changed.join(".")).await.0, Verdict::Allow, "part {part} at {at}");
        }
    }
    for token in [
        format!("{good}="),
        good[..good.len() - 1].to_owned(),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}..{}", parts[0], parts[2]),
    ] {
        assert_ne!(decide(&harness, &token).await.0, Verdict::Allow);
    }
}

#[tokio::test]
async fn a_token_without_key_id_is_refused_without_a_fetch() {
    let (jwks, harness) = Jwks::start().await;
    let claims = claims(&harness);
    for header in [
        json!({ "alg": "RS256" }),
        json!({ "alg": "RS256", "kid": null }),
        json!({ "alg": "RS256", "kid": 1 }),
    ] {
        let token = sign(&RSA, &RSA_PKCS1_SHA256, &header, &claims);
        assert_eq!(decide(&harness, &token).await, refused("malformed"), "{header}");
    }
    assert_eq!(jwks.fetches(), 0);
}

#[tokio::test]
async fn a_flood_of_unknown_key_ids_makes_one_fetch_in_ten_seconds() {
    let (jwks, harness) = Jwks::start().await;
    let good = token(&harness, &RSA, "one");
    let flood = async |from: u32| {
        let tokens: Vec<_> =
            (from..from + 50).map(|id| token(&harness, &OTHER_RSA, &format!("unknown-{id}"))).collect();
        let verdicts =
            tokens.iter().map(|token| async { harness.verdict(&Shape::HttpV2.bearer(token)).await });
        for verdict in futures::future::join_all(verdicts).await {
            assert_eq!(verdict, Verdict::Deny);
        }
    };
    flood(0).await;
    assert_eq!(jwks.fetches(), 1, "those that arrive together wait for one");
    // Whoever is good is not kept out, and costs nothing.
    assert_eq!(decide(&harness, &good).await, allowed());
    harness.clock.advance_seconds(9);
    flood(100).await;
    assert_eq!(jwks.fetches(), 1);
    harness.clock.advance_seconds(1);
    flood(200).await;
    flood(300).await;
    assert_eq!(jwks.fetches(), 2);
    assert_eq!(decide(&harness, &good).await, allowed());
    assert_eq!(jwks.fetches(), 2);
}

#[tokio::test]
async fn a_new_key_is_picked_up_and_one_that_is_gone_is_dropped() {
    let (jwks, harness) = Jwks::start().await;
    let [one, two] = [token(&harness, &RSA, "one"), token(&harness, &OTHER_RSA, "two")];
    assert_eq!(decide(&harness, &one).await, allowed());
    jwks.keys(&[jwk(&RSA, "one"), jwk(&OTHER_RSA, "two")]);
    assert_eq!(decide(&harness, &two).await, refused("unknown"), "not within ten seconds");
    harness.clock.advance_seconds(10);
    assert_eq!(decide(&harness, &two).await, allowed());
    assert_eq!(jwks.fetches(), 2);
    jwks.keys(&[jwk(&OTHER_RSA, "two")]);
    harness.clock.advance_seconds(10);
    assert_eq!(decide(&harness, &token(&harness, &RSA, "three")).await, refused("unknown"));
    assert_eq!(decide(&harness, &one).await, refused("unknown"), "gone with that fetch");
}

#[tokio::test]
async fn keys_are_fetched_anew_after_an_hour() {
    let (jwks, harness) = Jwks::start().await;
    let good = token(&harness, &RSA, "one");
    assert_eq!(decide(&harness, &good).await, allowed());
    harness.clock.advance_seconds(3599);
    assert_eq!(decide(&harness, &good).await, allowed());
    assert_eq!(jwks.fetches(), 1);
    jwks.keys(&[jwk(&OTHER_RSA, "two")]);
    harness.clock.advance_seconds(1);
    assert_eq!(decide(&harness, &good).await, refused("unknown"), "the issuer has withdrawn it");
    assert_eq!(jwks.fetches(), 2);
    // The same id with another key: the old one counts no more.
    jwks.keys(&[jwk(&OTHER_RSA, "one")]);
    harness.clock.advance_seconds(3600);
    assert_eq!(decide(&harness, &good).await, refused("wrong_secret"));
}

#[tokio::test]
async fn an_issuer_that_is_down_is_an_outage_and_no_refusal() {
    let (jwks, harness) = Jwks::start().await;
    let good = token(&harness, &RSA, "one");
    jwks.answer(503, "");
    assert_eq!(decide(&harness, &good).await, outage());
    assert_eq!(harness.check(&good).await, 500);
    assert_eq!(decide(&harness, &good).await, outage());
    assert_eq!(jwks.fetches(), 1, "and it is not asked again at once");
    for shape in Shape::ALL {
        assert_eq!(
            harness.verdict(&shape.bearer(&good)).await,
            Verdict::Failed(FunctionError::Unavailable),
            "{shape:?}"
        );
    }
    jwks.keys(&[jwk(&RSA, "one")]);
    harness.clock.advance_seconds(10);
    assert_eq!(decide(&harness, &good).await, allowed());
    // Down again: what was fetched counts for its hour, and no longer.
    jwks.answer(500, "");
    harness.clock.advance_seconds(3599);
    assert_eq!(decide(&harness, &token(&harness, &RSA, "one")).await, allowed());
    harness.clock.advance_seconds(1);
    assert_eq!(decide(&harness, &token(&harness, &RSA, "one")).await, outage());
}

#[tokio::test]
async fn keys_that_cannot_be_read_are_an_outage() {
    let (jwks, harness) = Jwks::start().await;
    let good = token(&harness, &RSA, "one");
    let set = json!({ "keys": [jwk(&RSA, "one")] }).to_string();
    let huge = format!("{}{}", " ".repeat(300 * 1024), set);
    let cases = [
        (200, ""),
        (200, "{"),
        (200, "null"),
        (200, "[]"),
        (200, "{}"),
        (200, "{\"keys\":null}"),
        (200, "{\"keys\":{}}"),
        (200, "{\"keys\":[1]}"),
        (200, "<html>"),
        (200, &set[..set.len() - 1]),
        (200, &huge),
        (204, ""),
        (302, &set),
        (404, &set),
        (500, &set),
        (503, &set),
    ];
    for (number, (status, body)) in cases.into_iter().enumerate() {
        jwks.answer(status, body);
        assert_eq!(decide(&harness, &good).await, outage(), "{status} {body:.40}");
        assert_eq!(jwks.fetches(), number + 1);
        harness.clock.advance_seconds(10);
    }
    jwks.answer(200, &set);
    assert_eq!(decide(&harness, &good).await, allowed());
}

#[tokio::test]
async fn an_issuer_that_hangs_costs_two_seconds_once() {
    let (jwks, harness) = Jwks::start().await;
    let good = token(&harness, &RSA, "one");
    jwks.answer(0, "");
    let started = std::time::Instant::now();
    assert_eq!(decide(&harness, &good).await, outage());
    assert_eq!(decide(&harness, &good).await, outage());
    assert!(started.elapsed() < std::time::Duration::from_millis(2_900), "{:?}", started.elapsed());
    assert_eq!(jwks.fetches(), 1);
}

#[tokio::test]
async fn only_keys_for_rs256_signatures_count_and_others_do_no_harm() {
    let (jwks, harness) = Jwks::start().await;
    let with = |name: &str, value: &str| {
        let mut key = jwk(&RSA, "one");
        key[name] = value.into();
        key
    };
    let mut nameless = jwk(&RSA, "one");
    nameless.as_object_mut().unwrap().remove("kid");
    let odd = [
        with("use", "enc"),
        with("alg", "RS384"),
        with("alg", "PS256"),
        with("alg", "RSA-OAEP"),
        with("alg", "ML-DSA-44"),
        with("kty", "AKP"),
        json!({ "kty": "oct", "kid": "one", "k": "c2VjcmV0" }),
        json!({ "kty": "EC", "kid": "one", "crv": "P-256", "x": "AA", "y": "AA" }),
        json!({ "kty": "OKP", "kid": "one", "crv": "X448", "x": "AA" }),
        json!({ "kty": "RSA", "kid": "one", "n": "!", "e": "AQAB" }),
        json!({ "kty": "RSA", "kid": "one" }),
        nameless,
    ];
    let good = || token(&harness, &RSA, "one");
    for key in odd {
        jwks.keys(std::slice::from_ref(&key));
        assert_ne!(decide(&harness, &good()).await.0, Verdict::Allow, "{key}");
        harness.clock.advance_seconds(10);
        // Beside a good one it is passed over.
        let mut beside = key.clone();
        beside["kid"] = "two".into();
        jwks.keys(&[beside, jwk(&RSA, "one")]);
        assert_eq!(decide(&harness, &good()).await, allowed(), "beside {key}");
        harness.clock.advance_seconds(3600);
    }
    for key in [with("use", "sig"), with("alg", "RS256")] {
        jwks.keys(std::slice::from_ref(&key));
        assert_eq!(decide(&harness, &good()).await, allowed(), "{key}");
        harness.clock.advance_seconds(3600);
    }
}
