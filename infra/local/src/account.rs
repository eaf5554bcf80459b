//! The admin's password, the pepper, the token key and the console's secret.

use std::fs;

use serde::{Deserialize, Serialize};
use shared::domain::{Entropy, EntropyError, MIN_PEPPER_LENGTH, Pepper};

use crate::StartError;
use crate::data::{DataFolder, SECRETS};

/// The admin's email address.
pub(crate) const ADMIN_EMAIL: &str = "admin@keyward.local";

/// The secrets that a deployment keeps in Secrets Manager and in its user pool.
#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LocalAccount {
    pub(crate) admin_password: String,
    /// The keyring's only pepper.
    pub(crate) pepper: String,
    /// The only token key. Files of earlier versions have none.
    #[serde(default)]
    pub(crate) token_key: String,
}

impl LocalAccount {
    pub(crate) fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        Ok(Self {
            admin_password: text(entropy, 20)?,
            pepper: text(entropy, 64)?,
            token_key: text(entropy, 64)?,
        })
    }

    /// Reads the secrets from the folder `data`. If the folder has none, generates them
    /// and writes them to the folder.
    pub(crate) fn load(data: &DataFolder, entropy: &dyn Entropy) -> Result<Self, StartError> {
        let path = data.path.join(SECRETS);
        match fs::read_to_string(&path) {
            Ok(text) => {
                let broken = |cause: serde_json::Error| {
                    // Only the position, because the text is secret.
                    let cause = format!("line {}, column {}", cause.line(), cause.column());
                    StartError::BrokenFile { path: path.clone(), cause }
                };
                let mut account: Self = serde_json::from_str(&text).map_err(broken)?;
                if account.token_key.is_empty() {
                    account.token_key = self::text(entropy, 64)?;
                    data.write(SECRETS, &account)?;
                }
                for (name, key) in [("pepper", &account.pepper), ("token key", &account.token_key)] {
                    if Pepper::new(key.as_bytes()).is_none() {
                        let cause = format!("its {name} has fewer than {MIN_PEPPER_LENGTH} characters");
                        return Err(StartError::BrokenFile { path, cause });
                    }
                }
                Ok(account)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let account = Self::generate(entropy)?;
                data.write(SECRETS, &account)?;
                Ok(account)
            }
            Err(cause) => Err(StartError::Data { path, cause }),
        }
    }

    /// The value of the pepper secret.
    pub(crate) fn keyring(&self) -> String {
        only_version(&self.pepper)
    }

    /// The value of the token key secret.
    pub(crate) fn token_keys(&self) -> String {
        only_version(&self.token_key)
    }
}

/// The value of a secret with one version, as `CloudFormation` generates it.
fn only_version(key: &str) -> String {
    serde_json::json!({ "current": "v1", "v1": key }).to_string()
}

/// The console's secret: its client secret and the key that encrypts its cookies. A new
/// one is generated at each start, like the issuer's key.
pub(crate) struct ConsoleSecret {
    pub(crate) client_secret: String,
    cookie_key: String,
}

impl ConsoleSecret {
    pub(crate) fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        Ok(Self { client_secret: text(entropy, 40)?, cookie_key: text(entropy, 64)? })
    }

    /// The secret's value.
    pub(crate) fn value(&self) -> String {
        serde_json::json!({ "clientSecret": self.client_secret, "cookieKey": self.cookie_key }).to_string()
    }
}

/// Random text of `length` letters and digits, with 5 bits of entropy each.
pub(crate) fn text(entropy: &dyn Entropy, length: usize) -> Result<String, EntropyError> {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnopqrstuvwxyz2345678";
    let mut bytes = vec![0; length];
    entropy.fill(&mut bytes)?;
    let characters = bytes.iter().filter_map(|byte| ALPHABET.get(usize::from(byte % 32)));
    Ok(characters.map(|byte| char::from(*byte)).collect())
}
