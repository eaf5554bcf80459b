//! The cost of a start of each deployed binary, from exec to the first request for an event.
//! Build the functions with `cargo lambda build --release`, then run
//! `cargo test -p tests --bench startup`, which needs no release build of this program.
//!
//! Plays Lambda's runtime API for each function in `target/lambda`. Prints the medians of
//! wall time, CPU time and peak resident memory.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement prints its figures, and fails by panicking"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use local::template::Template;
use shared::config::Variables;
use tests::Harness;
use tokio::net::TcpListener;
use tokio::process::Command;

const RUNS: usize = 21;

/// One start.
struct Start {
    wall: Duration,
    processor: Duration,
    memory_kib: u64,
}

#[tokio::main]
async fn main() {
    let harness = Harness::start().await;
    let template = Template::read().unwrap();
    let mut functions: Vec<(String, Variables)> = Vec::new();
    for (name, properties) in template.resources("AWS::Serverless::Function") {
        let folder = properties.get("CodeUri").unwrap().as_str().unwrap();
        let binary = folder.rsplit('/').next().unwrap().to_owned();
        functions.push((binary, harness.variables_to_share(name).await));
    }
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/lambda");
    for (name, variables) in functions {
        let binary = built.join(&name).join("bootstrap");
        if !binary.exists() {
            println!("{name}: not built");
            continue;
        }
        let mut starts = Vec::new();
        for _ in 0..RUNS {
            starts.push(start(&binary, &variables).await);
        }
        report(&name, &starts);
    }
}

async fn start(binary: &Path, variables: &Variables) -> Start {
    let runtime_api = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut command = Command::new(binary);
    command.env_clear().envs(variables.iter()).envs([
        ("AWS_LAMBDA_RUNTIME_API", runtime_api.local_addr().unwrap().to_string().as_str()),
        ("AWS_LAMBDA_FUNCTION_NAME", "measured"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "measured"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "measured"),
    ]);
    let begun = Instant::now();
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    // The first connection is the first request for an event.
    let _connection = runtime_api.accept().await.unwrap();
    let wall = begun.elapsed();
    let process = format!("/proc/{}", child.id().unwrap());
    let on_processor = std::fs::read_to_string(format!("{process}/schedstat")).unwrap();
    let nanoseconds = on_processor.split_whitespace().next().unwrap().parse().unwrap();
    let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let memory_kib = peak.trim().trim_end_matches(" kB").parse().unwrap();
    child.kill().await.unwrap();
    Start { wall, processor: Duration::from_nanos(nanoseconds), memory_kib }
}

fn report(name: &str, starts: &[Start]) {
    println!(
        "{name}: {:.1} ms from exec to the first request for an event, {:.1} ms on a processor, {:.1} MB resident at most (medians of {RUNS})",
        median(starts, |start| start.wall.as_secs_f64() * 1e3),
        median(starts, |start| start.processor.as_secs_f64() * 1e3),
        median(starts, |start| f64::from(u32::try_from(start.memory_kib).unwrap()) / 1024.0),
    );
}

fn median(starts: &[Start], of: impl Fn(&Start) -> f64) -> f64 {
    let mut values: Vec<f64> = starts.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    *values.get(values.len() / 2).unwrap()
}
