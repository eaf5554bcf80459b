//! Functions as processes under Lambda's runtime. The test plays Lambda's runtime API
//! (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>).

use std::future::pending;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use exchange_token::ExchangeToken;
use serde_json::{Value, json};
use shared::config::{Variables, variable};
use shared::http::serve_invocable;
use tests::Harness;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdout, Command};

use crate::support::this_binary;

/// The names of the functions that can be started.
const AUTHORIZER: &str = "authorizer";
const EXCHANGE_TOKEN: &str = "exchange-token";

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
        // The function's extension subscribes to no event.
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

/// The process of a function. Dropping it kills the process.
pub(crate) struct FunctionProcess {
    child: Child,
    pub(crate) pid: u32,
}

impl FunctionProcess {
    /// Starts the authorizer with `variables`. It reads `DynamoDB` at the URL `dynamodb`,
    /// and gets its events from `runtime_api`. It handles `concurrency` events at once, or
    /// one at a time if that is `None`.
    pub(crate) fn start_authorizer(
        variables: &Variables,
        dynamodb: &str,
        runtime_api: &str,
        concurrency: Option<usize>,
    ) -> Self {
        let concurrency = concurrency.map(|limit| ("AWS_LAMBDA_MAX_CONCURRENCY", limit.to_string()));
        let mut command = Self::command(AUTHORIZER, variables, dynamodb, runtime_api);
        Self::spawn(command.envs(concurrency))
    }

    /// Starts the token endpoint's function in the same way. It handles one event at a time.
    pub(crate) fn start_exchange_token(variables: &Variables, dynamodb: &str, runtime_api: &str) -> Self {
        let mut command = Self::command(EXCHANGE_TOKEN, variables, dynamodb, runtime_api);
        // A function on Lambda does not start if it trusts issuers on this machine.
        Self::spawn(command.env(variable::LOOPBACK_HOSTS, "false"))
    }

    fn command(name: &str, variables: &Variables, dynamodb: &str, runtime_api: &str) -> Command {
        let mut command = this_binary(concat!(module_path!(), "::process"));
        command
            .env_clear()
            .envs(variables.iter())
            .env("AWS_ENDPOINT_URL_DYNAMODB", dynamodb)
            .env("AWS_LAMBDA_RUNTIME_API", runtime_api)
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    fn spawn(command: &mut Command) -> Self {
        let child = command.spawn().unwrap();
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
        self.next_with_message("decision").await
    }

    /// The next line with this message. `None` at the end of the log.
    pub(crate) async fn next_with_message(&mut self, message: &str) -> Option<Value> {
        loop {
            let line = self.next().await?;
            if line["message"] == message {
                return Some(line);
            }
        }
    }
}

/// The steps of a function that runs under Lambda's runtime, in order. Plays the
/// runtime API with a single event, and forwards calls to `DynamoDB`.
#[derive(Clone)]
pub(crate) struct Recorder {
    steps: Arc<Mutex<Vec<String>>>,
    event: String,
    dynamodb: String,
    client: reqwest::Client,
}

impl Recorder {
    /// A recorder of a function with these variables, which gets this event.
    pub(crate) fn new(harness: &Harness, variables: &Variables, event: String) -> Self {
        let dynamodb = variables.get("AWS_ENDPOINT_URL_DYNAMODB").unwrap().to_owned();
        Self { steps: Arc::default(), event, dynamodb, client: harness.client.clone() }
    }

    /// Starts to serve. Returns the address of the runtime API and the URL of `DynamoDB`.
    pub(crate) async fn serve(&self) -> (String, String) {
        let runtime = serve(Arc::new(self.clone())).await;
        (runtime, format!("http://{}", self.clone().serve_dynamodb().await))
    }

    /// Waits until the function requests a second event, and returns the steps.
    pub(crate) async fn steps_until_the_second_event(&self) -> Vec<String> {
        let waiting = async {
            while self.requested_events() < 2 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waiting)
            .await
            .expect("the function requests a second event");
        self.steps.lock().unwrap().clone()
    }

    fn record(&self, step: &str) {
        self.steps.lock().unwrap().push(step.to_owned());
    }

    /// The number of requests for an event.
    fn requested_events(&self) -> usize {
        self.steps.lock().unwrap().iter().filter(|step| *step == "next").count()
    }

    /// Serves `DynamoDB`, and records and forwards each call. Returns the address.
    async fn serve_dynamodb(self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = Router::new().fallback(forward).with_state(self);
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }
}

impl RuntimeApi for Recorder {
    async fn next(&self) -> (usize, String) {
        self.record("next");
        if self.requested_events() > 1 {
            pending::<()>().await;
        }
        (1, self.event.clone())
    }

    async fn take(&self, _: usize, outcome: &str, _: Bytes) {
        self.record(outcome);
    }
}

async fn forward(State(recorder): State<Recorder>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers["x-amz-target"].to_str().unwrap().to_owned();
    let json: Value = serde_json::from_slice(&body).unwrap();
    let pk = json["Key"]["pk"]["S"].as_str().or_else(|| json["Item"]["pk"]["S"].as_str()).unwrap();
    let partition = pk.split('#').next().unwrap();
    recorder.record(&format!("{} {partition}", target.rsplit('.').next().unwrap()));
    let response = recorder.client.post(&recorder.dynamodb).headers(headers).body(body).send().await.unwrap();
    (response.status(), response.bytes().await.unwrap()).into_response()
}

#[tokio::test]
#[ignore = "other tests start this in a separate process"]
async fn process() {
    let variables = Variables::from_process();
    if variables.get("AWS_LAMBDA_RUNTIME_API").is_some() {
        match variables.get("AWS_LAMBDA_FUNCTION_NAME") {
            Some(EXCHANGE_TOKEN) => serve_invocable::<ExchangeToken>().await.unwrap(),
            _ => authorizer::serve().await.unwrap(),
        }
    }
}
