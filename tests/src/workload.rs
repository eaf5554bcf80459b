//! Workloads: issuers with their signing keys, registered as trusted issuers, and JWTs.

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use exchange_token::ExchangeToken;
use serde_json::{Value, json};
use shared::config::variable;
use shared::domain::Clock as _;
use shared::http::{Invocable as _, Operation as _, answer, respond};
use tracing::level_filters::LevelFilter;

use crate::{Account, Harness, Logs, Reply};

/// The grant type of token exchange.
pub const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// The grant type of JWT bearer.
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// The token type of JWTs.
pub const JWT_TYPE: &str = "urn:ietf:params:oauth:token-type:jwt";
/// The token type of keys.
pub const KEY_TYPE: &str = "urn:keyward:token-type:key";
/// The token type of tokens.
pub const TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The audience of the JWTs in tests.
pub const AUDIENCE: &str = "https://keyward.example.com";
/// The URL of issuers whose keys are inline.
pub const ISSUER: &str = "https://issuer.example.com";
/// The `sub` claim of the workload.
pub const SUBJECT: &str = "system:serviceaccount:batch:nightly";

/// A signing key of an issuer.
pub enum SigningKey {
    Rs256(RsaKeyPair),
    Es256(EcdsaKeyPair),
    Es384(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

/// One key of each algorithm, which all tests share, because generating an RSA key is slow.
pub static KEYS: LazyLock<[SigningKey; 4]> = LazyLock::new(|| {
    let rsa = aws_lc_rs::rsa::KeySize::Rsa2048;
    [
        SigningKey::Rs256(RsaKeyPair::generate(rsa).unwrap()),
        SigningKey::es256(),
        SigningKey::Es384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap()),
        SigningKey::EdDsa(Ed25519KeyPair::generate().unwrap()),
    ]
});

/// The key with which most tests sign.
pub fn key() -> &'static SigningKey {
    &KEYS[1]
}

/// Encodes bytes as in a JWT.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl SigningKey {
    /// A new key for ES256.
    pub fn es256() -> Self {
        Self::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    /// The algorithm's name.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Rs256(_) => "RS256",
            Self::Es256(_) => "ES256",
            Self::Es384(_) => "ES384",
            Self::EdDsa(_) => "EdDSA",
        }
    }

    /// The id that tests give the key.
    pub fn id(&self) -> String {
        format!("key-{}", self.algorithm())
    }

    /// The public key as a JWK.
    pub fn jwk(&self) -> Value {
        let mut jwk = match self {
            Self::Rs256(key) => {
                let public = key.public_key();
                json!({
                    "kty": "RSA",
                    "n": encode(public.modulus().big_endian_without_leading_zero()),
                    "e": encode(public.exponent().big_endian_without_leading_zero()),
                })
            }
            Self::Es256(key) => ec_jwk(key, "P-256"),
            Self::Es384(key) => ec_jwk(key, "P-384"),
            Self::EdDsa(key) => json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(key.public_key()) }),
        };
        jwk["kid"] = self.id().into();
        jwk["use"] = "sig".into();
        jwk["alg"] = self.algorithm().into();
        jwk
    }

    /// Signs bytes.
    pub fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rs256(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
            Self::Es256(key) | Self::Es384(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::EdDsa(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    /// A JWT with this header and these claims, as text.
    pub fn sign_text(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = encode(self.signature(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// A JWT with this header and these claims.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// The header of the key's JWTs.
    pub fn header(&self) -> Value {
        json!({ "alg": self.algorithm(), "kid": self.id(), "typ": "JWT" })
    }
}

fn ec_jwk(key: &EcdsaKeyPair, curve: &str) -> Value {
    let point = &key.public_key().as_ref()[1..];
    let (x, y) = point.split_at(point.len() / 2);
    json!({ "kty": "EC", "crv": curve, "x": encode(x), "y": encode(y) })
}

/// The JWK set of these keys.
pub fn jwks<'a>(keys: impl IntoIterator<Item = &'a SigningKey>) -> Value {
    json!({ "keys": keys.into_iter().map(SigningKey::jwk).collect::<Vec<_>>() })
}

/// A federated identity of an account.
#[derive(Clone, Debug)]
pub struct Identity {
    pub account: Account,
    pub id: String,
}

impl Identity {
    /// The identity as an exchange names it.
    pub fn audience(&self) -> String {
        format!("{}/{}", self.account.id, self.id)
    }

    /// The path of the identity.
    pub fn path(&self) -> String {
        format!("{}/federated-identities/{}", self.account.path(), self.id)
    }
}

/// Registers the issuer `test`, whose keys are inline.
pub async fn put_inline_issuer(harness: &Harness) {
    let body = json!({
        "issuer": ISSUER,
        "jwks": jwks(KEYS.iter()),
        "algorithms": ["RS256", "ES256", "ES384", "EdDSA"],
    });
    let _ = harness.put_issuer("test", &body).await;
}

/// Adds a federated identity with these members instead of the usual ones.
pub async fn add_identity(harness: &Harness, account: &Account, members: &Value) -> Identity {
    let mut body = json!({
        "name": "nightly",
        "issuer": "test",
        "audience": AUDIENCE,
        "claims": { "sub": [SUBJECT] },
        "singleUse": false,
    });
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    let added = harness.add_identity(account, &body).await;
    Identity { account: account.clone(), id: added["id"].as_str().unwrap().to_owned() }
}

/// A system with an inline issuer, and an identity of a Reader.
pub async fn start() -> (Harness, Identity) {
    start_with(&json!({})).await
}

/// The same, with these members of the identity.
pub async fn start_with(members: &Value) -> (Harness, Identity) {
    let harness = Harness::start().await;
    put_inline_issuer(&harness).await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let identity = add_identity(&harness, &account, members).await;
    (harness, identity)
}

/// The claims of the workload's JWT, issued now and valid for five minutes.
pub fn claims(harness: &Harness) -> Value {
    let now = harness.clock.now().as_second();
    json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": SUBJECT, "iat": now, "exp": now + 300 })
}

/// The workload's JWT.
pub fn jwt(harness: &Harness) -> String {
    key().sign(&key().header(), &claims(harness))
}

/// The workload's JWT with changed claims.
pub fn jwt_with(harness: &Harness, change: impl FnOnce(&mut Value)) -> String {
    let mut claims = claims(harness);
    change(&mut claims);
    key().sign(&key().header(), &claims)
}

/// The body of a form with these parameters.
pub fn form(parameters: &[(&str, &str)]) -> String {
    parameters
        .iter()
        .map(|(name, value)| {
            let value: String = value
                .bytes()
                .map(|byte| match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                        char::from(byte).to_string()
                    }
                    _ => format!("%{byte:02X}"),
                })
                .collect();
            format!("{name}={value}")
        })
        .collect::<Vec<_>>()
        .join("&")
}

/// Sends a form to the token endpoint.
pub async fn post(harness: &Harness, parameters: &[(&str, &str)]) -> Reply {
    let request = harness.request("POST", "/iam/v1/token");
    request.text("application/x-www-form-urlencoded", &form(parameters)).send().await
}

/// The parameters that exchange a JWT for a token.
pub fn jwt_exchange<'a>(jwt: &'a str, audience: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", jwt),
        ("subject_token_type", JWT_TYPE),
        ("audience", audience),
    ]
}

/// Exchanges a JWT for a token.
pub async fn exchange_jwt(harness: &Harness, identity: &Identity, jwt: &str) -> Reply {
    post(harness, &jwt_exchange(jwt, &identity.audience())).await
}

/// Exchanges a key or token (`kind`) for a token, with more parameters.
pub async fn exchange(harness: &Harness, kind: &str, credential: &str, parameters: &[(&str, &str)]) -> Reply {
    let form = [("grant_type", TOKEN_EXCHANGE), ("subject_token", credential), ("subject_token_type", kind)];
    post(harness, &[&form, parameters].concat()).await
}

/// The token in a response.
pub fn token(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()["access_token"].as_str().unwrap().to_owned()
}

/// Runs an exchange, and returns the response and the line in the log. Fails unless there is
/// exactly one line.
pub async fn logged(exchange: impl Future<Output = Reply>) -> (Reply, Value) {
    let logs = Logs::capture(LevelFilter::INFO);
    let reply = exchange.await;
    let mut lines = logs.take_lines();
    lines.retain(|line| line["message"] == "exchange");
    let [line] = <[Value; 1]>::try_from(lines).expect("exactly one exchange is logged");
    (reply, line)
}

/// The response to an exchange, and the reason in the log.
pub async fn reason(exchange: impl Future<Output = Reply>) -> (Reply, String) {
    let (reply, line) = logged(exchange).await;
    (reply, line["reason"].as_str().unwrap().to_owned())
}

/// A new instance of the token endpoint's function, with its own caches, that trusts issuers on
/// this machine only if `trusts_loopback`.
pub fn another_instance(harness: &Harness, trusts_loopback: bool) -> ExchangeToken {
    let mut setup = harness.system.setup_for("ExchangeToken").unwrap();
    let trusts = trusts_loopback.to_string();
    let own = setup.variables.iter().filter(|(name, _)| *name != variable::LOOPBACK_HOSTS);
    let own = own.chain([(variable::LOOPBACK_HOSTS, trusts.as_str())]);
    setup.variables = own.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    ExchangeToken::new(&setup).unwrap()
}

/// The answer of a new instance to a direct invocation with this event. The instance then ends.
pub async fn invoke_directly(harness: &Harness, event: &Value) -> Value {
    let instance = another_instance(harness, false);
    let answer = respond(&instance, &event.to_string()).await.unwrap();
    instance.flush().await;
    serde_json::to_value(answer).unwrap()
}

/// The event of a request to the token endpoint.
pub fn token_event(body: &str, source: &str) -> Value {
    json!({
        "version": "2.0",
        "routeKey": "POST /iam/v1/token",
        "rawPath": "/iam/v1/token",
        "rawQueryString": "",
        "headers": { "content-type": "application/x-www-form-urlencoded" },
        "requestContext": {
            "http": { "method": "POST", "path": "/iam/v1/token", "sourceIp": source },
            "requestId": "request-1",
            "routeKey": "POST /iam/v1/token",
            "stage": "$default",
        },
        "body": body,
        "isBase64Encoded": false,
    })
}

/// Sends a form to an instance, which then follows up on its response.
pub async fn post_to(instance: &ExchangeToken, parameters: &[(&str, &str)], source: &str) -> Reply {
    let event = token_event(&form(parameters), source).to_string();
    let (parts, body) = answer(instance, lambda_http::request::from_str(&event).unwrap()).await.into_parts();
    instance.follow_up().await;
    let headers = parts.headers.iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    Reply { status: parts.status.as_u16(), headers, text: String::from_utf8(body.to_vec()).unwrap() }
}
