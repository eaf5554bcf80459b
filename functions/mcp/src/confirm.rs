//! The confirmation of a call by the agent's user. It guards against mistakes, and is not a
//! security boundary: the holder of a key can call the API directly.

use rmcp::model::{
    CallToolRequestParams, ElicitRequest, ElicitRequestParams, ElicitationSchema, InputRequest,
    InputRequests, InputRequiredResult, JsonObject,
};
use serde_json::Value;
use shared::domain::ConfirmationDigest;
use shared::store::ApiChoices;
use shared::telemetry::loggable;
use shared::tools::BODY;

use crate::catalog::RegisteredApi;
use crate::guard::Caller;

/// The name of the question.
const QUESTION: &str = "confirm";

/// The name of the answer, which is true or false.
const ANSWER: &str = "ok";

/// The maximum number of arguments and members of the body in a question.
const MAX_LINES: usize = 30;

/// The maximum number of characters of each name and of each value in a question.
const MAX_NAME_CHARS: usize = 64;
const MAX_VALUE_CHARS: usize = 200;

/// The user's answer in a repeated call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UserAnswer {
    /// There is no answer yet.
    None,
    Accepted,
    /// The user declined or closed the question.
    Declined,
    /// The user accepted, but the client did not send what the question asks for.
    Malformed,
}

/// The answer in a call.
pub(crate) fn answer(params: &CallToolRequestParams) -> UserAnswer {
    let Some(answer) = params.input_responses.as_ref().and_then(|answers| answers.get(QUESTION)) else {
        return UserAnswer::None;
    };
    let confirmed = answer.get("content").and_then(|content| content.get(ANSWER)).and_then(Value::as_bool);
    match (answer.get("action").and_then(Value::as_str), confirmed) {
        (Some("accept"), Some(true)) => UserAnswer::Accepted,
        (Some("accept"), None) => UserAnswer::Malformed,
        (Some("accept" | "decline" | "cancel"), _) => UserAnswer::Declined,
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

/// The question to the user: whether this request may be sent to the API. Each argument and each
/// member of the body has its own line, so that a long one hides no other.
pub(crate) fn question(
    api: &RegisteredApi,
    (method, path): (&str, &str),
    arguments: &JsonObject,
    state: String,
) -> Result<InputRequiredResult, &'static str> {
    let ApiChoices { base_url, title, .. } = &api.choices;
    let mut message = format!("Allow {method} {base_url}{path} ({title})?");
    let lines = lines(arguments);
    for (name, value) in lines.iter().take(MAX_LINES) {
        let value = value.to_string();
        let (name, value) = (loggable(name, MAX_NAME_CHARS), loggable(&value, MAX_VALUE_CHARS));
        message = format!("{message}\n{name}: {value}");
    }
    if lines.len() > MAX_LINES {
        message = format!("{message}\nNot shown: {} more", lines.len() - MAX_LINES);
    }
    let requested_schema = ElicitationSchema::builder()
        .required_bool_property(ANSWER, |property| property.title("Allow").description("Send this request."))
        .build()?;
    let params = ElicitRequestParams::FormElicitationParams { meta: None, message, requested_schema };
    let request = InputRequest::Elicitation(ElicitRequest::new(params));
    Ok(InputRequiredResult::new(Some(InputRequests::from([(QUESTION.to_owned(), request)])), Some(state)))
}

/// The arguments, with the members of a body that is an object in its place.
fn lines(arguments: &JsonObject) -> Vec<(String, &Value)> {
    let mut lines = Vec::new();
    for (name, value) in arguments {
        let members = value.as_object().filter(|members| name == BODY && !members.is_empty());
        match members {
            Some(members) => {
                lines.extend(members.iter().map(|(member, value)| (format!("{BODY}.{member}"), value)));
            }
            None => lines.push((name.clone(), value)),
        }
    }
    lines
}
