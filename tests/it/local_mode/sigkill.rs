//! Issued keys survive a crash: the test kills the process (SIGKILL) while it issues keys, and
//! starts it again on the same data.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use shared::config::Variables;

use crate::support::local_process::{Folder, LocalProcess};
use crate::support::report;

/// The variable with the number of keys to issue before the kill.
const ISSUED_BEFORE_KILL: &str = "KEYWARD_TEST_SIGKILL_KEYS";
/// The limit of keys per account.
const KEYS_PER_ACCOUNT: usize = 20;
/// The number of clients that issue keys concurrently.
const CLIENTS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn every_issued_key_and_its_event_survive_a_kill() {
    let target = Variables::from_process().get(ISSUED_BEFORE_KILL).map_or(300, |text| text.parse().unwrap());
    let data = Folder::new();
    let mut local = LocalProcess::start(&data, &[]).await;
    // More accounts than needed, so that the clients are still issuing keys at the kill.
    let mut accounts = Vec::new();
    for number in 0..target / KEYS_PER_ACCOUNT + 2 * CLIENTS {
        accounts.push(local.create_account(&format!("account-{number}")).await);
    }

    let issued = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let own: Vec<String> = accounts.iter().skip(client).step_by(CLIENTS).cloned().collect();
            let token = local.facts["adminToken"].as_str().unwrap();
            let request = local.request("POST", "/").bearer_auth(token).json(&json!({ "name": "test key" }));
            let (request, api) = (request.build().unwrap(), local.facts["api"].as_str().unwrap().to_owned());
            tokio::spawn(issue_until_killed(request, api, own, Arc::clone(&issued)))
        })
        .collect();
    while issued.load(Ordering::SeqCst) < target {
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(clients.iter().any(|client| !client.is_finished()), "the clients ran out of accounts");
    }
    local.kill().await;
    let mut keys = Vec::new();
    let mut interrupted = 0;
    for client in clients {
        let (issued, was_interrupted) = client.await.unwrap();
        keys.extend(issued);
        interrupted += usize::from(was_interrupted);
    }
    assert!(keys.len() >= target);
    assert!(interrupted > 0, "the kill interrupted no request");

    let restarted = LocalProcess::start(&data, &[]).await;
    for key in &keys {
        assert_eq!(restarted.check(key["secret"].as_str().unwrap()).await, 200, "{} was lost", key["id"]);
    }
    let mut stored = 0;
    for account in &accounts {
        let path = format!("/iam/v1/service-accounts/{account}");
        let live = restarted.admin("GET", &path, None, 200).await;
        let mut live: Vec<String> = ids(&live["keys"], "id");
        live.sort();
        let mut issued = issued_events(&restarted, &path).await;
        issued.sort();
        assert_eq!(live, issued, "each key has an event, and each event has a key");
        stored += live.len();
    }
    report(&format!(
        "killed during {interrupted} requests: {} keys issued, {stored} stored, 0 lost",
        keys.len()
    ));
}

/// Issues as many keys for these accounts as the limit allows, until a request fails. Returns
/// the issued keys, and whether a request failed.
async fn issue_until_killed(
    template: reqwest::Request,
    api: String,
    accounts: Vec<String>,
    issued: Arc<AtomicUsize>,
) -> (Vec<Value>, bool) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut keys = Vec::new();
    for account in accounts {
        for _ in 0..KEYS_PER_ACCOUNT {
            let mut request = template.try_clone().unwrap();
            *request.url_mut() = format!("{api}/iam/v1/service-accounts/{account}/keys").parse().unwrap();
            let Ok(response) = client.execute(request).await else { return (keys, true) };
            assert_eq!(response.status(), 201);
            let Ok(key) = response.json::<Value>().await else { return (keys, true) };
            keys.push(key);
            issued.fetch_add(1, Ordering::SeqCst);
        }
    }
    (keys, false)
}

/// The ids of the keys in the account's `key.issued` events, from all pages.
async fn issued_events(local: &LocalProcess, account: &str) -> Vec<String> {
    let mut issued = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("{account}/events?limit=7{cursor}");
        let page = local.admin("GET", &path, None, 200).await;
        let mut types = BTreeMap::new();
        for event in page["items"].as_array().unwrap() {
            *types.entry(event["type"].as_str().unwrap()).or_insert(0) += 1;
            if event["type"] == "key.issued" {
                issued.push(event["keyId"].as_str().unwrap().to_owned());
            }
        }
        assert!(
            types.keys().all(|kind| ["key.issued", "serviceAccount.created"].contains(kind)),
            "{types:?}"
        );
        let Some(next) = page["nextCursor"].as_str() else { return issued };
        cursor = format!("&cursor={next}");
    }
}

fn ids(items: &Value, member: &str) -> Vec<String> {
    items.as_array().unwrap().iter().map(|item| item[member].as_str().unwrap().to_owned()).collect()
}
