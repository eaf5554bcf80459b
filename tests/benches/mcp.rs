//! What the MCP server adds to a call of an API: `cargo bench -p tests --bench mcp`.
//!
//! Builds the function for release and plays Lambda's runtime API to it. The rest of the
//! system, which includes `exchange-token`, the API's gateway with its authorizer, and the
//! API, runs in this process. CPU times are those of the MCP server's process alone. Latencies
//! are those on this machine, where an invocation of `exchange-token` is a local request.
//!
//! `KEYWARD_BENCH_RUNS` sets the number of processes for each measurement, 5 by default.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unchecked_time_subtraction,
    clippy::unwrap_used,
    reason = "a benchmark prints its figures, and fails by panicking"
)]

#[path = "function/process.rs"]
mod process;
#[expect(dead_code, reason = "this benchmark needs no database over TLS")]
#[path = "function/servers.rs"]
mod servers;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use process::Running;
use serde_json::{Value, json};
use servers::RuntimeApi;
use shared::config::Variables;
use shared::domain::Clock as _;
use tests::{Harness, Key};

/// Requests before the measured ones, so that all code has run.
const WARM_UP: usize = 100;
/// Measured requests of each process.
const REQUESTS: u16 = 500;
/// The operation that is called.
const CALLED: &str = "/organizations/42/report-1";

/// The medians of several processes.
struct Measurement {
    /// CPU milliseconds of the first request.
    first_cpu: f64,
    /// CPU microseconds of a warm request.
    warm_cpu: f64,
    /// Microseconds from a warm request's event to its response.
    latency: f64,
    /// Megabytes resident at the end.
    resident: f64,
    /// Bytes of the response.
    bytes: usize,
}

fn main() {
    // Cargo passes `--bench`, and `cargo test --benches` does not.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let binary = build();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (harness, key, variables) = runtime.block_on(prepare());
    let bench = Bench { binary, variables, host: host(&harness), key: key.secret.clone() };

    println!(
        "\n| | first request CPU ms | CPU of a warm request µs | p50 µs | resident MB | bytes of the response |"
    );
    println!("|---|---|---|---|---|---|");
    for operations in [10, 100, 1000] {
        let name = format!("tools/list, {operations} operations");
        print(&name, &bench.measure(&api(operations), "tools/list", &json!({})));
    }
    let call = json!({ "name": "report_1", "arguments": { "id": "42" } });
    let mut latency = 0.0;
    for operations in [10, 1000] {
        let measured = bench.measure(&api(operations), "tools/call", &call);
        print(&format!("tools/call, {operations} operations"), &measured);
        latency = measured.latency;
    }
    let direct = runtime.block_on(call_directly(&harness, &key));
    println!("\nThe same call sent directly: p50 {direct:.0} µs. Added by MCP: {:.0} µs.", latency - direct);
}

fn print(name: &str, measured: &Measurement) {
    let Measurement { first_cpu, warm_cpu, latency, resident, bytes } = measured;
    println!("| {name} | {first_cpu:.1} | {warm_cpu:.0} | {latency:.0} | {resident:.1} | {bytes} |");
}

/// Builds the function, and returns its path.
fn build() -> PathBuf {
    let environment = Variables::from_process();
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut cargo = Command::new(environment.get("CARGO").unwrap_or("cargo"));
    let cargo = cargo.current_dir(&workspace).args(["build", "--release", "--locked", "--package", "mcp"]);
    assert!(cargo.status().unwrap().success(), "cargo build");
    let target = environment.get("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    target.join("release/mcp")
}

/// A system with the APIs to measure, a key, and the variables of the MCP server.
async fn prepare() -> (Harness, Key, Variables) {
    let harness = Harness::start().await;
    // The function's process uses the system clock.
    let now = shared::domain::SystemClock.now();
    harness.clock.advance_seconds(now.as_second() - harness.clock.now().as_second());
    for operations in [10, 100, 1000] {
        let registration = json!({
            "title": "Reports",
            "baseUrl": harness.system.facts().api,
            "openapi": document(operations),
        });
        let path = format!("/iam/v1/apis/{}", api(operations));
        let reply = harness.request("PUT", &path).admin().json(&registration).send().await;
        assert_eq!(reply.status, 201, "{reply:?}");
    }
    let key = harness.reader_key().await;
    let variables = harness.variables_to_share("Mcp").await;
    (harness, key, variables)
}

/// The name of the API with this many operations.
fn api(operations: usize) -> String {
    format!("reports-{operations}")
}

/// A document with this many operations, of the size that real ones have.
fn document(operations: usize) -> Value {
    let operation = |number: usize| {
        json!({ "get": {
            "operationId": format!("report_{number}"),
            "summary": format!("Get report {number}"),
            "description": "Returns the report of an organization, for the given period and in the given currency.",
            "parameters": [
                { "name": "id", "in": "path", "required": true, "description": "The id of the organization.", "schema": { "type": "string" } },
                { "name": "from", "in": "query", "description": "The first day.", "schema": { "type": "string", "format": "date" } },
                { "name": "to", "in": "query", "description": "The last day.", "schema": { "type": "string", "format": "date" } },
                { "name": "currency", "in": "query", "schema": { "type": "string", "enum": ["CHF", "EUR", "USD"] } },
            ],
            "responses": { "200": { "description": "The report." } },
        }})
    };
    let paths = (1..=operations)
        .map(|number| (format!("/organizations/{{id}}/report-{number}"), operation(number)))
        .collect::<serde_json::Map<_, _>>();
    json!({ "openapi": "3.1.0", "info": { "title": "Reports", "version": "1" }, "paths": paths })
}

/// The host and port of the MCP server.
fn host(harness: &Harness) -> String {
    let url = harness.system.facts().mcp.strip_prefix("http://").unwrap();
    url.strip_suffix("/mcp").unwrap().to_owned()
}

/// The median time of the call without MCP, in microseconds.
async fn call_directly(harness: &Harness, key: &Key) -> f64 {
    let url = format!("{}{CALLED}", harness.system.facts().api);
    let mut times = Vec::new();
    for _ in 0..WARM_UP + usize::from(REQUESTS) {
        let begun = Instant::now();
        let response = harness.client.get(&url).bearer_auth(&key.secret).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.bytes().await.unwrap();
        times.push(begun.elapsed());
    }
    median(times.split_off(WARM_UP).into_iter().map(microseconds))
}

struct Bench {
    binary: PathBuf,
    variables: Variables,
    host: String,
    key: String,
}

impl Bench {
    fn measure(&self, api: &str, method: &str, parameters: &Value) -> Measurement {
        let runs =
            Variables::from_process().get("KEYWARD_BENCH_RUNS").map_or(5, |runs| runs.parse().unwrap());
        let measured: Vec<_> = (0..runs).map(|_| self.measure_process(api, method, parameters)).collect();
        let median = |value: fn(&Measurement) -> f64| median(measured.iter().map(value));
        Measurement {
            first_cpu: median(|m| m.first_cpu),
            warm_cpu: median(|m| m.warm_cpu),
            latency: median(|m| m.latency),
            resident: median(|m| m.resident),
            bytes: measured[0].bytes,
        }
    }

    fn measure_process(&self, api: &str, method: &str, parameters: &Value) -> Measurement {
        let runtime_api = RuntimeApi::start(&self.event(api, method, parameters));
        let child = Running(self.command(&runtime_api).spawn().unwrap());
        runtime_api.wait_for_poll(1);
        let before = child.cpu();
        runtime_api.run(1);
        let first = child.cpu() - before;
        let response: Value = serde_json::from_slice(&runtime_api.take_response()).unwrap();
        let body: Value = serde_json::from_str(response["body"].as_str().unwrap()).unwrap();
        let is_error = body["result"].is_null() || body["result"]["isError"] == true;
        assert!(!is_error, "{method}: {response}");
        runtime_api.run(WARM_UP);
        runtime_api.take_times();
        let before = child.cpu();
        runtime_api.run(REQUESTS.into());
        let warm = child.cpu() - before;
        Measurement {
            first_cpu: first.as_secs_f64() * 1e3,
            warm_cpu: microseconds(warm) / f64::from(REQUESTS),
            latency: median(runtime_api.take_times().into_iter().map(microseconds)),
            resident: child.resident(),
            bytes: body.to_string().len(),
        }
    }

    fn command(&self, runtime_api: &RuntimeApi) -> Command {
        let mut command = Command::new(&self.binary);
        command.env_clear().envs(self.variables.iter()).envs([
            ("AWS_LAMBDA_RUNTIME_API", runtime_api.address.as_str()),
            ("AWS_LAMBDA_FUNCTION_NAME", "measured"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "measured"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "measured"),
        ]);
        command.stdout(Stdio::null()).stderr(Stdio::inherit());
        command
    }

    /// An event of an HTTP API (payload format 2.0) with one request of the revision 2026-07-28.
    fn event(&self, api: &str, method: &str, parameters: &Value) -> String {
        const VERSION: &str = "2026-07-28";
        let mut parameters = parameters.clone();
        parameters["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": VERSION,
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let path = format!("/mcp/{api}");
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": parameters });
        let mut headers = json!({
            "accept": "application/json, text/event-stream", "authorization": format!("Bearer {}", self.key),
            "content-type": "application/json", "host": self.host, "mcp-method": method,
            "mcp-protocol-version": VERSION, "user-agent": "bench",
        });
        if let Some(name) = parameters.get("name") {
            headers["mcp-name"] = name.clone();
        }
        json!({
            "version": "2.0", "routeKey": "POST /mcp/{name}", "rawPath": path, "rawQueryString": "",
            "headers": headers,
            "requestContext": {
                "accountId": "123456789012", "apiId": "abcdef1234", "domainName": self.host, "domainPrefix": "mcp",
                "http": {
                    "method": "POST", "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1",
                    "userAgent": "bench",
                },
                "requestId": "JKJaXmPLvHcESHA=", "routeKey": "POST /mcp/{name}", "stage": "$default",
                "time": "12/Mar/2026:19:03:58 +0000", "timeEpoch": 1_773_342_238_000_u64,
            },
            "pathParameters": { "name": api }, "body": body.to_string(), "isBase64Encoded": false,
        })
        .to_string()
    }
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
