//! The command line.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use shared::domain::Environment;
use shared::policy::PathPrefix;

const LOG_HELP: &str = "\
The log is in log.jsonl in the data folder: one JSON object per line, for each decision and
each change. At 32 MB, log.jsonl is renamed to log.1.jsonl, which replaces an older one.
All other output goes to standard error.";

/// Runs all of Keyward in one local process, without AWS.
#[derive(Clone, Debug, clap::Parser)]
#[command(bin_name = "cargo dev", disable_version_flag = true, after_help = LOG_HELP)]
pub struct Options {
    /// Keep data in memory only. The data folder then contains only local.json, the log and a lock.
    #[arg(long)]
    pub memory: bool,
    /// Fill a new data folder with the accounts, keys, roles and activity of a made-up company, and serve a sample API of this company.
    #[arg(long, conflicts_with = "data_prefixes")]
    pub demo: bool,
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
    /// The MCP server's port. 0 picks a free port.
    #[arg(long, value_name = "N", default_value_t = 8083)]
    pub mcp_port: u16,
    /// The URL of your own API, to protect instead of the echo backend.
    #[arg(long, value_name = "URL")]
    pub upstream: Option<String>,
    /// The OpenAPI document of your own API. Agents can then use the API's operations as tools.
    #[arg(long, value_name = "FILE")]
    pub openapi: Option<PathBuf>,
    /// The environment in each key: 1 to 12 lowercase letters and digits.
    #[arg(long, value_name = "LABEL", default_value = "local", value_parser = Environment::parse)]
    pub environment: Environment,
    /// The paths to which the Writer and Reader roles give access, separated by commas.
    #[arg(long, value_name = "PATHS", default_value = "/organizations,/teams", value_parser = DataPrefixes::parse)]
    pub data_prefixes: DataPrefixes,
    /// Also show the log on standard output.
    #[arg(long)]
    pub log: bool,
}

/// One or more data prefixes.
#[derive(Clone, Debug)]
pub struct DataPrefixes {
    first: PathPrefix,
    others: Vec<PathPrefix>,
}

impl DataPrefixes {
    /// Parses a comma-separated list, as the functions do.
    fn parse(text: &str) -> Result<Self, String> {
        let mut prefixes = PathPrefix::parse_list(text).map_err(|error| error.to_string())?.into_iter();
        let first = prefixes.next().ok_or("must contain a path such as /organizations")?;
        Ok(Self { first, others: prefixes.collect() })
    }

    /// The first prefix.
    pub(crate) fn first(&self) -> &str {
        self.first.as_str()
    }
}

impl fmt::Display for DataPrefixes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.first.as_str())?;
        self.others.iter().try_for_each(|prefix| write!(formatter, ",{}", prefix.as_str()))
    }
}
