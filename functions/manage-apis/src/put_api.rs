//! `PUT /iam/v1/apis/{name}`: registers or changes a protected API.

use shared::api::{PutApiRequest, RegisteredApi};
use shared::domain::{
    ApiId, ApiName, ApiTitle, BaseUrl, Confirmation, InvalidText, RoutePrefix, UrlHosts, contains_credential,
};
use shared::http::{Admin, Failure, Fields, Reply, Request};
use shared::policy::{InvalidPermissions, Permission, Permissions};
use shared::store::{ApiChoices, ApiWithTools, NewApi, Precondition, StoreError};
use shared::tools::Selection;

use crate::ManageApis;
use crate::document::{self, CompiledDocument, FIELD};
use crate::registered_api::registered_api;

/// The maximum size of a body, in bytes. In JSON, a document of 1,000,000 bytes can take twice as
/// many. Lambda takes events of at most 6 MB, in which the body is escaped once more.
const MAX_BODY_BYTES: usize = 2_500_000;

/// Register or change a protected API
///
/// Registers an API that Keyward protects, so that agents can use its operations as tools, or
/// replaces its settings. Agents see the change with their next request. What an agent can do
/// depends on its role alone: a tool gives no rights.
///
/// Operations of the OpenAPI document become tools. Those that cannot are in `skipped`, with the
/// reason. The pointer of an error in the document starts with `/openapi`, even if the document is
/// a string. Keys, tokens and JWTs in the document are redacted. Its `servers`, `security` and
/// examples are ignored.
///
/// A request that changes nothing succeeds, keeps the version and writes no audit
/// event. So a retry is safe.
#[utoipa::path(
    put,
    path = "/iam/v1/apis/{name}",
    operation_id = "putApi",
    tag = "Protected APIs",
    params(
        ("name" = String, Path, description = "The name of the API: a lowercase letter, then lowercase letters, digits and single hyphens, at most 32 characters.", pattern = "^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length = 32, example = "teams"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the version that you last read, with \
         its quotes, or `*` to replace an existing API but never register one. If the header does not match, \
         nothing is changed and the response is 412 `precondition_failed`. Without the header, the request applies \
         to the current version."),
        ("If-None-Match" = Option<String>, Header),
    ),
    request_body = PutApiRequest,
    responses(
        (status = 200, description = "The API was changed, or already had these settings and this document.",
            body = RegisteredApi, headers(("ETag" = String))),
        (status = 201, description = "The API was registered.", body = RegisteredApi, headers(("ETag" = String))),
        (status = 400, description = "malformed_id, malformed_request, malformed_json"),
        (status = 409, description = "api_limit_reached, concurrent_changes"),
        (status = 412, description = "precondition_failed"),
        (status = 422, description = "invalid_fields"),
    )
)]
pub async fn put_api(
    function: &ManageApis,
    Admin(actor): Admin,
    request: &Request,
) -> Result<Reply, Failure> {
    let name = request.api_name()?;
    let change = request.change_request(actor)?;
    let precondition = request.precondition()?;
    let body: PutApiRequest = request.json_up_to(MAX_BODY_BYTES)?;
    let mut fields = Fields::default();
    let choices = choices(&mut fields, &body, function.hosts);
    let (text, based_on) = match &body.openapi {
        Some(value) => (document::text(&mut fields, value), None),
        None => stored_document(function, &mut fields, &name, precondition).await?,
    };
    let compiled = text.and_then(|text| {
        let document = document::read(&mut fields, &text)?;
        let choices = choices.as_ref()?;
        let selection = Selection {
            include: choices.include.as_deref(),
            exclude: &choices.exclude,
            route_prefix: &choices.route_prefix,
        };
        document::compiled(&mut fields, text, &document, &selection)
    });
    let (choices, compiled) = fields.finish(choices.zip(compiled))?;
    let CompiledDocument { text, title, version, tools, skipped, skipped_count } = compiled;
    let new = NewApi {
        name,
        choices,
        document: text,
        document_title: title,
        document_version: version,
        tools,
        skipped,
        skipped_count,
        based_on,
    };
    let put = function.store.put_api(&new, precondition, &change).await?;
    let version = put.api.version;
    let NewApi { tools, skipped, .. } = new;
    let body = registered_api(ApiWithTools { api: put.api, tools, skipped });
    let reply = if put.created { Reply::created_here(&body) } else { Reply::ok(&body) };
    Ok(reply.with_version(version))
}

/// The document that the API already has, and the API's version.
async fn stored_document(
    function: &ManageApis,
    fields: &mut Fields,
    name: &ApiName,
    precondition: Precondition,
) -> Result<(Option<String>, Option<u64>), Failure> {
    match function.store.get_api_document(name).await {
        Ok((api, text)) => Ok((Some(text), Some(api.version))),
        Err(StoreError::ApiNotFound(_)) => match precondition {
            Precondition::Exists | Precondition::Version(_) => Err(StoreError::Stale.into()),
            Precondition::None | Precondition::Absent => {
                fields.refuse(FIELD, "is required to register an API");
                Ok((None, None))
            }
        },
        Err(error) => Err(error.into()),
    }
}

fn choices(fields: &mut Fields, body: &PutApiRequest, hosts: UrlHosts) -> Option<ApiChoices> {
    let title = fields.check("/title", ApiTitle::parse(&body.title));
    let base_url = text_without_credential(fields, "/baseUrl", &body.base_url)
        .and_then(|text| fields.check("/baseUrl", BaseUrl::parse(text, hosts)));
    let api_id = api_id(fields, body.api_id.as_deref(), base_url.as_ref(), hosts);
    let route_prefix = text_without_credential(fields, "/routePrefix", &body.route_prefix)
        .and_then(|text| fields.check("/routePrefix", RoutePrefix::parse(text)))
        .and_then(|prefix| check_reachable(fields, prefix));
    let include = match &body.include {
        Some(texts) if texts.is_empty() => {
            fields.refuse(
                "/include",
                "must have at least one permission. To select all operations, omit `include`",
            );
            None
        }
        Some(texts) => permissions(fields, "/include", texts).map(Some),
        None => Some(None),
    };
    let exclude = permissions(fields, "/exclude", &body.exclude);
    let confirmation = match body.confirmation.as_deref() {
        Some(name) => {
            let parsed = Confirmation::parse(name).ok_or("must be `off`, `ask` or `require`");
            fields.check("/confirmation", parsed)
        }
        None => Some(Confirmation::default()),
    };
    Some(ApiChoices {
        title: title?,
        base_url: base_url?,
        api_id: api_id?,
        route_prefix: route_prefix?,
        include: include?,
        exclude: exclude?,
        confirmation: confirmation?,
    })
}

/// The id of the API in API Gateway: the one in the request, or the one in the base URL. In local
/// mode, an API on this machine has local mode's id.
fn api_id(
    fields: &mut Fields,
    text: Option<&str>,
    base_url: Option<&BaseUrl>,
    hosts: UrlHosts,
) -> Option<ApiId> {
    if let Some(text) = text {
        return fields.check("/apiId", ApiId::parse(text));
    }
    let base_url = base_url?;
    let local = (hosts == UrlHosts::PublicAndLoopback && base_url.is_loopback()).then(ApiId::local);
    let found = base_url.api_id().or(local);
    if found.is_none() {
        fields.refuse(
            "/apiId",
            "is required, because `baseUrl` does not have API Gateway's own host. Find it in API Gateway's console, or \
             in the host of the API's default endpoint: https://{apiId}.execute-api.{region}.amazonaws.com",
        );
    }
    found
}

/// Checks that a role can permit requests whose path starts with `prefix`.
fn check_reachable(fields: &mut Fields, prefix: RoutePrefix) -> Option<RoutePrefix> {
    if prefix.as_str().is_empty() {
        return Some(prefix);
    }
    let reachable = Permission::parse(&format!("ANY {prefix}"))
        .map_err(|error| error.to_string())
        .and_then(|permission| permission.check_reachable().map_err(|error| error.to_string()));
    fields.check("/routePrefix", reachable).map(|()| prefix)
}

fn permissions(fields: &mut Fields, field: &str, texts: &[String]) -> Option<Vec<Permission>> {
    let at = |position: usize| format!("{field}/{position}");
    for (position, text) in texts.iter().enumerate() {
        if contains_credential(text) {
            fields.refuse(&at(position), InvalidText::Credential);
        }
    }
    let parsed = Permissions::parse(texts).map_err(|problems| {
        for problem in problems {
            let pointer = problem.position().map_or_else(|| field.to_owned(), at);
            match problem {
                InvalidPermissions::Duplicate(_, first) => {
                    fields.refuse(&pointer, format!("means the same as {}: remove one of them", at(first)));
                }
                InvalidPermissions::TooMany
                | InvalidPermissions::Invalid(..)
                | InvalidPermissions::Unreachable(..) => fields.refuse(&pointer, problem),
            }
        }
    });
    parsed.ok().map(Permissions::into_vec)
}

fn text_without_credential<'a>(fields: &mut Fields, pointer: &str, text: &'a str) -> Option<&'a str> {
    let found = contains_credential(text);
    fields.check(pointer, if found { Err(InvalidText::Credential) } else { Ok(text) })
}
