//! Tokens of admins: the authorizer refuses forged and altered tokens, and limits how
//! often it fetches the issuer's keys.

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

use crate::support::{allowed, decide, denied};

/// The signing key of the JWKS server below, for tokens that the local issuer does not sign.
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

/// In place of a status: the JWKS server never responds.
const HANG: u16 = 0;

/// A JWKS server with a configurable response. Counts the requests.
#[derive(Clone, Default)]
struct Jwks {
    fetches: Arc<AtomicUsize>,
    response: Arc<Mutex<(u16, String)>>,
}

impl Jwks {
    async fn start() -> (Self, Harness) {
        let jwks = Self::default();
        jwks.serve_keys(&[jwk(&RSA, "one")]);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/jwks", listener.local_addr().unwrap());
        let router = Router::new().fallback(fetch).with_state(jwks.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let harness = Harness::builder().variable(variable::OIDC_JWKS_URI, &uri).start().await;
        (jwks, harness)
    }

    /// Responds with this status and body from now on. [`HANG`] sends no response.
    fn respond(&self, status: u16, body: &str) {
        *self.response.lock().unwrap() = (status, body.to_owned());
    }

    fn serve_keys(&self, keys: &[Value]) {
        self.respond(200, &json!({ "keys": keys }).to_string());
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

async fn fetch(State(jwks): State<Jwks>) -> (StatusCode, String) {
    jwks.fetches.fetch_add(1, Ordering::SeqCst);
    let (status, body) = jwks.response.lock().unwrap().clone();
    if status == HANG {
        std::future::pending::<()>().await;
    }
    (StatusCode::from_u16(status).unwrap(), body)
}

/// The claims of a valid token with a far expiry.
fn claims(harness: &Harness) -> Value {
    let mut claims = harness.system.issuer().claims(API_CLIENT);
    claims["exp"] = (claims["iat"].as_i64().unwrap() + 1_000_000).into();
    claims
}

fn token(harness: &Harness, key: &KeyPair, id: &str) -> String {
    sign(key, &RSA_PKCS1_SHA256, &json!({ "alg": "RS256", "kid": id }), &claims(harness))
}

fn outage() -> (Verdict, String) {
    (Verdict::Failed(FunctionError::Unavailable), "outage".to_owned())
}

#[tokio::test]
async fn each_clients_tokens_work_only_at_its_own_api() {
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
            let event = |token: &str| shape.request("GET", path, token);
            assert_eq!(harness.decide(&event(good)).await, allowed(), "{shape:?} {path}");
            assert_eq!(harness.decide(&event(bad)).await, denied("reserved"), "{shape:?} {path}");
        }
        for path in ["/iam", "/IAM/v1/service-accounts"] {
            for token in [&iam, &api] {
                let event = shape.request("GET", path, token);
                assert_ne!(harness.verdict(&event).await, Verdict::Allow, "{shape:?} {path}");
            }
        }
    }
    let reply = harness.request("GET", "/organizations/42").bearer(&iam).send().await;
    assert_eq!(reply.status, 403);
    let reply = harness.request("GET", "/iam/v1/service-accounts").bearer(&api).send().await;
    assert_eq!(reply.status, 403);
}

/// Each case sets one claim of a valid token, or removes the claim if the value is null.
#[tokio::test]
async fn every_claim_is_checked() {
    let harness = Harness::start().await;
    let header = harness.system.issuer().header();
    let good = harness.system.issuer().claims(API_CLIENT);
    let now = good["iat"].as_i64().unwrap();
    let issuer = good["iss"].as_str().unwrap().to_owned();
    let float = |seconds: i64| serde_json::from_str::<Value>(&format!("{seconds}.0")).unwrap();
    let removed = Value::Null;
    let cases = [
        ("sub", json!("x"), allowed()),
        ("exp", json!(now + 1), allowed()),
        ("exp", json!(now), denied("expired")),
        ("exp", json!(now - 1), denied("expired")),
        ("exp", json!(0), denied("expired")),
        ("exp", json!(-1), denied("expired")),
        ("exp", removed.clone(), denied("malformed")),
        ("exp", json!((now + 3600).to_string()), denied("malformed")),
        ("exp", float(now + 3600), denied("malformed")),
        ("exp", json!([now + 3600]), denied("malformed")),
        ("exp", json!(true), denied("malformed")),
        ("exp", json!(u64::MAX), denied("malformed")),
        ("nbf", json!(now + 60), allowed()),
        ("nbf", json!(now + 61), denied("malformed")),
        ("nbf", json!(now.to_string()), denied("malformed")),
        ("nbf", float(now), denied("malformed")),
        ("iat", json!(now + 60), allowed()),
        ("iat", json!(now + 61), denied("malformed")),
        ("iat", json!("now"), denied("malformed")),
        ("iat", json!(now - 3599), allowed()),
        // A token is accepted for at most an hour after `iat`, whatever its `exp` is.
        ("iat", json!(now - 3600), denied("expired")),
        ("iat", removed.clone(), denied("malformed")),
        ("iss", json!(format!("{issuer}/")), denied("unknown")),
        ("iss", json!(issuer.to_uppercase()), denied("unknown")),
        ("iss", json!("https://evil.example"), denied("unknown")),
        ("iss", json!([issuer]), denied("unknown")),
        ("iss", json!(""), denied("unknown")),
        ("iss", removed.clone(), denied("unknown")),
        ("client_id", json!("keyward-api "), denied("unknown")),
        ("client_id", json!("KEYWARD-API"), denied("unknown")),
        ("client_id", json!("another-client"), denied("unknown")),
        ("client_id", json!("keyward-api,keyward-iam"), denied("unknown")),
        ("client_id", json!([API_CLIENT]), denied("unknown")),
        ("client_id", json!(""), denied("unknown")),
        ("client_id", removed.clone(), denied("unknown")),
        ("token_use", json!("id"), denied("malformed")),
        ("token_use", json!("refresh"), denied("malformed")),
        ("token_use", json!("Access"), denied("malformed")),
        ("token_use", json!(["access"]), denied("malformed")),
        ("token_use", removed.clone(), denied("malformed")),
        (GROUPS_CLAIM, json!([]), denied("role")),
        (GROUPS_CLAIM, json!(["others"]), denied("role")),
        (GROUPS_CLAIM, json!([format!("{ADMIN_GROUP}s")]), denied("role")),
        (GROUPS_CLAIM, json!([ADMIN_GROUP.to_uppercase()]), denied("role")),
        (GROUPS_CLAIM, json!(ADMIN_GROUP), denied("role")),
        (GROUPS_CLAIM, json!([[ADMIN_GROUP]]), denied("role")),
        (GROUPS_CLAIM, json!({ ADMIN_GROUP: true }), denied("role")),
        (GROUPS_CLAIM, json!(["others", ADMIN_GROUP]), allowed()),
        (GROUPS_CLAIM, removed.clone(), denied("role")),
        ("sub", json!(""), denied("malformed")),
        ("sub", json!(7), denied("malformed")),
        ("sub", removed, denied("malformed")),
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

/// Identity providers name a token's client in different claims. If a token has several of
/// these claims, they must be equal.
#[tokio::test]
async fn the_client_is_read_from_one_of_three_claims() {
    let harness = Harness::start().await;
    let header = harness.system.issuer().header();
    let mut without_client = harness.system.issuer().claims(API_CLIENT);
    without_client.as_object_mut().unwrap().remove("client_id");
    let cases = [
        (json!({ "client_id": API_CLIENT }), allowed()),
        (json!({ "azp": API_CLIENT }), allowed()),
        (json!({ "cid": API_CLIENT }), allowed()),
        (json!({ "client_id": API_CLIENT, "azp": API_CLIENT, "cid": API_CLIENT }), allowed()),
        (json!({ "azp": IAM_CLIENT }), denied("reserved")),
        (json!({ "azp": "another-client" }), denied("unknown")),
        (json!({ "appid": API_CLIENT }), denied("unknown")),
        (json!({ "client_id": API_CLIENT, "azp": IAM_CLIENT }), denied("unknown")),
        (json!({ "client_id": "another-client", "azp": API_CLIENT }), denied("unknown")),
        (json!({ "azp": API_CLIENT, "cid": "another-client" }), denied("unknown")),
        (json!({ "azp": API_CLIENT, "cid": [API_CLIENT] }), denied("unknown")),
        (json!({ "client_id": null, "azp": API_CLIENT }), denied("unknown")),
        (json!({}), denied("unknown")),
    ];
    for (clients, expected) in cases {
        let mut claims = without_client.clone();
        claims.as_object_mut().unwrap().extend(clients.as_object().unwrap().clone());
        assert_eq!(decide(&harness, &harness.sign(&header, &claims)).await, expected, "{clients}");
    }
}

/// With another identity provider, each kind of API has its own audience (RFC 9068,
/// section 4).
#[tokio::test]
async fn a_token_must_have_the_audience_of_its_api() {
    let harness = Harness::builder()
        .variable(variable::OIDC_IAM_AUDIENCE, "https://iam.example")
        .variable(variable::OIDC_API_AUDIENCE, "https://api.example")
        .start()
        .await;
    let header = harness.system.issuer().header();
    let (iam, business) = (json!("https://iam.example"), json!("https://api.example"));
    let both = json!(["https://iam.example", "https://api.example"]);
    let apis = [
        (IAM_CLIENT, Api::Iam, "/iam/v1/service-accounts", &iam, &business),
        (API_CLIENT, Api::Business, "/organizations/42", &business, &iam),
    ];
    for (client, api, path, own, other) in apis {
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
        let event = |claims: &Value| {
            Shape::HttpV2.event("GET", path, &format!("Bearer {}", harness.sign(&header, claims)))
        };
        for (aud, reason) in cases {
            let mut claims = harness.system.issuer().claims(client);
            claims["aud"] = aud.clone();
            assert_eq!(harness.decide(&event(&claims)).await.1, reason, "{client} {aud}");
        }
        let without = event(&harness.system.issuer().claims(client));
        assert_eq!(harness.decide(&without).await.1, "audience", "{client} without an audience");
        assert_eq!(harness.verdict_at(api, &without).await, Verdict::Deny);
    }
}

/// The backend of a business API receives these tokens. With the refused scope, the backend
/// could take over the admin's Cognito user.
#[tokio::test]
async fn business_apis_refuse_a_token_that_can_change_the_admins_account() {
    let harness = Harness::start().await;
    let header = harness.system.issuer().header();
    let cases = [
        (json!("openid"), allowed()),
        (json!("keyward/api"), allowed()),
        (json!("aws.cognito.signin.user.administrator"), allowed()),
        (json!("aws.cognito.signin.user.admin"), denied("scope")),
        (json!("keyward/api aws.cognito.signin.user.admin"), denied("scope")),
        (json!("aws.cognito.signin.user.admin openid"), denied("scope")),
        (json!(["openid", "aws.cognito.signin.user.admin"]), denied("scope")),
        (json!("openid\taws.cognito.signin.user.admin"), denied("scope")),
    ];
    for (scope, expected) in cases {
        let mut claims = harness.system.issuer().claims(API_CLIENT);
        claims["scope"] = scope.clone();
        assert_eq!(decide(&harness, &harness.sign(&header, &claims)).await, expected, "{scope}");
    }
    // Only Keyward's own functions receive a token of the IAM client.
    let token = harness.admin_token(|claims| claims["scope"] = "aws.cognito.signin.user.admin".into());
    let event = Shape::HttpV2.request("GET", "/iam/v1/roles", &token);
    assert_eq!(harness.decide(&event).await, allowed());
}

#[tokio::test]
async fn a_token_expires_to_the_second() {
    let harness = Harness::start().await;
    let token = harness.system.issuer().token(API_CLIENT).unwrap();
    harness.clock.advance_seconds(3599);
    assert_eq!(decide(&harness, &token).await, allowed());
    harness.clock.advance_seconds(1);
    assert_eq!(decide(&harness, &token).await, denied("expired"));
}

/// RFC 9068 marks an access token in the header, Cognito in a claim.
#[tokio::test]
async fn an_access_token_is_recognized_by_its_header_type() {
    let harness = Harness::start().await;
    let mut claims = harness.system.issuer().claims(API_CLIENT);
    claims.as_object_mut().unwrap().remove("token_use");
    for (kind, expected) in [
        (json!("at+jwt"), allowed()),
        (json!("AT+JWT"), allowed()),
        (json!("application/at+jwt"), allowed()),
        (json!("JWT"), denied("malformed")),
        (json!("id+jwt"), denied("malformed")),
        (json!("at+jwt "), denied("malformed")),
        (json!(""), denied("malformed")),
    ] {
        let mut header = harness.system.issuer().header();
        header["typ"] = kind.clone();
        assert_eq!(decide(&harness, &harness.sign(&header, &claims)).await, expected, "{kind}");
        // The claim takes precedence over the header.
        let mut id_token = claims.clone();
        id_token["token_use"] = "id".into();
        assert_eq!(decide(&harness, &harness.sign(&header, &id_token)).await, denied("malformed"));
    }
}

#[tokio::test]
async fn a_client_id_in_both_lists_is_accepted_by_neither_api() {
    let both = format!("{IAM_CLIENT},{API_CLIENT}");
    let harness = Harness::builder().variable(variable::IAM_CLIENT_IDS, &both).start().await;
    let [iam, api] = [IAM_CLIENT, API_CLIENT].map(|client| harness.system.issuer().token(client).unwrap());
    for path in ["/organizations/42", "/iam/v1/service-accounts"] {
        let event = |token: &str| Shape::HttpV2.request("GET", path, token);
        assert_eq!(harness.decide(&event(&api)).await, denied("unknown"), "{path}");
    }
    let event = Shape::HttpV2.request("GET", "/iam/v1/service-accounts", &iam);
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

    // Each of these signatures has the algorithm that its header names.
    assert_eq!(decide(&harness, &rsa(&RSA_PKCS1_SHA384, "RS384")).await, denied("malformed"));
    assert_eq!(decide(&harness, &rsa(&RSA_PKCS1_SHA512, "RS512")).await, denied("malformed"));
    assert_eq!(decide(&harness, &rsa(&RSA_PSS_SHA256, "PS256")).await, denied("malformed"));
    // Each of these signatures has another algorithm or key than its header names.
    assert_eq!(decide(&harness, &rsa(&RSA_PKCS1_SHA384, "RS256")).await, denied("wrong_secret"));
    assert_eq!(decide(&harness, &rsa(&RSA_PSS_SHA256, "RS256")).await, denied("wrong_secret"));
    assert_eq!(decide(&harness, &rsa(&RSA_PKCS1_SHA256, "rs256")).await, denied("malformed"));
    assert_eq!(
        decide(&harness, &sign(&OTHER_RSA, &RSA_PKCS1_SHA256, &header("RS256"), &claims)).await,
        denied("wrong_secret")
    );

    for algorithm in ["none", "None", "NONE", "", "HS256", "ES256", "EdDSA"] {
        let signed = format!("{}.{}", encode(&header(algorithm)), encode(&claims));
        for signature in ["", "AAAA"] {
            assert_eq!(
                decide(&harness, &format!("{signed}.{signature}")).await,
                denied("malformed"),
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
        assert_eq!(decide(&harness, &token).await, denied("malformed"), "{header}");
    }
}

/// An authorizer that used the public key as an HMAC secret would accept tokens that anyone
/// can sign.
#[tokio::test]
async fn the_public_key_is_not_accepted_as_an_hmac_secret() {
    let (jwks, harness) = Jwks::start().await;
    let public = RSA.public_key();
    let modulus = public.modulus().big_endian_without_leading_zero().to_vec();
    let texts = [
        public.as_ref().to_vec(),
        modulus.clone(),
        URL_SAFE_NO_PAD.encode(&modulus).into_bytes(),
        jwk(&RSA, "one").to_string().into_bytes(),
    ];
    let hs256 = |id: &str, secret: &[u8]| {
        let header = json!({ "alg": "HS256", "kid": id });
        let signed = format!("{}.{}", encode(&header), encode(&claims(&harness)));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
    };
    let oct = json!({ "kty": "oct", "kid": "oct", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode("secret") });
    jwks.serve_keys(&[jwk(&RSA, "one"), oct]);
    for secret in texts {
        assert_eq!(decide(&harness, &hs256("one", &secret)).await, denied("malformed"));
    }
    // A symmetric key in the set is not used either.
    assert_eq!(decide(&harness, &hs256("oct", b"secret")).await, denied("malformed"));
    assert_eq!(decide(&harness, &token(&harness, &RSA, "one")).await, allowed());
}

#[tokio::test]
async fn keys_in_the_header_are_ignored_and_critical_extensions_are_refused() {
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
        assert_eq!(decide(&harness, &token).await, denied("malformed"), "{header}");
    }
}

#[tokio::test]
async fn an_altered_token_is_refused() {
    let harness = Harness::start().await;
    let good = harness.system.issuer().token(API_CLIENT).unwrap();
    let parts: Vec<&str> = good.split('.').collect();
    let mut claims = harness.system.issuer().claims(API_CLIENT);
    claims["sub"] = "another admin".into();
    let forged = format!("{}.{}.{}", parts[0], encode(&claims), parts[2]);
    assert_eq!(decide(&harness, &forged).await, denied("wrong_secret"));
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
async fn a_token_without_a_key_id_is_refused_without_a_fetch() {
    let (jwks, harness) = Jwks::start().await;
    let claims = claims(&harness);
    for header in [
        json!({ "alg": "RS256" }),
        json!({ "alg": "RS256", "kid": null }),
        json!({ "alg": "RS256", "kid": 1 }),
    ] {
        let token = sign(&RSA, &RSA_PKCS1_SHA256, &header, &claims);
        assert_eq!(decide(&harness, &token).await, denied("malformed"), "{header}");
    }
    assert_eq!(jwks.fetches(), 0);
}

#[tokio::test]
async fn unknown_key_ids_cause_at_most_one_fetch_in_ten_seconds() {
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
    assert_eq!(jwks.fetches(), 1, "concurrent requests share one fetch");
    // A valid token is accepted and causes no fetch.
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
async fn a_fetch_adds_new_keys_and_drops_removed_ones() {
    let (jwks, harness) = Jwks::start().await;
    let [one, two] = [token(&harness, &RSA, "one"), token(&harness, &OTHER_RSA, "two")];
    assert_eq!(decide(&harness, &one).await, allowed());
    jwks.serve_keys(&[jwk(&RSA, "one"), jwk(&OTHER_RSA, "two")]);
    assert_eq!(decide(&harness, &two).await, denied("unknown"), "no second fetch within ten seconds");
    harness.clock.advance_seconds(10);
    assert_eq!(decide(&harness, &two).await, allowed());
    assert_eq!(jwks.fetches(), 2);
    jwks.serve_keys(&[jwk(&OTHER_RSA, "two")]);
    harness.clock.advance_seconds(10);
    assert_eq!(decide(&harness, &token(&harness, &RSA, "three")).await, denied("unknown"));
    assert_eq!(decide(&harness, &one).await, denied("unknown"), "dropped by that fetch");
}

#[tokio::test]
async fn keys_are_fetched_again_after_an_hour() {
    let (jwks, harness) = Jwks::start().await;
    let good = token(&harness, &RSA, "one");
    assert_eq!(decide(&harness, &good).await, allowed());
    harness.clock.advance_seconds(3599);
    assert_eq!(decide(&harness, &good).await, allowed());
    assert_eq!(jwks.fetches(), 1);
    jwks.serve_keys(&[jwk(&OTHER_RSA, "two")]);
    harness.clock.advance_seconds(1);
    assert_eq!(decide(&harness, &good).await, denied("unknown"), "the issuer has removed the key");
    assert_eq!(jwks.fetches(), 2);
    // The same id now names another key.
    jwks.serve_keys(&[jwk(&OTHER_RSA, "one")]);
    harness.clock.advance_seconds(3600);
    assert_eq!(decide(&harness, &good).await, denied("wrong_secret"));
}

#[tokio::test]
async fn an_unavailable_issuer_is_an_outage_and_not_a_refusal() {
    let (jwks, harness) = Jwks::start().await;
    let good = token(&harness, &RSA, "one");
    jwks.respond(503, "");
    assert_eq!(decide(&harness, &good).await, outage());
    assert_eq!(harness.check(&good).await, 500);
    assert_eq!(decide(&harness, &good).await, outage());
    assert_eq!(jwks.fetches(), 1, "the fetch is not retried at once");
    for shape in Shape::ALL {
        assert_eq!(
            harness.verdict(&shape.bearer(&good)).await,
            Verdict::Failed(FunctionError::Unavailable),
            "{shape:?}"
        );
    }
    jwks.serve_keys(&[jwk(&RSA, "one")]);
    harness.clock.advance_seconds(10);
    assert_eq!(decide(&harness, &good).await, allowed());
    // During the next outage, fetched keys are used for an hour and no longer.
    jwks.respond(500, "");
    harness.clock.advance_seconds(3599);
    assert_eq!(decide(&harness, &token(&harness, &RSA, "one")).await, allowed());
    harness.clock.advance_seconds(1);
    assert_eq!(decide(&harness, &token(&harness, &RSA, "one")).await, outage());
}

#[tokio::test]
async fn an_unreadable_key_set_is_an_outage() {
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
        jwks.respond(status, body);
        assert_eq!(decide(&harness, &good).await, outage(), "{status} {body:.40}");
        assert_eq!(jwks.fetches(), number + 1);
        harness.clock.advance_seconds(10);
    }
    jwks.respond(200, &set);
    assert_eq!(decide(&harness, &good).await, allowed());
}

#[tokio::test]
async fn a_hanging_issuer_delays_only_one_request_by_two_seconds() {
    let (jwks, harness) = Jwks::start().await;
    let good = token(&harness, &RSA, "one");
    jwks.respond(HANG, "");
    let started = std::time::Instant::now();
    assert_eq!(decide(&harness, &good).await, outage());
    assert_eq!(decide(&harness, &good).await, outage());
    assert!(started.elapsed() < std::time::Duration::from_millis(2_900), "{:?}", started.elapsed());
    assert_eq!(jwks.fetches(), 1);
}

#[tokio::test]
async fn only_rs256_signing_keys_are_used_and_others_are_skipped() {
    let (jwks, harness) = Jwks::start().await;
    let with = |name: &str, value: &str| {
        let mut key = jwk(&RSA, "one");
        key[name] = value.into();
        key
    };
    let mut without_id = jwk(&RSA, "one");
    without_id.as_object_mut().unwrap().remove("kid");
    let unusable = [
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
        without_id,
    ];
    let good = || token(&harness, &RSA, "one");
    for key in unusable {
        jwks.serve_keys(std::slice::from_ref(&key));
        assert_ne!(decide(&harness, &good()).await.0, Verdict::Allow, "{key}");
        harness.clock.advance_seconds(10);
        // Next to a usable key, this key is skipped.
        let mut skipped = key.clone();
        skipped["kid"] = "two".into();
        jwks.serve_keys(&[skipped, jwk(&RSA, "one")]);
        assert_eq!(decide(&harness, &good()).await, allowed(), "next to {key}");
        harness.clock.advance_seconds(3600);
    }
    for key in [with("use", "sig"), with("alg", "RS256")] {
        jwks.serve_keys(std::slice::from_ref(&key));
        assert_eq!(decide(&harness, &good()).await, allowed(), "{key}");
        harness.clock.advance_seconds(3600);
    }
}
