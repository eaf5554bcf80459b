//! Bad input that every operation refuses alike, to be tried on each.

use serde_json::json;
use tests::{Harness, RequestBuilder};

/// The longest body that is taken, in bytes.
const MAX_BODY_BYTES: usize = 32 * 1024;

/// Path segments that are no id, as a client writes them, and the status. The
/// authorizer refuses (403) what does not belong into a path of the IAM API.
const NO_IDS: [(&str, u16); 15] = [
    ("x", 400),
    ("sa_", 400),
    ("key_", 400),
    ("sa_AAAAAAAAAAAAAAA", 400),
    ("sa_AAAAAAAAAAAAAAAAA", 400),
    ("SA_AAAAAAAAAAAAAAAA", 400),
    ("key_AAAAAAAAAAAAAAA-", 400),
    ("AAAAAAAAAAAAAAAA", 400),
    ("sa_%2e%2e", 400),
    ("sa_AAAAAAAAAAAAAAA%41A", 400),
    ("sa_AAAAAAAAAAAAAAA%00", 403),
    ("sa_AAAAAAAAAAAAAAA%20", 403),
    ("sa_AAAAAAAAAAAAAAA%C3%A9", 403),
    ("sa_AAAAAAAAAAAAAAA%2541", 403),
    ("*", 403),
];

/// Tries segments that are no id at the place of an id in a path.
pub(crate) async fn refuses_malformed_ids<'a>(
    harness: &'a Harness,
    request: impl Fn(&str) -> RequestBuilder<'a>,
) {
    let before = harness.table.dump().await;
    for (id, status) in NO_IDS {
        let reply = request(id).admin().send().await;
        assert_eq!(reply.status, status, "{id}: {reply:?}");
        if status == 400 {
            assert_eq!(reply.code(), "malformed_id", "{id}");
        }
    }
    assert_eq!(before, harness.table.dump().await);
}

/// Tries bodies that no operation takes. `good` would be taken.
pub(crate) async fn refuses_malformed_bodies<'a>(
    harness: &'a Harness,
    request: impl Fn() -> RequestBuilder<'a>,
    good: &serde_json::Value,
) {
    let good = good.to_string();
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "application/xml", "json", ""] {
        let refused = request().text(media_type, &good);
        harness.refuse(refused, 415, "unsupported_media_type").await;
    }
    harness.refuse(request(), 415, "unsupported_media_type").await;

    let padded = format!("{good}{}", " ".repeat(MAX_BODY_BYTES + 1 - good.len()));
    harness.refuse(request().text("application/json", &padded), 413, "body_too_large").await;

    let cut_off = &good[..good.len() - 1];
    let and_more = format!("{good}}}");
    for no_json in [
        "",
        " ",
        cut_off,
        &and_more,
        "{'name': 1}",
        "{\"name\": NaN}",
        "\u{feff}{}",
        "nul",
        r#"{"name":"\ud800"}"#,
    ] {
        harness.refuse(request().text("application/json", no_json), 400, "malformed_json").await;
    }

    // A list of a structure's values, in its order, is none of its spellings.
    let values: Vec<_> = serde_json::from_str::<serde_json::Value>(&good)
        .unwrap()
        .as_object()
        .unwrap()
        .values()
        .cloned()
        .collect();
    for no_object in [json!(null), json!(1), json!("text"), json!([]), json!([{}]), json!(values)] {
        let reply = harness.refuse(request().json(&no_object), 422, "invalid_fields").await;
        let error = &reply.errors()[0];
        assert_eq!(error["pointer"], "");
        assert!(error["detail"].as_str().unwrap().ends_with("expected an object"), "{error}");
    }

    let twice = format!("{{\"name\": \"a\", {}", &good[1..]);
    let reply = harness.refuse(request().text("application/json", &twice), 422, "invalid_fields").await;
    assert_eq!(reply.errors()[0], json!({ "pointer": "/name", "detail": "duplicate field `name`" }));

    let mut unknown: serde_json::Value = serde_json::from_str(&good).unwrap();
    unknown["isAdmin"] = true.into();
    let reply = harness.refuse(request().json(&unknown), 422, "invalid_fields").await;
    let error = &reply.errors()[0];
    assert!(error["detail"].as_str().unwrap().starts_with("unknown field `"), "{error}");
    assert_eq!(error["pointer"], "/isAdmin");
}

/// Tries values of `Idempotency-Key` that are none.
pub(crate) async fn refuses_malformed_idempotency_keys<'a>(
    harness: &'a Harness,
    request: impl Fn() -> RequestBuilder<'a>,
) {
    let too_long = "x".repeat(256);
    for value in ["", "\"\"", "a b", "a\"b", "a\\b", "\"", &too_long] {
        let refused = request().idempotency_key(value);
        harness.refuse(refused, 400, "malformed_request").await;
    }
}

/// Tries values of `If-Match` that are no entity tag, and some that are one of
/// no version. `current` is the tag of the version that is there.
pub(crate) async fn refuses_bad_if_match<'a>(
    harness: &'a Harness,
    request: impl Fn() -> RequestBuilder<'a>,
    current: &str,
) {
    let bare = current.trim_matches('"');
    let weak = format!("W/{current}");
    let two = format!("{current}, \"7\"");
    for malformed in [bare, &weak, &two, "\"", ""] {
        harness.refuse(request().if_match(malformed), 400, "malformed_request").await;
    }
    for other in [format!("\"0{bare}\""), format!("\"+{bare}\""), "\"0\"".to_owned(), "\"x\"".to_owned()] {
        harness.refuse(request().if_match(&other), 412, "precondition_failed").await;
    }
}
