//! The examples on the page that shows a new key. Each example whose tool is installed is run as
//! pasted.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tests::Harness;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::support::browser::{Browser, Page, secret};

/// The page that shows a new key.
async fn issue(harness: &Harness) -> Page {
    let account = harness.create_account("batch", "ServiceAccountReader").await;
    let mut browser = Browser::signed_in(harness).await;
    let keys = format!("/accounts/{}/keys", account.id);
    let form = browser.get(&format!("{keys}/new")).await.expect(200);
    browser.submit(&form, &keys, &[("name", "server 1")]).await.expect(200)
}

/// Runs a command with `KEYWARD_KEY` set to `key`. Returns its standard output, or `None` if the
/// program is not installed.
async fn run(folder: &Path, program: &str, arguments: &[&str], key: &str) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).env("KEYWARD_KEY", key).env("GOFLAGS", "-mod=mod");
    let output = match command.output().await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        output => output.unwrap(),
    };
    assert!(output.status.success(), "{program}: {output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Runs a script of bash with this standard input.
async fn run_bash(folder: &Path, script: &str, input: &str) -> String {
    let script = format!("PATH={}:$PATH\n{script}", folder.display());
    let mut command = Command::new("bash");
    command.args(["-c", &script]).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.env_remove("KEYWARD_KEY").spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn snippets_work_as_pasted() {
    let harness = Harness::start().await;
    let page = issue(&harness).await;
    let key = secret(&page).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (id, file) in [("python-1", "whoami.py"), ("node-1", "whoami.mjs"), ("go-1", "main.go")] {
        std::fs::write(folder.join(file), page.code(id)).unwrap();
    }
    // The first command reads the key from the terminal.
    let script = format!("{}\n{}", page.code("variable"), page.code("curl-1"));
    let mut responses = vec![("curl", run_bash(folder, &script, &format!("{key}\n")).await)];
    for (program, arguments) in
        [("python3", &["whoami.py"] as &[&str]), ("node", &["whoami.mjs"]), ("go", &["run", "main.go"])]
    {
        if let Some(response) = run(folder, program, arguments, &key).await {
            responses.push((program, response));
        }
    }
    assert!(responses.iter().any(|(program, _)| *program == "python3"), "{responses:?}");
    for (program, response) in responses {
        let body = &response[response.find('{').unwrap_or_else(|| panic!("{program}: {response}"))..];
        let caller: Value = serde_json::from_str(body).unwrap();
        assert_eq!(caller["principalName"], "batch", "{program}: {caller}");
    }
    // A script that takes the place of the AWS CLI prints its arguments and its standard input.
    let aws = "#!/bin/sh\nprintf '%s\\n' \"$*\"\ncase $2 in create-secret) cat;; esac\n";
    std::fs::write(folder.join("aws"), aws).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.join("aws"), executable).unwrap();
    let script = format!("{}\n{}", page.code("variable"), page.code("aws-1"));
    assert_eq!(
        run_bash(folder, &script, &format!("{key}\n")).await,
        format!("secretsmanager create-secret --name keyward-key --secret-string file:///dev/stdin\n{key}")
    );
    let script = format!("{}\nprintf %s \"$KEYWARD_KEY\"", page.code("aws-2"));
    assert_eq!(
        run_bash(folder, &script, "").await,
        "secretsmanager get-secret-value --secret-id keyward-key --query SecretString --output text"
    );
}

#[tokio::test]
async fn workflow_is_valid_and_reads_the_key_from_a_secret() {
    let harness = Harness::start().await;
    let page = issue(&harness).await;
    let workflow: Value = serde_norway::from_str(&page.code("github-2")).unwrap();
    let step = &workflow["jobs"]["whoami"]["steps"][0];
    assert_eq!(step["env"]["KEYWARD_KEY"], "${{ secrets.KEYWARD_KEY }}");
    assert_eq!(step["run"].as_str().unwrap().trim(), page.code("curl-1").replace("-sS", "-fsS"));
    // GitHub's command asks for the key.
    assert_eq!(page.code("github-1"), "gh secret set KEYWARD_KEY");
}

#[tokio::test]
async fn key_is_on_its_page_only_once() {
    let harness = Harness::start().await;
    let page = issue(&harness).await;
    let key = secret(&page).unwrap();
    assert_eq!(page.text.matches(&key).count(), 1);
    assert!(page.code("secret") == key);
    // Each group of tabs has one selected tab, whose panel is shown without scripts.
    assert_eq!(page.text.matches("name=\"tab\"").count(), 7);
    assert_eq!(page.text.matches(" checked>").count(), 1);
    page.expect_texts(&["I have stored the key", "Use the key", "Then use the key in"]);
}
