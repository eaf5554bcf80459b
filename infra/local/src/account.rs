//! The one admin of local mode, and the secrets that belong to the data.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use shared::domain::{Entropy, EntropyError, MIN_PEPPER_LENGTH, Pepper};

use crate::StartError;

/// The file's name in the data folder.
const FILE: &str = "secrets.json";

/// The admin's e-mail address.
pub(crate) const ADMIN_EMAIL: &str = "admin@keyward.local";

/// What a deployment would keep in Secrets Manager and in its user pool.
#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LocalAccount {
    /// The admin's password.
    pub(crate) admin_password: String,
    /// The keyring's only pepper.
    pub(crate) pepper: String,
}

impl LocalAccount {
    /// New ones.
    pub(crate) fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        Ok(Self { admin_password: text(entropy, 20)?, pepper: text(entropy, 64)? })
    }

    /// Those in the folder `data`, or new ones, which then are there.
    pub(crate) fn load(data: &Path, entropy: &dyn Entropy) -> Result<Self, StartError> {
        let path = data.join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => {
                let broken = |cause: serde_json::Error| {
                    // Without the text itself, which is secret.
                    let cause = format!("line {}, column {}", cause.line(), cause.column());
                    StartError::BrokenFile { path: path.clone(), cause }
                };
                let account: Self = serde_json::from_str(&text).map_err(broken)?;
                if Pepper::new(account.pepper.as_bytes()).is_none() {
                    let cause = format!("its pepper has less than {MIN_PEPPER_LENGTH} characters");
                    return Err(StartError::BrokenFile { path, cause });
                }
                Ok(account)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let account = Self::generate(entropy)?;
                write_private(&path, &account)?;
                Ok(account)
            }
            Err(cause) => Err(StartError::Data { path, cause }),
        }
    }

    /// The value of the pepper secret.
    pub(crate) fn keyring(&self) -> String {
        serde_json::json!({ "current": "v1", "v1": self.pepper }).to_string()
    }
}

/// Writes `value` as JSON into a file that nobody else can read.
pub(crate) fn write_private(path: &Path, value: &impl Serialize) -> Result<(), StartError> {
    let write = || -> std::io::Result<()> {
        let mut file: File =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        serde_json::to_writer_pretty(&mut file, value)?;
        file.write_all(b"\n")
    };
    write().map_err(|cause| StartError::Data { path: path.to_owned(), cause })
}

/// `length` letters and digits.
fn text(entropy: &dyn Entropy, length: usize) -> Result<String, EntropyError> {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnopqrstuvwxyz2345678";
    let mut bytes = vec![0; length];
    entropy.fill(&mut bytes)?;
    let characters = bytes.iter().filter_map(|byte| ALPHABET.get(usize::from(byte % 32)));
    Ok(characters.map(|byte| char::from(*byte)).collect())
}
