//! The overview and a search cost the same number of reads in small and large deployments,
//! until a search reaches its limit of 5 MB.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use tests::{Harness, Item};

use crate::support::report;

/// The items of an account in the directory, and of one of its keys. Every account has three
/// keys, and names of typical lengths. A tenth has keys that expire soon, and a fiftieth is
/// disabled.
fn items(number: u32) -> Vec<Item> {
    let text = |text: String| AttributeValue::S(text);
    let expires = if number.is_multiple_of(10) { 1_767_312_000 } else { 1_800_000_000 };
    let state = if number.is_multiple_of(50) { "D" } else { "E" };
    let labels = (0..3).map(|key| {
        (format!("key_{:016}", 3 * number + key), text(format!("{expires} x7Qz batch server {key}")))
    });
    let tags = [("team", "data"), ("stage", "production")];
    let account = HashMap::from([
        ("pk".to_owned(), text(format!("ACCOUNT#sa_{number:016}"))),
        ("sk".to_owned(), text("ACCOUNT".to_owned())),
        ("gsi2pk".to_owned(), text("ACCOUNTS".to_owned())),
        ("gsi2sk".to_owned(), text(format!("{state}#{expires}#{number:016}"))),
        ("name".to_owned(), text(format!("nightly-batch-{number:06}"))),
        ("owner".to_owned(), text("data-team@example.com".to_owned())),
        ("role".to_owned(), text("ServiceAccountReader".to_owned())),
        (
            "tags".to_owned(),
            AttributeValue::M(tags.map(|(name, value)| (name.to_owned(), text(value.to_owned()))).into()),
        ),
        ("labels".to_owned(), AttributeValue::M(labels.collect())),
    ]);
    // The account does not exist.
    let usage = HashMap::from([
        ("pk".to_owned(), text(format!("USAGE#sa_9{number:015}"))),
        ("sk".to_owned(), text(format!("key_{number:016}"))),
        ("gsi2pk".to_owned(), text("USED_AFTER_END".to_owned())),
        ("gsi2sk".to_owned(), text(format!("1767225600#key_{number:016}"))),
    ]);
    if number.is_multiple_of(20) { vec![account, usage] } else { vec![account] }
}

/// The size of an item, as DynamoDB counts it:
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>.
#[allow(clippy::wildcard_enum_match_arm, reason = "these are the types in an item of the directory")]
fn size(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::M(map) => {
            3 + map.iter().map(|(name, value)| name.len() + size(value) + 1).sum::<usize>()
        }
        other => panic!("{other:?}"),
    }
}

/// The number of calls of each operation on each index.
async fn reads(harness: &Harness, path: &str) -> (BTreeMap<String, usize>, Value) {
    harness.wire.take_calls();
    let mut reply = harness.request("GET", path).admin().send().await;
    // A query can take too long on a busy machine.
    while reply.status == 503 {
        reply = harness.request("GET", path).admin().send().await;
    }
    // A repeated call counts once.
    let mut reads = BTreeMap::<String, BTreeSet<String>>::new();
    for call in harness.wire.take_calls() {
        let index = call.body["IndexName"].as_str().unwrap_or("table");
        reads.entry(format!("{} {index}", call.operation)).or_default().insert(call.body.to_string());
    }
    let reads = reads.into_iter().map(|(read, calls)| (read, calls.len())).collect();
    (reads, reply.expect(200).json())
}

fn counted(reads: &[(&str, usize)]) -> BTreeMap<String, usize> {
    reads.iter().map(|(read, count)| ((*read).to_owned(), *count)).collect()
}

#[tokio::test]
async fn the_number_of_reads_does_not_depend_on_the_number_of_accounts() {
    const SIZES: [u32; 3] = [100, 1_000, 10_000];
    let harness = Harness::start().await;
    let account = &items(1)[0];
    let bytes: usize = account.iter().map(|(name, value)| name.len() + size(value)).sum();
    report(&format!("an account with three keys has {bytes} bytes in the directory"));
    assert!(bytes <= 450);
    let mut number = 0;
    for size in SIZES {
        let new: Vec<Item> = (number..size).flat_map(items).collect();
        harness.table.put_all(&new).await;
        number = size;

        let (attention, reply) = reads(&harness, "/iam/v1/attention?limit=5").await;
        report(&format!("{size} accounts: the overview makes the reads {attention:?}"));
        // The lists of keys that were used after their end, of expiring keys and of disabled
        // accounts, the state of the sweep, the account and the record of each of the first
        // five keys, and the last uses of the keys of two accounts.
        assert_eq!(attention, counted(&[("GetItem table", 11), ("Query gsi2", 3), ("Query table", 2)]));
        if size < 10_000 {
            let expiring = usize::try_from(size).unwrap() / 10 * 3 - usize::try_from(size).unwrap() / 50 * 3;
            assert_eq!(reply["counts"]["expiringIn7Days"], json!({ "count": expiring, "isMinimum": false }));
        }

        let (search, reply) = reads(&harness, "/iam/v1/search?q=nowhere").await;
        report(&format!("{size} accounts: a search makes the reads {search:?}"));
        let queries = search["Query gsi2"];
        assert!(queries <= 5, "{search:?}");
        assert_eq!(search, counted(&[("Query gsi2", queries)]));
        assert_eq!(reply["searchedAccounts"], json!(size));
        assert_eq!(reply["nextCursor"], Value::Null);
    }
}

#[tokio::test]
async fn a_search_reads_at_most_five_megabytes_and_says_where_it_stopped() {
    let harness = Harness::start().await;
    // Few large items.
    let account = |number: u32| {
        let mut account = items(number).remove(0);
        account.insert("owner".to_owned(), AttributeValue::S("x".repeat(300_000)));
        account
    };
    for number in 0..30 {
        harness.table.put(account(number)).await;
    }
    let (search, reply) = reads(&harness, "/iam/v1/search?q=nowhere").await;
    assert_eq!(search, counted(&[("Query gsi2", 5)]));
    let searched = reply["searchedAccounts"].as_u64().unwrap();
    assert!(searched < 30);
    let next = format!("/iam/v1/search?q=nowhere&cursor={}", reply["nextCursor"].as_str().unwrap());
    let (_, reply) = reads(&harness, &next).await;
    assert_eq!(reply["searchedAccounts"].as_u64().unwrap() + searched, 30);
    assert_eq!(reply["nextCursor"], Value::Null);
}
