//! Items of the table.

use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tests::Item;

/// The map at `path` in an item.
pub(crate) fn map_at<'a>(item: &'a mut Item, path: &[&str]) -> &'a mut Item {
    path.iter().fold(item, |map, name| {
        let AttributeValue::M(map) = map.get_mut(*name).unwrap() else { panic!("{name} is not a map") };
        map
    })
}

/// The item in the JSON of the `DynamoDB` API.
pub(crate) fn to_json(item: &Item) -> Value {
    item.iter().map(|(name, value)| (name.clone(), value_to_json(value))).collect()
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the SDK can add variants")]
fn value_to_json(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!({ "S": text }),
        AttributeValue::N(number) => json!({ "N": number }),
        AttributeValue::Bool(value) => json!({ "BOOL": value }),
        AttributeValue::B(bytes) => json!({ "B": STANDARD.encode(bytes) }),
        AttributeValue::L(list) => json!({ "L": list.iter().map(value_to_json).collect::<Vec<_>>() }),
        AttributeValue::M(map) => json!({ "M": to_json(map) }),
        other => panic!("{other:?}"),
    }
}
