//! `cargo dev` as a process.

mod log;
mod process;
mod sigkill;
