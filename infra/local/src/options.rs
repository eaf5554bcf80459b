//! The command line.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use shared::domain::Environment;

/// Runs all of Keyward in one local process, without AWS.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "cargo dev", about, disable_version_flag = true)]
pub struct Options {
    /// Keep data in memory only. The data folder then contains only local.json and a lock.
    #[arg(long)]
    pub memory: bool,
    /// The data folder.
    #[arg(long, value_name = "DIR", default_value = ".keyward")]
    pub data: PathBuf,
    /// The loopback address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub host: IpAddr,
    /// The API's port. 0 picks a free port.
    #[arg(long, value_name = "N", default_value_t = 8080)]
    pub port: u16,
    /// The console's port. 0 picks a free port.
    #[arg(long, value_name = "N", default_value_t = 8081)]
    pub console_port: u16,
    /// The local OpenID Connect issuer's port. 0 picks a free port.
    #[arg(long, value_name = "N", default_value_t = 8082)]
    pub issuer_port: u16,
    /// The URL of your own API, to protect instead of the echo backend.
    #[arg(long, value_name = "URL")]
    pub upstream: Option<String>,
    /// The environment in each key: 1 to 12 lowercase letters and digits.
    #[arg(long, value_name = "LABEL", default_value = "local", value_parser = Environment::parse)]
    pub environment: Environment,
}
