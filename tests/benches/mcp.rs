//! What the MCP server adds to a call of an API: `cargo bench -p tests --bench mcp`.
//!
//! The MCP server runs in a thread of its own, and handles an event like those from API Gateway. The
//! rest of the system, which includes `exchange-token`, the API's gateway with its authorizer, and
//! the API, runs in other threads and is called over TCP. CPU times are those of the MCP server's
//! thread, without Lambda's runtime and without the log. Latencies are those on this machine, where
//! an invocation of `exchange-token` is a local request.
//!
//! `KEYWARD_BENCH_RUNS` sets the number of instances for each measurement, 5 by default.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unchecked_time_subtraction,
    clippy::unwrap_used,
    reason = "a benchmark prints its figures, and fails by panicking"
)]

#[path = "function/document.rs"]
mod document;

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::to_bytes;
use document::document;
use lambda_http::Service as _;
use mcp::Mcp;
use serde_json::{Value, json};
use shared::config::{Setup, Variables};
use shared::domain::Clock as _;
use tests::{Harness, Key};

/// Requests before the measured ones, so that all code has run.
const WARM_UP: usize = 100;
/// Measured requests of each instance.
const REQUESTS: u16 = 500;
/// The operation that is called.
const CALLED: &str = "/organizations/42/report-1";

/// The medians of several instances.
struct Measurement {
    /// CPU milliseconds of the first request.
    first_cpu: f64,
    /// CPU microseconds of a warm request.
    warm_cpu: f64,
    /// Microseconds from a warm request's event to its response.
    latency: f64,
    /// Bytes of the response.
    bytes: usize,
}

fn main() {
    // Cargo passes `--bench`, and `cargo test --benches` does not.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (harness, key, variables) = runtime.block_on(prepare());
    let bench = Bench { variables, host: host(&harness), key: key.secret.clone() };

    println!("\n| | first request CPU ms | CPU of a warm request µs | p50 µs | bytes of the response |");
    println!("|---|---|---|---|---|");
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
    let Measurement { first_cpu, warm_cpu, latency, bytes } = measured;
    println!("| {name} | {first_cpu:.1} | {warm_cpu:.0} | {latency:.0} | {bytes} |");
}

/// A system with the APIs to measure, a key, and the variables of the MCP server.
async fn prepare() -> (Harness, Key, Variables) {
    let harness = Harness::start().await;
    // The measured instances use the system clock.
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
    variables: Variables,
    host: String,
    key: String,
}

impl Bench {
    fn measure(&self, api: &str, method: &str, parameters: &Value) -> Measurement {
        let runs =
            Variables::from_process().get("KEYWARD_BENCH_RUNS").map_or(5, |runs| runs.parse().unwrap());
        let event = self.event(api, method, parameters);
        let measured: Vec<_> = (0..runs).map(|_| self.measure_instance(&event)).collect();
        let median = |value: fn(&Measurement) -> f64| median(measured.iter().map(value));
        Measurement {
            first_cpu: median(|m| m.first_cpu),
            warm_cpu: median(|m| m.warm_cpu),
            latency: median(|m| m.latency),
            bytes: measured[0].bytes,
        }
    }

    /// Measures a new instance in a thread of its own.
    fn measure_instance(&self, event: &str) -> Measurement {
        std::thread::scope(|scope| scope.spawn(|| self.measure_here(event)).join().unwrap())
    }

    /// Measures a new instance in this thread.
    fn measure_here(&self, event: &str) -> Measurement {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let setup = Setup { variables: self.variables.clone(), ..Setup::from_process() };
        let mcp = Mcp::new(&setup).unwrap();
        runtime.block_on(mcp.warm());
        let router = mcp.router();
        let request = || runtime.block_on(respond(&router, event));
        let before = thread_cpu();
        let bytes = request();
        let first = thread_cpu().checked_sub(before).unwrap();
        for _ in 0..WARM_UP {
            request();
        }
        let before = thread_cpu();
        let times: Vec<_> = (0..REQUESTS)
            .map(|_| {
                let begun = Instant::now();
                request();
                begun.elapsed()
            })
            .collect();
        let warm = thread_cpu().checked_sub(before).unwrap();
        Measurement {
            first_cpu: first.as_secs_f64() * 1e3,
            warm_cpu: microseconds(warm) / f64::from(REQUESTS),
            latency: median(times.into_iter().map(microseconds)),
            bytes,
        }
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

/// Sends an event to the MCP server. Returns the length of its response.
async fn respond(router: &Router, event: &str) -> usize {
    let request = lambda_http::request::from_str(event).unwrap();
    let response = router.clone().call(request).await.unwrap();
    let is_success = response.status().is_success();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let text = std::str::from_utf8(&body).unwrap();
    assert!(is_success && !text.contains("\"isError\":true") && !text.contains("\"error\":"), "{text}");
    body.len()
}

/// The CPU time of this thread. Only on Linux.
fn thread_cpu() -> Duration {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(statistics.split(' ').next().unwrap().parse().unwrap())
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
