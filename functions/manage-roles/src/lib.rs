//! Custom roles, and what any role permits:
//!
//! - `GET /iam/v1/roles`: the built-in and the custom ones;
//! - `GET /iam/v1/roles/{name}`: one;
//! - `PUT /iam/v1/roles/{name}`: registers or replaces a custom one;
//! - `DELETE /iam/v1/roles/{name}`;
//! - `POST /iam/v1/roles/explain`: what would be decided, and why.

mod explain;

use std::sync::Arc;

use serde::Deserialize;
use shared::config::{ConfigError, Setup};
use shared::domain::{Clock, CustomRoleName, Description, InvalidText, RoleName, contains_credential};
use shared::http::representation::{List, Role};
use shared::http::{Admin, Failure, Fields, Operation, Paging, Problem, Reply, Request, parameter};
use shared::policy::Permissions;
use shared::store::{Cursor, NewRole, Roles, Store};
use utoipa::ToSchema;

pub use explain::{__path_explain, ExplainRequest, ExplainedRole, Explanation, explain};

/// The function.
pub struct ManageRoles {
    store: Store,
    roles: Roles,
    clock: Arc<dyn Clock>,
}

impl Operation for ManageRoles {
    type Caller = Admin;

    fn new(setup: &Setup) -> Result<Self, ConfigError> {
        let store = setup.store()?;
        Ok(Self {
            roles: Roles::new(store.clone(), setup.built_in_roles()?),
            store,
            clock: Arc::clone(&setup.clock),
        })
    }

    async fn warm(&self) {
        self.store.warm().await;
    }

    async fn handle(&self, admin: Admin, request: &Request) -> Result<Reply, Failure> {
        match request.route() {
            "GET /iam/v1/roles" => list_roles(self, request).await,
            "GET /iam/v1/roles/{name}" => get_role(self, request).await,
            "PUT /iam/v1/roles/{name}" => put_role(self, admin, request).await,
            "DELETE /iam/v1/roles/{name}" => delete_role(self, admin, request).await,
            "POST /iam/v1/roles/explain" => explain(self, request).await,
            _ => Err(Failure::RouteNotFound),
        }
    }
}

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

/// List roles
///
/// Built-in and custom ones, in the order of their names (capital letters
/// first). The list may be a moment behind; a role itself and every
/// authorization never are.
///
/// # Errors
/// As its responses say.
#[utoipa::path(
    get,
    path = "/iam/v1/roles",
    operation_id = "listRoles",
    tag = "Roles",
    params(
        ("cursor" = Option<String>, Query, description = "The `nextCursor` of the page before"),
        ("limit" = Option<u8>, Query, minimum = 1, maximum = 100, description = "At most so many items; 25 if not said"),
    ),
    responses((status = 200, description = "A page", body = List<Role>), (status = 400, body = Problem))
)]
pub async fn list_roles(function: &ManageRoles, request: &Request) -> Result<Reply, Failure> {
    let page = request.query::<Paging>()?.page(Cursor::decode_role)?;
    let roles = function.roles.list(&page).await?;
    Ok(Reply::ok(&List::of(roles, Role::from)))
}

/// Get a role
///
/// A custom or a built-in one.
///
/// # Errors
/// As its responses say.
#[utoipa::path(
    get,
    path = "/iam/v1/roles/{name}",
    operation_id = "getRole",
    tag = "Roles",
    params(("name" = String, Path, description = "The role's name")),
    responses(
        (status = 200, description = "The role", body = Role,
            headers(("ETag" = String, description = "Its version, for a custom one"))),
        (status = 400, body = Problem), (status = 404, description = "There is no such role", body = Problem),
    )
)]
pub async fn get_role(function: &ManageRoles, request: &Request) -> Result<Reply, Failure> {
    let name: RoleName = request.parameter(parameter::ROLE_NAME)?;
    if let Some(role) = name.built_in() {
        return Ok(Reply::ok(&Role::built_in(role, function.roles.built_in(role))));
    }
    let role = function.store.get_role(&name).await?;
    let version = role.version;
    Ok(Reply::ok(&Role::from(role)).with_version(version))
}

/// Register or replace a custom role
///
/// It counts from the next check on, for every account and key that has it. A
/// request that would change nothing changes nothing, and makes no event.
///
/// # Errors
/// As its responses say.
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
    let origin = request.origin(actor)?;
    let precondition = request.precondition()?;
    let new = new_role(name, request.json()?)?;
    let put = function.store.put_role(&new, precondition, &origin).await?;
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

/// The query of a deletion.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteRoleQuery {
    /// The last account that an earlier request checked.
    cursor: Option<String>,
}

/// Delete a custom role
///
/// The request is refused while an account or a live key has the role (the
/// response names them).
///
/// One request checks service accounts for up to six seconds, and at most 100 MB
/// of them (tens of thousands). If there are more, and no user of the role was
/// found, nothing is deleted: the response is 409 `role_check_incomplete`. Repeat
/// the request with its `nextCursor` as `cursor`. The request that reaches the
/// last account deletes the role. Send `If-Match` with each request.
///
/// The check reads an index that may be a moment behind. An account or key that
/// is given the role while the check runs keeps the role's name, but its requests
/// are refused, because a missing role permits nothing.
///
/// # Errors
/// As its responses say.
#[utoipa::path(
    delete,
    path = "/iam/v1/roles/{name}",
    operation_id = "deleteRole",
    tag = "Roles",
    params(
        ("name" = String, Path, description = "The role's name"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the version that you saw"),
        ("cursor" = Option<String>, Query, description = "The `nextCursor` of a `role_check_incomplete` problem: the check continues after the last service account that was checked"),
    ),
    responses(
        (status = 204, description = "Deleted"), (status = 400, body = Problem),
        (status = 404, description = "There is no such role", body = Problem),
        (status = 409, description = "The role is built in, accounts or keys have it, or not all accounts were checked", body = Problem),
        (status = 412, description = "The role has changed", body = Problem),
    )
)]
pub async fn delete_role(
    function: &ManageRoles,
    Admin(actor): Admin,
    request: &Request,
) -> Result<Reply, Failure> {
    let name = custom(request)?;
    let origin = request.origin_beside_query(actor)?;
    let after = request.query::<DeleteRoleQuery>()?.cursor.map(|text| Cursor::decode_account(&text, None));
    let after =
        after.transpose().map_err(|error| Failure::MalformedRequest(format!("In the query, {error}.")))?;
    function.store.delete_role(&name, request.if_match()?, after.as_ref(), &origin).await?;
    Ok(Reply::no_content())
}

/// The name in the path, if admins may use it.
fn custom(request: &Request) -> Result<CustomRoleName, Failure> {
    CustomRoleName::new(request.parameter(parameter::ROLE_NAME)?).map_err(Failure::RoleBuiltIn)
}
