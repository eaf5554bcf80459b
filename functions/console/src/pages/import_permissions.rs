//! `POST /new-role/import`, `POST /roles/{name}/import`: adds the operations of an `OpenAPI`
//! document to the permissions in the form of a role. Saves nothing.
//!
//! The form of a role opens the page with its values, and the page returns them to the form.
//! The document is not stored: the list of operations contains all that is needed.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::Path;
use serde::Deserialize;
use shared::domain::RoleName;
use shared::openapi::{Document, MAX_BYTES, Route, Routes, Skipped};
use shared::policy::{Method, Permission};

use super::edit_role;
use crate::auth::session::{PostedDocument, Session};
use crate::error::PageResult;
use crate::view::excerpt::Excerpt;
use crate::view::form::FormErrors;
use crate::view::layout::{Page, with_status};

/// How many operations that cannot be imported are listed.
const MAX_SHOWN_SKIPPED: usize = 20;
/// The most text of operations on a page, in bytes. HTML escapes can take five times as much.
const MAX_LISTED_BYTES: usize = 400_000;
/// With at most this many operations, all groups are open.
const OPEN: usize = 60;
/// The maximum length of a base path, in characters.
const MAX_BASE_PATH_CHARS: usize = 200;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Form {
    name: String,
    version: String,
    description: String,
    permissions: String,
    /// The ID of the account for which the role was drafted, or empty.
    account: String,
    document: String,
    base_path: String,
    /// Only operations that contain this text are listed.
    find: String,
    /// The selected permissions. A value can have several lines.
    operation: Vec<String>,
    /// The pressed button: `list` reads the document, `add` adds the selected operations, and
    /// `back` adds nothing. Empty if the form of the role opens the page.
    button: String,
}

#[derive(Template)]
#[template(path = "import_permissions.html")]
struct ImportPermissions {
    page: Page,
    /// The role to replace. `None` for a new role.
    name: Option<RoleName>,
    form: Form,
    errors: FormErrors,
    /// The operations to choose from, if a document was read.
    listing: Option<Listing>,
}

/// The operations of a document that match the filter.
struct Listing {
    groups: BTreeMap<String, Vec<Route>>,
    /// How many operations are listed.
    listed: usize,
    /// How many operations match the filter.
    matches: usize,
    /// How many operations the document has.
    all: usize,
    /// Operations that cannot be imported.
    skipped: Excerpt<Skipped>,
    /// The path of the document's first server, if no base path was entered.
    server_path: Option<String>,
}

impl Listing {
    fn new(routes: Routes, find: &str, base_path: &str) -> Self {
        let all = routes.routes.len();
        let find = find.trim().to_lowercase();
        let matches = |route: &Route| {
            [route.permission.as_str(), &route.group, &route.summary]
                .iter()
                .any(|text| text.to_lowercase().contains(&find))
        };
        let matching: Vec<_> = routes.routes.into_iter().filter(matches).collect();
        let matches = matching.len();
        let (mut groups, mut listed, mut bytes) = (BTreeMap::<String, Vec<_>>::new(), 0, 0);
        for route in matching {
            // The page contains a permission three times.
            bytes += 3 * route.permission.as_str().len() + route.summary.len();
            if bytes > MAX_LISTED_BYTES {
                break;
            }
            listed += 1;
            groups.entry(route.group.clone()).or_default().push(route);
        }
        let server_path = routes.server_path.filter(|_| base_path.is_empty());
        let skipped = Excerpt::first(routes.skipped, MAX_SHOWN_SKIPPED);
        Self { groups, listed, matches, all, skipped, server_path }
    }

    /// Whether the groups are open.
    fn is_open(&self) -> bool {
        self.listed <= OPEN
    }
}

/// The permissions of several operations, one per line.
fn lines(routes: &[Route]) -> String {
    routes.iter().map(|route| route.permission.as_str()).collect::<Vec<_>>().join("\n")
}

pub(super) async fn submit_new(PostedDocument(session, form): PostedDocument<Form>) -> PageResult {
    submit_either(&session, None, form)
}

pub(super) async fn submit(
    Path(name): Path<RoleName>,
    PostedDocument(session, form): PostedDocument<Form>,
) -> PageResult {
    submit_either(&session, Some(name), form)
}

fn submit_either(session: &Session, name: Option<RoleName>, mut form: Form) -> PageResult {
    let is_done = matches!(form.button.as_str(), "add" | "back");
    if is_done {
        let permissions = match form.button.as_str() {
            "add" => merge(&form.permissions, &form.operation),
            _ => form.permissions,
        };
        let Form { name: typed, version, description, account, .. } = form;
        let form = edit_role::Form {
            name: typed,
            version,
            description,
            permissions,
            account,
            ..edit_role::Form::default()
        };
        return edit_role::show_imported(session, name, form);
    }
    let (listing, errors) = if form.button == "list" { list(&form) } else { (None, FormErrors::default()) };
    if listing.is_some() {
        form.document.clear();
    }
    let page = ImportPermissions { page: session.page(), name, form, errors, listing };
    with_status(page.errors.status(), page)
}

/// Reads the document.
fn list(form: &Form) -> (Option<Listing>, FormErrors) {
    let base_path = form.base_path.trim();
    let is_path = base_path.is_empty() || Permission::parse(&format!("GET {base_path}")).is_ok();
    if !is_path || base_path.chars().count() > MAX_BASE_PATH_CHARS {
        let problem = "must be a path such as /v1, with only letters, digits, hyphens, dots and underscores";
        return (None, FormErrors::field("base_path", problem));
    }
    let document = match Document::read(&form.document) {
        Ok(document) => document,
        Err(errors) => {
            let problems: Vec<_> =
                errors.iter().map(|error| format!("the document {}", error.detail)).collect();
            return (None, FormErrors::field("document", problems.join(". ")));
        }
    };
    let routes = document.routes(base_path);
    if routes.routes.is_empty() && routes.skipped.is_empty() {
        return (None, FormErrors::field("document", "the document has no operations"));
    }
    (Some(Listing::new(routes, &form.find, base_path)), FormErrors::default())
}

/// Adds the `selected` permissions to `lines` of permissions. Permissions with the same path
/// become one line. Invalid lines stay as they are.
pub(super) fn merge(lines: &str, selected: &[String]) -> String {
    let mut merged: Vec<Result<Permission, String>> = lines
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| Permission::parse(line).map_err(|_| line.to_owned()))
        .collect();
    for added in selected.iter().flat_map(|lines| lines.lines()) {
        let Ok(added) = Permission::parse(added.trim()) else { continue };
        match merged.iter_mut().filter_map(|line| line.as_mut().ok()).find(|line| is_same_path(line, &added))
        {
            Some(line) => *line = with_methods_of(line, &added),
            None => merged.push(Ok(added)),
        }
    }
    let lines = merged.iter().map(|line| line.as_ref().map_or_else(String::as_str, Permission::as_str));
    lines.collect::<Vec<_>>().join("\n")
}

fn is_same_path(one: &Permission, other: &Permission) -> bool {
    one.covers_paths_of(other) && other.covers_paths_of(one)
}

/// The permission for the path of `one`, with the methods of both.
fn with_methods_of(one: &Permission, other: &Permission) -> Permission {
    let has = |permission: &Permission, method| permission.methods().any(|own| own == method);
    let both = Method::ALL.into_iter().filter(|method| has(one, *method) || has(other, *method));
    let names: Vec<_> = both.map(Method::name).collect();
    let methods = if names.len() == Method::ALL.len() { "ANY".to_owned() } else { names.join(",") };
    // If the text became too long, the permissions would stay separate.
    Permission::parse(&format!("{methods} {}", one.path())).unwrap_or_else(|_| one.clone())
}
