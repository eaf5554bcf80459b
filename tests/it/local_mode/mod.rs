//! `cargo dev` as a process.

mod process;
mod sigkill;
