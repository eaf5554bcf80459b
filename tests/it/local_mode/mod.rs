//! `cargo dev` as a process.

mod demo;
mod log;
mod process;
mod sigkill;
mod workload;
