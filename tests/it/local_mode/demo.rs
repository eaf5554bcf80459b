//! `cargo dev --demo`: a new data folder with the accounts, keys and activity of a company.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use insta::assert_snapshot;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use shared::domain::{Clock as _, SystemClock};
use tests::Harness;

use crate::support::local_process::{Folder, LocalProcess, command, run};

/// The account that the start-up text names.
const FIRST_ACCOUNT: &str = "billing-mcp-agent";

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or("-")
}

fn items(list: &Value) -> &[Value] {
    list.as_array().unwrap()
}

/// A key, its restrictions, and how often it was used.
fn describe_key(key: &Value) -> String {
    format!(
        "{} {} {}..{} role={} networks={} 24h={} 30d={} used={}",
        text(key, "name"),
        key["state"].as_str().unwrap_or_else(|| text(key, "reason")),
        text(key, "createdAt"),
        key["retiredAt"].as_str().unwrap_or_else(|| text(key, "expiresAt")),
        text(key, "role"),
        key["allowedCidrs"],
        key["last24Hours"],
        key["last30Days"],
        text(key, "lastUsedAt"),
    )
}

/// The same start time creates the same company. Only ids and secrets are random.
#[tokio::test]
async fn demo_data_depends_only_on_the_time() {
    let harness = Harness::builder().argument("--demo").start().await;
    let get = async |path: &str| harness.get(path).await.expect(200).json();
    let mut report = String::new();
    for role in items(&get("/iam/v1/roles").await["items"]) {
        writeln!(report, "role {} {}", text(role, "name"), role["permissions"]).unwrap();
    }
    let accounts = get("/iam/v1/service-accounts?limit=100").await;
    let mut accounts: Vec<_> = items(&accounts["items"]).iter().collect();
    accounts.sort_by_key(|account| text(account, "name"));
    for listed in accounts {
        let path = format!("/iam/v1/service-accounts/{}", text(listed, "id"));
        let account = get(&path).await;
        writeln!(
            report,
            "\n{} {} enabled={} owner={} tags={} created={} by {}",
            text(&account, "name"),
            text(&account, "role"),
            account["enabled"],
            text(&account, "owner"),
            account["tags"],
            text(&account, "createdAt"),
            text(&account["createdBy"], "name"),
        )
        .unwrap();
        for event in items(&get(&format!("{path}/events?limit=100")).await["items"]) {
            let actor = text(&event["actor"], "name");
            writeln!(report, "  {} {} by {actor}", text(event, "at"), text(event, "type")).unwrap();
        }
        for key in items(&account["keys"]).iter().chain(items(&account["retiredKeys"])) {
            writeln!(report, "  {}", describe_key(key)).unwrap();
            let activity = get(&format!("{path}/keys/{}/activity", text(key, "id"))).await;
            for refusal in items(&activity["recentRefusals"]) {
                let members = ["at", "sourceAddress", "route", "path", "reason", "missingPermission"];
                let members = members.map(|member| text(refusal, member));
                writeln!(report, "    refused {}", members.join(" ")).unwrap();
            }
        }
    }
    let activity = get("/iam/v1/activity").await;
    writeln!(report, "\nall 24h={} 30d={}", activity["last24Hours"], activity["last30Days"]).unwrap();
    assert_snapshot!(report);
}

#[tokio::test]
async fn demo_shows_a_living_system() {
    let data = Folder::new();
    let local = LocalProcess::start(&data, &["--demo"]).await;
    let now = SystemClock.now();
    let within = |at: &Value, hours: i64| {
        let at: Timestamp = at.as_str().unwrap().parse().unwrap();
        now.duration_since(at).abs() <= SignedDuration::from_hours(hours)
    };
    let list = local.admin("GET", "/iam/v1/service-accounts?limit=100", None, 200).await;
    let mut accounts = BTreeMap::new();
    for account in items(&list["items"]) {
        let path = format!("/iam/v1/service-accounts/{}", text(account, "id"));
        let whole = local.admin("GET", &path, None, 200).await;
        accounts.insert(text(account, "name").to_owned(), (account.clone(), whole));
    }
    let keys: Vec<_> = accounts.values().flat_map(|(_, account)| items(&account["keys"])).collect();
    let expire_within = |days: i64| keys.iter().filter(|key| within(&key["expiresAt"], 24 * days)).count();
    assert!(expire_within(7) >= 2 && expire_within(30) > expire_within(7));
    assert!(keys.iter().any(|key| key["state"] == "retiring"), "a key is in its grace period");
    assert!(
        keys.iter().any(|key| !key["role"].is_null())
            && keys.iter().any(|key| key["allowedCidrs"] != Value::Array(Vec::new()))
    );
    assert!(accounts.values().any(|(_, account)| account["enabled"] == false));
    assert!(accounts.values().any(|(listed, _)| listed["unusedKeyCount"] == 1));
    let relay = &accounts["webhook-relay"].0;
    assert!(within(&relay["usedAfterEndAt"], 1), "a revoked key is still being used: {relay}");
    let events = all_events(&local).await;
    let actors: BTreeSet<_> = events.iter().map(|event| text(&event["actor"], "name")).collect();
    assert_eq!(actors.len(), 3, "{actors:?}");
    assert!(events.iter().any(|event| event["type"] == "serviceAccount.deleted"));

    // The start-up text names an account that was used in the last minutes, and one key of it.
    let (listed, account) = &accounts[FIRST_ACCOUNT];
    assert!(within(&listed["lastUsedAt"], 1), "{listed}");
    let page = format!("{}/accounts/{}", local.facts["console"].as_str().unwrap(), text(account, "id"));
    assert!(local.output.contains(&page), "{}", local.output);
    let set_key: Vec<_> = local.output.lines().filter(|line| line.contains("kwsa_")).collect();
    let [set_key] = <[&str; 1]>::try_from(set_key).expect("one key is shown, once");
    let secret = set_key.strip_prefix("  export KEYWARD_KEY=").unwrap();
    let mut statuses = Vec::new();
    for command in local.output.lines().filter(|line| line.contains("curl") && line.contains("$KEYWARD_KEY"))
    {
        let command = format!("{set_key}; {command} -o /dev/null -w '%{{http_code}}'");
        let output = std::process::Command::new("sh").arg("-c").arg(command).output().unwrap();
        statuses.push(String::from_utf8(output.stdout).unwrap());
    }
    assert_eq!(statuses, ["200", "403"]);
    // The printed configuration is that of the demo's API.
    let configuration = local.output.lines().find(|line| line.contains("mcpServers")).unwrap();
    let configuration: Value = serde_json::from_str(configuration).unwrap();
    let server = &configuration["mcpServers"]["demo"];
    let url = format!("{}/demo", local.facts["mcp"].as_str().unwrap());
    assert_eq!((text(server, "type"), text(server, "url")), ("http", url.as_str()));
    assert_eq!(text(&server["headers"], "Authorization"), "Bearer ${KEYWARD_KEY}");
    let api = local.admin("GET", "/iam/v1/apis/demo", None, 200).await;
    assert_eq!((&api["toolCount"], &api["skipped"]), (&12.into(), &Value::Array(Vec::new())));
    assert_eq!(api["createdBy"]["name"], "tomas.okoye@brightwater.example");

    let id = text(account, "id");
    let key = format!("/iam/v1/service-accounts/{id}/keys/key_{}", secret.split('_').nth(3).unwrap());
    let activity = local.admin("GET", &format!("{key}/activity"), None, 200).await;
    assert_eq!(activity["last24Hours"]["allowed"], 1, "{activity}");
    assert_eq!(activity["last24Hours"]["refused"], 1, "{activity}");

    let secret = secret.split('_').nth(4).unwrap().to_owned();
    let count = keys.len();
    let stopped = local.interrupt().await;
    assert_eq!(stopped.code, Some(0));
    let log = std::fs::read_to_string(data.path().join("log.jsonl")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let decisions = lines.iter().filter(|line| line["message"] == "decision" && line["api"] == "business");
    assert_eq!(decisions.count(), 2, "the log does not contain the requests of the last weeks");
    let notice = lines.iter().find(|line| text(line, "notice").starts_with("Keyward")).expect("a notice");
    assert_eq!(notice["level"], "INFO");
    for file in data.files() {
        let bytes = std::fs::read(data.path().join(&file)).unwrap();
        let is_stored = bytes.windows(43).any(|window| window == &secret.as_bytes()[..43]);
        assert!(!is_stored, "{file} contains the secret of a key");
    }

    assert_snapshot!(second_start(&data).await);
    let again = LocalProcess::start(&data, &[]).await;
    assert!(!again.output.contains("demo data") && !again.output.contains("kwsa_"), "{}", again.output);
    let list = again.admin("GET", "/iam/v1/service-accounts?limit=100", None, 200).await;
    let live: u64 =
        items(&list["items"]).iter().map(|account| account["liveKeyCount"].as_u64().unwrap()).sum();
    assert_eq!(live, u64::try_from(count).unwrap());
}

#[tokio::test]
async fn refuses_a_folder_whose_demo_data_is_incomplete() {
    let data = Folder::new();
    let mut starting = command(&data, &["--demo"]).spawn().unwrap();
    while !data.path().join("demo.unfinished").exists() {
        assert_eq!(starting.try_wait().unwrap(), None, "the process ended");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    starting.kill().await.unwrap();
    for arguments in [&[][..], &["--demo"]] {
        let output = run(command(&data, arguments)).await;
        assert_eq!(output.status.code(), Some(1));
        assert_snapshot!(
            "incomplete_demo",
            String::from_utf8(output.stderr).unwrap().replace(data.text(), "[data]")
        );
    }
}

/// All audit events, from all pages.
async fn all_events(local: &LocalProcess) -> Vec<Value> {
    let mut events = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/iam/v1/events?limit=100{cursor}");
        let page = local.admin("GET", &path, None, 200).await;
        events.extend_from_slice(items(&page["items"]));
        let Some(next) = page["nextCursor"].as_str() else { return events };
        cursor = format!("&cursor={next}");
    }
}

/// The error of a second start with `--demo`.
async fn second_start(data: &Folder) -> String {
    let output = run(command(data, &["--demo"])).await;
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap().replace(data.text(), "[data]")
}
