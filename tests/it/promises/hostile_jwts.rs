//! JWTs that must not be exchanged: each is refused for its own reason in the log, and all
//! refusals look the same to the client.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use futures::future::join_all;
use serde_json::{Value, json};
use tests::{Harness, Reply};

use crate::support::report;
use tests::workload::{
    AUDIENCE, ISSUER, Identity, KEYS, SUBJECT, SigningKey, add_identity, claims, encode, exchange_jwt, jwks,
    jwt, jwt_with, key, logged, reason, start, start_with,
};

/// The refusal of every credential, without the request id.
fn refusal(reply: &Reply) -> Value {
    let mut reply = reply.snapshot();
    reply["headers"].as_object_mut().unwrap().remove("apigw-requestid");
    reply
}

/// Sends hostile JWTs, and checks that each is refused for its reason and that all responses
/// are equal.
async fn check(harness: &Harness, identity: &Identity, hostile: Vec<(String, String, &str)>) {
    let (malformed, _) = reason(exchange_jwt(harness, identity, "x")).await;
    for (name, jwt, expected) in hostile {
        let (reply, actual) = reason(exchange_jwt(harness, identity, &jwt)).await;
        assert_eq!(actual, expected, "{name}");
        assert_eq!(refusal(&reply), refusal(&malformed), "{name}");
    }
    let reply = exchange_jwt(harness, identity, &jwt(harness)).await;
    assert_eq!(reply.status, 200, "a good JWT still works: {reply:?}");
}

/// A JWT with changed parts, each in base64.
fn altered(jwt: &str, change: impl FnOnce(&mut [String; 3])) -> String {
    let mut parts = jwt.split('.').map(ToOwned::to_owned);
    let mut parts = [(); 3].map(|()| parts.next().unwrap());
    change(&mut parts);
    parts.join(".")
}

#[tokio::test]
async fn malformed_jwts_are_refused() {
    let (harness, identity) = start().await;
    let good = jwt(&harness);
    let header = key().header().to_string();
    let body = claims(&harness).to_string();
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let nested = |depth: usize| format!(r#"{},"x":{}}}"#, body.trim_end_matches('}'), deep(depth));
    let repeated = |member: &str| format!("{},{member}}}", body.trim_end_matches('}'));
    let signed = |header: &str, claims: &str| key().sign_text(header, claims);
    let mut hostile = vec![
        ("one part".to_owned(), good.replace('.', "")),
        ("two parts".to_owned(), good.rsplit_once('.').unwrap().0.to_owned()),
        ("four parts".to_owned(), format!("{good}.x")),
        ("padding".to_owned(), altered(&good, |parts| parts[0].push('='))),
        ("standard base64".to_owned(), altered(&good, |parts| parts[1].push('+'))),
        ("white space".to_owned(), format!(" {good}")),
        ("line break".to_owned(), altered(&good, |parts| parts[1].insert(4, '\n'))),
        ("claims are an array".to_owned(), signed(&header, &format!("[{body}]"))),
        ("claims are a text".to_owned(), signed(&header, r#""claims""#)),
        ("claims are cut off".to_owned(), signed(&header, body.trim_end_matches('}'))),
        ("text after the claims".to_owned(), signed(&header, &format!("{body}{body}"))),
        ("claims in UTF-16".to_owned(), {
            let utf16: Vec<u8> = body.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let signed = format!("{}.{}", encode(&header), encode(utf16));
            format!("{signed}.{}", encode(key().signature(signed.as_bytes())))
        }),
        ("a repeated claim".to_owned(), signed(&header, &repeated(r#""sub":"system:serviceaccount:x:y""#))),
        ("a repeated claim with an escape".to_owned(), signed(&header, &repeated(r#""s\u0075b":"x""#))),
        ("a repeated member in a claim".to_owned(), signed(&header, &repeated(r#""x":{"a":1,"a":1}"#))),
        ("a repeated member in a list".to_owned(), signed(&header, &repeated(r#""x":[{"a":1,"a":2}]"#))),
        ("a repeated member of the header".to_owned(), {
            signed(&format!(r#"{},"alg":"ES256"}}"#, header.trim_end_matches('}')), &body)
        }),
        ("a critical extension".to_owned(), {
            signed(&format!(r#"{},"crit":["b64"],"b64":false}}"#, header.trim_end_matches('}')), &body)
        }),
        ("an empty list of critical extensions".to_owned(), {
            signed(&format!(r#"{},"crit":[]}}"#, header.trim_end_matches('}')), &body)
        }),
        ("no algorithm".to_owned(), signed(r#"{"kid":"key-ES256"}"#, &body)),
        ("an algorithm that is not a text".to_owned(), signed(r#"{"alg":256,"kid":"key-ES256"}"#, &body)),
        ("a key id that is not a text".to_owned(), signed(r#"{"alg":"ES256","kid":1}"#, &body)),
        ("a claim nested too deeply".to_owned(), signed(&header, &nested(16))),
        ("a claim nested 7,000 levels deep".to_owned(), signed(&header, &nested(5000))),
        ("a header nested too deeply".to_owned(), {
            signed(&format!(r#"{},"x":{}}}"#, header.trim_end_matches('}'), deep(17)), &body)
        }),
        ("more than 16 KB".to_owned(), jwt_with(&harness, |claims| claims["x"] = "x".repeat(12_400).into())),
    ];
    hostile.extend(["exp", "iat", "nbf"].into_iter().flat_map(|time| {
        let wrong = [json!("1700000000"), json!(1_700_000_000.5), json!(null), json!([1]), json!(u64::MAX)];
        wrong.map(|wrong| {
            (format!("{time} is {wrong}"), jwt_with(&harness, |claims| claims[time] = wrong.clone()))
        })
    }));
    for time in ["exp", "iat"] {
        let without = jwt_with(&harness, |claims| drop(claims.as_object_mut().unwrap().remove(time)));
        hostile.push((format!("no {time}"), without));
    }
    let hostile = hostile.into_iter().map(|(name, jwt)| (name, jwt, "malformed")).collect();
    check(&harness, &identity, hostile).await;
    let nested = signed(&header, &nested(15));
    let reply = exchange_jwt(&harness, &identity, &nested).await;
    assert_eq!(reply.status, 200, "a claim that is nested less deeply: {reply:?}");
}

#[tokio::test]
async fn forged_and_altered_jwts_are_refused() {
    let (harness, identity) = start().await;
    let good = jwt(&harness);
    let stranger = SigningKey::es256();
    let other = jwt_with(&harness, |claims| claims["sub"] = "system:serviceaccount:batch:other".into());
    let body = claims(&harness);
    let flipped = |at: usize| {
        altered(&good, |parts| {
            let mut bytes = parts[2].clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            parts[2] = String::from_utf8(bytes).unwrap();
        })
    };
    let part = |jwt: &str, at: usize| jwt.split('.').nth(at).unwrap().to_owned();
    let mut hostile = vec![
        ("signed by a stranger", stranger.sign(&key().header(), &body), "signature"),
        ("without a signature", altered(&good, |parts| parts[2].clear()), "signature"),
        ("a signature that is cut off", altered(&good, |parts| parts[2].truncate(40)), "signature"),
        ("a signature of zeros", altered(&good, |parts| parts[2] = encode([0; 64])), "signature"),
        ("a longer signature", altered(&good, |parts| parts[2].push_str("AAAA")), "signature"),
        ("a changed signature", flipped(0), "signature"),
        ("a signature changed in the middle", flipped(60), "signature"),
        ("claims of another JWT", altered(&good, |parts| parts[1] = part(&other, 1)), "signature"),
        ("the signature of another JWT", altered(&good, |parts| parts[2] = part(&other, 2)), "signature"),
        (
            "a changed header",
            altered(&good, |parts| {
                parts[0] = encode(r#"{"alg":"ES256","kid":"key-ES256"}"#);
            }),
            "signature",
        ),
        (
            "a signature in DER",
            {
                let signed = good.rsplit_once('.').unwrap().0;
                // A sequence of two integers, as outside of JWTs.
                format!(
                    "{signed}.{}",
                    encode([&[0x30, 0x44, 2, 0x20][..], &[1; 32], &[2, 0x20], &[1; 32]].concat())
                )
            },
            "signature",
        ),
        ("an unknown key id", key().sign(&json!({ "alg": "ES256", "kid": "unknown" }), &body), "signing_key"),
        ("an empty key id", key().sign(&json!({ "alg": "ES256", "kid": "" }), &body), "signing_key"),
        ("no key id, with several keys", key().sign(&json!({ "alg": "ES256" }), &body), "signing_key"),
        (
            "the id of a key of another algorithm",
            { key().sign(&json!({ "alg": "ES256", "kid": "key-RS256" }), &body) },
            "signing_key",
        ),
        (
            "the id of a key of another curve",
            { KEYS[2].sign(&json!({ "alg": "ES384", "kid": "key-ES256" }), &body) },
            "signing_key",
        ),
        (
            "a key in the header",
            { stranger.sign(&json!({ "alg": "ES256", "kid": "key-ES256", "jwk": stranger.jwk() }), &body) },
            "signature",
        ),
        (
            "a URL of keys in the header",
            {
                stranger
                    .sign(&json!({ "alg": "ES256", "kid": "key-ES256", "jku": "http://127.0.0.1:1/" }), &body)
            },
            "signature",
        ),
    ];
    // The public key as an HMAC key, in the forms that a confused verifier could use.
    let public = jwks([key()]);
    for (name, secret) in [("JWK", public["keys"][0].to_string()), ("set", public.to_string())] {
        let hmac_key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let signed =
            format!("{}.{}", encode(r#"{"alg":"HS256","kid":"key-ES256"}"#), encode(body.to_string()));
        let tag = hmac::sign(&hmac_key, signed.as_bytes());
        hostile.push((name, format!("{signed}.{}", encode(tag)), "algorithm"));
    }
    for algorithm in ["none", "None", "NONE", "", "HS256", "PS256", "RS512", "ES512", "es256", "EdDSA "] {
        let header = json!({ "alg": algorithm, "kid": "key-ES256" });
        hostile.push(("another algorithm", key().sign(&header, &body), "algorithm"));
        let unsigned = altered(&key().sign(&header, &body), |parts| parts[2].clear());
        hostile.push(("another algorithm without a signature", unsigned, "algorithm"));
    }
    let hostile = hostile.into_iter().map(|(name, jwt, reason)| (name.to_owned(), jwt, reason)).collect();
    check(&harness, &identity, hostile).await;
}

#[tokio::test]
async fn jwts_for_other_purposes_are_refused() {
    let (harness, identity) = start().await;
    let now = claims(&harness)["iat"].as_i64().unwrap();
    let with = |member: &str, value: Value| jwt_with(&harness, |claims| claims[member] = value);
    let without =
        |member: &str| jwt_with(&harness, |claims| drop(claims.as_object_mut().unwrap().remove(member)));
    let mut hostile = Vec::new();
    for issuer in [
        json!("https://issuer.example.com/"),
        json!("https://Issuer.example.com"),
        json!("https://issuer.example.com:443"),
        json!("http://issuer.example.com"),
        json!("https://issuer.example.com "),
        json!("https://issuer.example.com\u{0}"),
        // A Cyrillic letter, and the same host in Punycode.
        json!("https://іssuer.example.com"),
        json!("https://xn--ssuer-p4a.example.com"),
        json!([ISSUER]),
        json!(null),
    ] {
        hostile.push((format!("issuer {issuer}"), with("iss", issuer), "issuer"));
    }
    hostile.push(("no issuer".to_owned(), without("iss"), "issuer"));
    for audience in [
        json!("https://keyward.example.com/"),
        json!("HTTPS://keyward.example.com"),
        json!("https://keyward.example.com https://other.example.com"),
        json!([]),
        json!([AUDIENCE, "https://other.example.com"]),
        json!(["https://other.example.com", AUDIENCE]),
        json!([AUDIENCE, AUDIENCE]),
        json!([[AUDIENCE]]),
        json!({ "0": AUDIENCE }),
        json!(null),
    ] {
        hostile.push((format!("audience {audience}"), with("aud", audience), "audience"));
    }
    hostile.push(("no audience".to_owned(), without("aud"), "audience"));
    for subject in [
        json!("system:serviceaccount:batch:nightly2"),
        json!("system:serviceaccount:batch:*"),
        json!("system:serviceaccount:batch:Nightly"),
        json!(" system:serviceaccount:batch:nightly"),
        json!("system:serviceaccount:batch:nightly\n"),
        // Look-alike letters, a zero-width space, and the fullwidth form of a letter.
        json!("system:serviceaccount:bаtch:nightly"),
        json!("system:serviceaccount:batch:night\u{200b}ly"),
        json!("system:serviceaccount:batch:nightl\u{ff59}"),
        json!([SUBJECT]),
        json!({ "sub": SUBJECT }),
        json!(true),
        json!(null),
    ] {
        hostile.push((format!("subject {subject}"), with("sub", subject), "claim"));
    }
    hostile.push(("no subject".to_owned(), without("sub"), "claim"));
    hostile.push(("expired now".to_owned(), with("exp", now.into()), "expired"));
    hostile.push(("expired".to_owned(), with("exp", (now - 1).into()), "expired"));
    hostile.push(("expired before the epoch".to_owned(), with("exp", i64::MIN.into()), "expired"));
    hostile.push(("from the future".to_owned(), with("iat", (now + 61).into()), "not_yet_valid"));
    hostile.push(("from the far future".to_owned(), with("iat", i64::MAX.into()), "not_yet_valid"));
    hostile.push(("not valid yet".to_owned(), with("nbf", (now + 61).into()), "not_yet_valid"));
    hostile.push(("from the distant past".to_owned(), with("iat", i64::MIN.into()), "too_old"));
    check(&harness, &identity, hostile).await;
}

#[tokio::test]
async fn clock_skew_and_age_have_exact_limits() {
    let (harness, identity) = start_with(&json!({ "maxAgeSeconds": 120 })).await;
    let now = claims(&harness)["iat"].as_i64().unwrap();
    let mut outcomes = BTreeMap::new();
    for (name, member, value) in [
        ("issued 60 s in the future", "iat", now + 60),
        ("issued 61 s in the future", "iat", now + 61),
        ("issued 120 s ago", "iat", now - 120),
        ("issued 121 s ago", "iat", now - 121),
        ("valid in 60 s", "nbf", now + 60),
        ("valid in 61 s", "nbf", now + 61),
        ("expires in 1 s", "exp", now + 1),
        ("expires now", "exp", now),
    ] {
        let jwt = jwt_with(&harness, |claims| claims[member] = value.into());
        outcomes.insert(name, reason(exchange_jwt(&harness, &identity, &jwt)).await.1);
    }
    insta::assert_json_snapshot!(outcomes);
}

#[tokio::test]
async fn claims_must_have_the_exact_value_and_type() {
    let required = json!({ "claims": {
        "sub": [SUBJECT],
        "admin": [true],
        "project_id": [42],
        "/kubernetes.io/namespace": ["batch", "nightly"],
        "/a~1b/0": ["x"],
    } });
    let (harness, identity) = start_with(&required).await;
    let matching = |claims: &mut Value| {
        claims["admin"] = true.into();
        claims["project_id"] = 42.into();
        claims["kubernetes.io"] = json!({ "namespace": "batch" });
        claims["a/b"] = json!(["x"]);
    };
    let reply = exchange_jwt(&harness, &identity, &jwt_with(&harness, matching)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    for (claim, value) in [
        ("admin", json!("true")),
        ("admin", json!(1)),
        ("project_id", json!("42")),
        ("project_id", json!(42.5)),
        ("project_id", json!(-42)),
        ("kubernetes.io", json!({ "namespace": ["batch"] })),
        ("kubernetes.io", json!({ "namespace": "Batch" })),
        ("kubernetes.io", json!({ "namespace": "batc" })),
        ("kubernetes.io", json!({ "Namespace": "batch" })),
        ("kubernetes.io", json!([{ "namespace": "batch" }])),
        ("a/b", json!("x")),
        ("a/b", json!({ "1": "x" })),
    ] {
        let jwt = jwt_with(&harness, |claims| {
            matching(claims);
            claims[claim] = value.clone();
        });
        let (reply, line) = logged(exchange_jwt(&harness, &identity, &jwt)).await;
        assert_eq!((reply.status, line["reason"].as_str()), (400, Some("claim")), "{claim} {value}");
        assert!(line["claim"].as_str().unwrap().contains(claim.split('/').next().unwrap()), "{line}");
    }
}

#[tokio::test]
async fn every_algorithm_of_the_issuer_and_no_other_is_accepted() {
    let (harness, identity) = start().await;
    let body = claims(&harness);
    for key in KEYS.iter() {
        let jwt = key.sign(&key.header(), &body);
        assert_eq!(exchange_jwt(&harness, &identity, &jwt).await.status, 200, "{}", key.algorithm());
    }
    let only_rsa = json!({ "issuer": ISSUER, "jwks": jwks(KEYS.iter()), "algorithms": ["RS256"] });
    let _ = harness.put_issuer("test", &only_rsa).await;
    for key in &KEYS[1..] {
        let jwt = key.sign(&key.header(), &body);
        let (_, reason) = reason(exchange_jwt(&harness, &identity, &jwt)).await;
        assert_eq!(reason, "algorithm", "{}", key.algorithm());
    }
}

#[tokio::test]
async fn a_jwt_without_a_key_id_needs_an_issuer_with_one_key() {
    let (harness, identity) = start().await;
    let _ = harness
        .put_issuer("test", &json!({ "issuer": ISSUER, "jwks": jwks([key()]), "algorithms": ["ES256"] }))
        .await;
    let jwt = key().sign(&json!({ "alg": "ES256" }), &claims(&harness));
    assert_eq!(exchange_jwt(&harness, &identity, &jwt).await.status, 200);
}

#[tokio::test]
async fn a_single_use_jwt_is_exchanged_once() {
    let (harness, identity) = start_with(&json!({ "singleUse": true })).await;
    let jwt = jwt(&harness);
    assert_eq!(exchange_jwt(&harness, &identity, &jwt).await.status, 200);
    let (_, again) = reason(exchange_jwt(&harness, &identity, &jwt)).await;
    assert_eq!(again, "replayed");
    // For an ECDSA signature (r, s), (r, n - s) is also valid.
    let malleated = malleate(&jwt);
    assert_ne!(malleated, jwt);
    let (_, again) = reason(exchange_jwt(&harness, &identity, &malleated)).await;
    assert_eq!(again, "replayed");
    // Another identity with the same rules does not accept the JWT either.
    let other =
        add_identity(&harness, &identity.account, &json!({ "name": "other", "singleUse": true })).await;
    let (_, again) = reason(exchange_jwt(&harness, &other, &jwt)).await;
    assert_eq!(again, "replayed");
}

#[tokio::test]
async fn one_of_many_concurrent_exchanges_of_a_single_use_jwt_wins() {
    let (harness, identity) = start_with(&json!({ "singleUse": true })).await;
    let jwts: Vec<_> = (0..5).map(|at| jwt_with(&harness, |claims| claims["jti"] = at.into())).collect();
    for jwt in &jwts {
        let malleated = malleate(jwt);
        let all =
            (0..16).map(|at| exchange_jwt(&harness, &identity, if at % 2 == 0 { jwt } else { &malleated }));
        let statuses: Vec<_> = join_all(all).await.iter().map(|reply| reply.status).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 400).count(), 15, "{statuses:?}");
    }
}

#[tokio::test]
async fn hostile_jwts_take_bounded_time() {
    let (harness, identity) = start().await;
    let body = claims(&harness).to_string();
    let body = body.trim_end_matches('}');
    let many_members = (0..1200).map(|at| format!(r#","m{at}":{at}"#)).collect::<Vec<_>>().concat();
    let worst = [
        key().sign_text(&key().header().to_string(), &format!("{body}{many_members}}}")),
        key().sign_text(&key().header().to_string(), &format!(r#"{body},"x":{}"#, "[".repeat(11_000))),
        ".".repeat(16 * 1024),
        "e30.".repeat(4 * 1024),
        "x".repeat(30 * 1024),
    ];
    let mut longest = Duration::ZERO;
    for jwt in &worst {
        let start = Instant::now();
        let _ = exchange_jwt(&harness, &identity, jwt).await;
        longest = longest.max(start.elapsed());
    }
    report(&format!("the slowest hostile JWT takes {longest:?}, with HTTP and a debug build"));
    assert!(longest < Duration::from_secs(2), "{longest:?}");
}

/// The JWT with the other valid ECDSA signature of the same contents.
fn malleate(jwt: &str) -> String {
    use base64::Engine as _;
    /// The order of P-256 (SEC 2, section 2.4.2).
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
        0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    altered(jwt, |parts| {
        let mut signature = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(&parts[2]).unwrap();
        let mut borrow = 0;
        for at in (0..32).rev() {
            let difference = i16::from(ORDER[at]) - i16::from(signature[32 + at]) - borrow;
            borrow = i16::from(difference < 0);
            signature[32 + at] = u8::try_from(difference.rem_euclid(256)).unwrap();
        }
        parts[2] = encode(signature);
    })
}
