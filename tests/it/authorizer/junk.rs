//! Input that cannot be a credential of this environment causes no call to AWS.

use tests::{Harness, Shape, Verdict};

use crate::support::{denied, unauthorized};

/// A well-formed key of the environment `prod`. Its checksum was computed with Python.
const FOREIGN: &str =
    "kwsa_prod_AccountIdOf16Chr_KeyIdWith16Chars_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ2yUazK";

/// Invalid Authorization headers, most of them made from `key`, and the reasons for which they
/// are refused.
fn junk(key: &str) -> Vec<(String, &'static str)> {
    let mistyped = key.replace(&key[40..41], if &key[40..41] == "x" { "y" } else { "x" });
    let long = "x".repeat(1 << 20);
    let malformed = [
        String::new(),
        " ".to_owned(),
        key.to_owned(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Bearer\t{key}"),
        format!(" Bearer {key}"),
        format!("Bearer {key} "),
        format!("Bearer {key},"),
        format!("Bearer {key},Bearer {key}"),
        format!("Bearer {key}, Bearer {key}"),
        format!("Bearer Bearer {key}"),
        format!("Bearer \"{key}\""),
        format!("Bearer \t{key}"),
        format!("Bearer\u{a0}{key}"),
        format!("Basic {key}"),
        "Basic dXNlcjpwYXNzd29yZA==".to_owned(),
        format!("Token {key}"),
        format!("ApiKey {key}"),
        format!("Bearer:{key}"),
        format!("Bearer {}", &key[..key.len() - 1]),
        format!("Bearer {}", &key[..30]),
        format!("Bearer {key}0"),
        format!("Bearer {mistyped}"),
        format!("Bearer {}", key.to_uppercase()),
        format!("Bearer {}", key.replacen("kwsa_", "kwsb_", 1)),
        format!("Bearer {}", key.replacen("_local_", "_prod_", 1)),
        format!("Bearer {key}\0"),
        format!("Bearer kwsa_{long}"),
        format!("Bearer {long}"),
        format!("Bearer {long}.{long}.{long}"),
        "Bearer null".to_owned(),
        "Bearer undefined".to_owned(),
        "Bearer a.b".to_owned(),
        "Bearer a.b.c.d".to_owned(),
        "Bearer ..".to_owned(),
        "Bearer e30.e30.e30".to_owned(),
        "Bearer eyJhbGciOiJub25lIn0.e30.".to_owned(),
    ];
    let malformed = malformed.into_iter().map(|header| (header, "malformed"));
    malformed.chain([(format!("Bearer {FOREIGN}"), "foreign_environment")]).collect()
}

#[tokio::test]
async fn junk_causes_no_call_to_aws() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await.secret;
    harness.authorizer().warm().await;
    // Uses up the writes of the key's activity, so that decisions below only read.
    for _ in 0..40 {
        assert_eq!(harness.verdict(&Shape::HttpV2.bearer(&key)).await, Verdict::Allow);
    }
    for shape in Shape::ALL {
        harness.wire.take_calls();
        for (header, reason) in junk(&key) {
            let decided = harness.decide(&shape.with(&header)).await;
            let shown = &header[..header.floor_char_boundary(100)];
            assert_eq!(decided, unauthorized(shape, reason), "{shape:?} {shown:?}");
        }
        let decided = harness.decide(&shape.without_authorization()).await;
        assert_eq!(decided, unauthorized(shape, "missing"), "{shape:?}");
        assert_eq!(harness.wire.take_operations(), [""; 0], "{shape:?}");

        // Control: a valid key causes one call.
        assert_eq!(harness.verdict(&shape.bearer(&key)).await, Verdict::Allow);
        assert_eq!(harness.wire.take_operations(), ["GetItem"], "{shape:?}");
    }
}

#[tokio::test]
async fn an_ambiguous_path_causes_no_call_to_aws() {
    let harness = Harness::start().await;
    let key = harness.reader_key().await.secret;
    harness.wire.take_calls();
    for shape in Shape::ALL {
        let event = shape.request("GET", "/organizations/../teams", &key);
        assert_eq!(harness.decide(&event).await, denied("ambiguous_path"));
    }
    assert_eq!(harness.wire.take_operations(), [""; 0]);
}

#[tokio::test]
async fn junk_causes_no_call_to_aws_from_a_cold_instance() {
    let harness = Harness::start().await;
    let cold = harness.another_authorizer();
    harness.wire.take_calls();
    for (header, _) in junk(FOREIGN) {
        let result = cold.answer(&Shape::HttpV2.with(&header).to_string(), "invocation").await;
        assert_ne!(Verdict::from(result), Verdict::Allow);
    }
    assert_eq!(harness.wire.take_operations(), [""; 0]);
}
