//! `PUT /iam/v1/roles/{name}`: creates or replaces a custom role.

use serde::Deserialize;
use shared::domain::{CustomRoleName, Description, InvalidText, contains_credential};
use shared::http::representation::Role;
use shared::http::{Admin, Failure, Fields, Problem, Reply, Request};
use shared::policy::Permissions;
use shared::store::NewRole;
use utoipa::ToSchema;

use crate::{ManageRoles, custom};

/// What a custom role is to be: all of it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PutRoleRequest {
    /// What it is for.
    #[serde(default)]
    #[schema(max_length = 256)]
    description: String,
    /// What it permits, each as `METHODS PATH`: methods separated by commas or
    /// `ANY`, one space, and a path in API Gateway's route syntax, where
    /// `{name}` is exactly one segment and `{name+}` one or more at the end.
    /// They are a set, of which no two may mean the same, and are kept in the
    /// order of their paths. None: the role permits nothing.
    #[schema(max_items = 100, example = json!(["GET /reports/{id}", "ANY /reports/{id}/notes/{proxy+}"]))]
    permissions: Vec<String>,
}

/// Register or replace a custom role
///
/// It counts from the next check on, for every account and key that has it. A
/// request that would change nothing changes nothing, and makes no event.
#[utoipa::path(
    put,
    path = "/iam/v1/roles/{name}",
    operation_id = "putRole",
    tag = "Roles",
    params(
        ("name" = String, Path, description = "A letter, then letters, digits, `.`, `_` and `-`, at most 64 characters. No built-in role's, whatever the case"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the version that you saw; `*`: only replace"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only register a new one"),
    ),
    request_body = PutRoleRequest,
    responses(
        (status = 200, description = "Replaced, or as it was", body = Role,
            headers(("ETag" = String, description = "Its version"))),
        (status = 201, description = "Registered", body = Role,
            headers(("ETag" = String, description = "Its version"))),
        (status = 400, body = Problem),
        (status = 409, description = "The name is a built-in role's, or there are too many changes at once", body = Problem),
        (status = 412, description = "It is not as If-Match or If-None-Match requires", body = Problem),
        (status = 413, body = Problem), (status = 415, body = Problem),
        (status = 422, description = "Some fields are not acceptable", body = Problem),
    )
)]
pub async fn put_role(
    function: &ManageRoles,
    Admin(actor): Admin,
    request: &Request,
) -> Result<Reply, Failure> {
    let name = custom(request)?;
    let change = request.change_request(actor)?;
    let precondition = request.precondition()?;
    let new = new_role(name, request.json()?)?;
    let put = function.store.put_role(&new, precondition, &change).await?;
    let version = put.role.version;
    let body = Role::from(put.role);
    let reply = if put.created { Reply::created_here(&body) } else { Reply::ok(&body) };
    Ok(reply.with_version(version))
}

fn new_role(name: CustomRoleName, body: PutRoleRequest) -> Result<NewRole, Failure> {
    let mut fields = Fields::default();
    let description = fields.check("/description", Description::parse(&body.description));
    for (at, text) in body.permissions.iter().enumerate() {
        if contains_credential(text) {
            fields.refuse(&format!("/permissions/{at}"), InvalidText::Credential);
        }
    }
    let permissions = Permissions::parse(&body.permissions)
        .map_err(|problems| {
            for problem in problems {
                let pointer = problem.position().map(|at| format!("/permissions/{at}"));
                fields.refuse(pointer.as_deref().unwrap_or("/permissions"), problem);
            }
        })
        .ok();
    let new = description.zip(permissions).map(|(description, permissions)| NewRole {
        name,
        description,
        permissions,
    });
    fields.finish(new)
}
