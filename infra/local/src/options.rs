//! The command line.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use shared::domain::Environment;

/// Keyward on a laptop: the whole system in one process, without AWS.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "cargo dev", about, disable_version_flag = true)]
pub struct Options {
    /// Keep nothing: all of it is in memory, but for local.json and its lock.
    #[arg(long)]
    pub memory: bool,
    /// Where everything is kept.
    #[arg(long, value_name = "DIR", default_value = ".keyward")]
    pub data: PathBuf,
    /// A loopback address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub host: IpAddr,
    /// The API's port; 0 picks a free one.
    #[arg(long, value_name = "N", default_value_t = 8080)]
    pub port: u16,
    /// The start page's port; 0 picks a free one.
    #[arg(long, value_name = "N", default_value_t = 8081)]
    pub console_port: u16,
    /// The local OpenID Connect issuer's port; 0 picks a free one.
    #[arg(long, value_name = "N", default_value_t = 8082)]
    pub issuer_port: u16,
    /// Your own API, to be protected in place of the echo backend.
    #[arg(long, value_name = "URL")]
    pub upstream: Option<String>,
    /// The environment's label, which keys carry: 1-12 of a-z0-9.
    #[arg(long, value_name = "LABEL", default_value = "local", value_parser = Environment::parse)]
    pub environment: Environment,
}
