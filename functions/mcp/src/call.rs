//! `tools/call`: one request to the API, if the caller's roles permit it.

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ElicitationCapability,
    ErrorData, FormElicitationCapability, JsonObject,
};
use secrecy::{ExposeSecret as _, SecretString};
use shared::api::{ConfirmationRefusal, RequestConfirmation, RequestTokenAnswer};
use shared::domain::Confirmation;
use shared::policy::Permission;
use shared::tools::{Tool, ToolRequest};

use crate::catalog::{ApiTool, RegisteredApi};
use crate::confirm::{self, UserAnswer};
use crate::exchange::{WantedRequest, unavailable};
use crate::guard::Caller;
use crate::handler::{Client, Stop};
use crate::record::Outcome;
use crate::result::{self, Sent};
use crate::search;
use crate::services::Services;

/// A call whose arguments are checked.
struct Call<'a> {
    api: &'a RegisteredApi,
    tool: &'a Tool,
    arguments: &'a JsonObject,
    request: ToolRequest,
    /// The state of an earlier question, and the user's answer.
    state: Option<String>,
    answer: UserAnswer,
}

impl Call<'_> {
    /// The method and path of the request.
    fn line(&self) -> (&'static str, &str) {
        (self.request.method.name(), &self.request.path)
    }
}

/// Calls a tool.
pub(crate) async fn call(
    services: &Services,
    caller: &Caller,
    client: &Client,
    params: CallToolRequestParams,
) -> Result<CallToolResponse, Stop> {
    let answer = confirm::answer(&params);
    let arguments = params.arguments.unwrap_or_default();
    services.exchange.check_new(caller).await?;
    let Some(api) = services.find_api(caller).await? else {
        return Err(services.unknown_api(caller).await.into());
    };
    let Some(found) = api.find(&params.name) else {
        if params.name == search::NAME && search::is_offered(api.tools.len()) {
            caller.record.entry().tool = Some(search::NAME.to_owned());
            return Ok(search::search(services, caller, &arguments).await?.into());
        }
        return Err(unknown_tool(services, caller).await);
    };
    let ApiTool { tool, .. } = found;
    caller.record.entry().tool = Some(tool.name.as_str().to_owned());
    let request = match request(caller, tool, &arguments) {
        Ok(request) => request,
        Err(problem) => {
            // The problem tells about the schema, which only a caller who sees the tool may learn.
            let permitted = services.exchange.permissions(caller).await?;
            if !found.is_permitted(&permitted.roles.iter().collect::<Vec<_>>()) {
                count_not_permitted(services, caller, &api, tool).await;
                caller.record.end(Outcome::NotPermitted);
                return Ok(result::error(not_permitted(&api, tool, None)).into());
            }
            caller.record.end(Outcome::InvalidArguments);
            return Ok(result::error(problem).into());
        }
    };
    let state = params.request_state;
    let call = Call { api: &api, tool, arguments: &arguments, request, state, answer };
    match ask_for_token(services, caller, client, &call).await? {
        Permitted::Now(token) => Ok(send(services, caller, call, &token).await.into()),
        Permitted::NotNow(response) => Ok(*response),
    }
}

/// Lets `exchange-token` count a call that no role permits and whose arguments give no path. The
/// tool's template takes the place of the path.
async fn count_not_permitted(services: &Services, caller: &Caller, api: &RegisteredApi, tool: &Tool) {
    let wanted = WantedRequest {
        api: &api.choices.api_id,
        method: tool.method,
        path: format!("{}{}", api.choices.route_prefix, tool.template.as_str()),
        tool: tool.name.as_str(),
        confirmation: None,
    };
    // The answer changes nothing: the roles permit no request of the tool.
    let _ = services.exchange.request_token(caller, wanted).await;
}

/// The request for these arguments, or sentences for the agent.
fn request(caller: &Caller, tool: &Tool, arguments: &JsonObject) -> Result<ToolRequest, String> {
    let request = tool.request(arguments.clone()).map_err(|problem| problem.to_string())?;
    if contains(&request, caller.credential.expose_secret()) {
        return Err("The arguments contain your own key or token, which is never sent to the API.".to_owned());
    }
    Ok(request)
}

/// Whether any part of a request contains the credential, which never needs an escape.
fn contains(request: &ToolRequest, credential: &str) -> bool {
    let body = request.body.as_ref().map(|body| body.bytes.as_slice()).unwrap_or_default();
    request.path.contains(credential)
        || request.query.contains(credential)
        || request.headers.iter().any(|(_, value)| value.contains(credential))
        || String::from_utf8_lossy(body).contains(credential)
}

/// The error about a tool that the API does not have. Only a caller with a valid credential
/// learns that.
async fn unknown_tool(services: &Services, caller: &Caller) -> Stop {
    if let Err(refusal) = services.exchange.permissions(caller).await {
        return refusal.into();
    }
    caller.record.end(Outcome::UnknownTool);
    Stop::Error(ErrorData::invalid_params("Unknown tool. List the tools to see their names.", None))
}

/// The decision about a call.
enum Permitted {
    /// The request can be sent with this token.
    Now(SecretString),
    /// The response to the client instead.
    NotNow(Box<CallToolResponse>),
}

impl From<CallToolResult> for Permitted {
    fn from(result: CallToolResult) -> Self {
        Self::NotNow(Box::new(result.into()))
    }
}

/// Asks `exchange-token` for a token for the call's request. It decides about the role first, and
/// then about the confirmation, so that the user is asked only about what is permitted.
async fn ask_for_token(
    services: &Services,
    caller: &Caller,
    client: &Client,
    call: &Call<'_>,
) -> Result<Permitted, Stop> {
    let wanted = WantedRequest {
        api: &call.api.choices.api_id,
        method: call.request.method,
        path: format!("{}{}", call.api.choices.route_prefix, call.request.path),
        tool: call.tool.name.as_str(),
        confirmation: confirmation(caller, client, call),
    };
    match services.exchange.request_token(caller, wanted).await? {
        RequestTokenAnswer::Issued { token, .. } => Ok(Permitted::Now(token)),
        RequestTokenAnswer::NotPermitted { missing_permission } => {
            caller.record.end(Outcome::NotPermitted);
            let text = match missing_permission {
                Some(missing) => not_permitted(call.api, call.tool, Some(&missing)),
                None => "Not permitted: no key or token can be used for this path.".to_owned(),
            };
            Ok(result::error(text).into())
        }
        RequestTokenAnswer::Unconfirmed { state } => unconfirmed(caller, client, call, state),
        RequestTokenAnswer::ConfirmationRefused { reason } => Err(confirmation_refused(caller, reason)),
        RequestTokenAnswer::Refused { .. } | RequestTokenAnswer::Unavailable {} => {
            Err(unavailable(caller, "the answer of exchange-token is unexpected").into())
        }
    }
}

/// What is confirmed, if the call needs a confirmation.
fn confirmation(caller: &Caller, client: &Client, call: &Call<'_>) -> Option<RequestConfirmation> {
    let is_needed = match call.api.choices.confirmation {
        Confirmation::Off => false,
        Confirmation::Ask => client.can_ask,
        Confirmation::Require => true,
    };
    // A declined call is never sent, even if the API no longer asks for a confirmation.
    let is_stopped = matches!(call.answer, UserAnswer::Declined | UserAnswer::Malformed);
    (is_stopped || (is_needed && !call.tool.hints.read_only)).then(|| RequestConfirmation {
        digest: confirm::digest(caller, call.api, call.tool.name.as_str(), call.line(), call.arguments),
        state: call.state.clone().filter(|_| call.answer == UserAnswer::Accepted),
    })
}

/// The response to a call that the roles permit and the user has not confirmed.
fn unconfirmed(caller: &Caller, client: &Client, call: &Call<'_>, state: String) -> Result<Permitted, Stop> {
    match call.answer {
        UserAnswer::Declined => {
            caller.record.end(Outcome::Declined);
            return Ok(result::error("The user declined this call.".to_owned()).into());
        }
        UserAnswer::Malformed => {
            caller.record.end(Outcome::ConfirmationInvalid);
            let text = "The answer to the confirmation must contain `ok` with the value true or false. Call the tool again \
                        without requestState.";
            return Err(Stop::Error(ErrorData::invalid_params(text, None)));
        }
        UserAnswer::None | UserAnswer::Accepted => {}
    }
    if client.can_ask {
        caller.record.end(Outcome::ConfirmationAsked);
        let question = confirm::question(call.api, call.line(), call.arguments, state);
        let question = question.map_err(|problem| unavailable(caller, problem))?;
        return Ok(Permitted::NotNow(Box::new(question.into())));
    }
    caller.record.end(Outcome::CannotConfirm);
    let text = "The user must confirm this call, and this client cannot ask its user. Use a client that supports \
                elicitation in MCP 2026-07-28.";
    if client.is_modern {
        let mut error = ErrorData::missing_required_client_capability(form_elicitation());
        error.message = text.into();
        return Err(Stop::Error(error));
    }
    Ok(result::error(text.to_owned()).into())
}

/// The capability of a client that can ask its user.
fn form_elicitation() -> ClientCapabilities {
    let mut capabilities = ClientCapabilities::default();
    capabilities.elicitation =
        Some(ElicitationCapability::new().with_form(FormElicitationCapability::default()));
    capabilities
}

fn confirmation_refused(caller: &Caller, reason: ConfirmationRefusal) -> Stop {
    let (outcome, message) = match reason {
        ConfirmationRefusal::Invalid => (
            Outcome::ConfirmationInvalid,
            "The confirmation is not valid for this call, or has expired. Call the tool again without requestState.",
        ),
        ConfirmationRefusal::Used => (
            Outcome::ConfirmationUsed,
            "The confirmation was already used. Call the tool again without requestState.",
        ),
    };
    caller.record.end(outcome);
    Stop::Error(ErrorData::invalid_params(message, None))
}

/// The error about a role. It names the permission that is missing for this request, if that is
/// known, and the one for all requests of the tool.
fn not_permitted(api: &RegisteredApi, tool: &Tool, missing: Option<&Permission>) -> String {
    let whole = tool.permission(&api.choices.route_prefix);
    let narrow = missing.filter(|missing| whole.as_ref().is_none_or(|whole| !missing.covers_paths_of(whole)));
    match (narrow, whole.as_ref()) {
        (Some(missing), Some(whole)) => format!(
            "Not permitted: the role lacks {missing}. Ask an admin to add this permission, or to add {whole} for all \
             requests of this tool."
        ),
        (Some(missing), None) | (None, Some(missing)) => {
            format!("Not permitted: the role lacks {missing}. Ask an admin to add this permission.")
        }
        (None, None) => "Not permitted: no role can permit this tool.".to_owned(),
    }
}

/// Sends the request, and returns its result.
async fn send(services: &Services, caller: &Caller, call: Call<'_>, token: &SecretString) -> CallToolResult {
    let path = call.request.path.clone();
    let sent = Sent { tool: call.tool, path: &path, token };
    let request_id = caller.gateway.request_id.as_deref();
    let base = &call.api.choices.base_url;
    match services.upstream.send(base, call.request, token, request_id, caller.upstream_deadline()).await {
        Ok(answer) => {
            let is_success = answer.status.is_success();
            caller.record.end(if is_success { Outcome::Called } else { Outcome::ApiError });
            caller.record.entry().api_status = Some(answer.status.as_u16());
            result::from_answer(&sent, &answer)
        }
        Err(cause) => {
            caller.record.fail(cause.outcome(), &cause);
            result::from_no_answer(&sent, &cause)
        }
    }
}
