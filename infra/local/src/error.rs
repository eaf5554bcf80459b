//! The errors of starting local mode.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Why local mode did not start. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `--host` is not a loopback address.
    #[error("--host must be a loopback address, because local mode prints the admin's password: {0} is not")]
    NotLoopback(IpAddr),
    /// The environment has a variable that only Lambda sets.
    #[error("local mode does not run inside AWS Lambda ({0} is set)")]
    InsideLambda(&'static str),
    /// A port is in use.
    #[error(
        "{what} cannot listen on {address}: {cause}. Choose another port with {flag} (0 picks a free port)"
    )]
    Port {
        /// The server that needs the port.
        what: &'static str,
        address: SocketAddr,
        /// The flag that chooses the port.
        flag: &'static str,
        cause: std::io::Error,
    },
    /// Another process uses the data folder.
    #[error("another `cargo dev` uses the data folder {}. Stop that process, or choose another folder with --data DIR", .0.display())]
    AlreadyRunning(PathBuf),
    /// The data folder cannot be used.
    #[error("the data folder {} cannot be used: {cause}", path.display())]
    Data {
        /// The folder or file.
        path: PathBuf,
        cause: std::io::Error,
    },
    /// The data folder is a symbolic link.
    #[error("the data folder {} is a symbolic link. Name the folder itself with --data DIR", .0.display())]
    LinkedFolder(PathBuf),
    /// The data folder belongs to another user.
    #[error("the data folder {} belongs to another user. Choose another folder with --data DIR", .0.display())]
    ForeignFolder(PathBuf),
    /// Other users can open the data folder.
    #[error(
        "other users can open the data folder {path} (its mode is {mode:o}). Run `chmod 700 {path}`, or choose another folder with --data DIR",
        path = path.display()
    )]
    OpenFolder {
        /// The folder.
        path: PathBuf,
        mode: u32,
    },
    /// Other users can replace the data folder with another one.
    #[error(
        "other users can replace the data folder {}, because they can change {}. Choose another folder with --data DIR",
        path.display(), parent.display()
    )]
    OpenParent {
        /// The folder.
        path: PathBuf,
        /// The folder or link that they can change.
        parent: PathBuf,
    },
    /// A file in the data folder may belong to another user.
    #[error("{} {what}. Move it away, or choose another folder with --data DIR", path.display())]
    ForeignFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A file in the data folder cannot be read.
    #[error("the file {} is broken ({cause}). Move it away to start with new data, or choose another folder with --data DIR", path.display())]
    BrokenFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// The log file cannot be written.
    #[error("the log file {} cannot be written: {cause}. Move it away, or choose another folder with --data DIR", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        cause: std::io::Error,
    },
    /// `--demo` is only for a new data folder.
    #[error(
        "the data folder {} already has data, and --demo needs a new folder. Choose another folder with --data DIR, or \
         start without --demo", .0.display()
    )]
    DemoNeedsNewFolder(PathBuf),
    /// The creation of the demo data was interrupted.
    #[error(
        "the demo data in {} is incomplete, because its creation was interrupted. Delete the folder, or choose another \
         one with --data DIR", .0.display()
    )]
    UnfinishedDemo(PathBuf),
    /// The demo data cannot be created.
    #[error("the demo data cannot be created: {0}")]
    Demo(#[from] crate::demo::DemoError),
    /// The table cannot be created.
    #[error("the table cannot be created: {0}")]
    Table(String),
    /// The template cannot be parsed, or is not as local mode expects.
    #[error("infra/template.yaml cannot be used: {0}")]
    Template(String),
    /// A function cannot be configured.
    #[error(transparent)]
    Config(#[from] shared::config::ConfigError),
    /// The issuer's key cannot be generated, or cannot sign.
    #[error("the local issuer cannot create or use its signing key")]
    Issuer,
    /// The random source failed.
    #[error(transparent)]
    Entropy(#[from] shared::domain::EntropyError),
    /// The file of `--openapi` cannot be used.
    #[error("the OpenAPI document {} {problem}", file.display())]
    OpenApi {
        file: PathBuf,
        /// Completes a sentence that starts with the file.
        problem: String,
    },
    /// `--upstream` is not a usable URL.
    #[error("--upstream must be an http or https URL: {0}")]
    Upstream(String),
}
