//! The pages, one a file.

mod account;
mod all_history;
pub(crate) mod assets;
mod attention;
mod create_account;
mod delete_account;
mod delete_role;
mod edit_account;
mod edit_role;
mod explain;
mod find_account;
mod history;
mod issue_key;
mod issued_key;
pub(crate) mod leaked;
mod list_roles;
mod overview;
mod retired_keys;
mod revoke_all_keys;
mod revoke_key;
mod role;
mod roles;
mod rotate_key;
mod session;
mod switch_account;

use std::str::FromStr;

use axum::Router;
use axum::routing::{get, post};
use serde::Deserialize;

use crate::Site;
use crate::provider::CALLBACK;
use crate::trouble::Trouble;

/// All of them.
pub(crate) fn router() -> Router<Site> {
    Router::new()
        .route("/", get(overview::show))
        .route("/attention", get(attention::show))
        .route("/accounts/new", get(create_account::show))
        .route("/accounts", post(create_account::submit).get(overview::go))
        .route("/accounts/{id}", get(account::show))
        .route("/accounts/{id}/edit", get(edit_account::show).post(edit_account::submit))
        .route("/accounts/{id}/switch", post(switch_account::submit).get(account::go))
        .route("/accounts/{id}/delete", get(delete_account::show).post(delete_account::submit))
        .route("/accounts/{id}/history", get(history::show))
        .route("/accounts/{id}/keys/new", get(issue_key::show))
        // A reload from the address bar must not end in an error.
        .route("/accounts/{id}/keys", post(issue_key::submit).get(account::go))
        .route("/accounts/{id}/keys/retired", get(retired_keys::show))
        .route("/accounts/{id}/keys/revoke", get(revoke_all_keys::show).post(revoke_all_keys::submit))
        .route("/accounts/{id}/keys/{key_id}/revoke", get(revoke_key::show).post(revoke_key::submit))
        .route("/accounts/{id}/keys/{key_id}/rotate", get(rotate_key::show).post(rotate_key::submit))
        .route(leaked::PATH, get(leaked::show).post(leaked::submit))
        .route("/history", get(all_history::show))
        .route("/roles", get(list_roles::show))
        .route("/roles/{name}", get(role::show))
        .route("/roles/{name}/edit", get(edit_role::show).post(edit_role::submit))
        .route("/roles/{name}/delete", get(delete_role::show).post(delete_role::submit))
        .route("/new-role", get(edit_role::show_new).post(edit_role::submit_new))
        .route("/explain", get(explain::show).post(explain::submit))
        .route("/leaked/key", get(leaked::show_key))
        .route("/sign-in", get(session::sign_in))
        .route(CALLBACK, get(session::callback))
        .route("/sign-out", post(session::sign_out).get(overview::go))
        .route(session::SIGNED_OUT, get(session::signed_out))
        .route("/assets/console.css", get(assets::css))
        .route("/assets/console.js", get(assets::js))
        .route("/assets/icon.svg", get(assets::icon))
}

/// Which page of what a page of the console has read whole.
#[derive(Deserialize)]
struct After {
    /// So many items are on the pages before.
    #[serde(default)]
    after: usize,
}

/// Which page of a list of the API.
#[derive(Deserialize)]
struct Cursor {
    /// Where the page before ended. Nothing, on the first one.
    #[serde(default)]
    cursor: String,
}

/// The id in a path. Where there can be no such id, there is no such page.
fn id<T: FromStr>(text: &str) -> Result<T, Trouble> {
    text.parse().map_err(|_| Trouble::NoPage)
}
