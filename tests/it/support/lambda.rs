//! The authorizer as a process under Lambda's runtime. The test plays Lambda's runtime API
//! (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>).

use std::future::pending;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use shared::config::Variables;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdout};

use crate::support::this_binary;

/// What the test does as Lambda's runtime API. Events are numbered, and the id of an
/// invocation is [`invocation`] of its event's number.
pub(crate) trait RuntimeApi: Send + Sync + 'static {
    /// Waits for the next event. Returns its number and text.
    fn next(&self) -> impl Future<Output = (usize, String)> + Send;

    /// Takes what the function posts about an event: the last part of the path, which is
    /// `response` or `error`, and the body. The post is complete when this returns.
    fn take(&self, number: usize, outcome: &str, body: Bytes) -> impl Future<Output = ()> + Send;
}

/// The id of the invocation with this event.
pub(crate) fn invocation(number: usize) -> String {
    format!("invocation-{number}")
}

/// Serves `api` until the test ends. Returns the address.
pub(crate) async fn serve<A: RuntimeApi>(api: Arc<A>) -> String {
    let router = Router::new()
        .route("/2020-01-01/extension/register", post(register))
        // The authorizer's extension subscribes to no event.
        .route("/2020-01-01/extension/event/next", get(pending::<StatusCode>))
        .route("/2018-06-01/runtime/invocation/next", get(next::<A>))
        .route("/2018-06-01/runtime/invocation/{id}/{outcome}", post(outcome::<A>))
        .with_state(api);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// Registers an extension. Lambda sends SIGTERM only to functions that have one.
/// (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>)
async fn register() -> Response {
    let function =
        json!({ "functionName": "authorizer", "functionVersion": "$LATEST", "handler": "bootstrap" });
    ([("lambda-extension-identifier", "extension-1")], function.to_string()).into_response()
}

async fn next<A: RuntimeApi>(State(api): State<Arc<A>>) -> Response {
    let (number, event) = api.next().await;
    let headers = [
        ("lambda-runtime-aws-request-id", invocation(number)),
        ("lambda-runtime-deadline-ms", "9999999999999".to_owned()),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:eu-central-1:123456789012:function:authorizer".to_owned(),
        ),
    ];
    (headers, event).into_response()
}

async fn outcome<A: RuntimeApi>(
    State(api): State<Arc<A>>,
    Path((id, outcome)): Path<(String, String)>,
    body: Bytes,
) -> StatusCode {
    let number = id.strip_prefix("invocation-").and_then(|number| number.parse().ok());
    match number {
        Some(number) => {
            api.take(number, &outcome, body).await;
            StatusCode::ACCEPTED
        }
        None => StatusCode::BAD_REQUEST,
    }
}

/// An authorizer process. Dropping it kills the process.
pub(crate) struct AuthorizerProcess {
    child: Child,
    pub(crate) pid: u32,
}

impl AuthorizerProcess {
    /// Starts the authorizer with `variables`. It reads `DynamoDB` at the URL `dynamodb`,
    /// and gets its events from `runtime_api`. It handles `concurrency` events at once, or
    /// one at a time if that is `None`.
    pub(crate) fn start(
        variables: &Variables,
        dynamodb: &str,
        runtime_api: &str,
        concurrency: Option<usize>,
    ) -> Self {
        let concurrency = concurrency.map(|limit| ("AWS_LAMBDA_MAX_CONCURRENCY", limit.to_string()));
        let child = this_binary(concat!(module_path!(), "::process"))
            .env_clear()
            .envs(variables.iter())
            .envs(concurrency)
            .env("AWS_ENDPOINT_URL_DYNAMODB", dynamodb)
            .env("AWS_LAMBDA_RUNTIME_API", runtime_api)
            .env("AWS_LAMBDA_FUNCTION_NAME", "authorizer")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let pid = child.id().unwrap();
        Self { child, pid }
    }

    /// The log. It must be read, because the process waits while the pipe is full.
    pub(crate) fn take_log(&mut self) -> Log {
        Log(BufReader::new(self.child.stdout.take().unwrap()).lines())
    }

    /// Kills the process. Fails if the process has ended before.
    pub(crate) async fn kill(&mut self) {
        assert_eq!(self.child.try_wait().unwrap(), None, "the authorizer ended");
        self.child.kill().await.unwrap();
    }

    /// Waits until the process ends.
    pub(crate) async fn wait(&mut self) -> ExitStatus {
        self.child.wait().await.unwrap()
    }

    /// Sends a signal such as `STOP`.
    pub(crate) async fn signal(&self, name: &str) {
        let mut kill = tokio::process::Command::new("kill");
        let status = kill.args([&format!("-{name}"), &self.pid.to_string()]).status().await;
        assert!(status.unwrap().success(), "SIG{name} was not sent");
    }

    /// The resident memory in KB, except pages of files. The system loads pages of the
    /// binary when their code first runs, which is not a leak.
    pub(crate) fn anonymous_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

/// The log of a process.
pub(crate) struct Log(Lines<BufReader<ChildStdout>>);

impl Log {
    /// The next line. `None` at the end of the log.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        while let Some(line) = self.0.next_line().await.unwrap() {
            // The test runner writes the name of the test in front of the first line.
            let json = line.find('{').map(|start| serde_json::from_str::<Value>(&line[start..]));
            if let Some(Ok(line)) = json {
                return Some(line);
            }
        }
        None
    }

    /// The next `decision` line. `None` at the end of the log.
    pub(crate) async fn next_decision(&mut self) -> Option<Value> {
        loop {
            let line = self.next().await?;
            if line["message"] == "decision" {
                return Some(line);
            }
        }
    }
}

#[tokio::test]
#[ignore = "other tests start this in a separate process"]
async fn process() {
    if Variables::from_process().get("AWS_LAMBDA_RUNTIME_API").is_some() {
        authorizer::serve().await.unwrap();
    }
}
