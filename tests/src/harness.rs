//! A new system for each test.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use authorizer::{Answer, Authorizer, FunctionError};
use clap::Parser as _;
use local::issuer::{IAM_CLIENT, SigningKey};
use local::{Options, Overrides, System};
use serde_json::Value;
use shared::config::{Variables, variable};
use shared::domain::Entropy;
use shared::policy::Api;
use tracing::level_filters::LevelFilter;

use crate::{Logs, RequestBuilder, SeededEntropy, Table, TestClock, Verdict, Wire, sharing};

/// The variable with the URL of a `DynamoDB` endpoint to use instead of the embedded engine.
const DYNAMODB: &str = "KEYWARD_TEST_DYNAMODB";

/// The time limit of a fast read in tests: that of an attempt of the SDK, because
/// many tests share a slow machine.
const FAST_READ_LIMIT: Duration = Duration::from_millis(800);

/// A running system on free ports, with its data in memory.
pub struct Harness {
    /// The system's clock.
    pub clock: Arc<TestClock>,
    /// The system's calls to AWS.
    pub wire: Wire,
    /// The system.
    pub system: System,
    /// Direct access to the table.
    pub table: Table,
    /// An HTTP client.
    pub client: reqwest::Client,
    folder: PathBuf,
}

/// The settings of a harness.
pub struct Builder {
    arguments: Vec<String>,
    entropy: Arc<dyn Entropy>,
    variables: Vec<(&'static str, String)>,
}

impl Harness {
    /// Starts a harness with the default settings.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// Returns the default settings, for a test that changes some.
    pub fn builder() -> Builder {
        Builder { arguments: Vec::new(), entropy: Arc::new(SeededEntropy::new(1)), variables: Vec::new() }
    }

    /// A request to the API.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder<'_> {
        RequestBuilder::new(self, method, path)
    }

    /// A token of the admin for the IAM API, issued now, whose claims `change` can modify.
    pub fn admin_token(&self, change: impl FnOnce(&mut Value)) -> String {
        let issuer = self.system.issuer();
        let mut claims = issuer.claims(IAM_CLIENT);
        change(&mut claims);
        sign(&issuer.header(), &claims)
    }

    /// Sends an event to the authorizer of the API with the event's path: the IAM API for paths
    /// below `/iam/`, and business APIs for all others.
    ///
    /// # Errors
    /// The authorizer's function error.
    pub async fn authorize(&self, event: &Value) -> Result<Answer, FunctionError> {
        let arn = event.get("routeArn").or_else(|| event.get("methodArn")).and_then(Value::as_str);
        let path = arn.and_then(|arn| arn.splitn(4, '/').nth(3)).unwrap_or_default();
        let api = if path.starts_with("iam/") { Api::Iam } else { Api::Business };
        self.authorize_at(api, event).await
    }

    /// The authorizer for business APIs.
    pub fn authorizer(&self) -> &Authorizer {
        self.system.authorizer(authorizer_of(Api::Business)).unwrap()
    }

    /// Sends an event to the authorizer of this kind of API.
    ///
    /// # Errors
    /// The authorizer's function error.
    pub async fn authorize_at(&self, api: Api, event: &Value) -> Result<Answer, FunctionError> {
        let authorizer = self.system.authorizer(authorizer_of(api)).unwrap();
        authorizer.answer(&event.to_string(), "invocation-1").await
    }

    /// The verdict of the authorizer of this kind of API.
    pub async fn verdict_at(&self, api: Api, event: &Value) -> Verdict {
        self.authorize_at(api, event).await.into()
    }

    /// The authorizer's verdict on an event.
    pub async fn verdict(&self, event: &Value) -> Verdict {
        self.authorize(event).await.into()
    }

    /// The authorizer's verdict on an event, and the reason in its log. Fails unless exactly one
    /// decision is logged.
    pub async fn decide(&self, event: &Value) -> (Verdict, String) {
        let logs = Logs::capture(LevelFilter::INFO);
        let verdict = self.verdict(event).await;
        let [decision] =
            <[Value; 1]>::try_from(logs.take_decisions()).expect("exactly one decision is logged");
        (verdict, decision["reason"].as_str().unwrap().to_owned())
    }

    /// A token with this header and these claims, signed with the issuer's key.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        sign(header, claims)
    }

    /// The environment of the function with this logical id, for a separate process.
    pub async fn variables_to_share(&self, function: &str) -> Variables {
        let setup = self.system.setup_for(function).unwrap();
        sharing::share(self.system.services(), &setup.variables).await
    }

    /// A new instance of the authorizer for business APIs, with its own caches.
    pub fn another_authorizer(&self) -> Authorizer {
        self.another_authorizer_of(Api::Business)
    }

    /// A new instance of the authorizer of this kind of API, with its own caches.
    pub fn another_authorizer_of(&self, api: Api) -> Authorizer {
        Authorizer::new(&self.system.setup_for(authorizer_of(api)).unwrap()).unwrap()
    }
}

/// The logical id of the authorizer of this kind of API.
fn authorizer_of(api: Api) -> &'static str {
    match api {
        Api::Iam => "IamAuthorizer",
        Api::Business => "Authorizer",
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Builder {
    /// Adds a command-line argument.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Sets the random source.
    #[must_use]
    pub fn entropy(mut self, entropy: impl Entropy + 'static) -> Self {
        self.entropy = Arc::new(entropy);
        self
    }

    /// Sets a variable for every function that has it in the template.
    #[must_use]
    pub fn variable(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    /// Starts the system.
    pub async fn start(self) -> Harness {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let unique = format!("keyward-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(&unique);
        let ports = ["--port=0", "--console-port=0", "--issuer-port=0", "--mcp-port=0"];
        let defaults =
            ["cargo dev", "--memory"].into_iter().chain(ports).chain(["--data"]).map(str::to_owned);
        let arguments = defaults.chain([folder.display().to_string()]).chain(self.arguments);
        let (clock, wire) = (Arc::new(TestClock::default()), Wire::default());
        let dynamodb = Variables::from_process().get(DYNAMODB).map(|endpoint| (endpoint.to_owned(), unique));
        let overrides = Overrides {
            clock: Arc::<TestClock>::clone(&clock),
            entropy: self.entropy,
            wrap_connector: Box::new({
                let wire = wire.clone();
                move |connector| wire.wrap(connector)
            }),
            fast_read_limit: FAST_READ_LIMIT,
            dynamodb,
            signing_key: Some(signing_key()),
            variables: self.variables,
            logs_to_file: false,
        };
        let system = System::start(&Options::parse_from(arguments), overrides).await.unwrap();
        let variables = system.setup_for("Authorizer").unwrap().variables;
        let endpoint = variables.get("AWS_ENDPOINT_URL_DYNAMODB").unwrap();
        let client =
            local::dynamodb_client(endpoint, local::services::http_client(system.services().connector()));
        let table = Table { client, name: variables.get(variable::TABLE).unwrap().to_owned() };
        let client =
            reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
        Harness { clock, wire, table, system, client: client.unwrap(), folder }
    }
}

/// A token with this header and these claims, signed by the issuer's key.
pub fn sign(header: &Value, claims: &Value) -> String {
    signing_key().sign(header, claims).unwrap()
}

/// The signing key of all tests in this process, because generating a key is slow.
fn signing_key() -> Arc<SigningKey> {
    static KEY: OnceLock<Arc<SigningKey>> = OnceLock::new();
    Arc::clone(KEY.get_or_init(|| Arc::new(SigningKey::generate().unwrap())))
}
