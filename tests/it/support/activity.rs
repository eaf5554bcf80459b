//! The counted requests in the table.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;
use tests::{Call, Item, Key, Table};

/// The prefixes of the partitions that contain activity. Only the authorizer and
/// `exchange-token` write them.
const PARTITIONS: [&str; 4] = ["USAGE#", "REQUESTS#", "ROUTES#", "TOTALS#"];

fn is_partition(pk: &str) -> bool {
    PARTITIONS.iter().any(|prefix| pk.starts_with(prefix))
}

/// Whether an item contains activity.
pub(crate) fn is_activity(item: &Item) -> bool {
    is_partition(item["pk"].as_s().unwrap())
}

/// Whether a call writes activity. The authorizer does so after the decision.
pub(crate) fn is_activity_write(call: &Call) -> bool {
    let item = match call.operation.as_str() {
        "UpdateItem" => &call.body["Key"],
        "PutItem" => &call.body["Item"],
        _ => return false,
    };
    item["pk"]["S"].as_str().is_some_and(is_partition)
}

/// The number of requests by counter, hour and reason. A counter is `ACCOUNT/KEY`,
/// `ACCOUNT/unverified`, or `total` for all requests with verified keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts(BTreeMap<(String, String, String), u64>);

impl Counts {
    /// The counts in the table.
    pub(crate) async fn stored(table: &Table) -> Self {
        let mut counts = Self::default();
        for item in table.dump().await {
            let [pk, sk] = ["pk", "sk"].map(|name| item[name].as_s().unwrap().as_str());
            for (name, value) in &item {
                let number = value.as_n().ok().and_then(|number| number.parse().ok());
                counts.add_stored(pk, sk, name, number.unwrap_or_default());
            }
        }
        counts
    }

    /// The counts that an `UpdateItem` adds to the table.
    pub(crate) fn of_write(call: &Call) -> Self {
        let mut counts = Self::default();
        let [pk, sk] = ["pk", "sk"].map(|name| call.body["Key"][name]["S"].as_str().unwrap_or_default());
        let names = call.body["ExpressionAttributeNames"].as_object().into_iter().flatten();
        for (placeholder, name) in names {
            let value = &call.body["ExpressionAttributeValues"][placeholder.replace('#', ":")]["N"];
            let number = value.as_str().and_then(|number| number.parse().ok());
            counts.add_stored(pk, sk, name.as_str().unwrap(), number.unwrap_or_default());
        }
        counts
    }

    /// Adds the number in the attribute `name` of an item, if it is a count.
    fn add_stored(&mut self, pk: &str, sk: &str, name: &str, number: u64) {
        let Some((hour, reason)) = name.split_once('_') else { return };
        let (day, counted) = match (pk.strip_prefix("USAGE#"), sk.split_once('#')) {
            (Some(account), Some((day, key))) => (day, format!("{account}/{key}")),
            (None, None) if pk.starts_with("TOTALS#") => (sk, "total".to_owned()),
            _ => return,
        };
        self.add(&counted, format!("{day}T{hour}"), reason, number);
    }

    fn add(&mut self, counted: &str, hour: String, reason: &str, number: u64) {
        *self.0.entry((counted.to_owned(), hour, reason.to_owned())).or_default() += number;
    }

    /// Counts a request with `key`, whose secret was valid.
    pub(crate) fn count(&mut self, key: &Key, at: Timestamp, reason: &str) {
        for counted in [&*format!("{}/{}", key.account, key.id), "total"] {
            self.add(counted, hour(at), reason, 1);
        }
    }

    /// Counts a request with an unverified key that names this account.
    pub(crate) fn count_unverified(&mut self, account: &str, at: Timestamp, reason: &str) {
        self.add(&format!("{account}/unverified"), hour(at), reason, 1);
    }

    /// Adds the counts of `other`.
    pub(crate) fn add_all(&mut self, other: &Self) {
        for ((counted, hour, reason), number) in &other.0 {
            self.add(counted, hour.clone(), reason, *number);
        }
    }

    /// The number of requests with `key` that were decided for this reason.
    pub(crate) fn of(&self, key: &Key, reason: &str) -> u64 {
        let counted = format!("{}/{}", key.account, key.id);
        self.sum(|entry| entry.0 == counted && entry.2 == reason)
    }

    /// The number of requests of all keys that were decided for this reason.
    pub(crate) fn of_all_keys(&self, reason: &str) -> u64 {
        self.sum(|entry| entry.0 != "total" && !entry.0.ends_with("/unverified") && entry.2 == reason)
    }

    fn sum(&self, is_included: impl Fn(&(String, String, String)) -> bool) -> u64 {
        self.0.iter().filter(|(entry, _)| is_included(entry)).map(|(_, number)| number).sum()
    }

    /// Fails if a count exceeds the one in `truth`.
    pub(crate) fn assert_within(&self, truth: &Self) {
        for (entry, number) in &self.0 {
            let made = truth.0.get(entry).copied().unwrap_or_default();
            assert!(*number <= made, "{entry:?}: {number} requests are counted, but {made} were made");
        }
    }
}

fn hour(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H").to_string()
}

/// The number of requests in the last 24 hours that an object of the API shows: allowed
/// and refused.
pub(crate) fn shown(activity: &Value) -> [u64; 2] {
    ["allowed", "refused"].map(|name| activity["last24Hours"][name].as_u64().unwrap())
}
