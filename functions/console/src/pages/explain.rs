//! `GET, POST /explain`: checks whether an account, a key or a role can send a request.
//!
//! The form uses POST, so that a key pasted into a field does not stay in an address. The
//! link at a refused request contains the whole form, and the page answers at once.

use askama::Template;
use axum::extract::Query;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use shared::api::{ExplainRequest, Explanation, RequestRecord, RoleHolder, ServiceAccountWithKeys};
use shared::domain::{AccountId, GrantId, KeyId};
use shared::policy::{Method, Permission, Reason, Target};

use crate::api::ApiError;
use crate::auth::session::{Posted, Session};
use crate::error::PageResult;
use crate::view::excerpt::Excerpt;
use crate::view::find_account::by_id_or_name;
use crate::view::form::{FormError, FormErrors};
use crate::view::formatting::{KeyNames, KeyReference};
use crate::view::layout::{Page, with_status};
use crate::view::permissions::width;
use crate::view::request_text::RequestText;
use crate::view::role_chooser::{self, AvailableRoles, RoleChoice, RoleNames};

/// How many roles that would permit a request are shown.
const MAX_SHOWN_ROLES: usize = 10;

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Form {
    /// An account's ID or name, or a key's ID. The page shows the account of the key.
    account: String,
    /// A key's ID. Empty for a key without its own role.
    key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    role: String,
    method: String,
    /// A path or a URL. The page shows the path that was checked.
    path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    source_address: String,
}

#[derive(Template)]
#[template(path = "explain.html")]
struct Explain {
    page: Page,
    form: Form,
    errors: FormErrors,
    /// The chosen key.
    key: Option<KeyReference>,
    /// The entered account, if it exists.
    account: Option<ServiceAccountWithKeys>,
    roles: RoleNames,
    result: Option<CheckResult>,
}

/// The result of a check.
struct CheckResult {
    explanation: Explanation,
    /// What was removed from the entered text, in words.
    removed: String,
    possible_stage: Option<String>,
    /// The roles that would permit the request, if a role refused it.
    permitting: Option<PermittingRoles>,
}

/// Roles that permit a request, each with its permission. The narrowest permissions come
/// first.
struct PermittingRoles {
    roles: Excerpt<(String, String)>,
    /// Whether there are roles that were not checked.
    is_truncated: bool,
}

impl Explain {
    /// Whether the entered key is not one of the account's live keys.
    fn has_other_key(&self, account: &ServiceAccountWithKeys) -> bool {
        let key = self.form.key.as_str();
        !key.is_empty() && !account.keys.iter().any(|live| live.id.to_string() == key)
    }
}

impl PermittingRoles {
    fn new(target: &Target<'_>, roles: AvailableRoles) -> Self {
        let is_truncated = roles.is_truncated();
        let mut permitting: Vec<_> =
            roles.into_choices().filter_map(|role| permitting(role, target)).collect();
        permitting.sort_by_cached_key(|(_, permission)| std::cmp::Reverse(width(permission)));
        Self { roles: Excerpt::first(permitting, MAX_SHOWN_ROLES), is_truncated }
    }
}

/// The role's name and the permission that covers the request, if there is one.
fn permitting(role: RoleChoice, target: &Target<'_>) -> Option<(String, String)> {
    let covers = |text: &&String| Permission::parse(text).is_ok_and(|permission| permission.covers(target));
    let permission = role.permissions.iter().find(covers)?.clone();
    Some((role.name, permission))
}

/// The address of the page for a request with a key, if the record has the method and the
/// path.
pub(crate) fn link(account: &AccountId, grant: &GrantId, request: &RequestRecord) -> Option<String> {
    let form = Form {
        account: account.to_string(),
        // The form has only keys. A federated identity without its own role is checked as its account.
        key: grant.key().map(|key| key.to_string()).unwrap_or_default(),
        role: String::new(),
        method: request.method.clone()?,
        path: request.path.clone()?,
        source_address: request.source_address.map(|address| address.to_string()).unwrap_or_default(),
    };
    serde_html_form::to_string(&form).ok().map(|query| format!("/explain?{query}"))
}

pub(super) async fn show(session: Session, Query(mut form): Query<Form>) -> PageResult {
    if !form.path.is_empty() {
        return check(&session, form).await;
    }
    "/".clone_into(&mut form.path);
    if form.method.is_empty() {
        Method::Get.name().clone_into(&mut form.method);
    }
    let (id, roles) =
        tokio::join!(find_account(&session, &mut form), role_chooser::available_or_built_in(&session));
    // An unknown account stays in its field, so that it can be corrected.
    let account = read(&session, id.ok().flatten()).await;
    let (page, errors, roles) = (session.page(), FormErrors::default(), roles.names());
    session.show(Explain { page, form, errors, key: None, account, roles, result: None })
}

pub(super) async fn submit(Posted(session, form): Posted<Form>) -> PageResult {
    check(&session, form).await
}

async fn check(session: &Session, mut form: Form) -> PageResult<Response> {
    let (id, roles) =
        tokio::join!(find_account(session, &mut form), role_chooser::available_or_built_in(session));
    let entered = form.path.clone();
    let request = RequestText::new(&entered, &session.console.base_paths);
    request.path.clone_into(&mut form.path);
    if let Some(method) = request.method {
        method.name().clone_into(&mut form.method);
    }
    let (account, explanation) = match id {
        Ok(id) => tokio::join!(read(session, id), explain(session, id, &form)),
        Err(error) => (None, Err(error)),
    };
    let (page, names) = (session.page(), roles.names());
    let (result, errors) = match explanation {
        Ok(explanation) => {
            let refused = Some(&explanation).filter(|explanation| explanation.reason == Reason::Role);
            let target = refused.and_then(|_| Target::parse(&form.method, &form.path).ok());
            let result = CheckResult {
                permitting: target.map(|target| PermittingRoles::new(&target, roles)),
                removed: request.removed.join(", "),
                possible_stage: request.possible_stage.map(str::to_owned),
                explanation,
            };
            (Some(result), FormErrors::default())
        }
        Err(error) => (None, error.errors()?),
    };
    let key = account.as_ref().and_then(|read| {
        let names = KeyNames::new(&read.keys, &read.retired_keys);
        Some(names.reference(read.account.id, form.key.trim().parse().ok()?))
    });
    with_status(errors.status(), Explain { page, form, errors, key, account, roles: names, result })
}

/// Finds the entered account. `None` if the field is empty. If a key's ID was entered, the
/// form then has the key and its account.
async fn find_account(session: &Session, form: &mut Form) -> Result<Option<AccountId>, FormError> {
    let text = form.account.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let not_found = |problem| FormErrors::field("serviceAccountId", problem);
    if let Ok(key) = text.parse::<KeyId>() {
        let found = session.api().search(text, "").await?.keys.into_iter().find(|found| found.key.id == key);
        let account = found.ok_or_else(|| not_found("key not found"))?.account.id;
        (form.account, form.key) = (account.to_string(), key.to_string());
        return Ok(Some(account));
    }
    let found = by_id_or_name(session, text).await?;
    Ok(Some(found.ok_or_else(|| not_found("account not found. Enter its name or ID, or the ID of a key"))?))
}

/// Reads the account, for the list of its keys. The form works without the list.
async fn read(session: &Session, id: Option<AccountId>) -> Option<ServiceAccountWithKeys> {
    session.api().account(id?).await.ok()
}

async fn explain(session: &Session, id: Option<AccountId>, form: &Form) -> Result<Explanation, FormError> {
    let non_empty = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let (key, role, address) = (non_empty(&form.key), non_empty(&form.role), non_empty(&form.source_address));
    if id.is_none() && role.is_none() {
        return Err(FormErrors::field("serviceAccountId", "enter an account or choose a role").into());
    }
    let is_for_key = key.is_some();
    let request = ExplainRequest {
        service_account_id: id.map(|id| id.to_string()),
        key_id: key,
        role,
        method: form.method.clone(),
        path: form.path.clone(),
        source_address: address,
    };
    session.api().explain(&request).await.map_err(|mut error| {
        if let ApiError::Problem(problem) = &mut error {
            for field in &mut problem.errors {
                if field.pointer == "/role" && id.is_some() {
                    "must be empty if an account is entered".clone_into(&mut field.detail);
                } else if field.pointer == "/sourceAddress" && !is_for_key {
                    "requires a key. Choose a key".clone_into(&mut field.detail);
                }
            }
        }
        error.into()
    })
}
