//! The log of `cargo dev`: a private file with every line, and a quiet terminal.

use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use insta::assert_snapshot;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::local_process::{Folder, LocalProcess, command, run};

const LOG: &str = "log.jsonl";
const OLD_LOG: &str = "log.1.jsonl";
/// The size at which the log becomes the old log, in bytes.
const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// The lines of the log.
fn lines(data: &Folder) -> Vec<Value> {
    let text = std::fs::read_to_string(data.path().join(LOG)).unwrap();
    assert!(text.ends_with('\n'), "the last line is incomplete: {text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The path and reason of each decision about a business API.
fn decisions(lines: &[Value]) -> Vec<String> {
    let decisions = lines.iter().filter(|line| line["message"] == "decision" && line["api"] == "business");
    decisions
        .map(|line| format!("{} {}", line["path"].as_str().unwrap(), line["reason"].as_str().unwrap()))
        .collect()
}

fn mode_of(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn log_goes_to_a_private_file_and_the_terminal_stays_quiet() {
    for arguments in [&[][..], &["--memory"]] {
        let data = Folder::new();
        let local = LocalProcess::start(&data, arguments).await;
        let log = data.path().join(LOG);
        assert!(local.output.contains(&format!("Log         {}\n", log.display())), "{}", local.output);
        assert_eq!(mode_of(&log), 0o600);
        let account = local.create_account("quiet").await;
        let key = local.issue_key(&account).await;
        assert_eq!(local.check(&key).await, 200);
        assert_eq!(local.check("nonsense").await, 403);
        let stopped = local.interrupt().await;
        assert_eq!(stopped.code, Some(0));
        assert_eq!(stopped.stdout, "");
        assert!(stopped.stderr.starts_with("\nStopping. "), "{}", stopped.stderr);
        assert_eq!(stopped.stderr.lines().count(), 2, "{}", stopped.stderr);
        assert_eq!(decisions(&lines(&data)), ["/organizations/42 allowed", "/organizations/42 malformed"]);
    }
}

#[tokio::test]
async fn log_option_also_shows_the_log_on_standard_output() {
    let data = Folder::new();
    let local = LocalProcess::start(&data, &["--log"]).await;
    assert_eq!(local.check("nonsense").await, 403);
    let stopped = local.interrupt().await;
    assert_eq!(decisions(&lines(&data)).len(), 1);
    assert_eq!(stopped.stdout, std::fs::read_to_string(data.path().join(LOG)).unwrap());
}

#[tokio::test]
async fn no_decision_is_missing_from_the_log_after_a_stop_or_a_kill() {
    let data = Folder::new();
    let mut expected = 0;
    for is_killed in [false, true] {
        let mut local = LocalProcess::start(&data, &[]).await;
        let checks = (0..50).map(|_| local.check("nonsense"));
        assert_eq!(futures::future::join_all(checks).await, [403; 50]);
        if is_killed {
            local.kill().await;
        } else {
            local.interrupt().await;
        }
        // The second start appends to the log.
        expected += 50;
        assert_eq!(decisions(&lines(&data)).len(), expected);
    }
}

#[tokio::test]
async fn full_log_is_kept_once_under_another_name() {
    let data = Folder::new();
    let (log, old) = (data.path().join(LOG), data.path().join(OLD_LOG));
    std::fs::write(&old, "the oldest lines").unwrap();
    File::create(&log).unwrap().set_len(MAX_BYTES - 1).unwrap();
    let local = LocalProcess::start(&data, &[]).await;
    // The first line fills the log, and the next one starts a new file. The start can log a line
    // before, between or after the decisions.
    for _ in 0..2 {
        assert_eq!(local.check("nonsense").await, 403);
    }
    assert!(old.metadata().unwrap().len() > MAX_BYTES);
    let kept = decisions(&lines(&data)).len();
    assert!((1..=2).contains(&kept), "{kept}");
    assert_eq!(mode_of(&log), 0o600);
}

#[tokio::test]
async fn log_file_that_cannot_be_written_prevents_the_start() {
    let data = Folder::new();
    let log = data.path().join(LOG);
    std::fs::write(&log, "").unwrap();
    std::fs::set_permissions(&log, Permissions::from_mode(0o400)).unwrap();
    let mut command = command(&data, &[]);
    // Root can write to every file, unless it loses this capability.
    if log.metadata().unwrap().uid() == 0 {
        let mut restricted = Command::new("setpriv");
        restricted.args(["--bounding-set", "-dac_override", "--"]);
        restricted.arg(command.as_std().get_program()).args(command.as_std().get_args());
        command = restricted;
    }
    let output = run(command).await;
    assert_eq!(output.status.code(), Some(1));
    assert_snapshot!(String::from_utf8(output.stderr).unwrap().replace(data.text(), "[data]"));
    assert_eq!(data.files(), ["lock", LOG], "a start that fails creates no database");
}

#[tokio::test]
async fn conflicting_changes_are_refused_without_a_warning() {
    let data = Folder::new();
    let local = LocalProcess::start(&data, &[]).await;
    let account = local.create_account("contested").await;
    let token = local.facts["adminToken"].as_str().unwrap();
    let send = async |method: &str, path: &str, header: (&'static str, &str), body: Value| {
        let request = local.request(method, path).bearer_auth(token).header(header.0, header.1);
        request.json(&body).send().await.unwrap()
    };
    let put = async |header, path: &str| {
        let body = json!({ "permissions": [path] });
        send("PUT", "/iam/v1/roles/Contested", header, body).await
    };
    let count = |mut statuses: Vec<u16>| {
        statuses.sort_unstable();
        statuses
    };

    let created = (0..4).map(|number| {
        let path = format!("GET /created/{number}");
        async move { put(("if-none-match", "*"), &path).await.status().as_u16() }
    });
    assert_eq!(count(futures::future::join_all(created).await), [201, 412, 412, 412]);
    let role = send("GET", "/iam/v1/roles/Contested", ("accept", "*/*"), Value::Null).await;
    let version = role.headers()["etag"].to_str().unwrap();
    let replaced = (0..4).map(|number| {
        let path = format!("GET /replaced/{number}");
        async move { put(("if-match", version), &path).await.status().as_u16() }
    });
    assert_eq!(count(futures::future::join_all(replaced).await), [200, 412, 412, 412]);

    let key = local.issue_key(&account).await;
    let id = key.split('_').nth(3).unwrap();
    let path = format!("/iam/v1/service-accounts/{account}/keys/key_{id}/rotation");
    let rotate = async || send("POST", &path, ("accept", "*/*"), json!({})).await.status().as_u16();
    let rotated = futures::future::join_all((0..4).map(|_| rotate())).await;
    assert_eq!(count(rotated), [201, 409, 409, 409]);
    local.interrupt().await;

    let lines = lines(&data);
    let statuses = [409, 412].map(|status| lines.iter().filter(|line| line["status"] == status).count());
    assert_eq!(statuses, [3, 6]);
    let warnings: Vec<_> = lines.iter().filter(|line| line["level"] != "INFO").collect();
    assert!(warnings.is_empty(), "{warnings:?}");
}
