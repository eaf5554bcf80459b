//! `GET /roles`: the built-in roles by operation, and all custom roles.

use askama::Template;
use axum::extract::Query;
use axum::response::Redirect;
use shared::domain::BuiltInRole;
use shared::policy::{Api, Grant, GrantRoles, Method, PathPrefix, RESERVED_PREFIX, Target, decide};

use super::request::Cursor;
use crate::app_state::AppState;
use crate::auth::session::Session;
use crate::error::PageResult;
use crate::view::layout::Page;
use crate::view::role_chooser::RoleChoice;

/// Operations, each on a line that begins with `# `, and below it the operation's requests.
/// A test generates the file. The page checks each request with the built-in roles of this
/// deployment.
const OPERATIONS: &str = include_str!("../../operations.txt");

/// The data prefixes of the operations in [`OPERATIONS`]. A deployment with others has
/// generated operations in place of those outside of `/iam`.
const DATA_PREFIXES: [&str; 2] = ["/organizations", "/teams"];

/// How many data prefixes have generated operations.
const MAX_PREFIXES: usize = 20;

/// Roles per page, including the built-in ones.
const ROLES: u8 = 25;

/// The built-in roles. Those that permit least come first.
const COLUMNS: [BuiltInRole; 3] = [BuiltInRole::Reader, BuiltInRole::Writer, BuiltInRole::Admin];

/// An operation and its requests.
struct Operation {
    name: String,
    requests: Vec<Request>,
}

struct Request {
    text: String,
    /// Whether each role of [`COLUMNS`] permits the request.
    is_permitted: [bool; 3],
}

impl Operation {
    /// Whether each role of [`COLUMNS`] permits the operation's requests.
    fn permitted(&self) -> [&'static str; 3] {
        let mut permitted = [0; 3];
        for request in &self.requests {
            for (count, is_permitted) in permitted.iter_mut().zip(request.is_permitted) {
                *count += usize::from(is_permitted);
            }
        }
        permitted.map(|count| match count {
            0 => "no",
            all if all == self.requests.len() => "yes",
            _ => "partly",
        })
    }
}

impl Request {
    fn new(console: &AppState, text: String) -> Self {
        Self { is_permitted: COLUMNS.map(|role| permits(console, role, &text)), text }
    }

    /// The names of the roles that permit the request.
    fn roles(&self) -> String {
        let permitted = COLUMNS.iter().zip(self.is_permitted).filter(|(_, is_permitted)| *is_permitted);
        let names: Vec<_> = permitted.map(|(role, _)| short(*role)).collect();
        if names.is_empty() { "No key".to_owned() } else { names.join(", ") }
    }
}

#[derive(Template)]
#[template(path = "roles.html")]
struct Roles {
    page: Page,
    columns: Vec<(&'static str, &'static str)>,
    operations: Vec<Operation>,
    custom: Vec<RoleChoice>,
    /// The addresses of the first page and of the next page.
    first: Option<String>,
    next: Option<String>,
}

pub(super) async fn redirect() -> Redirect {
    Redirect::to("/roles")
}

pub(super) async fn show(session: Session, Query(Cursor { cursor }): Query<Cursor>) -> PageResult {
    let list = session.api().roles(&cursor, ROLES).await?;
    let custom = list.items.into_iter().filter(|role| !role.built_in);
    let page = Roles {
        page: session.page(),
        columns: COLUMNS.map(|role| (role.name(), short(role))).to_vec(),
        operations: operations(&session.console),
        custom: custom.map(RoleChoice::from).collect(),
        first: (!cursor.is_empty()).then(|| "/roles".to_owned()),
        next: list.next_cursor.map(|next| format!("/roles?cursor={next}")),
    };
    session.show(page)
}

/// A built-in role's name without the common prefix.
fn short(role: BuiltInRole) -> &'static str {
    role.name().trim_start_matches("ServiceAccount")
}

fn operations(console: &AppState) -> Vec<Operation> {
    let mut operations = Vec::<Operation>::new();
    for line in OPERATIONS.lines().filter(|line| !line.is_empty()) {
        if let Some(name) = line.strip_prefix("# ") {
            operations.push(Operation { name: name.to_owned(), requests: Vec::new() });
        } else if let Some(operation) = operations.last_mut() {
            operation.requests.push(Request::new(console, line.to_owned()));
        }
    }
    let prefixes = console.built_in_roles.data_prefixes();
    if prefixes.iter().map(PathPrefix::as_str).eq(DATA_PREFIXES) {
        return operations;
    }
    let generated =
        prefixes.iter().take(MAX_PREFIXES).flat_map(|prefix| operations_below(console, prefix.as_str()));
    let elsewhere = generate(console, "Everything else outside of /iam", "/{anything-else}", &Method::ALL);
    let reserved = operations.into_iter().filter(|operation| {
        operation.requests.iter().all(|request| request.text.contains(&format!(" {RESERVED_PREFIX}/")))
    });
    generated.chain([elsewhere]).chain(reserved).collect()
}

/// The operations on the data below a prefix.
fn operations_below(console: &AppState, prefix: &str) -> [Operation; 2] {
    let (reads, writes): (Vec<_>, Vec<_>) = Method::ALL
        .into_iter()
        .partition(|method| matches!(method, Method::Get | Method::Head | Method::Options));
    [
        generate(console, &format!("View data at {prefix} and below"), prefix, &reads),
        generate(console, &format!("Create, update or delete data at {prefix} and below"), prefix, &writes),
    ]
}

/// An operation with requests of these methods at `path` and below.
fn generate(console: &AppState, name: &str, path: &str, methods: &[Method]) -> Operation {
    let requests = methods.iter().flat_map(|method| {
        let method = method.name();
        [format!("{method} {path}"), format!("{method} {path}/{{id}}")]
    });
    Operation { name: name.to_owned(), requests: requests.map(|text| Request::new(console, text)).collect() }
}

/// Whether `role` permits `request`, which is a method and a path.
fn permits(console: &AppState, role: BuiltInRole, request: &str) -> bool {
    let (method, path) = request.split_once(' ').unwrap_or_default();
    // Without braces, a parameter is an ordinary segment.
    let path = path.replace(['{', '}'], "");
    let grant = Grant::ServiceAccount(GrantRoles::new(console.built_in_roles.get(role)));
    let target = Target::parse(method, &path);
    target.is_ok_and(|target| decide(Api::serving(&target), grant, &target).is_ok())
}
