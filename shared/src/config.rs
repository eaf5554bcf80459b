//! Configuration from environment variables. Only this module reads the process
//! environment.

use std::collections::HashMap;
use std::sync::Arc;

use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use crate::domain::{Clock, Entropy, Environment, OsEntropy, SystemClock, UrlHosts};
use crate::keyring::{Keyring, RotatedSecrets, SecretRotation, TokenKeyring};
use crate::network::{self, Network};
use crate::notices::Notices;
use crate::policy::{Api, BuiltInRoles, PathPrefix};
use crate::secret::SecretReader;
use crate::store::{FAST_READ_LIMIT, FastReads, Store};

/// The names of the environment variables. The template sets each variable only on
/// the functions that read it.
pub mod variable {
    /// The environment's label, which is part of every key.
    pub const ENVIRONMENT: &str = "KEYWARD_ENVIRONMENT";
    /// The name of the `DynamoDB` table.
    pub const TABLE: &str = "KEYWARD_TABLE";
    /// The name or ARN of the pepper secret.
    pub const PEPPER_SECRET: &str = "KEYWARD_PEPPER_SECRET";
    /// The name or ARN of the token key secret.
    pub const TOKEN_KEY_SECRET: &str = "KEYWARD_TOKEN_KEY_SECRET";
    /// The path prefixes that the Writer and Reader roles can access, separated by
    /// commas.
    pub const DATA_PREFIXES: &str = "KEYWARD_DATA_PREFIXES";
    /// The kind of API that an authorizer function serves: `iam` or `business`.
    pub const AUTHORIZES: &str = "KEYWARD_AUTHORIZES";
    /// The base paths of custom domains, separated by commas. Can be empty.
    pub const BASE_PATHS: &str = "KEYWARD_BASE_PATHS";
    /// Whether the authorizer records the source addresses of requests, in the table
    /// and in its log: `true` or `false`.
    pub const RECORD_SOURCE_ADDRESSES: &str = "KEYWARD_RECORD_SOURCE_ADDRESSES";
    /// The maximum lifetime of a key, in days.
    pub const MAX_KEY_LIFETIME_DAYS: &str = "KEYWARD_MAX_KEY_LIFETIME_DAYS";
    /// The maximum number of live keys per account.
    pub const MAX_KEYS_PER_ACCOUNT: &str = "KEYWARD_MAX_KEYS_PER_ACCOUNT";
    /// The issuer of admin users' access tokens.
    pub const OIDC_ISSUER: &str = "KEYWARD_OIDC_ISSUER";
    /// The URL of the issuer's public keys.
    pub const OIDC_JWKS_URI: &str = "KEYWARD_OIDC_JWKS_URI";
    /// The token claim that lists a user's groups.
    pub const OIDC_GROUPS_CLAIM: &str = "KEYWARD_OIDC_GROUPS_CLAIM";
    /// The group whose members are admin users.
    pub const ADMIN_GROUP: &str = "KEYWARD_ADMIN_GROUP";
    /// The IDs of the clients whose tokens work only at the IAM API, separated by
    /// commas.
    pub const IAM_CLIENT_IDS: &str = "KEYWARD_IAM_CLIENT_IDS";
    /// The IDs of the clients whose tokens work only at business APIs, separated by
    /// commas.
    pub const API_CLIENT_IDS: &str = "KEYWARD_API_CLIENT_IDS";
    /// The audience of tokens for the IAM API. Empty with Cognito, whose access
    /// tokens have no audience.
    pub const OIDC_IAM_AUDIENCE: &str = "KEYWARD_OIDC_IAM_AUDIENCE";
    /// The audience of tokens for business APIs. Empty with Cognito.
    pub const OIDC_API_AUDIENCE: &str = "KEYWARD_OIDC_API_AUDIENCE";
    /// The URL of the IAM API, without a path.
    pub const API_URL: &str = "KEYWARD_API_URL";
    /// The URL of the console in a browser, without a path.
    pub const CONSOLE_URL: &str = "KEYWARD_CONSOLE_URL";
    /// The URL of the MCP server in front of the names of APIs, such as
    /// `https://mcp.example.com/mcp`.
    pub const MCP_URL: &str = "KEYWARD_MCP_URL";
    /// The console's client ID at the issuer.
    pub const CONSOLE_CLIENT_ID: &str = "KEYWARD_CONSOLE_CLIENT_ID";
    /// The audience that the console requests from the issuer: the audience of tokens
    /// for the IAM API. Can be empty.
    pub const CONSOLE_AUDIENCE: &str = "KEYWARD_CONSOLE_AUDIENCE";
    /// The name or ARN of the console's secret.
    pub const CONSOLE_SECRET: &str = "KEYWARD_CONSOLE_SECRET";
    /// Whether the URLs of trusted issuers and protected APIs can name this machine: `true` or
    /// not set. Only for local mode and tests. A function on Lambda refuses to start with it.
    pub const LOOPBACK_HOSTS: &str = "KEYWARD_LOOPBACK_HOSTS";
    /// The name of the function that exchanges credentials for tokens.
    pub const EXCHANGE_FUNCTION: &str = "KEYWARD_EXCHANGE_FUNCTION";
    /// The URL of the IAM API, without a path, which is the authorization server of the MCP
    /// server.
    pub const IAM_URL: &str = "KEYWARD_IAM_URL";
    /// The hosts of the MCP server, each with its port if it is not the scheme's default,
    /// separated by commas.
    pub const MCP_HOSTS: &str = "KEYWARD_MCP_HOSTS";
    /// The log level. No value can turn off `INFO` lines, because metrics and alarms
    /// are computed from them.
    pub const LOG_LEVEL: &str = "KEYWARD_LOG_LEVEL";
}

/// The variable that Lambda sets on every function.
const LAMBDA_RUNTIME: &str = "AWS_LAMBDA_RUNTIME_API";

/// The upper limit of [`variable::MAX_KEYS_PER_ACCOUNT`]: [`MAX_GRANTS`](crate::domain::MAX_GRANTS),
/// which also counts federated identities.
const MAX_KEYS_LIMIT: u16 = 40;

/// The upper limit of [`variable::MAX_KEY_LIFETIME_DAYS`], in days.
const MAX_LIFETIME_LIMIT: u16 = 3650;

/// An environment variable is missing or invalid.
#[derive(Debug, thiserror::Error)]
#[error("the environment variable {name} {problem}")]
pub struct ConfigError {
    name: &'static str,
    problem: String,
}

/// The environment variables of a function.
#[derive(Clone, Debug, Default)]
pub struct Variables(HashMap<String, String>);

impl Variables {
    /// The variables of this process.
    #[must_use]
    pub fn from_process() -> Self {
        Self(
            std::env::vars_os()
                .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
                .collect(),
        )
    }

    /// The value of the variable `name`, if the variable is set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The name and value of each variable.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Parses the variable `name` with `parse`, whose error completes a sentence that
    /// starts with the name, such as "must not be empty".
    ///
    /// # Errors
    /// The variable is missing, or `parse` rejects its value.
    pub fn read<T, E: ToString>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, ConfigError> {
        let value = self.get(name).ok_or_else(|| ConfigError { name, problem: "is not set".to_owned() })?;
        parse(value).map_err(|error| ConfigError { name, problem: error.to_string() })
    }

    /// Reads a variable whose value must not be empty.
    ///
    /// # Errors
    /// The variable is missing or empty.
    pub fn text(&self, name: &'static str) -> Result<String, ConfigError> {
        self.read(
            name,
            |value| if value.is_empty() { Err("must not be empty") } else { Ok(value.to_owned()) },
        )
    }

    /// Reads a variable whose value can be empty.
    ///
    /// # Errors
    /// The variable is missing.
    pub fn text_or_empty(&self, name: &'static str) -> Result<String, ConfigError> {
        self.read(name, |value| Ok::<_, String>(value.to_owned()))
    }

    /// Reads a comma-separated list, which can be empty.
    ///
    /// # Errors
    /// The variable is missing.
    pub fn list(&self, name: &'static str) -> Result<Vec<String>, ConfigError> {
        self.read(name, |value| {
            let parts = value.split(',').map(str::trim).filter(|part| !part.is_empty());
            Ok::<_, String>(parts.map(str::to_owned).collect())
        })
    }

    /// Reads a whole number from 1 to `max`.
    fn number(&self, name: &'static str, max: u16) -> Result<u16, ConfigError> {
        self.read(name, |value| {
            let number = value.parse::<u16>().ok().filter(|number| (1..=max).contains(number));
            number.ok_or_else(|| format!("must be a whole number from 1 to {max}"))
        })
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Variables {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(variables: T) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// Everything that a function is created from: environment variables, HTTP client,
/// clock and random source. Tests and local mode create their own setups.
#[derive(Clone)]
pub struct Setup {
    /// The environment variables.
    pub variables: Variables,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The random source.
    pub entropy: Arc<dyn Entropy>,
    /// The HTTP client of all AWS SDK clients. Calls to the issuer and to the IAM API
    /// use [`HttpClient`](crate::http_client::HttpClient) instead.
    pub http_client: SharedHttpClient,
    /// How the authorizer's fast reads reach DynamoDB. `None` if it makes all reads
    /// through the SDK.
    pub fast_reads: Option<FastReads>,
}

impl Setup {
    /// The setup from this process's environment, the system clock and the operating
    /// system's random source.
    #[must_use]
    pub fn from_process() -> Self {
        Self {
            variables: Variables::from_process(),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
            http_client: network::sdk_http_client(),
            fast_reads: Some(FastReads { connect: Arc::new(Network), limit: FAST_READ_LIMIT }),
        }
    }

    /// The store.
    ///
    /// # Errors
    /// A variable is missing or invalid.
    pub fn store(&self) -> Result<Store, ConfigError> {
        let table = self.variables.text(variable::TABLE)?;
        let config = self.sdk_config("AWS_ENDPOINT_URL_DYNAMODB");
        Ok(Store::connect(&config, table, Arc::clone(&self.clock), Arc::clone(&self.entropy)))
    }

    /// The store of a function that reads more often than it writes, with fast reads.
    ///
    /// # Errors
    /// A variable is missing or invalid.
    pub fn fast_store(&self) -> Result<Store, ConfigError> {
        let (store, config) = (self.store()?, self.sdk_config("AWS_ENDPOINT_URL_DYNAMODB"));
        Ok(match &self.fast_reads {
            Some(reads) => store.with_fast_reads(&config, reads.clone()),
            None => store,
        })
    }

    /// The keyring.
    ///
    /// # Errors
    /// A variable is missing or invalid.
    pub fn keyring(&self) -> Result<Keyring, ConfigError> {
        let secret = self.variables.text(variable::PEPPER_SECRET)?;
        let config = self.sdk_config("AWS_ENDPOINT_URL_SECRETS_MANAGER");
        Ok(Keyring::connect(&config, secret, Arc::clone(&self.clock)))
    }

    /// The keyring of the token keys.
    ///
    /// # Errors
    /// A variable is missing or invalid.
    pub fn token_keyring(&self) -> Result<TokenKeyring, ConfigError> {
        let secret = self.variables.text(variable::TOKEN_KEY_SECRET)?;
        let config = self.sdk_config("AWS_ENDPOINT_URL_SECRETS_MANAGER");
        Ok(TokenKeyring::connect(&config, secret, Arc::clone(&self.clock)))
    }

    /// The rotation of the pepper and the token key.
    ///
    /// # Errors
    /// A variable is missing or invalid.
    pub fn secret_rotation(&self) -> Result<SecretRotation, ConfigError> {
        let secrets = RotatedSecrets {
            pepper: self.variables.text(variable::PEPPER_SECRET)?,
            token_key: self.variables.text(variable::TOKEN_KEY_SECRET)?,
        };
        let config = self.sdk_config("AWS_ENDPOINT_URL_SECRETS_MANAGER");
        Ok(SecretRotation::connect(&config, secrets, Arc::clone(&self.clock), Arc::clone(&self.entropy)))
    }

    /// The configuration of a client of Lambda.
    pub fn lambda_config(&self) -> SdkConfig {
        self.sdk_config("AWS_ENDPOINT_URL_LAMBDA")
    }

    /// The publisher of notices.
    ///
    /// # Errors
    /// A variable is missing or invalid.
    pub fn notices(&self) -> Result<Notices, ConfigError> {
        let config = self.sdk_config("AWS_ENDPOINT_URL_EVENTBRIDGE");
        Ok(Notices::connect(&config, self.environment()?))
    }

    /// The reader of the secret whose name or ARN is in the variable `name`.
    ///
    /// # Errors
    /// The variable is missing or empty.
    pub fn secret(&self, name: &'static str) -> Result<SecretReader, ConfigError> {
        let secret = self.variables.text(name)?;
        let config = self.sdk_config("AWS_ENDPOINT_URL_SECRETS_MANAGER");
        Ok(SecretReader::connect(&config, secret))
    }

    /// The environment's label.
    ///
    /// # Errors
    /// The variable is missing or not a valid label.
    pub fn environment(&self) -> Result<Environment, ConfigError> {
        self.variables.read(variable::ENVIRONMENT, Environment::parse)
    }

    /// The built-in roles.
    ///
    /// # Errors
    /// The variable is missing or contains an invalid prefix.
    pub fn built_in_roles(&self) -> Result<BuiltInRoles, ConfigError> {
        self.variables.read(variable::DATA_PREFIXES, |list| {
            PathPrefix::parse_list(list).map(|prefixes| BuiltInRoles::new(&prefixes))
        })
    }

    /// The base paths of custom domains.
    ///
    /// # Errors
    /// The variable is missing or contains an invalid path.
    pub fn base_paths(&self) -> Result<Vec<PathPrefix>, ConfigError> {
        self.variables.read(variable::BASE_PATHS, PathPrefix::parse_list)
    }

    /// The kind of API that this authorizer function serves.
    ///
    /// # Errors
    /// The variable is missing or neither `iam` nor `business`.
    pub fn authorizes(&self) -> Result<Api, ConfigError> {
        self.variables
            .read(variable::AUTHORIZES, |name| Api::parse(name).ok_or("must be `iam` or `business`"))
    }

    /// Whether the source addresses of requests are recorded.
    ///
    /// # Errors
    /// The variable is missing or neither `true` nor `false`.
    pub fn records_source_addresses(&self) -> Result<bool, ConfigError> {
        self.variables.read(variable::RECORD_SOURCE_ADDRESSES, |value| {
            value.parse().map_err(|_| "must be `true` or `false`")
        })
    }

    /// The hosts that the URLs of trusted issuers and protected APIs can name.
    ///
    /// # Errors
    /// The variable is neither `true` nor `false`, or it is `true` on Lambda.
    pub fn url_hosts(&self) -> Result<UrlHosts, ConfigError> {
        let name = variable::LOOPBACK_HOSTS;
        if self.variables.get(name).is_none() {
            return Ok(UrlHosts::Public);
        }
        let is_on_lambda = self.variables.get(LAMBDA_RUNTIME).is_some();
        self.variables.read(name, |value| match value {
            "true" if is_on_lambda => Err("must not be `true` on Lambda"),
            "true" => Ok(UrlHosts::PublicAndLoopback),
            "false" => Ok(UrlHosts::Public),
            _ => Err("must be `true` or `false`"),
        })
    }

    /// The maximum number of live keys per account.
    ///
    /// # Errors
    /// The variable is missing or not a whole number from 1 to 40.
    pub fn max_keys_per_account(&self) -> Result<usize, ConfigError> {
        self.variables.number(variable::MAX_KEYS_PER_ACCOUNT, MAX_KEYS_LIMIT).map(usize::from)
    }

    /// The maximum lifetime of a key, in days.
    ///
    /// # Errors
    /// The variable is missing or not a whole number from 1 to 3650.
    pub fn max_key_lifetime_days(&self) -> Result<u32, ConfigError> {
        self.variables.number(variable::MAX_KEY_LIFETIME_DAYS, MAX_LIFETIME_LIMIT).map(u32::from)
    }

    /// The SDK configuration, only from Lambda's environment variables. The default
    /// provider chain would create a second HTTP client and load the CA roots again.
    fn sdk_config(&self, endpoint_variable: &str) -> SdkConfig {
        let endpoint =
            self.variables.get(endpoint_variable).or_else(|| self.variables.get("AWS_ENDPOINT_URL"));
        let region = self.variables.get("AWS_REGION").or_else(|| self.variables.get("AWS_DEFAULT_REGION"));
        let mut builder = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(self.credentials())
            .http_client(self.http_client.clone())
            .retry_config(network::retries(network::MAX_ATTEMPTS))
            .timeout_config(network::timeouts(network::CALL_LIMIT))
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        builder.set_region(region.map(|region| Region::new(region.to_owned())));
        builder.set_endpoint_url(endpoint.map(str::to_owned));
        let is_on = |name: &str| self.variables.get(name).map(|value| value.eq_ignore_ascii_case("true"));
        builder.set_use_fips(is_on("AWS_USE_FIPS_ENDPOINT"));
        builder.set_use_dual_stack(is_on("AWS_USE_DUALSTACK_ENDPOINT"));
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
