//! `PUT /iam/v1/roles/{name}`: creates or replaces a custom role.

use shared::api::{PutRoleRequest, Role};
use shared::domain::{CustomRoleName, Description, InvalidText, contains_credential};
use shared::http::{Admin, Failure, Fields, Reply, Request};
use shared::policy::Permissions;
use shared::store::NewRole;

use crate::{ManageRoles, custom_role_name};

/// Create or replace a custom role
///
/// Replaces the description and all permissions of a custom role, or creates the
/// role. The new permissions apply from the next request on, for all accounts and
/// keys with the role.
///
/// A request that changes nothing succeeds, keeps the version and writes no audit
/// event. So a retry is safe.
#[utoipa::path(
    put,
    path = "/iam/v1/roles/{name}",
    operation_id = "putRole",
    tag = "Roles",
    params(
        ("name" = String, Path, description = "The name of the role: a letter, then letters, digits, `.`, `_` and `-`, at most 64 characters. It must not be the name of a built-in role, ignoring case.", pattern = "^[A-Za-z][A-Za-z0-9._-]{0,63}$"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the version that you last read, with \
         its quotes, or `*` to replace an existing role but never create one. If the header does not match, \
         nothing is changed and the response is 412 `precondition_failed`. Without the header, the request applies \
         to the current version."),
        ("If-None-Match" = Option<String>, Header),
    ),
    request_body = PutRoleRequest,
    responses(
        (status = 200, description = "The role was replaced, or already had this description and these permissions.",
            body = Role, headers(("ETag" = String))),
        (status = 201, description = "The role was created.", body = Role, headers(("ETag" = String))),
        (status = 400, description = "malformed_id, malformed_request, malformed_json"),
        (status = 409, description = "role_built_in, concurrent_changes"),
        (status = 412, description = "precondition_failed"),
        (status = 422, description = "invalid_fields"),
    )
)]
pub async fn put_role(
    function: &ManageRoles,
    Admin(actor): Admin,
    request: &Request,
) -> Result<Reply, Failure> {
    let name = custom_role_name(request)?;
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
