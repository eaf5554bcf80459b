//! The description of the IAM API (OpenAPI 3.1), generated from the code.
//!
//! Each operation describes itself in its `#[utoipa::path]` attribute, and lists
//! the codes of its problems. What operations share is written here once: what
//! each code means, path and header parameters, and the responses that every
//! operation can return.

use serde_json::{Map, Value, json};
use shared::api::Problem;
use utoipa::OpenApi as _;

/// The introduction to the document.
const INTRODUCTION: &str = include_str!("openapi.md");

/// The statuses that API Gateway also returns itself, in its own format: when the
/// authorizer refuses a request or fails, when a request is throttled, when a
/// body is larger than API Gateway accepts, and when a function fails.
const FROM_API_GATEWAY: [&str; 6] = ["401", "403", "413", "429", "500", "503"];

/// The responses of every operation, in addition to its own.
const COMMON_RESPONSES: [(&str, &str); 5] = [
    (
        "401",
        "The request has no `Authorization` header (`message`: `Unauthorized`), or the authorizer did not \
         identify the caller (`unauthenticated`). Sign in as an admin and send the access token as a Bearer \
         token.",
    ),
    (
        "403",
        "The authorizer refused the credential (`message`: `Forbidden`): it is invalid, has expired, or is not \
         allowed to call this operation. Or the caller is not an admin user (`not_permitted`): a service account's \
         key can never call this operation, whatever its role.",
    ),
    (
        "429",
        "API Gateway or the database (`throttled`) received too many requests. If the request makes a change, the \
         change may or may not have been made. Wait for the time that `Retry-After` gives, or for a second if the header is missing. Then retry, \
         with the same `Idempotency-Key` if you sent one.",
    ),
    (
        "500",
        "Something went wrong in Keyward (`internal_error`). If a retry does not help, give the `requestId` to \
         the operator of this deployment.",
    ),
    (
        "503",
        "A service that Keyward depends on is unavailable (`dependency_unavailable`). If the request makes a \
         change, the change may or may not have been made. Wait for the time that `Retry-After` gives, or for a second if the header is missing. \
         Then retry, with the same `Idempotency-Key` if you sent one.",
    ),
];

/// The responses of every operation that has a body, in addition to its own.
const BODY_RESPONSES: [(&str, &str); 2] = [("413", "body_too_large"), ("415", "unsupported_media_type")];

/// What the problem codes of single operations mean, and what to do.
const PROBLEMS: [(&str, &str); 31] = [
    (
        "malformed_request",
        "A header or query parameter is malformed, unknown, or not accepted by this operation. See `detail`.",
    ),
    ("malformed_json", "The body is not JSON. See `detail` for the position."),
    ("malformed_id", "An id or name in the path is malformed. See `detail` for the expected form."),
    (
        "service_account_not_found",
        "No service account has this id. It may have been deleted. Use `listServiceAccounts` to find ids.",
    ),
    (
        "key_not_found",
        "This service account has no such key, and no record of it. Records of retired keys are kept for 400 days.",
    ),
    (
        "federated_identity_not_found",
        "This service account has no such federated identity, and no record of it. Records of ended identities are \
         kept for 400 days.",
    ),
    (
        "issuer_not_found",
        "No trusted issuer has this name. Names are case-sensitive. Use `listIssuers` to find names.",
    ),
    (
        "issuer_changed",
        "The name belongs to another issuer, or did before it was deleted. Choose another name.",
    ),
    (
        "issuer_limit_reached",
        "The deployment has the maximum number of trusted issuers (50). Delete one that is no longer needed.",
    ),
    ("api_not_found", "No protected API has this name. Use `listApis` to find names."),
    (
        "api_limit_reached",
        "The deployment has the maximum number of protected APIs (50). Delete one that is no longer needed.",
    ),
    ("role_not_found", "No role has this name. Names are case-sensitive. Use `listRoles` to find names."),
    (
        "role_built_in",
        "The name belongs to a built-in role, ignoring case. Built-in roles cannot be changed or deleted. Choose \
         another name.",
    ),
    (
        "role_in_use",
        "Service accounts, live keys or federated identities have the role: see `usedBy` for the first 20. Give the \
         accounts another role, revoke the keys and delete the identities, then delete the role.",
    ),
    (
        "role_check_incomplete",
        "Nothing was deleted: not all service accounts were checked in time, and none of those checked uses the \
         role. Repeat the request with `cursor` set to `nextCursor`.",
    ),
    ("name_taken", "Another service account has this name, ignoring case. Choose another name."),
    ("service_account_disabled", "The service account is disabled. Enable it, then retry."),
    (
        "key_limit_reached",
        "The service account has the maximum number of live keys (20 by default). Revoke a key that is no longer \
         needed. A rotation with `graceSeconds` 0 is possible at the limit, because it ends the old key at once.",
    ),
    (
        "grant_limit_reached",
        "The service account has 40 keys and federated identities, which is the maximum. Revoke a key or delete a \
         federated identity that is no longer needed.",
    ),
    ("key_revoked", "The key was revoked and cannot be rotated. Issue a new key."),
    ("key_expired", "The key has expired and cannot be rotated. Issue a new key."),
    (
        "key_already_rotated",
        "The key was rotated before: see `detail` for its successor. Rotate the successor.",
    ),
    (
        "key_already_issued",
        "An earlier request with this `Idempotency-Key` issued a key: see `detail` for its id. The secret is not \
         shown again. If you did not receive it, revoke that key and issue another one with a new \
         `Idempotency-Key`.",
    ),
    (
        "federated_identity_ended",
        "An earlier request with this `Idempotency-Key` added a federated identity that has ended since. Use a new \
         `Idempotency-Key` to add another one.",
    ),
    (
        "service_account_deleted",
        "An earlier request with this `Idempotency-Key` created a service account that has been deleted since. \
         Use a new `Idempotency-Key` to create another one.",
    ),
    (
        "concurrent_changes",
        "Nothing was changed, because other requests were changing the same resource at the same time. Wait a \
         moment and retry.",
    ),
    (
        "precondition_failed",
        "Nothing was changed: the resource is not in the state that `If-Match` or `If-None-Match` requires. Fetch \
         the resource again and retry.",
    ),
    (
        "body_too_large",
        "The body is larger than 32 KiB (32,768 bytes), or than 2,500,000 bytes for `putApi`. Send a smaller body.",
    ),
    ("unsupported_media_type", "The body is not sent as JSON. Send `Content-Type: application/json`."),
    (
        "invalid_fields",
        "Nothing was changed. A field is missing, unknown, out of its limits, or names something that does not \
         exist. See `errors` for each field and what to do.",
    ),
    (
        "idempotency_key_reused",
        "Nothing was changed: the `Idempotency-Key` was used for a different request. Use a new one for each \
         new request.",
    ),
];

/// The parameters in paths and headers that are the same for all operations, each
/// with an example.
const PARAMETERS: [(&str, &str, &str); 7] = [
    ("id", "The id of the service account.", "sa_4hQ0bTnYwLzR8sVc"),
    ("keyId", "The id of the key. It is not secret.", "key_9fKd2LmXo5PqZ7aB"),
    ("identityId", "The id of the federated identity. It is not secret.", "fid_5tGh8JkLp2WqZ9xC"),
    ("name", "The name of the role. Names are case-sensitive.", "ReportsReader"),
    (
        "If-Match",
        "The `ETag` of the version that you last read, with its quotes. If the resource has changed since, nothing \
         is changed and the response is 412 `precondition_failed`. Without this header, or with `*`, the request \
         applies to the current version.",
        "\"7\"",
    ),
    (
        "If-None-Match",
        "`*` to create a resource but never replace one: if the resource exists, nothing is changed and the \
         response is 412 `precondition_failed`. The header accepts no other value, and cannot be combined with \
         `If-Match`.",
        "*",
    ),
    (
        "Idempotency-Key",
        "A value that you choose for this request, such as a UUID: 1 to 255 visible ASCII characters except `\"` \
         and `\\`. Send the same value when you retry, so that the retry creates nothing new. The value is remembered \
         for your user and this operation as long as the resource that it created exists, and for 400 days after \
         that.",
        "7f9c2ba4-e88f-4a1d-9f0e-1c8d6f5b3e21",
    ),
];

/// The headers of responses.
const HEADERS: [(&str, &str); 2] = [
    ("ETag", "The version of the resource. Send it as `If-Match` to change or delete only this version."),
    ("Location", "The path of the service account or of its federated identity."),
];

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Keyward IAM API", description = INTRODUCTION),
    tags(
        (name = "Service accounts", description = "Service accounts represent programs. An account has a role, and its keys can never do more than the role permits."),
        (name = "Keys", description = "Keys are the credentials of service accounts. A key cannot be changed. It \
         ends when it is revoked, when it expires, or when its grace period after a rotation is over. Keys that \
         have ended are listed as the account's retired keys."),
        (name = "Federated identities", description = "A federated identity lets workloads that another platform \
         identifies, such as CI jobs and containers, act as a service account without a key. The platform is a \
         trusted issuer."),
        (name = "Trusted issuers", description = "Platforms whose workloads can exchange their own tokens for tokens \
         of service accounts. Each service account decides which workloads, with federated identities."),
        (name = "Protected APIs", description = "APIs whose operations agents can use as tools, through the MCP \
         server at `/mcp/{name}`. An agent sees only the tools that its role permits."),
        (name = "Tokens", description = "Tokens are short-lived credentials of service accounts. A key, a token or a \
         workload's JWT is exchanged for a token."),
        (name = "Roles", description = "Roles are named lists of permissions on your APIs. Three are built in, and you can add your own."),
        (name = "Audit events", description = "Each change writes one audit event in the same transaction."),
        (name = "Access review", description = "An access review asks for each service account whether it still needs its access. Each answer is recorded as an audit event."),
        (name = "Activity", description = "Keyward counts the requests with each key, and records the most recent ones."),
        (name = "Caller", description = "Information about the caller."),
    ),
    paths(
        create_service_account::create_service_account,
        list_service_accounts::list_service_accounts::list_service_accounts,
        list_service_accounts::get_service_account::get_service_account,
        list_service_accounts::get_key_activity::get_key_activity,
        list_service_accounts::list_federated_identities::list_federated_identities,
        list_service_accounts::get_federated_identity::get_federated_identity,
        list_service_accounts::get_federated_identity_activity::get_federated_identity_activity,
        list_service_accounts::get_activity::get_activity,
        list_service_accounts::get_attention::get_attention,
        list_service_accounts::search::search,
        list_service_accounts::get_role_usage::get_role_usage,
        list_service_accounts::list_events::list_events,
        list_service_accounts::list_all_events::list_all_events,
        list_service_accounts::list_access_review::list_access_review,
        update_service_account::update_service_account::update_service_account,
        update_service_account::review_service_account::review_service_account,
        revoke_key::delete_service_account::delete_service_account,
        issue_key::issue_key::issue_key,
        issue_key::lookup_key::lookup_key,
        issue_key::rotate_key::rotate_key,
        revoke_key::revoke_key::revoke_key,
        revoke_key::revoke_all_keys::revoke_all_keys,
        issue_key::create_federated_identity::create_federated_identity,
        revoke_key::delete_federated_identity::delete_federated_identity,
        manage_apis::list_apis::list_apis,
        manage_apis::get_api::get_api,
        manage_apis::put_api::put_api,
        manage_apis::delete_api::delete_api,
        manage_issuers::list_issuers::list_issuers,
        manage_issuers::get_issuer::get_issuer,
        manage_issuers::put_issuer::put_issuer,
        manage_issuers::delete_issuer::delete_issuer,
        manage_roles::list_roles::list_roles,
        manage_roles::get_role::get_role,
        manage_roles::list_role_users::list_role_users,
        manage_roles::put_role::put_role,
        manage_roles::delete_role::delete_role,
        manage_roles::explain::explain,
        whoami::whoami,
        exchange_token::authorize::authorize,
        exchange_token::exchange_token::exchange_token,
        exchange_token::get_metadata::get_metadata,
    ),
    components(schemas(GatewayMessage, Problem))
)]
struct Document;

/// An error of API Gateway itself, returned before or instead of the response of
/// a function.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "API Gateway writes it: here it is only described")]
struct GatewayMessage {
    /// What happened, in a word or two.
    #[schema(example = "Forbidden")]
    message: String,
}

/// The document in `infra/openapi.json`.
pub fn document() -> Value {
    let mut document = serde_json::to_value(Document::openapi()).unwrap_or_default();
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    let operations = paths.into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut).flatten();
    for (_, operation) in operations {
        complete_parameters(operation);
        complete_responses(operation);
    }
    if let Some(document) = document.as_object_mut() {
        document.insert("security".to_owned(), json!([{ "bearer": [] }]));
        let scheme = json!({ "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "An admin user's access token, issued to the IAM client. `whoami` also accepts a service account's key.",
        } });
        let components = document.get_mut("components").and_then(Value::as_object_mut);
        components.map(|components| components.insert("securitySchemes".to_owned(), scheme));
    }
    document
}

/// Describes the parameters that do not describe themselves.
fn complete_parameters(operation: &mut Value) {
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten().filter_map(Value::as_object_mut) {
        let name = parameter.get("name").and_then(Value::as_str).unwrap_or_default();
        if let Some((_, description, example)) = PARAMETERS.iter().find(|(known, ..)| *known == name) {
            parameter.entry("description").or_insert_with(|| json!(description));
            parameter.entry("example").or_insert_with(|| json!(example));
            // `Option` makes a parameter optional, and its value nullable.
            if let Some(schema) = parameter.get_mut("schema").and_then(Value::as_object_mut) {
                schema.insert("type".to_owned(), json!("string"));
            }
        }
    }
}

/// Adds the common responses, describes headers, replaces the codes of problems
/// by their descriptions, and gives each error its media types. Errors that have a schema of
/// their own stay as they are.
fn complete_responses(operation: &mut Value) {
    // Requests of an operation without the authorizer have no admin's token, and no JSON.
    let is_open = operation.get("security").is_some();
    let has_body = operation.get("requestBody").is_some() && !is_open;
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else {
        return;
    };
    let common = COMMON_RESPONSES.iter().filter(|(status, _)| !(is_open && ["401", "403"].contains(status)));
    for (status, description) in common.chain(BODY_RESPONSES.iter().filter(|_| has_body)) {
        responses.entry(*status).or_insert_with(|| json!({ "description": description }));
    }
    for (status, response) in responses {
        if status.as_str() < "400" {
            let headers = response.get_mut("headers").and_then(Value::as_object_mut);
            for (name, header) in headers.into_iter().flatten() {
                let description = HEADERS.iter().find(|(known, _)| known == name);
                if let (Some((_, description)), Some(header)) = (description, header.as_object_mut()) {
                    header.insert("description".to_owned(), json!(description));
                }
            }
            continue;
        }
        if response.get("content").is_some() {
            continue;
        }
        let description = response.get("description").and_then(Value::as_str).unwrap_or_default();
        let media_type = |schema| json!({ "schema": { "$ref": format!("#/components/schemas/{schema}") } });
        let mut content = Map::new();
        content.insert("application/problem+json".to_owned(), media_type("Problem"));
        if FROM_API_GATEWAY.contains(&status.as_str()) {
            content.insert("application/json".to_owned(), media_type("GatewayMessage"));
        }
        *response = json!({ "description": describe(description), "content": content });
    }
}

/// The description of an error, from a list of codes separated by commas. Other
/// text stays as it is.
fn describe(codes: &str) -> String {
    let find = |code| PROBLEMS.iter().find(|(known, _)| *known == code);
    let described: Option<Vec<_>> = codes.split(", ").map(find).collect();
    match described.as_deref() {
        None => codes.to_owned(),
        Some([(code, text)]) => format!("`{code}`: {text}"),
        Some(problems) => {
            problems.iter().map(|(code, text)| format!("- `{code}`: {text}")).collect::<Vec<_>>().join("\n")
        }
    }
}
