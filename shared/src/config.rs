//! The configuration: the only reader of the environment.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, tls};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use crate::domain::{Clock, Entropy, Environment, OsEntropy, SystemClock};
use crate::keyring::{Keyring, PepperRotation};
use crate::notices::Notices;
use crate::policy::{Api, BuiltInRoles, PathPrefix};
use crate::secret::SecretReader;
use crate::store::Store;

/// The names of the variables. The template sets each on just the functions
/// that read it.
pub mod variable {
    /// The environment's label, which keys carry.
    pub const ENVIRONMENT: &str = "KEYWARD_ENVIRONMENT";
    /// The table's name.
    pub const TABLE: &str = "KEYWARD_TABLE";
    /// The pepper secret's name or ARN.
    pub const PEPPER_SECRET: &str = "KEYWARD_PEPPER_SECRET";
    /// Where the data lies that the Writer and Reader roles reach: path
    /// prefixes, separated by commas.
    pub const DATA_PREFIXES: &str = "KEYWARD_DATA_PREFIXES";
    /// The kind of API that an authorizer function serves: `iam` or `business`.
    pub const AUTHORIZES: &str = "KEYWARD_AUTHORIZES";
    /// Base paths of custom domains, separated by commas. May be empty.
    pub const BASE_PATHS: &str = "KEYWARD_BASE_PATHS";
    /// The longest lifetime of a key, in days.
    pub const MAX_KEY_LIFETIME_DAYS: &str = "KEYWARD_MAX_KEY_LIFETIME_DAYS";
    /// The most live keys of an account.
    pub const MAX_KEYS_PER_ACCOUNT: &str = "KEYWARD_MAX_KEYS_PER_ACCOUNT";
    /// The issuer of admin users' tokens.
    pub const OIDC_ISSUER: &str = "KEYWARD_OIDC_ISSUER";
    /// Where the issuer's public keys are.
    pub const OIDC_JWKS_URI: &str = "KEYWARD_OIDC_JWKS_URI";
    /// The claim that lists a person's groups.
    pub const OIDC_GROUPS_CLAIM: &str = "KEYWARD_OIDC_GROUPS_CLAIM";
    /// The group whose members are admin users.
    pub const ADMIN_GROUP: &str = "KEYWARD_ADMIN_GROUP";
    /// The clients whose tokens are for the IAM API alone, separated by commas.
    pub const IAM_CLIENT_IDS: &str = "KEYWARD_IAM_CLIENT_IDS";
    /// The clients whose tokens are for every other API, separated by commas.
    pub const API_CLIENT_IDS: &str = "KEYWARD_API_CLIENT_IDS";
    /// The audience of tokens for the IAM API. Empty with Cognito, whose access
    /// tokens have none.
    pub const OIDC_IAM_AUDIENCE: &str = "KEYWARD_OIDC_IAM_AUDIENCE";
    /// The audience of tokens for business APIs. Empty with Cognito.
    pub const OIDC_API_AUDIENCE: &str = "KEYWARD_OIDC_API_AUDIENCE";
    /// Where the IAM API is: a URL without a path.
    pub const API_URL: &str = "KEYWARD_API_URL";
    /// Where the console is, as a browser sees it: a URL without a path.
    pub const CONSOLE_URL: &str = "KEYWARD_CONSOLE_URL";
    /// The client that the console is, for the issuer.
    pub const CONSOLE_CLIENT_ID: &str = "KEYWARD_CONSOLE_CLIENT_ID";
    /// The audience that the console asks the issuer for: that of tokens for the
    /// IAM API. May be empty.
    pub const CONSOLE_AUDIENCE: &str = "KEYWARD_CONSOLE_AUDIENCE";
    /// The console's own secret: its name or ARN.
    pub const CONSOLE_SECRET: &str = "KEYWARD_CONSOLE_SECRET";
    /// The log level. None makes a function say less than `INFO`: metrics and
    /// alarms are made of its lines.
    pub const LOG_LEVEL: &str = "KEYWARD_LOG_LEVEL";
}

/// The most keys that an account can be allowed. Revoking all of them is one
/// transaction: the account, and a record and an event for each key. That makes
/// 61 actions of the 100 that `DynamoDB` takes.
const MAX_KEYS_CAP: usize = 30;

/// The longest lifetime of a key that can be allowed, in days.
const MAX_LIFETIME_CAP: u32 = 3650;

/// A variable is missing or not acceptable.
#[derive(Debug, thiserror::Error)]
#[error("the environment variable {name} {problem}")]
pub struct ConfigError {
    name: &'static str,
    problem: String,
}

/// The environment's variables.
#[derive(Clone, Debug, Default)]
pub struct Variables(HashMap<String, String>);

impl Variables {
    /// Those of this process.
    #[must_use]
    pub fn from_process() -> Self {
        Self(
            std::env::vars_os()
                .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
                .collect(),
        )
    }

    /// The variable `name`, if it is there.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Each variable's name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Reads the variable `name` with `parse`.
    ///
    /// # Errors
    /// When it is missing, or `parse` does not take it.
    pub fn read<T, E: ToString>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, ConfigError> {
        let value = self.get(name).ok_or_else(|| ConfigError { name, problem: "is not set".to_owned() })?;
        parse(value).map_err(|error| ConfigError {
            name,
            problem: format!("is not acceptable: {}", error.to_string()),
        })
    }

    /// Reads a text that must not be empty.
    ///
    /// # Errors
    /// When it is missing or empty.
    pub fn text(&self, name: &'static str) -> Result<String, ConfigError> {
        self.read(name, |value| if value.is_empty() { Err("it is empty") } else { Ok(value.to_owned()) })
    }

    /// Reads a text that may be empty.
    ///
    /// # Errors
    /// When it is missing.
    pub fn text_or_empty(&self, name: &'static str) -> Result<String, ConfigError> {
        self.read(name, |value| Ok::<_, String>(value.to_owned()))
    }

    /// Reads a comma-separated list of texts, which may be empty.
    ///
    /// # Errors
    /// When it is missing.
    pub fn list(&self, name: &'static str) -> Result<Vec<String>, ConfigError> {
        self.read(name, |value| {
            let parts = value.split(',').map(str::trim).filter(|part| !part.is_empty());
            Ok::<_, String>(parts.map(str::to_owned).collect())
        })
    }

    /// Reads a whole number of at least 1 and at most `most`.
    ///
    /// # Errors
    /// When it is missing or no such number.
    pub fn number(&self, name: &'static str, most: u32) -> Result<u32, ConfigError> {
        self.read(name, |value| {
            let number = value.parse::<u32>().ok().filter(|number| (1..=most).contains(number));
            number.ok_or_else(|| format!("it must be a whole number from 1 to {most}"))
        })
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Variables {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(variables: T) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// How long a call to AWS may take.
///
/// The SDK sets no limits by itself. A hanging attempt ends after 800 ms, so
/// that a second one, and part of a third, fit into the operation's 2.4 s, and
/// that into the authorizer's 3 s.
fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_millis(700))
        .operation_attempt_timeout(Duration::from_millis(800))
        .operation_timeout(Duration::from_millis(2400))
        .build()
}

/// The HTTP client of all SDK clients: TLS by rustls, with the system's CA roots.
#[must_use]
pub fn default_http_client() -> SharedHttpClient {
    Builder::new().tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc)).build_https()
}

/// What a function is made from: the variables, the way to AWS, the clock and
/// the random source. A test or local mode makes one of its own.
#[derive(Clone)]
pub struct Setup {
    /// The environment's variables.
    pub variables: Variables,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The random source.
    pub entropy: Arc<dyn Entropy>,
    /// The HTTP client of all SDK clients. The authorizer fetches JWKS with a client
    /// of its own.
    pub http_client: SharedHttpClient,
}

impl Setup {
    /// From this process's environment, the machine's clock and its random
    /// source.
    #[must_use]
    pub fn from_process() -> Self {
        Self {
            variables: Variables::from_process(),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
            http_client: default_http_client(),
        }
    }

    /// The store.
    ///
    /// # Errors
    /// When a variable is missing.
    pub fn store(&self) -> Result<Store, ConfigError> {
        let table = self.variables.text(variable::TABLE)?;
        let config = self.sdk_config("AWS_ENDPOINT_URL_DYNAMODB");
        Ok(Store::connect(&config, table, Arc::clone(&self.clock), Arc::clone(&self.entropy)))
    }

    /// The keyring.
    ///
    /// # Errors
    /// When a variable is missing.
    pub fn keyring(&self) -> Result<Keyring, ConfigError> {
        let secret = self.variables.text(variable::PEPPER_SECRET)?;
        let config = self.sdk_config("AWS_ENDPOINT_URL_SECRETS_MANAGER");
        Ok(Keyring::connect(&config, secret, Arc::clone(&self.clock)))
    }

    /// The rotation of the pepper. Which secret it is, the event says.
    #[must_use]
    pub fn pepper_rotation(&self) -> PepperRotation {
        let config = self.sdk_config("AWS_ENDPOINT_URL_SECRETS_MANAGER");
        PepperRotation::connect(&config, Arc::clone(&self.entropy))
    }

    /// Where notices are published.
    ///
    /// # Errors
    /// When a variable is missing.
    pub fn notices(&self) -> Result<Notices, ConfigError> {
        let config = self.sdk_config("AWS_ENDPOINT_URL_EVENTBRIDGE");
        Ok(Notices::connect(&config, self.environment()?))
    }

    /// The reader of the secret that the variable `name` names.
    ///
    /// # Errors
    /// When the variable is missing.
    pub fn secret(&self, name: &'static str) -> Result<SecretReader, ConfigError> {
        let secret = self.variables.text(name)?;
        let config = self.sdk_config("AWS_ENDPOINT_URL_SECRETS_MANAGER");
        Ok(SecretReader::connect(&config, secret))
    }

    /// The environment's label.
    ///
    /// # Errors
    /// When the variable is missing or no label.
    pub fn environment(&self) -> Result<Environment, ConfigError> {
        self.variables.read(variable::ENVIRONMENT, Environment::parse)
    }

    /// The built-in roles.
    ///
    /// # Errors
    /// When the variable is missing or names no prefixes.
    pub fn built_in_roles(&self) -> Result<BuiltInRoles, ConfigError> {
        self.variables.read(variable::DATA_PREFIXES, |list| {
            PathPrefix::parse_list(list).map(|prefixes| BuiltInRoles::new(&prefixes))
        })
    }

    /// The base paths of custom domains.
    ///
    /// # Errors
    /// When the variable is missing or names no paths.
    pub fn base_paths(&self) -> Result<Vec<PathPrefix>, ConfigError> {
        self.variables.read(variable::BASE_PATHS, PathPrefix::parse_list)
    }

    /// The kind of API that this authorizer function serves.
    ///
    /// # Errors
    /// When the variable is missing or not the name of a kind.
    pub fn authorizes(&self) -> Result<Api, ConfigError> {
        self.variables
            .read(variable::AUTHORIZES, |name| Api::parse(name).ok_or("it must be `iam` or `business`"))
    }

    /// The most live keys of an account.
    ///
    /// # Errors
    /// When the variable is missing or no number from 1 to 30.
    pub fn max_keys_per_account(&self) -> Result<usize, ConfigError> {
        let cap = u32::try_from(MAX_KEYS_CAP).unwrap_or(u32::MAX);
        let number = self.variables.number(variable::MAX_KEYS_PER_ACCOUNT, cap)?;
        Ok(usize::try_from(number).unwrap_or(MAX_KEYS_CAP))
    }

    /// The longest lifetime of a key, in days.
    ///
    /// # Errors
    /// When the variable is missing or no number from 1 to 3650.
    pub fn max_key_lifetime_days(&self) -> Result<u32, ConfigError> {
        self.variables.number(variable::MAX_KEY_LIFETIME_DAYS, MAX_LIFETIME_CAP)
    }

    /// What Lambda's environment says, and no more: the default provider chain
    /// would build an HTTP client of its own and load the CA roots again.
    fn sdk_config(&self, endpoint_variable: &str) -> SdkConfig {
        let endpoint =
            self.variables.get(endpoint_variable).or_else(|| self.variables.get("AWS_ENDPOINT_URL"));
        let region = self.variables.get("AWS_REGION").or_else(|| self.variables.get("AWS_DEFAULT_REGION"));
        let mut builder = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(self.credentials())
            .http_client(self.http_client.clone())
            .retry_config(
                RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(50)),
            )
            .timeout_config(timeouts())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        builder.set_region(region.map(|region| Region::new(region.to_owned())));
        builder.set_endpoint_url(endpoint.map(str::to_owned));
        builder.build()
    }

    fn credentials(&self) -> SharedCredentialsProvider {
        let get = |name: &str| self.variables.get(name).unwrap_or_default().to_owned();
        let token = self.variables.get("AWS_SESSION_TOKEN").map(str::to_owned);
        let credentials = Credentials::new(
            get("AWS_ACCESS_KEY_ID"),
            get("AWS_SECRET_ACCESS_KEY"),
            token,
            None,
            "environment",
        );
        SharedCredentialsProvider::new(credentials)
    }
}
