//! Why the system did not start: one clear sentence each.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Why the system did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It was asked to listen to others than this machine.
    #[error(
        "local mode holds a fixed admin and prints tokens, so it binds loopback only: {0} is not a loopback address"
    )]
    NotLoopback(IpAddr),
    /// It was started inside Lambda.
    #[error("local mode is for a laptop and refuses to run inside AWS Lambda ({0} is set)")]
    InsideLambda(&'static str),
    /// A port is in use.
    #[error(
        "{what} cannot listen on {address}: {cause}. Choose another port with {flag} (0 picks a free one)"
    )]
    Port {
        /// What wanted the port.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// The flag that chooses the port.
        flag: &'static str,
        /// Why not.
        cause: std::io::Error,
    },
    /// Another process uses the same data.
    #[error("another `cargo dev` is running on the data in {}. Stop it, or choose another folder with --data DIR", .0.display())]
    AlreadyRunning(PathBuf),
    /// The data folder cannot be used.
    #[error("the data folder {} cannot be used: {cause}", path.display())]
    Data {
        /// The folder or file.
        path: PathBuf,
        /// Why not.
        cause: std::io::Error,
    },
    /// The data folder is a link.
    #[error("the data folder {} is a symbolic link. Name the folder itself with --data DIR", .0.display())]
    LinkedFolder(PathBuf),
    /// The data folder is another user's.
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
        /// Its permissions.
        mode: u32,
    },
    /// Other users can put another folder in the data folder's place.
    #[error(
        "other users can replace the data folder {}, because they can change {}. Choose another folder with --data DIR",
        path.display(), parent.display()
    )]
    OpenParent {
        /// The folder.
        path: PathBuf,
        /// What they can change.
        parent: PathBuf,
    },
    /// A file in the data folder may be another user's.
    #[error("{} {what}. Move it away, or choose other data with --data DIR", path.display())]
    ForeignFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A file in the data folder is not what it should be.
    #[error("the file {} is broken ({cause}). Move it away to start anew, or choose other data with --data DIR", path.display())]
    BrokenFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// The table cannot be made.
    #[error("the table cannot be made: {0}")]
    Table(String),
    /// The template does not say what local mode needs.
    #[error("infra/template.yaml cannot be read: {0}")]
    Template(String),
    /// A function cannot be made.
    #[error(transparent)]
    Config(#[from] shared::config::ConfigError),
    /// The local issuer cannot be made.
    #[error("the local issuer cannot make a key")]
    Issuer,
    /// The random source failed.
    #[error(transparent)]
    Entropy(#[from] shared::domain::EntropyError),
    /// `--upstream` is no address.
    #[error("--upstream must be an http or https URL: {0}")]
    Upstream(String),
}
