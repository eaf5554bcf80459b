//! A secret of Secrets Manager that one function alone reads.

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use zeroize::Zeroizing;

use crate::telemetry;

/// Why a secret could not be read. The message holds nothing of it.
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
    /// The reader of the secret `id` (a name or an ARN). Nothing is read yet.
    #[must_use]
    pub fn connect(config: &SdkConfig, id: String) -> Self {
        Self { client: Client::new(config), id }
    }

    /// Its value.
    ///
    /// # Errors
    /// When Secrets Manager does not answer as it should, or the value is no
    /// text.
    pub async fn read(&self) -> Result<Zeroizing<String>, SecretUnavailable> {
        let answer = self.client.get_secret_value().secret_id(&self.id).send().await;
        let answer = answer.map_err(|error| SecretUnavailable(telemetry::cause(&error)))?;
        let value = answer.secret_string.map(Zeroizing::new);
        value.ok_or_else(|| SecretUnavailable("it has no string value".to_owned()))
    }
}
