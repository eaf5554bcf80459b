//! `PUT /iam/v1/issuers/{name}`

use insta::assert_json_snapshot;
use serde_json::{Value, json};
use shared::config::{Setup, variable};
use tests::{Event, Harness, RequestBuilder};

use crate::support::{bad_input, routes};

const GITHUB: &str = "https://token.actions.githubusercontent.com";

/// The public key of RFC 7517, appendix A.1, whose modulus has 2,048 bits.
const RSA_MODULUS: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
/// A coordinate of 32 bytes.
const COORDINATE: &str = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4";

fn put<'a>(harness: &'a Harness, name: &str, body: &Value) -> RequestBuilder<'a> {
    harness.request("PUT", &format!("/iam/v1/issuers/{name}")).admin().json(body)
}

fn rsa(kid: &str) -> Value {
    json!({ "kty": "RSA", "n": RSA_MODULUS, "e": "AQAB", "kid": kid, "use": "sig", "alg": "RS256" })
}

fn ec() -> Value {
    json!({ "kty": "EC", "crv": "P-256", "x": COORDINATE, "y": COORDINATE, "kid": "ec" })
}

/// A key without one member, or with another value of one.
fn with(mut key: Value, member: &str, value: Value) -> Value {
    if value.is_null() {
        key.as_object_mut().unwrap().remove(member);
    } else {
        key[member] = value;
    }
    key
}

fn cluster(keys: &[Value]) -> Value {
    json!({ "issuer": "https://kubernetes.default.svc", "jwks": { "keys": keys } })
}

#[tokio::test]
async fn registers_an_issuer_201() {
    let harness = Harness::start().await;
    let reply = put(&harness, "github", &json!({ "issuer": GITHUB })).send().await;
    assert_json_snapshot!(reply.snapshot());
    let read = harness.get("/iam/v1/issuers/github").await;
    assert_eq!((read.json(), &read.headers["etag"]), (reply.json(), &reply.headers["etag"]));
    let [item] = <[_; 1]>::try_from(harness.table.items("ISSUERS").await).unwrap();
    assert_eq!(item["seal"].as_b().unwrap().as_ref().len(), 32);
    assert!(!item.contains_key("gsi1pk") && !item.contains_key("gsi2pk"), "no index has issuers");
}

#[tokio::test]
async fn stores_only_the_public_members_of_inline_keys_201() {
    let harness = Harness::start().await;
    let extra = with(with(ec(), "x5c", json!(["MII"])), "ext", true.into());
    let reply = put(&harness, "cluster", &cluster(&[rsa("rsa"), extra])).send().await;
    assert_json_snapshot!(reply.snapshot());
    assert_eq!(harness.get("/iam/v1/issuers/cluster").await.json(), reply.json());
    let single = with(rsa("x"), "kid", Value::Null);
    let _ = put(&harness, "single", &cluster(&[single])).send().await.expect(201);
}

#[tokio::test]
async fn accepts_every_kind_of_key_and_the_most_keys_201() {
    let harness = Harness::start().await;
    let okp = json!({ "kty": "OKP", "crv": "Ed25519", "x": COORDINATE, "kid": "okp" });
    let p384 =
        json!({ "kty": "EC", "crv": "P-384", "x": "A".repeat(64), "y": "A".repeat(64), "kid": "p384" });
    let all = put(&harness, "all", &cluster(&[rsa("rsa"), ec(), okp, p384])).send().await.expect(201);
    assert_eq!(all.json()["algorithms"], json!(["RS256", "ES256", "ES384", "EdDSA"]));
    // The keys take 3 KB at most.
    let keys: Vec<_> = (0..18).map(|number| with(ec(), "kid", format!("k{number}").into())).collect();
    let most = put(&harness, "most", &cluster(&keys)).send().await.expect(201);
    assert_eq!(most.json()["jwks"]["keys"].as_array().unwrap().len(), 18);
    let keys: Vec<_> = (0..24).map(|number| with(ec(), "kid", format!("k{number}").into())).collect();
    let reply = put(&harness, "more", &cluster(&keys)).send().await.expect_problem(422, "invalid_fields");
    assert_eq!(reply.errors()[0]["pointer"], "/jwks");
}

#[tokio::test]
async fn changes_an_issuer_but_not_its_id_200() {
    let harness = Harness::start().await;
    let first =
        put(&harness, "corp", &json!({ "issuer": "https://id.example.com" })).send().await.expect(201);
    let before = harness.table.items("ISSUERS").await.remove(0);
    harness.clock.advance_seconds(60);
    let second = harness.token_of("admin-2", "second@keyward.local");
    let body = json!({ "issuer": "https://id.example.com", "jwksUri": "https://id.example.com/keys", "algorithms": ["ES384", "RS256", "RS256"] });
    let reply = harness.request("PUT", "/iam/v1/issuers/corp").bearer(&second).json(&body).send().await;
    assert_json_snapshot!(reply.snapshot());
    assert_ne!(reply.headers["etag"], first.headers["etag"]);
    let after = harness.table.items("ISSUERS").await.remove(0);
    assert_eq!(after["id"], before["id"]);
    assert_ne!(after["seal"], before["seal"]);
}

#[tokio::test]
async fn each_change_writes_one_event() {
    let harness = Harness::start().await;
    let created = put(&harness, "cluster", &cluster(&[ec()])).send().await.expect(201);
    harness.clock.advance_seconds(1);
    let discovery = json!({ "issuer": "https://kubernetes.default.svc", "algorithms": ["ES256"] });
    let _ = put(&harness, "cluster", &discovery).send().await.expect(200);
    harness.clock.advance_seconds(1);
    let _ = harness.request("DELETE", "/iam/v1/issuers/cluster").admin().send().await.expect(204);
    let events = harness.get("/iam/v1/events?issuer=cluster").await.json();
    assert_eq!(events["items"][2]["requestId"], created.request_id());
    assert_json_snapshot!(events, { ".items[].requestId" => "[request id]" });
    assert_eq!(
        harness.get("/iam/v1/events?type=issuer.created").await.json()["items"],
        json!([events["items"][2]])
    );
}

#[tokio::test]
async fn an_identical_issuer_changes_nothing_and_writes_no_event_200() {
    let harness = Harness::start().await;
    for (name, body, same) in [
        ("github", json!({ "issuer": GITHUB }), json!({ "issuer": GITHUB, "algorithms": ["RS256"] })),
        ("cluster", cluster(&[ec()]), cluster(&[with(ec(), "use", "sig".into())])),
    ] {
        let created = put(&harness, name, &body).send().await.expect(201);
        let before = harness.table.dump().await;
        harness.clock.advance_seconds(60);
        for body in [body, same] {
            let reply = put(&harness, name, &body).send().await.expect(200);
            assert_eq!((reply.json(), &reply.headers["etag"]), (created.json(), &created.headers["etag"]));
        }
        assert_eq!(before, harness.table.dump().await);
    }
}

#[tokio::test]
async fn the_defaults_depend_on_the_platform() {
    let harness = Harness::start().await;
    let mut shown = Vec::new();
    for (number, url) in [
        GITHUB,
        "https://token.actions.githubusercontent.com/acme",
        "https://gitlab.com",
        "https://gitlab.example.com",
        "https://oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF",
        "https://container.googleapis.com/v1/projects/p/locations/l/clusters/c",
        "https://kubernetes.default.svc.cluster.local",
        "https://0123-4567.tokens.sts.global.api.aws",
        "https://accounts.google.com",
        "https://gitlab.com.example.com",
    ]
    .into_iter()
    .enumerate()
    {
        let reply = put(&harness, &format!("i{number}"), &json!({ "issuer": url })).send().await.expect(201);
        let [platform, algorithms] = ["platform", "algorithms"].map(|name| reply.json()[name].clone());
        shown.push(json!([url, platform, algorithms]));
    }
    assert_json_snapshot!(shown);
}

#[tokio::test]
async fn the_issuer_of_a_name_never_changes_409() {
    let harness = Harness::start().await;
    let other = json!({ "issuer": "https://other.example.com" });
    let _ = put(&harness, "corp", &json!({ "issuer": "https://id.example.com" })).send().await.expect(201);
    assert_json_snapshot!(
        harness.refuse(put(&harness, "corp", &other), 409, "issuer_changed").await.snapshot()
    );
    let almost = json!({ "issuer": "https://id.example.com/" });
    harness.refuse(put(&harness, "corp", &almost), 409, "issuer_changed").await;
    let _ = harness.request("DELETE", "/iam/v1/issuers/corp").admin().send().await.expect(204);
    harness.refuse(put(&harness, "corp", &other), 409, "issuer_changed").await;
    // Two private clusters can have the same issuer.
    let _ = put(&harness, "same", &json!({ "issuer": "https://id.example.com" })).send().await.expect(201);
}

#[tokio::test]
async fn a_deployment_has_at_most_fifty_issuers_409() {
    let harness = Harness::start().await;
    for number in 0..50 {
        let _ = put(&harness, &format!("i{number}"), &json!({ "issuer": GITHUB })).send().await.expect(201);
    }
    let one_more = || put(&harness, "more", &json!({ "issuer": GITHUB }));
    assert_json_snapshot!(harness.refuse(one_more(), 409, "issuer_limit_reached").await.snapshot());
    let _ = harness.request("DELETE", "/iam/v1/issuers/i7").admin().send().await.expect(204);
    let _ = one_more().send().await.expect(201);
    let _ =
        put(&harness, "i8", &json!({ "issuer": GITHUB, "algorithms": ["ES256"] })).send().await.expect(200);
}

#[tokio::test]
async fn preconditions_200_201_400_412() {
    let harness = Harness::start().await;
    let body = json!({ "issuer": GITHUB });
    let other = json!({ "issuer": GITHUB, "algorithms": ["ES256"] });
    harness.refuse(put(&harness, "github", &body).if_match("*"), 412, "precondition_failed").await;
    let absent = |body: &Value| put(&harness, "github", body).header("if-none-match", "*");
    let created = absent(&body).send().await.expect(201);
    harness.refuse(absent(&other), 412, "precondition_failed").await;
    let tag = created.headers["etag"].clone();
    bad_input::refuses_bad_if_match(&harness, || put(&harness, "github", &other), &tag).await;
    let _ = put(&harness, "github", &other).if_match(&tag).send().await.expect(200);
    harness.refuse(put(&harness, "github", &body).if_match(&tag), 412, "precondition_failed").await;
    // A deleted issuer does not exist, and a new registration has another version.
    let _ = harness.request("DELETE", "/iam/v1/issuers/github").admin().send().await.expect(204);
    harness.refuse(put(&harness, "github", &body).if_match("*"), 412, "precondition_failed").await;
    let again = absent(&body).send().await.expect(201);
    assert_ne!(again.headers["etag"], tag);
}

#[tokio::test]
async fn each_invalid_value_422() {
    let harness = Harness::start().await;
    let url = |issuer: &str| json!({ "issuer": issuer });
    let long = format!("https://id.example.com/{}", "a".repeat(500));
    let mut cases: Vec<Value> = [
        "",
        "id.example.com",
        "http://id.example.com",
        "ftp://id.example.com",
        "https://",
        "https://id.example.com?x=1",
        "https://id.example.com#x",
        "https://user@id.example.com",
        "https://id.example.com/a b",
        "https://id.example.com/\u{e9}",
        "https:\\\\id.example.com",
        &long,
    ]
    .map(url)
    .to_vec();
    let with_member = |name: &str, value: Value| {
        let mut body = url("https://id.example.com");
        body[name] = value;
        body
    };
    cases.extend([
        json!({}),
        json!({ "issuer": null }),
        with_member("jwksUri", "http://id.example.com/keys".into()),
        with_member("algorithms", json!([])),
        with_member("algorithms", json!(["RS256", "HS256", "none", "rs256"])),
        with_member("algorithms", json!("RS256")),
        with_member("id", "iss_0123456789abcdef".into()),
        json!({ "issuer": "https://id.example.com", "jwksUri": "https://id.example.com/k", "jwks": { "keys": [ec()] } }),
    ]);
    let errors =
        bad_input::refuse_fields(&harness, || harness.request("PUT", "/iam/v1/issuers/corp").admin(), &cases)
            .await;
    assert_json_snapshot!(errors);
}

#[tokio::test]
async fn each_invalid_key_422() {
    let harness = Harness::start().await;
    let set = |set: Value| json!({ "issuer": "https://id.example.com", "jwks": set });
    let key = |key: Value| set(json!({ "keys": [key] }));
    let many: Vec<_> = (0..101).map(|number| with(ec(), "kid", format!("k{number}").into())).collect();
    let short = "A".repeat(341);
    let cases = [
        set(json!("{}")),
        set(json!([])),
        set(json!({})),
        set(json!({ "keys": [] })),
        set(json!({ "keys": {} })),
        set(json!({ "keys": many })),
        key(json!("x")),
        key(json!({})),
        key(with(rsa("k"), "d", "AQAB".into())),
        key(with(rsa("k"), "oth", json!([]))),
        key(with(ec(), "d", COORDINATE.into())),
        key(json!({ "kty": "oct", "k": "c2VjcmV0" })),
        key(json!({ "kty": "oct" })),
        key(with(rsa("k"), "kty", "rsa".into())),
        key(with(rsa("k"), "n", Value::Null)),
        key(with(rsa("k"), "n", short.into())),
        key(with(rsa("k"), "n", format!("{RSA_MODULUS}==").into())),
        key(with(rsa("k"), "e", "AQ".into())),
        key(with(rsa("k"), "e", "Ag".into())),
        key(with(rsa("k"), "e", "AQAAAAAB".into())),
        key(with(rsa("k"), "alg", "RS512".into())),
        key(with(rsa("k"), "alg", "HS256".into())),
        key(with(rsa("k"), "use", "enc".into())),
        key(with(rsa("k"), "kid", 1.into())),
        key(with(rsa("k"), "kid", "".into())),
        key(with(rsa("k"), "kid", "k".repeat(257).into())),
        key(with(ec(), "crv", "P-521".into())),
        key(with(ec(), "crv", "secp256k1".into())),
        key(with(ec(), "y", "AQAB".into())),
        key(json!({ "kty": "OKP", "crv": "X25519", "x": COORDINATE })),
        key(json!({ "kty": "OKP", "crv": "Ed25519", "x": "AQAB" })),
        set(json!({ "keys": [ec(), rsa("ec")] })),
        set(json!({ "keys": [ec(), with(rsa("k"), "kid", Value::Null)] })),
        json!({ "issuer": "https://id.example.com", "jwks": { "keys": [ec()] }, "algorithms": ["ES256", "RS256"] }),
    ];
    let mut errors = Vec::new();
    for case in cases {
        let refused = harness.refuse(put(&harness, "corp", &case), 422, "invalid_fields").await;
        assert!(!refused.text.contains(COORDINATE) && !refused.text.contains("c2VjcmV0"), "{refused:?}");
        errors.push(refused.errors());
    }
    assert_json_snapshot!(errors);
}

/// Only local mode and tests accept issuers on their own machine.
#[tokio::test]
async fn an_issuer_on_this_machine_is_refused_when_deployed_422() {
    let harness = Harness::start().await;
    let put = async |trusts: &str| {
        let setup = harness.system.setup_for("ManageIssuers").unwrap();
        let own = setup.variables.iter().filter(|(name, _)| *name != variable::LOOPBACK_HOSTS);
        let own = own.chain([(variable::LOOPBACK_HOSTS, trusts)]);
        let setup = Setup { variables: own.collect(), ..setup.clone() };
        let event = Event {
            route: "PUT /iam/v1/issuers/{name}".to_owned(),
            parameters: json!({ "name": "local" }),
            body: Some(json!({ "issuer": "http://127.0.0.1:8080" })),
            context: Some(routes::admin_context()),
        };
        harness.invoke_with("ManageIssuers", &setup, &event).await
    };
    let refused = put("false").await;
    assert_eq!((refused.status, &refused.errors()[0]["pointer"]), (422, &json!("/issuer")));
    assert_eq!(put("true").await.status, 201);
}
