//! The API's description (OpenAPI 3.1), made from the code.

use serde_json::{Value, json};
use utoipa::OpenApi as _;

/// What API Gateway answers by itself too, in its own form: where the
/// authorizer refuses or fails, its throttle bites, a body is longer than its
/// limit, or a function fails.
const FROM_API_GATEWAY: [&str; 6] = ["401", "403", "413", "429", "500", "503"];

/// What every operation can answer beside its own: refusals of the authorizer
/// and of the functions' common checks.
const COMMON: [(&str, &str); 5] = [
    ("401", "Nobody is signed in"),
    ("403", "Not permitted"),
    ("429", "Too many requests"),
    ("500", "Something went wrong on our side"),
    ("503", "A dependency is unavailable"),
];

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Keyward IAM API",
        description = "Service accounts and keys. For admin users alone, but for `whoami`: no key, whatever its role, can manage accounts, keys or roles.",
    ),
    paths(
        create_service_account::create_service_account,
        list_service_accounts::list_service_accounts::list_service_accounts,
        list_service_accounts::get_service_account::get_service_account,
        list_service_accounts::list_events::list_events,
        list_service_accounts::list_all_events::list_all_events,
        update_service_account::update_service_account,
        revoke_key::delete_service_account::delete_service_account,
        issue_key::issue_key::issue_key,
        issue_key::lookup_key::lookup_key,
        issue_key::rotate_key::rotate_key,
        revoke_key::revoke_key::revoke_key,
        revoke_key::revoke_all_keys::revoke_all_keys,
        manage_roles::list_roles::list_roles,
        manage_roles::get_role::get_role,
        manage_roles::put_role::put_role,
        manage_roles::delete_role::delete_role,
        manage_roles::explain::explain,
        whoami::whoami,
    ),
    components(schemas(GatewayMessage))
)]
struct Document;

/// What API Gateway answers by itself, before or in place of a function.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "API Gateway writes it: here it is only described")]
struct GatewayMessage {
    /// What happened, in a word or two.
    #[schema(example = "Forbidden")]
    message: String,
}

/// The document, as it stands in `infra/openapi.json`.
#[must_use]
pub fn document() -> Value {
    let mut document = serde_json::to_value(Document::openapi()).unwrap_or_default();
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    for operation in
        paths.into_iter().flat_map(|paths| paths.values_mut()).filter_map(Value::as_object_mut).flatten()
    {
        complete(operation.1);
    }
    if let Some(document) = document.as_object_mut() {
        document.insert("security".to_owned(), json!([{ "bearer": [] }]));
        let scheme = json!({ "bearer": { "type": "http", "scheme": "bearer", "description": "An admin user's access token, or (for `whoami`) a service account's key" } });
        let components = document.get_mut("components").and_then(Value::as_object_mut);
        components.map(|components| components.insert("securitySchemes".to_owned(), scheme));
    }
    document
}

/// Adds the common answers to an operation, and gives each refusal its media
/// type and the description of its status.
fn complete(operation: &mut Value) {
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else {
        return;
    };
    for (status, description) in COMMON {
        responses.entry(status).or_insert_with(|| json!({ "description": description }));
    }
    for (status, response) in responses.iter_mut().filter(|(status, _)| status.as_str() >= "400") {
        let description = response.get("description").and_then(Value::as_str).filter(|text| !text.is_empty());
        let description = description.map_or_else(|| describe(status), ToOwned::to_owned);
        let mut content =
            json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
        if let (true, Some(content)) = (FROM_API_GATEWAY.contains(&status.as_str()), content.as_object_mut())
        {
            let schema = json!({ "schema": { "$ref": "#/components/schemas/GatewayMessage" } });
            content.insert("application/json".to_owned(), schema);
        }
        *response = json!({ "description": description, "content": content });
    }
}

fn describe(status: &str) -> String {
    match status {
        "400" => "The request is malformed",
        "404" => "There is no such service account or key",
        "409" => "It conflicts with what is there",
        "412" => "The service account has changed",
        "413" => "The body is too large",
        "415" => "The media type is not supported",
        "422" => "Some fields are not acceptable, or the Idempotency-Key was used for another request",
        _ => "Refused",
    }
    .to_owned()
}
