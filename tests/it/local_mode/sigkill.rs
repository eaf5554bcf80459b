//! What was answered survives: the process is killed (SIGKILL) while it issues
//! keys, and started again on the same data.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use shared::config::Variables;

use crate::support::local_process::{Folder, LocalProcess};
use crate::support::report;

/// How many keys must have been answered before it is killed.
const ANSWERED: &str = "KEYWARD_TEST_SIGKILL_KEYS";
/// As many keys as an account may have.
const KEYS_PER_ACCOUNT: usize = 20;
/// Accounts that are issued keys at the same time.
const AT_ONCE: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn every_answered_key_and_its_event_survive() {
    let wanted = Variables::from_process().get(ANSWERED).map_or(300, |text| text.parse().unwrap());
    let data = Folder::new();
    let mut local = LocalProcess::start(&data, &[]).await;
    // Enough that requests are under way when it is killed.
    let mut accounts = Vec::new();
    for number in 0..wanted / KEYS_PER_ACCOUNT + 2 * AT_ONCE {
        accounts.push(local.create_account(&format!("account-{number}")).await);
    }

    let answered = Arc::new(AtomicUsize::new(0));
    let issuers: Vec<_> = (0..AT_ONCE)
        .map(|lane| {
            let mine: Vec<String> = accounts.iter().skip(lane).step_by(AT_ONCE).cloned().collect();
            let token = local.facts["adminToken"].as_str().unwrap();
            let request = local.request("POST", "/").bearer_auth(token).json(&json!({ "name": "test key" }));
            let (request, api) = (request.build().unwrap(), local.facts["api"].as_str().unwrap().to_owned());
            tokio::spawn(issue_until_it_dies(request, api, mine, Arc::clone(&answered)))
        })
        .collect();
    while answered.load(Ordering::SeqCst) < wanted {
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(issuers.iter().any(|issuer| !issuer.is_finished()), "it ran out of accounts");
    }
    local.kill().await;
    let mut keys = Vec::new();
    let mut interrupted = 0;
    for issuer in issuers {
        let (issued, was_interrupted) = issuer.await.unwrap();
        keys.extend(issued);
        interrupted += usize::from(was_interrupted);
    }
    assert!(keys.len() >= wanted);
    assert!(interrupted > 0, "nothing was under way when it was killed");

    let again = LocalProcess::start(&data, &[]).await;
    for key in &keys {
        assert_eq!(again.check(key["secret"].as_str().unwrap()).await, 200, "{} was lost", key["id"]);
    }
    let mut stored = 0;
    for account in &accounts {
        let path = format!("/iam/v1/service-accounts/{account}");
        let live = again.admin("GET", &path, None, 200).await;
        let mut live: Vec<String> = ids(&live["keys"], "id");
        live.sort();
        let mut issued = issued_events(&again, &path).await;
        issued.sort();
        assert_eq!(live, issued, "each key has its event, and each event its key");
        stored += live.len();
    }
    report(&format!(
        "killed with {interrupted} requests under way: {} keys answered, {stored} stored, 0 lost",
        keys.len()
    ));
}

/// Issues keys of these accounts, as many as they may have, until no answer
/// comes back. The keys that were answered, and whether that was the end.
async fn issue_until_it_dies(
    template: reqwest::Request,
    api: String,
    accounts: Vec<String>,
    answered: Arc<AtomicUsize>,
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
            answered.fetch_add(1, Ordering::SeqCst);
        }
    }
    (keys, false)
}

/// The keys whose issuance the account's events tell of, page after page.
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
