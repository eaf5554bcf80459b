//! `cargo dev` of this workspace as a separate process.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

/// The last line that `cargo dev` prints at a successful start.
const STARTED: &str = "Press Ctrl-C to stop.";
/// The limit for a start or a stop. Long, because the machine can be busy.
const TIMEOUT: Duration = Duration::from_mins(2);

/// A private temporary folder, which is deleted at the end of the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("keyward-local-{}-{number}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn text(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// The sorted names of the files in the folder.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// `cargo dev` on free ports, with these additional arguments.
pub(crate) fn command(data: &Folder, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_local-under-test"));
    if !arguments.contains(&"--data") {
        command.args(["--data", data.text()]);
    }
    for port in ["--port", "--console-port", "--issuer-port", "--mcp-port"] {
        if !arguments.contains(&port) {
            command.args([port, "0"]);
        }
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true);
    command
}

/// Runs a command that must end by itself.
pub(crate) async fn run(mut command: Command) -> Output {
    tokio::time::timeout(TIMEOUT, command.output()).await.expect("the command ends").unwrap()
}

/// A running `cargo dev`.
pub(crate) struct LocalProcess {
    child: Child,
    stdout: ChildStdout,
    stderr: BufReader<ChildStderr>,
    /// The output of the start.
    pub(crate) output: String,
    /// The content of `local.json`.
    pub(crate) facts: Value,
    client: reqwest::Client,
}

/// A `cargo dev` that has stopped.
pub(crate) struct Stopped {
    pub(crate) code: Option<i32>,
    /// Everything on standard output.
    pub(crate) stdout: String,
    /// The text on standard error since the start.
    pub(crate) stderr: String,
}

impl LocalProcess {
    /// Starts `cargo dev` and waits until it serves requests.
    pub(crate) async fn start(data: &Folder, arguments: &[&str]) -> Self {
        let mut child = command(data, arguments).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut output = String::new();
        let started = async {
            while !output.contains(STARTED) {
                let read = stderr.read_line(&mut output).await.unwrap();
                assert_ne!(read, 0, "cargo dev did not start: {output}");
            }
        };
        tokio::time::timeout(TIMEOUT, started).await.expect("cargo dev starts");
        let facts = std::fs::read(data.path().join("local.json")).unwrap();
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self { child, stdout, stderr, output, facts: serde_json::from_slice(&facts).unwrap(), client }
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// The sorted local addresses of the process's listening TCP sockets, in the format of
    /// `proc_pid_net(5)`.
    pub(crate) fn listeners(&self) -> Vec<String> {
        const LISTEN: &str = "0A";
        let process = format!("/proc/{}", self.pid());
        let links = std::fs::read_dir(format!("{process}/fd")).unwrap();
        let own: Vec<_> = links.filter_map(|link| std::fs::read_link(link.unwrap().path()).ok()).collect();
        let is_own =
            |inode: &str| own.iter().any(|target| target.as_os_str() == &*format!("socket:[{inode}]"));
        let tables = ["tcp", "tcp6"].map(|table| std::fs::read_to_string(format!("{process}/net/{table}")));
        let rows = tables.iter().flatten().flat_map(|table| table.lines().skip(1));
        let sockets = rows.map(|row| row.split_whitespace().collect::<Vec<_>>());
        let mut addresses: Vec<_> = sockets
            .filter(|socket| socket[3] == LISTEN && is_own(socket[9]))
            .map(|socket| socket[1].to_owned())
            .collect();
        addresses.sort();
        addresses
    }

    /// A request to this URL.
    pub(crate) fn request_to(&self, method: &str, url: &str) -> reqwest::RequestBuilder {
        self.client.request(method.parse().unwrap(), url)
    }

    /// A request to the API.
    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, format!("{}{path}", self.facts["api"].as_str().unwrap()))
    }

    /// Sends a request of the admin to the API. Returns the response body. Fails unless the
    /// response has this status.
    pub(crate) async fn admin(&self, method: &str, path: &str, body: Option<Value>, status: u16) -> Value {
        let mut request = self.request(method, path).bearer_auth(self.facts["adminToken"].as_str().unwrap());
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let (received, text) = (response.status().as_u16(), response.text().await.unwrap());
        assert_eq!(received, status, "{method} {path}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Creates a Reader account. Returns its id.
    pub(crate) async fn create_account(&self, name: &str) -> String {
        let body = json!({ "name": name, "role": "ServiceAccountReader" });
        let account = self.admin("POST", "/iam/v1/service-accounts", Some(body), 201).await;
        account["id"].as_str().unwrap().to_owned()
    }

    /// Issues a key. Returns the whole key.
    pub(crate) async fn issue_key(&self, account: &str) -> String {
        let path = format!("/iam/v1/service-accounts/{account}/keys");
        let key = self.admin("POST", &path, Some(json!({ "name": "test key" })), 201).await;
        key["secret"].as_str().unwrap().to_owned()
    }

    /// The status of `GET /organizations/42` with this credential.
    pub(crate) async fn check(&self, credential: &str) -> u16 {
        let request = self.request("GET", "/organizations/42").bearer_auth(credential);
        request.send().await.unwrap().status().as_u16()
    }

    /// Stops the process as Ctrl-C does.
    pub(crate) async fn interrupt(mut self) -> Stopped {
        let signal = Command::new("kill").args(["-INT", &self.pid().to_string()]).status().await.unwrap();
        assert!(signal.success());
        let (mut stdout, mut stderr) = (String::new(), String::new());
        let read =
            tokio::join!(self.stdout.read_to_string(&mut stdout), self.stderr.read_to_string(&mut stderr));
        read.0.and(read.1).unwrap();
        let status =
            tokio::time::timeout(TIMEOUT, self.child.wait()).await.expect("cargo dev stops").unwrap();
        Stopped { code: status.code(), stdout, stderr }
    }

    /// Kills the process (SIGKILL).
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }
}
