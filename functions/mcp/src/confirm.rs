//! The confirmation of a call by the agent's user. It guards against mistakes, and is not a
//! security boundary: the holder of a key can call the API directly.

use rmcp::model::{
    CallToolRequestParams, ElicitRequest, ElicitRequestParams, ElicitationSchema, InputRequest,
    InputRequests, InputRequiredResult, JsonObject,
};
use serde_json::Value;
use shared::domain::ConfirmationDigest;

use crate::catalog::RegisteredApi;
use crate::guard::Caller;
use crate::result;

/// The name of the question.
const QUESTION: &str = "confirm";

/// The most bytes of arguments in a question.
const MAX_SHOWN_BYTES: usize = 1000;

/// The user's answer in a repeated call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UserAnswer {
    /// There is no answer yet.
    None,
    Accepted,
    /// The user declined or closed the question.
    Declined,
}

/// The answer in a call.
pub(crate) fn answer(params: &CallToolRequestParams) -> UserAnswer {
    let Some(answer) = params.input_responses.as_ref().and_then(|answers| answers.get(QUESTION)) else {
        return UserAnswer::None;
    };
    let confirmed = answer.pointer("/content/confirm").is_none_or(|value| *value != Value::Bool(false));
    match answer.get("action").and_then(Value::as_str) {
        Some("accept") if confirmed => UserAnswer::Accepted,
        Some("accept" | "decline" | "cancel") => UserAnswer::Declined,
        _ => UserAnswer::None,
    }
}

/// The hash of everything that is confirmed.
pub(crate) fn digest(
    caller: &Caller,
    api: &RegisteredApi,
    tool: &str,
    (method, path): (&str, &str),
    arguments: &JsonObject,
) -> ConfirmationDigest {
    let build = api.build.to_string();
    // The members of objects are sorted, because a client can repeat a call with another order.
    let arguments = Value::Object(arguments.clone()).to_string();
    ConfirmationDigest::new(&[
        caller.api.as_str().as_bytes(),
        build.as_bytes(),
        tool.as_bytes(),
        method.as_bytes(),
        path.as_bytes(),
        arguments.as_bytes(),
    ])
}

/// The question to the user: whether this request may be sent.
pub(crate) fn question(
    (method, path): (&str, &str),
    arguments: &JsonObject,
    state: String,
) -> Result<InputRequiredResult, &'static str> {
    let arguments = Value::Object(arguments.clone()).to_string();
    let (shown, is_cut) = result::cut(&arguments, MAX_SHOWN_BYTES);
    let rest = if is_cut { "…" } else { "" };
    let message = format!("Allow {method} {path}? The arguments are {shown}{rest}");
    let requested_schema = ElicitationSchema::builder()
        .required_bool_property(QUESTION, |property| {
            property.title("Allow").description("Send this request.")
        })
        .build()?;
    let params = ElicitRequestParams::FormElicitationParams { meta: None, message, requested_schema };
    let request = InputRequest::Elicitation(ElicitRequest::new(params));
    Ok(InputRequiredResult::new(Some(InputRequests::from([(QUESTION.to_owned(), request)])), Some(state)))
}
