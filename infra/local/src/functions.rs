//! The deployed functions, by their logical ids in the template.

use std::collections::HashMap;
use std::sync::Arc;

use authorizer::Authorizer;
use console::Console;
use exchange_token::ExchangeToken;
use futures::future::BoxFuture;
use lambda_http::{Body, Request, Response};
use mcp::Mcp;
use rotate_secret::RotateSecret;
use shared::config::{ConfigError, Setup, Variables};
use shared::http::{Invocable, Operation, answer};
use sweep_keys::SweepKeys;

use crate::StartError;
use crate::template::{Function, Template};

/// The handler of a function that has routes.
pub(crate) type Handler = Arc<dyn Fn(Request) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

/// All functions.
pub(crate) struct Functions {
    /// The two authorizers, by logical id.
    pub(crate) authorizers: HashMap<String, Arc<Authorizer>>,
    pub(crate) rotate_secret: Arc<RotateSecret>,
    pub(crate) sweep_keys: Arc<SweepKeys>,
    /// The console has its own HTTP API and serves HTTP itself.
    pub(crate) console: Arc<Console>,
    /// The MCP server has its own HTTP API and serves HTTP itself.
    pub(crate) mcp: Arc<Mcp>,
    /// `mcp` invokes this function directly.
    pub(crate) exchange_token: Arc<ExchangeToken>,
    handlers: HashMap<String, Handler>,
}

impl Functions {
    /// Creates each function with exactly the variables that the template gives it,
    /// with values from `values`. A function that reads any other variable fails here
    /// as it does when deployed.
    pub(crate) fn new(template: &Template, setup: &Setup, values: &Variables) -> Result<Self, StartError> {
        let setup_for = |name: &str| Self::setup_for(template, setup, values, name);
        let exchange_token = Arc::new(ExchangeToken::new(&setup_for("ExchangeToken")?)?);
        let mut handlers = HashMap::new();
        for function in template.functions() {
            let setup = setup_of(&function, setup, values)?;
            let handler = match function.name.as_str() {
                "CreateServiceAccount" => handler::<create_service_account::CreateServiceAccount>(&setup)?,
                "ListServiceAccounts" => handler::<list_service_accounts::ListServiceAccounts>(&setup)?,
                "UpdateServiceAccount" => handler::<update_service_account::UpdateServiceAccount>(&setup)?,
                "IssueKey" => handler::<issue_key::IssueKey>(&setup)?,
                "ExchangeToken" => invocable_handler(Arc::clone(&exchange_token)),
                "ManageApis" => handler::<manage_apis::ManageApis>(&setup)?,
                "ManageIssuers" => handler::<manage_issuers::ManageIssuers>(&setup)?,
                "ManageRoles" => handler::<manage_roles::ManageRoles>(&setup)?,
                "RevokeKey" => handler::<revoke_key::RevokeKey>(&setup)?,
                "Whoami" => handler::<whoami::Whoami>(&setup)?,
                "IamAuthorizer" | "Authorizer" | "RotateSecret" | "SweepKeys" | "Console" | "Mcp" => continue,
                other => {
                    let problem = format!("local mode does not know the function {other}");
                    return Err(StartError::Template(problem));
                }
            };
            handlers.insert(function.name, handler);
        }
        let mut authorizers = HashMap::new();
        for name in ["IamAuthorizer", "Authorizer"] {
            authorizers.insert(name.to_owned(), Arc::new(Authorizer::new(&setup_for(name)?)?));
        }
        Ok(Self {
            authorizers,
            rotate_secret: Arc::new(RotateSecret::new(&setup_for("RotateSecret")?)?),
            sweep_keys: Arc::new(SweepKeys::new(&setup_for("SweepKeys")?)?),
            console: Arc::new(Console::new(&setup_for("Console")?)?),
            mcp: Arc::new(Mcp::new(&setup_for("Mcp")?)?),
            exchange_token,
            handlers,
        })
    }

    /// The setup of the function `name`.
    pub(crate) fn setup_for(
        template: &Template,
        setup: &Setup,
        values: &Variables,
        name: &str,
    ) -> Result<Setup, StartError> {
        let function = template.functions().into_iter().find(|function| function.name == name);
        let missing = || StartError::Template(format!("the function {name} is missing"));
        setup_of(&function.ok_or_else(missing)?, setup, values)
    }

    /// The function with this logical id.
    pub(crate) fn get(&self, name: &str) -> Option<&Handler> {
        self.handlers.get(name)
    }
}

/// The setup of a function, with the variables that the template gives it and those
/// that Lambda sets.
fn setup_of(function: &Function, setup: &Setup, values: &Variables) -> Result<Setup, StartError> {
    let own = function.variables.iter().map(|(name, fixed)| {
        let value = fixed.as_deref().or_else(|| values.get(name));
        let value = value
            .ok_or_else(|| StartError::Template(format!("local mode does not know the variable {name}")))?;
        Ok((name.clone(), value.to_owned()))
    });
    let lambda = setup.variables.iter().map(|(name, value)| Ok((name.to_owned(), value.to_owned())));
    let variables = own.chain(lambda).collect::<Result<Vec<_>, StartError>>()?;
    Ok(Setup { variables: Variables::from_iter(variables), ..setup.clone() })
}

fn handler<O: Operation>(setup: &Setup) -> Result<Handler, ConfigError> {
    Ok(handler_of(Arc::new(O::new(setup)?)))
}

fn handler_of<O: Operation>(operation: Arc<O>) -> Handler {
    Arc::new(move |request| {
        let operation = Arc::clone(&operation);
        Box::pin(async move { answer(&*operation, request).await })
    })
}

/// The handler of a function that follows up on its responses. On Lambda, the function does this
/// after each response, and writes activity later. Local mode writes activity at once.
fn invocable_handler<O: Invocable>(operation: Arc<O>) -> Handler {
    Arc::new(move |request| {
        let operation = Arc::clone(&operation);
        Box::pin(async move {
            let response = answer(&*operation, request).await;
            operation.flush().await;
            response
        })
    })
}
