//! What counting requests costs: `cargo bench -p tests --bench activity`.
//!
//! Simulates instances of the authorizer, with a simulated clock and the code that decides
//! what to write and when ([`Ledger`]). Each request goes to a random instance and uses a
//! random key. One request in a hundred is refused.

#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints its figures, and fails by panicking"
)]

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use shared::activity::RecordedRequest;
use shared::domain::{AccountId, KeyId};
use shared::policy::Reason;
use shared::store::{ActivityWrite, Tally};
use shared::store::{Ledger, Observation};

/// The price of a million write request units, in US dollars.
/// (<https://aws.amazon.com/dynamodb/pricing/on-demand/>, us-east-1)
const PRICE: f64 = 0.625;

/// The simulated time.
const SECONDS: i64 = 1800;

/// The bytes of a refused request in its item.
const REFUSAL_BYTES: usize = 400;

/// What happened in a simulated deployment.
#[derive(Default)]
struct Deployment {
    decisions: u32,
    writes: u32,
    /// Write request units: one for each started KB of an item.
    units: u32,
    /// The most writes to one partition in one second.
    peak: u32,
    /// Writes when the instances end.
    at_end: u32,
}

fn main() {
    // Cargo passes `--bench`, and `cargo test --benches` does not.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    println!(
        "\n| requests a second | instances | keys | writes per million requests | $ per million requests | most writes to one partition in a second | writes of one instance that ends |"
    );
    println!("|---|---|---|---|---|---|---|");
    for keys in [1, 100] {
        for rate in [1, 100, 1000] {
            for instances in [1, 10, 100] {
                let simulated = simulate(rate, instances, keys);
                let per_million = |number: u32| f64::from(number) / f64::from(simulated.decisions) * 1e6;
                println!(
                    "| {rate} | {instances} | {keys} | {:.0} | {:.3} | {} | {:.0} |",
                    per_million(simulated.writes),
                    per_million(simulated.units) / 1e6 * PRICE,
                    simulated.peak,
                    f64::from(simulated.at_end) / f64::from(u32::try_from(instances).unwrap()),
                );
            }
        }
    }
}

fn simulate(rate: i64, instances: usize, keys: usize) -> Deployment {
    let mut random = StdRng::seed_from_u64(1);
    let mut ledgers: Vec<Ledger> = (0..instances).map(|_| Ledger::default()).collect();
    let id = |number: usize| format!("{number:016}");
    let keys: Vec<(AccountId, KeyId)> = (0..keys)
        .map(|number| (AccountId::from_bare(&id(number)).unwrap(), KeyId::from_bare(&id(number)).unwrap()))
        .collect();
    let start: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
    let mut simulated = Deployment::default();
    let mut in_second: HashMap<AccountId, u32> = HashMap::new();
    for number in 0..rate * SECONDS {
        if number % rate == 0 {
            simulated.peak = simulated.peak.max(in_second.values().copied().max().unwrap_or_default());
            in_second.clear();
        }
        let now = start + SignedDuration::from_micros(number * 1_000_000 / rate);
        let (account, key) = keys[random.random_range(0..keys.len())];
        let is_refused = random.random_ratio(1, 100);
        let observation = Observation::Verified {
            account,
            grant: key.into(),
            reason: if is_refused { Reason::Role } else { Reason::Allowed },
            request: RecordedRequest {
                at: now,
                request_id: String::new(),
                method: Some("GET".to_owned()),
                path: Some("/organizations/1".to_owned()),
                route: Some(format!("GET /organizations/{}", random.random_range(0..5))),
                source: None,
            },
            missing_permission: None,
        };
        let ledger = random.random_range(0..instances);
        for write in ledgers[ledger].record(observation, now) {
            if let Some(account) = partition(&write) {
                *in_second.entry(account).or_default() += 1;
            }
            simulated.writes += 1;
            simulated.units += units(&write);
        }
        simulated.decisions += 1;
    }
    for ledger in &mut ledgers {
        for write in ledger.take_pending() {
            simulated.at_end += 1;
            simulated.writes += 1;
            simulated.units += units(&write);
        }
    }
    simulated
}

/// The account whose counts and last uses are in the same partition. The other writes go to
/// partitions with fewer writes.
fn partition(write: &ActivityWrite) -> Option<AccountId> {
    match write {
        ActivityWrite::Counts { tally: Tally::Grant(account, _), .. }
        | ActivityWrite::LastUse { account, .. } => Some(*account),
        ActivityWrite::Counts { tally: Tally::Unverified(_) | Tally::Total, .. }
        | ActivityWrite::LastAllowed { .. }
        | ActivityWrite::Refusals { .. }
        | ActivityWrite::Route { .. } => None,
    }
}

/// The write request units of a write.
fn units(write: &ActivityWrite) -> u32 {
    match write {
        ActivityWrite::Refusals { refusals, .. } => {
            u32::try_from((100 + refusals.len() * REFUSAL_BYTES).div_ceil(1024)).unwrap()
        }
        // With one or two reasons in each hour, the counts of a day have less than 1 KB.
        ActivityWrite::Counts { .. }
        | ActivityWrite::LastUse { .. }
        | ActivityWrite::LastAllowed { .. }
        | ActivityWrite::Route { .. } => 1,
    }
}
