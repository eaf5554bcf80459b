//! Issuers that misbehave cost bounded time, memory and fetches. Each failure has its own reason
//! in the log, and all of them look the same to the client.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shared::public_http::is_public;
use tests::{Harness, Reply};
use tokio::net::TcpListener;

use crate::support::report;
use crate::support::scripted_server::{Script, ScriptedServer, ok, response};
use tests::workload::{
    AUDIENCE, Identity, SigningKey, add_identity, another_instance, claims, exchange_jwt, jwks, jwt_exchange,
    key, post_to, reason,
};

/// An issuer on this machine.
struct FakeIssuer(ScriptedServer);

impl std::ops::Deref for FakeIssuer {
    type Target = ScriptedServer;

    fn deref(&self) -> &ScriptedServer {
        &self.0
    }
}

impl FakeIssuer {
    async fn start() -> Self {
        Self(ScriptedServer::start().await)
    }

    /// Serves the keys, and metadata that name their URI.
    fn serve_keys(&self, keys: &Value) {
        let metadata = json!({ "issuer": self.url, "jwks_uri": format!("{}/keys", self.url) });
        let (metadata, keys) = (ok(&metadata.to_string()), ok(&keys.to_string()));
        self.set(move |path| {
            Script::Send(if path.starts_with("/.well-known/") { metadata.clone() } else { keys.clone() })
        });
    }

    fn take_fetches(&self) -> usize {
        self.take_connections()
    }
}

/// A system that trusts the issuer with this URL under the name `local`, and an identity of it.
/// The issuer's keys are at `uri`, or where its metadata say.
async fn start(url: &str, uri: Option<&str>) -> (Harness, Identity) {
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let mut body = json!({ "issuer": url, "algorithms": ["ES256"] });
    if let Some(uri) = uri {
        body["jwksUri"] = uri.into();
    }
    let _ = harness.put_issuer("local", &body).await;
    let identity =
        add_identity(&harness, &account, &json!({ "issuer": "local", "audience": AUDIENCE })).await;
    (harness, identity)
}

/// The workload's JWT from this issuer.
fn jwt_of(harness: &Harness, url: &str, key: &SigningKey, id: &str) -> String {
    let mut claims = claims(harness);
    claims["iss"] = url.into();
    key.sign(&json!({ "alg": "ES256", "kid": id }), &claims)
}

/// The response, without the request id.
fn without_id(reply: &Reply) -> Value {
    reply.snapshot()
}

/// Lets the issuer's caches expire, and exchanges a JWT.
async fn try_again(harness: &Harness, identity: &Identity, url: &str) -> (Reply, String, Duration) {
    harness.clock.advance_seconds(11);
    let jwt = jwt_of(harness, url, key(), &key().id());
    let start = Instant::now();
    let (reply, reason) = reason(exchange_jwt(harness, identity, &jwt)).await;
    (reply, reason, start.elapsed())
}

#[tokio::test]
async fn issuers_that_misbehave_cost_bounded_time_and_memory() {
    let issuer = FakeIssuer::start().await;
    let (harness, identity) = start(&issuer.url, Some(&format!("{}/keys", issuer.url))).await;
    let keys = jwks([key()]).to_string();
    let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 0x10000], b"\r\n"].concat();
    let too_many = format!(r#"{{"keys":[{}]}}"#, vec!["{}"; 10_000].join(","));
    let gzip = format!("200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}", keys.len());
    let short = format!("200 OK\r\ncontent-length: {}", keys.len() - 10);
    let long = format!("200 OK\r\ncontent-length: {}", keys.len() + 10);
    let large = format!(r#"{{"keys":[],"x":"{}"}}"#, "x".repeat(256 * 1024));
    let scripts: Vec<(&str, Script, &str)> = vec![
        ("never responds", Script::Hold(Vec::new()), "issuer_timeout"),
        ("stops in the head", Script::Hold(b"HTTP/1.1 200 OK\r\n".to_vec()), "issuer_timeout"),
        ("stops in the body", Script::Hold(response("200 OK\r\ncontent-length: 100", "{")), "issuer_timeout"),
        ("drips", Script::Drip(response("200 OK", "{")), "issuer_timeout"),
        ("closes at once", Script::Send(Vec::new()), "issuer_response"),
        ("sends garbage", Script::Send(vec![0xff; 4096]), "issuer_response"),
        ("sends garbage forever", Script::Forever(Vec::new(), vec![0xff; 4096]), "issuer_response"),
        (
            "sends headers forever",
            { Script::Forever(b"HTTP/1.1 200 OK\r\n".to_vec(), b"x-header: xxxxxxxxxxxxxxxx\r\n".to_vec()) },
            "issuer_response",
        ),
        (
            "sends one header forever",
            { Script::Forever(b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'x'; 4096]) },
            "issuer_response",
        ),
        (
            "sends a body forever",
            Script::Forever(response("200 OK", "{"), vec![b' '; 65_536]),
            "issuer_too_large",
        ),
        (
            "sends chunks forever",
            { Script::Forever(response("200 OK\r\ntransfer-encoding: chunked", ""), chunk) },
            "issuer_too_large",
        ),
        (
            "claims 10 GB",
            { Script::Forever(response("200 OK\r\ncontent-length: 10737418240", ""), vec![b' '; 65_536]) },
            "issuer_too_large",
        ),
        ("sends 256 KB", Script::Send(ok(&large)), "issuer_too_large"),
        ("claims less than it sends", Script::Send(response(&short, &keys)), "issuer_keys"),
        ("claims more than it sends", Script::Send(response(&long, &keys)), "issuer_response"),
        ("compresses", Script::Send(response(&gzip, &keys)), "issuer_response"),
        (
            "redirects",
            {
                Script::Send(response(
                    &format!("302 Found\r\nlocation: {}/other\r\ncontent-length: 0", issuer.url),
                    "",
                ))
            },
            "issuer_redirect",
        ),
        (
            "redirects permanently",
            { Script::Send(response("308 Permanent Redirect\r\nlocation: /other\r\ncontent-length: 0", "")) },
            "issuer_redirect",
        ),
        ("has no keys", Script::Send(response("404 Not Found\r\ncontent-length: 0", "")), "issuer_response"),
        ("fails", Script::Send(response("500 Error\r\ncontent-length: 0", "")), "issuer_response"),
        ("sends an empty response", Script::Send(response("204 No Content", "")), "issuer_response"),
        ("sends HTML", Script::Send(ok("<!doctype html>")), "issuer_keys"),
        ("sends another object", Script::Send(ok("{}")), "issuer_keys"),
        ("sends 10,000 keys", Script::Send(ok(&too_many)), "issuer_keys"),
        ("sends deeply nested JSON", Script::Send(ok(&"[".repeat(200_000))), "issuer_keys"),
    ];
    let mut responses = Vec::new();
    let mut slowest = Duration::ZERO;
    for (name, script, expected) in scripts {
        issuer.set(move |_| script.clone());
        issuer.take_sent();
        issuer.take_fetches();
        let (reply, actual, took) = try_again(&harness, &identity, &issuer.url).await;
        assert_eq!(actual, expected, "an issuer that {name}");
        assert_eq!(issuer.take_fetches(), 1, "an issuer that {name}");
        assert!(took < Duration::from_secs(6), "an issuer that {name} takes {took:?}");
        // More than a document, because the system buffers what the function never reads.
        let sent = issuer.take_sent();
        assert!(sent < 32 * 1024 * 1024, "an issuer that {name} sends {sent} bytes");
        slowest = slowest.max(took);
        responses.push(without_id(&reply));
    }
    report(&format!("the slowest issuer takes {slowest:?}"));
    insta::assert_json_snapshot!(responses[0]);
    assert!(responses.iter().all(|response| *response == responses[0]), "{responses:?}");
    issuer.serve_keys(&jwks([key()]));
    assert_eq!(try_again(&harness, &identity, &issuer.url).await.0.status, 200, "it recovers");
}

#[tokio::test]
async fn metadata_must_be_those_of_the_issuer() {
    let issuer = FakeIssuer::start().await;
    let (harness, identity) = start(&issuer.url, None).await;
    let keys = format!("{}/keys", issuer.url);
    let slash = format!("{}/", issuer.url);
    for (metadata, expected) in [
        (json!({ "issuer": slash, "jwks_uri": keys }), "issuer_metadata"),
        (json!({ "issuer": "https://issuer.example.com", "jwks_uri": keys }), "issuer_metadata"),
        (json!({ "jwks_uri": keys }), "issuer_metadata"),
        (json!({ "issuer": issuer.url }), "issuer_metadata"),
        (json!({ "issuer": issuer.url, "jwks_uri": "http://issuer.example.com/keys" }), "issuer_metadata"),
        (json!({ "issuer": issuer.url, "jwks_uri": "file:///etc/passwd" }), "issuer_metadata"),
        (json!({ "issuer": issuer.url, "jwks_uri": "https://a:b@issuer.example.com/" }), "issuer_metadata"),
        (json!({ "issuer": issuer.url, "jwks_uri": "https://10.0.0.1/keys" }), "issuer_address"),
        (json!({ "issuer": issuer.url, "jwks_uri": "https://169.254.169.254/latest" }), "issuer_address"),
        (json!([]), "issuer_metadata"),
    ] {
        let text = ok(&metadata.to_string());
        issuer.set(move |_| Script::Send(text.clone()));
        issuer.take_fetches();
        let (reply, actual, _) = try_again(&harness, &identity, &issuer.url).await;
        assert_eq!((reply.status, actual.as_str()), (503, expected), "{metadata}");
        assert_eq!(issuer.take_fetches(), 1, "{metadata}");
    }
    issuer.serve_keys(&jwks([key()]));
    assert_eq!(try_again(&harness, &identity, &issuer.url).await.0.status, 200);
    assert_eq!(issuer.take_fetches(), 2, "the metadata and the keys");
}

#[tokio::test]
async fn keys_are_fetched_from_public_addresses_only() {
    let issuer = FakeIssuer::start().await;
    issuer.serve_keys(&jwks([key()]));
    let port = issuer.url.rsplit(':').next().unwrap();
    let harness = Harness::start().await;
    let account = harness.create_account("Batch", "ServiceAccountReader").await;
    let instance = another_instance(&harness, false);
    let hosts = [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "2130706433",
        "017700000001",
        "localhost",
        "LOCALHOST",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "0.0.0.0",
        "0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "224.0.0.1",
        "[ff02::1]",
        "255.255.255.255",
        "192.0.2.1",
        "198.18.0.1",
        "[2001:db8::1]",
        "[::]",
    ];
    for (at, host) in hosts.into_iter().enumerate() {
        let url = format!("https://{host}:{port}");
        let name = format!("issuer-{at}");
        let _ = harness.put_issuer(&name, &json!({ "issuer": url, "algorithms": ["ES256"] })).await;
        let identity = json!({ "issuer": name, "name": format!("identity {at}") });
        let identity = add_identity(&harness, &account, &identity).await;
        let jwt = jwt_of(&harness, &url, key(), &key().id());
        let audience = identity.audience();
        let form = jwt_exchange(&jwt, &audience);
        let (reply, reason) = reason(post_to(&instance, &form, "192.0.2.1")).await;
        assert_eq!((reply.status, reason.as_str()), (503, "issuer_address"), "{host}");
        let _ = harness.request("DELETE", &identity.path()).admin().send().await.expect(204);
        let _ =
            harness.request("DELETE", &format!("/iam/v1/issuers/{name}")).admin().send().await.expect(204);
    }
    assert_eq!(issuer.take_fetches(), 0, "no connection is opened");
}

#[tokio::test]
async fn a_server_without_tls_and_a_closed_port_are_unreachable() {
    let issuer = FakeIssuer::start().await;
    issuer.serve_keys(&jwks([key()]));
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for url in [issuer.url.replace("http:", "https:"), format!("http://{closed}")] {
        let (harness, identity) = start(&url, None).await;
        let (reply, reason, took) = try_again(&harness, &identity, &url).await;
        assert_eq!(reply.status, 503, "{url}");
        assert!(["issuer_unreachable", "issuer_timeout"].contains(&reason.as_str()), "{url}: {reason}");
        assert!(took < Duration::from_secs(6), "{took:?}");
    }
}

#[test]
fn only_addresses_on_the_public_internet_are_public() {
    let public = [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2606:4700::1111",
        "2600:1f18::1",
        "64:ff9b::101:101",
        "3ffe::1",
    ];
    let special = [
        "0.0.0.0",
        "0.255.255.255",
        "10.0.0.0",
        "10.255.255.255",
        "100.64.0.0",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "169.254.0.0",
        "169.254.169.254",
        "172.16.0.0",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.255",
        "192.88.99.1",
        "192.168.0.0",
        "192.168.255.255",
        "198.18.0.0",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.0",
        "239.255.255.255",
        "240.0.0.0",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:8.8.8.8",
        "::ffff:10.0.0.1",
        "::8.8.8.8",
        "100::1",
        "64:ff9b::a00:1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "2001::1",
        "2001:2::1",
        "2001:db8::1",
        "2002:a00:1::1",
        "2002:808:808::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ];
    for address in public {
        assert!(is_public(address.parse::<IpAddr>().unwrap()), "{address}");
    }
    for address in special {
        assert!(!is_public(address.parse::<IpAddr>().unwrap()), "{address}");
    }
}

#[tokio::test]
async fn changed_keys_are_fetched_at_most_every_ten_seconds_and_withdrawn_keys_end_within_an_hour() {
    let issuer = FakeIssuer::start().await;
    let (harness, identity) = start(&issuer.url, Some(&format!("{}/keys", issuer.url))).await;
    let (first, second) = (SigningKey::es256(), SigningKey::es256());
    let set = |key: &SigningKey, id: &str| {
        let mut jwk = key.jwk();
        jwk["kid"] = id.into();
        json!({ "keys": [jwk] })
    };
    let exchange = async |key: &SigningKey, id: &str| {
        let jwt = jwt_of(&harness, &issuer.url, key, id);
        reason(exchange_jwt(&harness, &identity, &jwt)).await.1
    };
    issuer.serve_keys(&set(&first, "first"));
    assert_eq!(exchange(&first, "first").await, "issued");
    assert_eq!(exchange(&first, "first").await, "issued");
    assert_eq!(issuer.take_fetches(), 1, "keys are cached");
    // The issuer changes its keys.
    issuer.serve_keys(&set(&second, "second"));
    assert_eq!(exchange(&second, "second").await, "signing_key");
    for at in 0..50 {
        assert_eq!(exchange(&second, &format!("unknown-{at}")).await, "signing_key");
    }
    assert_eq!(issuer.take_fetches(), 0, "less than 10 s after the last fetch");
    harness.clock.advance_seconds(10);
    assert_eq!(exchange(&second, "second").await, "issued");
    assert_eq!(exchange(&first, "first").await, "signing_key", "the first key is gone");
    for at in 0..50 {
        assert_eq!(exchange(&second, &format!("unknown-{at}")).await, "signing_key");
    }
    assert_eq!(issuer.take_fetches(), 1);
    // The issuer withdraws all keys, and then fails.
    issuer.serve_keys(&json!({ "keys": [] }));
    harness.clock.advance_seconds(3599);
    assert_eq!(exchange(&second, "second").await, "issued", "for up to an hour");
    harness.clock.advance_seconds(1);
    assert_eq!(exchange(&second, "second").await, "signing_key");
    assert_eq!(issuer.take_fetches(), 1);
    issuer.set(|_| Script::Send(response("500 Error\r\ncontent-length: 0", "")));
    harness.clock.advance_seconds(3600);
    for _ in 0..20 {
        assert_eq!(exchange(&second, "second").await, "issuer_response");
    }
    assert_eq!(issuer.take_fetches(), 1, "a failure is not repeated for 10 s");
}

#[tokio::test]
async fn requests_cannot_choose_what_is_fetched() {
    let issuer = FakeIssuer::start().await;
    let (other, stranger) = (FakeIssuer::start().await, SigningKey::es256());
    issuer.serve_keys(&jwks([key()]));
    other.serve_keys(&jwks([&stranger]));
    let (harness, identity) = start(&issuer.url, None).await;
    let mut claims = claims(&harness);
    claims["iss"] = other.url.as_str().into();
    let header = json!({
        "alg": "ES256", "kid": stranger.id(), "jku": format!("{}/keys", other.url),
        "x5u": format!("{}/x5u", other.url), "iss": other.url,
    });
    let (_, refused) = reason(exchange_jwt(&harness, &identity, &stranger.sign(&header, &claims))).await;
    assert_eq!(refused, "issuer");
    claims["iss"] = issuer.url.as_str().into();
    let (_, refused) = reason(exchange_jwt(&harness, &identity, &stranger.sign(&header, &claims))).await;
    assert_eq!(refused, "signature");
    assert_eq!(other.take_fetches(), 0);
}
