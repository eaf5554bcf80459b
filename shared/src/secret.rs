//! Reads a secret from Secrets Manager.

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use zeroize::Zeroizing;

use crate::telemetry;

/// Why a secret could not be read. The message contains no part of the secret.
#[derive(Debug, thiserror::Error)]
#[error("the secret cannot be read: {0}")]
pub struct SecretUnavailable(String);

/// Reads one secret.
#[derive(Clone)]
pub struct SecretReader {
    client: Client,
    id: String,
}

impl SecretReader {
    /// Creates a reader of the secret `id` (a name or an ARN). Does not read it yet.
    #[must_use]
    pub fn connect(config: &SdkConfig, id: String) -> Self {
        Self { client: Client::new(config), id }
    }

    /// Reads the secret's value.
    ///
    /// # Errors
    /// The call to Secrets Manager fails, or the value is binary.
    pub async fn read(&self) -> Result<Zeroizing<String>, SecretUnavailable> {
        let response = self.client.get_secret_value().secret_id(&self.id).send().await;
        let response = response.map_err(|error| SecretUnavailable(telemetry::cause(&error)))?;
        let value = response.secret_string.map(Zeroizing::new);
        value.ok_or_else(|| SecretUnavailable("it has no string value".to_owned()))
    }
}
