//! Bad input that many operations refuse in the same way.

use serde_json::{Value, json};
use tests::{Harness, RequestBuilder};

/// The longest body that most operations accept, in bytes.
pub(crate) const MAX_BODY_BYTES: usize = 32 * 1024;

/// Tries bodies that are not JSON, not labelled as JSON, or longer than `most` bytes. `good` is a
/// valid body.
pub(crate) async fn refuses_malformed_json<'a>(
    harness: &'a Harness,
    request: impl Fn() -> RequestBuilder<'a>,
    good: &Value,
    most: usize,
) {
    let members = good.as_object().unwrap().keys();
    let good = good.to_string();
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "application/xml", "json", ""] {
        let refused = request().text(media_type, &good);
        harness.refuse(refused, 415, "unsupported_media_type").await;
    }
    harness.refuse(request(), 415, "unsupported_media_type").await;

    let padded = format!("{good}{}", " ".repeat(most + 1 - good.len()));
    harness.refuse(request().text("application/json", &padded), 413, "body_too_large").await;

    let cut_off = &good[..good.len() - 1];
    let trailing = format!("{good}}}");
    let mut malformed =
        ["", " ", "nul", "{'name': 1}", "\u{feff}{}", cut_off, &trailing].map(str::to_owned).to_vec();
    for member in members {
        malformed.push(format!("{{\"{member}\": NaN}}"));
        malformed.push(format!(r#"{{"{member}":"\ud800"}}"#));
    }
    for body in malformed {
        harness.refuse(request().text("application/json", &body), 400, "malformed_json").await;
    }
}

/// Tries bodies that are JSON, but not an object with distinct, known members. `good` is a
/// valid body.
pub(crate) async fn refuses_malformed_members<'a>(
    harness: &'a Harness,
    request: impl Fn() -> RequestBuilder<'a>,
    good: &Value,
) {
    let members = good.as_object().unwrap();
    // The last one has the values of `good` in their order, which serde also accepts for a
    // struct.
    let values: Vec<_> = members.values().collect();
    for not_an_object in [json!(null), json!(1), json!("text"), json!([]), json!([{}]), json!(values)] {
        let reply = harness.refuse(request().json(&not_an_object), 422, "invalid_fields").await;
        let error = &reply.errors()[0];
        assert_eq!(error["pointer"], "");
        assert!(error["detail"].as_str().unwrap().ends_with("expected an object"), "{error}");
    }

    for (name, value) in members {
        let twice = format!("{{\"{name}\": {value}, {}", &good.to_string()[1..]);
        let reply = harness.refuse(request().text("application/json", &twice), 422, "invalid_fields").await;
        let expected =
            json!({ "pointer": format!("/{name}"), "detail": format!("duplicate field `{name}`") });
        assert_eq!(reply.errors()[0], expected);
    }

    let mut unknown = good.clone();
    unknown["isAdmin"] = true.into();
    let reply = harness.refuse(request().json(&unknown), 422, "invalid_fields").await;
    let error = &reply.errors()[0];
    assert!(error["detail"].as_str().unwrap().starts_with("unknown field `"), "{error}");
    assert_eq!(error["pointer"], "/isAdmin");
}

/// Checks that each body has invalid fields. Returns the start of each body with the errors in
/// the response.
pub(crate) async fn refuse_fields<'a>(
    harness: &'a Harness,
    request: impl Fn() -> RequestBuilder<'a>,
    bodies: &[Value],
) -> Vec<Value> {
    let mut errors = Vec::new();
    for body in bodies {
        let refused = harness.refuse(request().json(body), 422, "invalid_fields").await;
        let shown: String = body.to_string().chars().take(60).collect();
        errors.push(json!({ shown: refused.errors() }));
    }
    errors
}

/// Tries malformed values of `If-Match`, and well-formed entity tags of no version.
/// `current` is the tag of the current version.
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
