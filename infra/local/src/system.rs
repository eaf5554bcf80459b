//! The running system.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use authorizer::Authorizer;
use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use dynoxide::Database;
use rotate_secret::{Event, RotateSecret};
use serde::Serialize;
use shared::config::{Setup, Variables, variable};
use shared::domain::{Clock, Entropy, OsEntropy, SystemClock};
use shared::keyring::{Progress, RotationError, RotationStep};
use shared::store::{FAST_READ_LIMIT, FastReads};
use sweep_keys::SweepKeys;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::instrument::WithSubscriber as _;
use tracing::subscriber::NoSubscriber;

use crate::account::{self, ADMIN_EMAIL, ConsoleSecret, LocalAccount};
use crate::agents;
use crate::backend::Backend;
use crate::data::{DataFolder, LOCAL_JSON};
use crate::demo::{self, Demo, DemoClock};
use crate::functions::Functions;
use crate::gateway::Gateway;
use crate::guard::Guard;
use crate::issuer::{
    ADMIN_GROUP, API_CLIENT, CONSOLE_CLIENT, ConsoleClient, GROUPS_CLAIM, IAM_CLIENT, Issuer, SigningKey,
};
use crate::options::Options;
use crate::registration::Registration;
use crate::secrets::{NamedSecrets, Secrets};
use crate::server::{self, Stop};
use crate::services::{self, InProcess, Services};
use crate::template::Template;
use crate::{StartError, database, log, notices, secrets, welcome};

/// Parts that a test can replace.
pub struct Overrides {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    /// Wraps the connector that the functions use.
    pub wrap_connector: Box<dyn FnOnce(SharedHttpConnector) -> SharedHttpConnector + Send>,
    /// The time limit of one fast read.
    pub fast_read_limit: Duration,
    /// The endpoint of a DynamoDB to use instead of the embedded one, and the table's
    /// name.
    pub dynamodb: Option<(String, String)>,
    /// The issuer's key. By default, a new one.
    pub signing_key: Option<Arc<SigningKey>>,
    /// Variables, with values that replace the default ones.
    pub variables: Vec<(&'static str, String)>,
    /// Whether the log goes to a file in the data folder. If not, it goes to the caller's
    /// subscriber.
    pub logs_to_file: bool,
}

impl Default for Overrides {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
            wrap_connector: Box::new(|connector| connector),
            fast_read_limit: FAST_READ_LIMIT,
            dynamodb: None,
            signing_key: None,
            variables: Vec::new(),
            logs_to_file: true,
        }
    }
}

/// The contents of `local.json`, for scripts.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalJson {
    pub api: String,
    pub console: String,
    pub issuer: String,
    /// The URL of the MCP server. A slash and the name of a registered API follow it.
    pub mcp: String,
    /// The admin's token for the IAM API.
    pub admin_token: String,
    /// The admin's token for business APIs.
    pub admin_api_token: String,
    pub admin_email: String,
    pub admin_password: String,
    /// Like `ACTIONS_ID_TOKEN_REQUEST_URL` in a job of GitHub Actions.
    pub workload_token_url: String,
    /// Like `ACTIONS_ID_TOKEN_REQUEST_TOKEN`.
    pub workload_token_bearer: String,
}

/// The running system. Dropping it stops it.
pub struct System {
    facts: LocalJson,
    welcome: String,
    storage: String,
    services: Services,
    setup: Setup,
    values: Variables,
    template: Template,
    authorizers: HashMap<String, Arc<Authorizer>>,
    sweep_keys: Arc<SweepKeys>,
    published: notices::Published,
    issuer: Issuer,
    secrets: NamedSecrets,
    rotate_secret: Arc<RotateSecret>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    _data: DataFolder,
}

/// Refuses to run if Lambda's variables are set.
///
/// # Errors
/// [`StartError::InsideLambda`].
pub fn refuse_inside_lambda(variables: &Variables) -> Result<(), StartError> {
    let lambda = ["AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT"];
    match lambda.into_iter().find(|name| variables.get(name).is_some()) {
        Some(name) => Err(StartError::InsideLambda(name)),
        None => Ok(()),
    }
}

impl System {
    /// Starts everything.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(options: &Options, overrides: Overrides) -> Result<Self, StartError> {
        if !options.host.is_loopback() {
            return Err(StartError::NotLoopback(options.host));
        }
        let backend = Backend::new(options.upstream.as_deref(), options.demo)?;
        let registration = options.openapi.as_deref().map(Registration::read).transpose()?;
        let template = Template::read()?;
        let data = DataFolder::open(&options.data)?;
        if options.demo && !options.memory {
            data.refuse_database()?;
        }
        // Binds the ports first, so that a start that fails because of a port creates no
        // database.
        let Ports {
            api: (api_listener, api),
            console: (console_listener, console_address),
            issuer: (issuer_listener, issuer_address),
            mcp: (mcp_listener, mcp),
        } = Ports::bind(options).await?;
        if overrides.logs_to_file {
            log::start(&data, options)?;
        }
        let account = account(options, &data)?;
        let console_secret = ConsoleSecret::generate(&OsEntropy)?;
        let (stop, stopped) = Stop::channel();
        let mut tasks = Vec::new();

        let (database, (dynamodb, table)) = open_database(options, &data, overrides.dynamodb)?;
        let secrets = named_secrets(&account, &console_secret);
        let published = notices::Published::default();
        let services = Services::new(database.clone(), secrets.clone(), Arc::clone(&published));

        let (api_url, console_url) = (format!("http://{api}"), format!("http://{console_address}"));
        // A test can give the console another URL, such as one behind TLS.
        let other = overrides.variables.iter().find(|(name, _)| *name == variable::CONSOLE_URL);
        let seen_console_url = other.map_or(&console_url, |(_, url)| url);
        let console_guard = Guard::for_console(console_address, seen_console_url);
        let issuer = Issuer::new(
            format!("http://{issuer_address}"),
            overrides.signing_key.map_or_else(|| SigningKey::generate().map(Arc::new), Ok)?,
            Arc::clone(&overrides.clock),
            account.admin_password.clone(),
            account::text(&OsEntropy, 40)?,
            ConsoleClient::new(seen_console_url, console_secret.client_secret),
        );
        let guard = Guard::new(issuer_address);
        tasks.push(server::serve(issuer_listener, guard, issuer.clone().router(), stopped.clone()));

        let connector = (overrides.wrap_connector)(services.connector());
        let setup = Setup {
            variables: lambda_variables(&dynamodb),
            clock: Arc::clone(&overrides.clock),
            entropy: overrides.entropy,
            http_client: services::http_client(connector.clone()),
            fast_reads: Some(FastReads {
                connect: Arc::new(InProcess(connector)),
                limit: overrides.fast_read_limit,
            }),
        };
        let client = database::client(&dynamodb, services::http_client(services.connector()));
        database::create_table(&client, &template, &table).await?;
        let mut own = addresses(&api_url, &console_url, mcp);
        own.extend(overrides.variables);
        let values = values(options, &table, &issuer, own);
        let functions = Functions::new(&template, &setup, &values)?;
        services.set_exchange_token(&functions.exchange_token);
        let demo =
            create_demo((options, &data), (&template, &api_url), &setup, &values, database.as_ref()).await?;
        // The notices of the demo are weeks old.
        published.lock().map(|mut published| published.clear()).unwrap_or_default();
        let authorizers = functions.authorizers.clone();
        let rotate_secret = Arc::clone(&functions.rotate_secret);
        let sweep_keys = Arc::clone(&functions.sweep_keys);
        let (console, mcp_server) = (Arc::clone(&functions.console), Arc::clone(&functions.mcp));
        let gateway = Gateway { routes: template.routes()?, functions, backend, clock: overrides.clock };
        tasks.push(server::serve(api_listener, Guard::new(api), gateway.router(), stopped.clone()));
        let agents = agents::router(&mcp_server);
        tasks.push(server::serve(mcp_listener, Guard::new(mcp), agents, stopped.clone()));

        let facts = facts((api_url, console_url, mcp), &issuer, account.admin_password)?;
        if let Some(registration) = &registration {
            registration.send(&facts).await?;
        }
        data.write(LOCAL_JSON, &facts)?;
        let storage = storage(options, &data);
        let api = registration.as_ref().map(|registration| registration.name.as_str());
        let welcome = welcome::text(&data, options, &storage, &facts, (demo.as_ref(), api));
        tasks.push(server::serve(console_listener, console_guard, console.router(), stopped));
        Ok(Self {
            facts,
            welcome,
            storage,
            services,
            setup,
            values,
            template,
            authorizers,
            sweep_keys,
            published,
            issuer,
            secrets,
            rotate_secret,
            stop,
            tasks,
            _data: data,
        })
    }

    /// The contents of `local.json`.
    #[must_use]
    pub fn facts(&self) -> &LocalJson {
        &self.facts
    }

    /// The start-up text.
    #[must_use]
    pub fn welcome(&self) -> &str {
        &self.welcome
    }

    /// One sentence that says where data is stored.
    #[must_use]
    pub fn storage(&self) -> &str {
        &self.storage
    }

    /// The authorizer with this logical id in the template.
    #[must_use]
    pub fn authorizer(&self, name: &str) -> Option<&Arc<Authorizer>> {
        self.authorizers.get(name)
    }

    /// The sweep of keys. It runs only when the caller starts it.
    #[must_use]
    pub fn sweep_keys(&self) -> &Arc<SweepKeys> {
        &self.sweep_keys
    }

    /// The entries that were published on `EventBridge` since the last call.
    #[must_use]
    pub fn take_published(&self) -> Vec<serde_json::Value> {
        self.published.lock().map(|mut published| std::mem::take(&mut *published)).unwrap_or_default()
    }

    /// Logs the notices that were published since the last call.
    pub fn log_published(&self) {
        notices::log(&self.take_published());
    }

    /// The setup of the function with this logical id, with exactly the variables
    /// that the template gives it.
    ///
    /// # Errors
    /// [`StartError::Template`] if the template has no function with this id.
    pub fn setup_for(&self, function: &str) -> Result<Setup, StartError> {
        Functions::setup_for(&self.template, &self.setup, &self.values, function)
    }

    /// The AWS services in this process.
    #[must_use]
    pub fn services(&self) -> &Services {
        &self.services
    }

    #[must_use]
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The pepper secret.
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        &self.secrets.pepper
    }

    /// The token key secret.
    #[must_use]
    pub fn token_key_secrets(&self) -> &Secrets {
        &self.secrets.token_key
    }

    /// The console's secret.
    #[must_use]
    pub fn console_secrets(&self) -> &Secrets {
        &self.secrets.console
    }

    /// Runs one step of the rotation `token` of the pepper, as Secrets Manager does by
    /// invoking the function.
    ///
    /// # Errors
    /// The function's error.
    pub async fn rotate_pepper(&self, step: RotationStep, token: &str) -> Result<Progress, RotationError> {
        self.rotate(secrets::SECRET_ID, step, token).await
    }

    /// Runs one step of the rotation `token` of the token key, like
    /// [`rotate_pepper`](Self::rotate_pepper).
    ///
    /// # Errors
    /// The function's error.
    pub async fn rotate_token_key(&self, step: RotationStep, token: &str) -> Result<Progress, RotationError> {
        self.rotate(secrets::TOKEN_KEY_SECRET_ID, step, token).await
    }

    async fn rotate(&self, secret: &str, step: RotationStep, token: &str) -> Result<Progress, RotationError> {
        let event = Event { step, secret_id: secret.to_owned(), client_request_token: token.to_owned() };
        self.rotate_secret.answer(&event).await
    }

    /// Stops the system after the requests in progress have ended, or after 2 s.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let all = futures::future::join_all(self.tasks);
        // An idle keep-alive connection must not delay the end for longer.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(2), all).await;
    }
}

/// The listener and the address of each server.
struct Ports {
    api: (TcpListener, SocketAddr),
    console: (TcpListener, SocketAddr),
    issuer: (TcpListener, SocketAddr),
    mcp: (TcpListener, SocketAddr),
}

impl Ports {
    async fn bind(options: &Options) -> Result<Self, StartError> {
        let host = options.host;
        Ok(Self {
            api: server::bind(host, options.port, "the API", "--port").await?,
            console: server::bind(host, options.console_port, "the console", "--console-port").await?,
            issuer: server::bind(host, options.issuer_port, "the issuer", "--issuer-port").await?,
            mcp: server::bind(host, options.mcp_port, "the MCP server", "--mcp-port").await?,
        })
    }
}

/// The contents of `local.json`.
fn facts(
    (api, console, mcp): (String, String, SocketAddr),
    issuer: &Issuer,
    admin_password: String,
) -> Result<LocalJson, StartError> {
    Ok(LocalJson {
        api,
        console,
        issuer: issuer.url().to_owned(),
        mcp: mcp_url(mcp),
        admin_token: issuer.token(IAM_CLIENT)?,
        admin_api_token: issuer.token(API_CLIENT)?,
        admin_email: ADMIN_EMAIL.to_owned(),
        admin_password,
        workload_token_url: issuer.workload_token_url(),
        workload_token_bearer: issuer.workload_bearer().to_owned(),
    })
}

/// With `--demo`, creates the demo data through functions whose clock is in the past. These
/// functions log nothing.
async fn create_demo(
    (options, data): (&Options, &DataFolder),
    (template, url): (&Template, &str),
    setup: &Setup,
    values: &Variables,
    database: Option<&Database>,
) -> Result<Option<Demo>, StartError> {
    if !options.demo {
        return Ok(None);
    }
    if !options.memory {
        data.begin_demo()?;
    }
    eprintln!("Creating the demo data. This can take ten seconds.\n");
    let clock = Arc::new(DemoClock::default());
    let past = Setup { clock: Arc::<DemoClock>::clone(&clock), ..setup.clone() };
    let functions = Functions::new(template, &past, values)?;
    let (routes, backend) = (template.routes()?, Backend::Echo);
    let gateway = Gateway { routes, functions, backend, clock: Arc::<DemoClock>::clone(&clock) };
    if let Some(database) = database {
        database::set_bulk_loading(database, true)?;
    }
    let demo =
        demo::create(&gateway, url, &clock, setup.clock.now()).with_subscriber(NoSubscriber::default());
    let demo = Box::pin(demo).await?;
    if let Some(database) = database {
        database::set_bulk_loading(database, false)?;
    }
    if !options.memory {
        data.finish_demo()?;
    }
    Ok(Some(demo))
}

/// The stored admin password and pepper, or new ones.
fn account(options: &Options, data: &DataFolder) -> Result<LocalAccount, StartError> {
    if options.memory {
        Ok(LocalAccount::generate(&OsEntropy)?)
    } else {
        LocalAccount::load(data, &OsEntropy)
    }
}

fn named_secrets(account: &LocalAccount, console: &ConsoleSecret) -> NamedSecrets {
    NamedSecrets {
        pepper: Secrets::new(account.keyring()),
        token_key: Secrets::new(account.token_keys()),
        console: Secrets::new(console.value()),
    }
}

/// One sentence that says where data is stored.
fn storage(options: &Options, data: &DataFolder) -> String {
    if options.memory {
        "Data is in memory and is lost when it stops.".to_owned()
    } else {
        format!("Data is stored in {}.", data.path.display())
    }
}

/// The embedded database, if `elsewhere` does not name another one, and the endpoint and table of
/// the database.
fn open_database(
    options: &Options,
    data: &DataFolder,
    elsewhere: Option<(String, String)>,
) -> Result<(Option<Database>, (String, String)), StartError> {
    if let Some(elsewhere) = elsewhere {
        return Ok((None, elsewhere));
    }
    let database = database::open((!options.memory).then_some(data))?;
    Ok((Some(database), (services::ENDPOINT.to_owned(), "keyward".to_owned())))
}

/// The variables that Lambda sets for every function, and the one that lets Keyward trust the
/// local issuer.
fn lambda_variables(dynamodb: &str) -> Variables {
    Variables::from_iter([
        ("AWS_REGION", "local"),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
        ("AWS_ENDPOINT_URL_DYNAMODB", dynamodb),
        ("AWS_ENDPOINT_URL_EVENTBRIDGE", services::ENDPOINT),
        ("AWS_ENDPOINT_URL_LAMBDA", services::ENDPOINT),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", services::ENDPOINT),
        (variable::LOOPBACK_HOSTS, "true"),
    ])
}

/// The variables with the addresses of the servers.
fn addresses(api_url: &str, console_url: &str, mcp: SocketAddr) -> Vec<(&'static str, String)> {
    vec![
        (variable::API_URL, api_url.to_owned()),
        (variable::CONSOLE_URL, console_url.to_owned()),
        (variable::IAM_URL, api_url.to_owned()),
        (variable::MCP_HOSTS, agents::hosts(mcp)),
        (variable::MCP_URL, mcp_url(mcp)),
    ]
}

/// The URL of the MCP server, without the name of an API.
fn mcp_url(address: SocketAddr) -> String {
    format!("http://{address}/mcp")
}

/// The values of the template's parameters and resources in local mode.
fn values(options: &Options, table: &str, issuer: &Issuer, others: Vec<(&'static str, String)>) -> Variables {
    let mut values = vec![
        (variable::TABLE, table.to_owned()),
        (variable::ENVIRONMENT, options.environment.as_str().to_owned()),
        (variable::PEPPER_SECRET, secrets::SECRET_ID.to_owned()),
        (variable::TOKEN_KEY_SECRET, secrets::TOKEN_KEY_SECRET_ID.to_owned()),
        (variable::DATA_PREFIXES, options.data_prefixes.to_string()),
        (variable::BASE_PATHS, String::new()),
        (variable::RECORD_SOURCE_ADDRESSES, "true".to_owned()),
        (variable::MAX_KEY_LIFETIME_DAYS, "365".to_owned()),
        (variable::MAX_KEYS_PER_ACCOUNT, "20".to_owned()),
        (variable::OIDC_ISSUER, issuer.url().to_owned()),
        (variable::OIDC_JWKS_URI, issuer.jwks_uri()),
        (variable::OIDC_GROUPS_CLAIM, GROUPS_CLAIM.to_owned()),
        (variable::ADMIN_GROUP, ADMIN_GROUP.to_owned()),
        (variable::IAM_CLIENT_IDS, format!("{CONSOLE_CLIENT},{IAM_CLIENT}")),
        (variable::CONSOLE_CLIENT_ID, CONSOLE_CLIENT.to_owned()),
        (variable::CONSOLE_AUDIENCE, String::new()),
        (variable::CONSOLE_SECRET, secrets::CONSOLE_SECRET_ID.to_owned()),
        (variable::API_CLIENT_IDS, API_CLIENT.to_owned()),
        // Empty, as with Cognito, whose access tokens have no audience.
        (variable::OIDC_IAM_AUDIENCE, String::new()),
        (variable::OIDC_API_AUDIENCE, String::new()),
        (variable::EXCHANGE_FUNCTION, services::EXCHANGE_FUNCTION.to_owned()),
    ];
    values.extend(others);
    Variables::from_iter(values)
}
