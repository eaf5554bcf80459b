//! The cost of the authorizer as a process, beside other functions:
//! `cargo bench -p tests --bench function`.
//!
//! Builds each function for release, and plays Lambda's runtime API and DynamoDB (over
//! TLS) to it on this machine. The first read of an item is answered by the embedded
//! engine, and its response is repeated afterwards, so that the database costs next to
//! nothing. The processes are fresh, and take turns, because a shared machine is noisy.
//! CPU times are those of the function's process alone.
//!
//! With valgrind installed, this also counts instructions. Valgrind has no SHA
//! extensions, so hashes cost more instructions there than on a real processor.
//!
//! `KEYWARD_BENCH_RUNS` sets the number of processes of each function, 11 by default.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unchecked_time_subtraction,
    clippy::unwrap_used,
    reason = "a benchmark prints its figures, and fails by panicking"
)]

#[path = "function/event.rs"]
mod event;
#[path = "function/process.rs"]
mod process;
#[path = "function/servers.rs"]
mod servers;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use event::event;
use process::Running;
use serde_json::json;
use servers::{Database, RuntimeApi};
use shared::config::Variables;
use shared::domain::Clock as _;
use tests::{Account, Harness, Key};

/// Decisions before the measured ones, so that all code has run.
const WARM_UP: u16 = 300;
/// Measured decisions of each process.
const DECISIONS: u16 = 2000;

/// A function to measure.
struct Function {
    name: &'static str,
    binary: PathBuf,
    argument: Option<&'static str>,
}

fn main() {
    // Cargo passes `--bench`, and `cargo test --benches` does not.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let release = build();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (harness, cases, variables) = runtime.block_on(prepare());
    let database = Database::start(harness.system.services().clone());
    let bench = Bench { database, variables, release };
    let reader = event(&cases[0].1.secret);

    let names = [
        "socket loop",
        "empty handler",
        "hand-written read, no runtime",
        "SDK read",
        "authorizer through the SDK",
        "authorizer",
    ];
    let functions = names.map(|name| bench.function(name));
    let runs: usize =
        Variables::from_process().get("KEYWARD_BENCH_RUNS").map_or(11, |runs| runs.parse().unwrap());
    let mut measured: Vec<Vec<Measurement>> = functions.iter().map(|_| Vec::new()).collect();
    for _ in 0..runs {
        for (function, measured) in functions.iter().zip(&mut measured) {
            measured.push(bench.measure(function, &reader));
        }
    }
    println!("\nMedians of {runs} processes, {DECISIONS} requests each after {WARM_UP}:\n");
    println!(
        "| | start ms | first request CPU ms | CPU of a warm request µs | p50 less the database's own time µs | resident MB |"
    );
    println!("|---|---|---|---|---|---|");
    let mut cpu = Vec::new();
    for (function, measured) in functions.iter().zip(&measured) {
        let median = |value: fn(&Measurement) -> f64| median(measured.iter().map(value));
        cpu.push(median(|m| m.warm_cpu));
        println!(
            "| {} | {:.1} | {:.2} | {:.0} | {:.0} | {:.1} |",
            function.name,
            median(|m| m.start),
            median(|m| m.first_cpu),
            median(|m| m.warm_cpu),
            median(|m| m.latency),
            median(|m| m.resident)
        );
    }
    let [socket_loop, empty, hand_written, _, _, ours] = <[f64; 6]>::try_from(cpu).unwrap();
    let floor = empty + hand_written - socket_loop;
    println!(
        "\nFloor on Lambda's runtime: {empty:.0} + {hand_written:.0} − {socket_loop:.0} = {floor:.0} µs. The authorizer: {:.2} times the floor.",
        ours / floor
    );

    println!("\nThe authorizer by case, CPU of a warm decision in µs:\n");
    let authorizer = bench.function("authorizer");
    let mut by_case: Vec<Vec<f64>> = cases.iter().map(|_| Vec::new()).collect();
    for _ in 0..runs.div_ceil(2) {
        for ((_, key), measured) in cases.iter().zip(&mut by_case) {
            measured.push(bench.measure(&authorizer, &event(&key.secret)).warm_cpu);
        }
    }
    for ((name, _), measured) in cases.iter().zip(&by_case) {
        println!("- {name}: {:.0}", median(measured.iter().copied()));
    }

    println!("\nDecisions a second of one process, by decisions at once:\n");
    for concurrency in [1, 8, 64] {
        let measured = (0..3).map(|_| bench.throughput(&authorizer, &reader, concurrency));
        println!("- {concurrency}: {:.0}", median(measured));
    }

    println!("\nThousands of instructions, and allocations, of a warm request:\n");
    for function in &functions {
        match bench.count(function, &reader) {
            Some((instructions, allocations)) => {
                println!("- {}: {:.0}, {allocations:.0}", function.name, instructions / 1e3);
            }
            None => println!("- {}: not counted, because valgrind is not installed", function.name),
        }
    }
}

/// Builds the functions, and returns the folder with the binaries.
fn build() -> PathBuf {
    let environment = Variables::from_process();
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for package in [&["--package", "authorizer"][..], &["--package", "tests", "--examples"]] {
        let mut cargo = Command::new(environment.get("CARGO").unwrap_or("cargo"));
        let status =
            cargo.current_dir(&workspace).args(["build", "--release", "--locked"]).args(package).status();
        assert!(status.unwrap().success(), "cargo build");
    }
    let target = environment.get("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    target.join("release")
}

/// A system, the keys of the cases to measure, and the authorizer's variables.
async fn prepare() -> (Harness, Vec<(&'static str, Key)>, Variables) {
    let harness = Harness::builder().variable("KEYWARD_MAX_KEYS_PER_ACCOUNT", "20").start().await;
    // The function's process uses the system clock.
    let now = shared::domain::SystemClock.now();
    harness.clock.advance_seconds(now.as_second() - harness.clock.now().as_second());
    let permissions: Vec<String> = (0..49).map(|number| format!("GET /things-{number}/{{id}}")).collect();
    let permissions = permissions.iter().map(String::as_str).chain(["GET /organizations/{id}"]);
    harness.put_role("Custom", &permissions.collect::<Vec<_>>()).await;
    let mut cases = Vec::new();
    for (name, count, role, key) in [
        ("1 key, built-in role", 1, "ServiceAccountReader", json!({ "name": "key" })),
        ("10 keys, built-in role", 10, "ServiceAccountReader", json!({ "name": "key" })),
        ("20 keys, built-in role", 20, "ServiceAccountReader", json!({ "name": "key" })),
        ("1 key, custom role with 50 permissions", 1, "Custom", json!({ "name": "key" })),
        (
            "1 key with its own built-in role",
            1,
            "ServiceAccountAdmin",
            json!({ "name": "key", "role": "ServiceAccountReader" }),
        ),
        (
            "1 key with 10 networks",
            1,
            "ServiceAccountReader",
            json!({ "name": "key", "allowedCidrs": networks() }),
        ),
    ] {
        let account: Account = harness.create_account(name, role).await;
        let mut last = harness.issue_key_with(&account, &key).await;
        for _ in 1..count {
            last = harness.issue_key_with(&account, &key).await;
        }
        cases.push((name, last));
    }
    let variables = harness.system.setup_for("Authorizer").unwrap().variables;
    (harness, cases, variables)
}

/// Ten networks, the last of which includes the event's source.
fn networks() -> Vec<String> {
    (0..9).map(|number| format!("198.51.{number}.0/24")).chain(["203.0.113.0/24".to_owned()]).collect()
}

/// What one process cost.
struct Measurement {
    /// Milliseconds from exec to the first request for an event.
    start: f64,
    /// CPU milliseconds of the first request.
    first_cpu: f64,
    /// CPU microseconds of a warm request.
    warm_cpu: f64,
    /// The median time of a warm request less the database's median time, in µs.
    latency: f64,
    /// Megabytes resident at the end.
    resident: f64,
}

struct Bench {
    database: Database,
    variables: Variables,
    release: PathBuf,
}

impl Bench {
    fn function(&self, name: &'static str) -> Function {
        let (binary, argument) = match name {
            "socket loop" => ("examples/loop_function", Some("empty")),
            "hand-written read, no runtime" => ("examples/loop_function", Some("read")),
            "empty handler" => ("examples/lambda_function", Some("empty")),
            "SDK read" => ("examples/lambda_function", Some("sdk")),
            "authorizer through the SDK" => ("examples/sdk_authorizer", None),
            _ => ("authorizer", None),
        };
        Function { name, binary: self.release.join(binary), argument }
    }

    /// A command that runs `function` after `prefix`, with everything that Lambda sets.
    fn command(&self, function: &Function, api: &RuntimeApi, prefix: &[&str], concurrency: usize) -> Command {
        let mut words = prefix.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        words.push(function.binary.display().to_string());
        words.extend(function.argument.map(str::to_owned));
        let mut command = Command::new(words.remove(0));
        command.args(words).env_clear().envs(self.variables.iter()).envs([
            ("AWS_LAMBDA_RUNTIME_API", api.address.as_str()),
            ("AWS_LAMBDA_FUNCTION_NAME", "measured"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "measured"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "measured"),
            ("AWS_ENDPOINT_URL_DYNAMODB", self.database.url.as_str()),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", self.database.url.as_str()),
            // As long as those that Lambda gives to functions.
            ("AWS_SESSION_TOKEN", "IQoJb3JpZ2luX2VjEGsaDGV1LWNlbnRyYWwtMSJHMEUCIQ".repeat(20).as_str()),
            ("SSL_CERT_FILE", &self.database.ca_roots.path().display().to_string()),
        ]);
        if concurrency > 1 {
            command.env("AWS_LAMBDA_MAX_CONCURRENCY", concurrency.to_string());
        }
        command.stdout(Stdio::null()).stderr(Stdio::inherit());
        command
    }

    fn measure(&self, function: &Function, event: &str) -> Measurement {
        let api = RuntimeApi::start(event);
        let begun = Instant::now();
        let child = Running(self.command(function, &api, &[], 1).spawn().unwrap());
        api.wait_for_poll(1);
        let start = begun.elapsed();
        let before = child.cpu();
        api.run(1);
        let first = child.cpu() - before;
        let is_authorizer = function.name.starts_with("authorizer");
        let response = String::from_utf8(api.take_response()).unwrap();
        assert!(!is_authorizer || response.contains(r#""Effect":"Allow""#), "{response}");
        api.run(WARM_UP.into());
        self.database.take_times();
        api.take_times();
        let before = child.cpu();
        api.run(DECISIONS.into());
        let warm = child.cpu() - before;
        let own = self.database.take_times().into_iter().map(|time| time.as_secs_f64() * 1e6);
        let own = if own.len() == 0 { 0.0 } else { median(own) };
        Measurement {
            start: start.as_secs_f64() * 1e3,
            first_cpu: first.as_secs_f64() * 1e3,
            warm_cpu: warm.as_secs_f64() * 1e6 / f64::from(DECISIONS),
            latency: median(api.take_times().into_iter().map(|time| time.as_secs_f64() * 1e6)) - own,
            resident: child.resident(),
        }
    }

    /// Decisions a second of a process that makes `concurrency` decisions at once.
    fn throughput(&self, function: &Function, event: &str, concurrency: usize) -> f64 {
        let api = RuntimeApi::start(event);
        let _child = Running(self.command(function, &api, &[], concurrency).spawn().unwrap());
        api.wait_for_poll(concurrency);
        api.run(WARM_UP.into());
        let begun = Instant::now();
        api.run(usize::from(4 * DECISIONS));
        f64::from(4 * DECISIONS) / begun.elapsed().as_secs_f64()
    }

    /// The instructions and the allocations of one warm request, by callgrind. `None`
    /// without valgrind.
    fn count(&self, function: &Function, event: &str) -> Option<(f64, f64)> {
        let count = |requests: u16| {
            let folder = tempfile::tempdir().unwrap();
            let output = folder.path().join("callgrind");
            let option = format!("--callgrind-out-file={}", output.display());
            let prefix = ["/usr/bin/valgrind", "--tool=callgrind", &option];
            let api = RuntimeApi::start(event);
            let mut command = self.command(function, &api, &prefix, 1);
            let mut child = command.stderr(Stdio::piped()).spawn().ok()?;
            api.wait_for_poll(1);
            api.run(requests.into());
            let mut text = String::new();
            // SIGTERM makes valgrind print its summary.
            Command::new("kill").arg(child.id().to_string()).status().unwrap();
            std::io::Read::read_to_string(child.stderr.as_mut().unwrap(), &mut text).unwrap();
            child.wait().unwrap();
            let collected = text.lines().find_map(|line| line.split_once("Collected : "));
            let instructions = collected.unwrap().1.trim().parse::<f64>().unwrap();
            Some((instructions, allocations(&std::fs::read_to_string(output).unwrap())))
        };
        let (few, many) = (50, 250);
        let ((few_instructions, few_allocations), (instructions, allocations)) = (count(few)?, count(many)?);
        let requests = f64::from(many - few);
        Some(((instructions - few_instructions) / requests, (allocations - few_allocations) / requests))
    }
}

/// The calls of the C library's allocation functions in callgrind's output.
/// (<https://valgrind.org/docs/manual/cl-format.html>)
fn allocations(output: &str) -> f64 {
    let (mut names, mut called, mut count) = (HashMap::new(), "", 0.0);
    for line in output.lines() {
        if let Some(name) = line.strip_prefix("cfn=").or_else(|| line.strip_prefix("fn=")) {
            // A name is given once, and then only its number.
            let (number, name) = name.split_once(' ').unwrap_or((name, ""));
            let name = if name.is_empty() { names.get(number).copied().unwrap_or_default() } else { name };
            names.insert(number, name);
            if line.starts_with("cfn=") {
                called = name;
            }
        } else if let Some(calls) = line.strip_prefix("calls=")
            && ["malloc", "calloc", "realloc", "posix_memalign"].contains(&called)
        {
            count += calls.split(' ').next().unwrap().parse::<f64>().unwrap();
        }
    }
    count
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap()
}
