//! The pages, one per file.

mod account;
mod accounts;
mod add_identity;
mod agent_tools;
mod apis;
mod attention;
mod change_accounts;
mod change_role;
mod changed_accounts;
mod choose_access;
mod create_account;
mod delete_account;
mod delete_api;
mod delete_issuer;
mod delete_role;
mod disable_account;
mod edit_account;
mod edit_api;
mod edit_issuer;
mod edit_role;
mod enable_account;
mod end_identity;
pub(crate) mod error;
pub(crate) mod explain;
mod export_accounts;
mod export_history;
mod export_review;
mod history;
mod identity;
mod import_permissions;
mod issue_key;
mod issued_before;
mod issued_key;
mod issuer;
mod issuers;
mod key;
pub(crate) mod leaked;
mod leaked_key;
mod leaked_token;
mod overview;
mod protected_api;
mod request;
mod retired_keys;
mod review;
mod review_role;
mod revoke_all_keys;
mod revoke_key;
mod role;
mod role_from_tools;
mod role_usage;
mod roles;
mod rotate_key;
mod search;
mod shortcuts;
mod sign_in;
pub(crate) mod signed_in;
mod signed_out;

use axum::Router;
use axum::routing::{get, post};

use crate::app_state::AppState;
use crate::auth::oidc::CALLBACK;
use crate::view::assets;

/// The routes whose forms contain a secret.
pub(crate) fn secret_forms() -> Router<AppState> {
    Router::new()
        .route(leaked::PATH, get(leaked::show).post(leaked::submit))
        .route(search::PATH, get(search::show).post(search::submit))
}

/// All other routes.
pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route("/", get(overview::show))
        .route("/attention", get(attention::show))
        .route("/accounts/new", get(create_account::show))
        .route("/accounts", get(accounts::show).post(create_account::submit))
        .route("/accounts/change", get(change_accounts::show).post(change_accounts::submit))
        .route("/accounts/export", get(export_accounts::download))
        .route("/accounts/{id}", get(account::show))
        .route("/accounts/{id}/edit", get(edit_account::show).post(edit_account::submit))
        .route("/accounts/{id}/disable", get(disable_account::show).post(disable_account::submit))
        .route("/accounts/{id}/enable", post(enable_account::submit).get(account::redirect))
        .route("/accounts/{id}/role", get(change_role::show))
        .route("/accounts/{id}/role-usage", get(role_usage::show))
        .route("/accounts/{id}/review", post(review::submit).get(review::redirect))
        .route("/accounts/{id}/delete", get(delete_account::show).post(delete_account::submit))
        .route("/accounts/{id}/history", get(history::show))
        .route("/accounts/{id}/access", get(choose_access::show))
        .route("/accounts/{id}/identities/new", get(add_identity::show))
        .route("/accounts/{id}/identities", post(add_identity::submit).get(account::redirect))
        .route("/accounts/{id}/identities/{identity_id}", get(identity::show))
        .route(
            "/accounts/{id}/identities/{identity_id}/end",
            get(end_identity::show).post(end_identity::submit),
        )
        .route("/accounts/{id}/keys/new", get(issue_key::show))
        // Opening a form's address redirects instead of showing an error.
        .route("/accounts/{id}/keys", post(issue_key::submit).get(account::redirect))
        .route("/accounts/{id}/keys/retired", get(retired_keys::show))
        .route("/accounts/{id}/keys/revoke", get(revoke_all_keys::show).post(revoke_all_keys::submit))
        .route("/accounts/{id}/keys/{key_id}", get(key::show))
        .route("/accounts/{id}/keys/{key_id}/revoke", get(revoke_key::show).post(revoke_key::submit))
        .route("/accounts/{id}/keys/{key_id}/rotate", get(rotate_key::show).post(rotate_key::submit))
        .route("/history", get(history::show_all))
        .route("/history/export", get(export_history::download))
        .route("/review", get(review::show))
        .route("/review/export", get(export_review::download))
        .route("/apis", get(apis::show))
        .route("/apis/{name}", get(protected_api::show))
        .route("/apis/{name}/edit", get(edit_api::show).post(edit_api::submit))
        .route("/apis/{name}/delete", get(delete_api::show).post(delete_api::submit))
        .route("/apis/{name}/role", post(role_from_tools::submit).get(protected_api::redirect))
        .route("/new-api", get(edit_api::show_new).post(edit_api::submit_new))
        .route("/agent-tools", get(agent_tools::show).post(agent_tools::submit))
        .route("/issuers", get(issuers::show))
        .route("/issuers/{name}", get(issuer::show))
        .route("/issuers/{name}/edit", get(edit_issuer::show).post(edit_issuer::submit))
        .route("/issuers/{name}/delete", get(delete_issuer::show).post(delete_issuer::submit))
        .route("/new-issuer", get(edit_issuer::show_new).post(edit_issuer::submit_new))
        .route("/roles", get(roles::show))
        .route("/roles/{name}", get(role::show))
        .route("/roles/{name}/edit", get(edit_role::show).post(edit_role::submit))
        .route("/roles/{name}/delete", get(delete_role::show).post(delete_role::submit))
        .route("/roles/{name}/import", get(role::redirect).post(import_permissions::submit))
        .route("/new-role", get(edit_role::show_new).post(edit_role::submit_new))
        .route("/new-role/import", get(roles::redirect).post(import_permissions::submit_new))
        .route("/explain", get(explain::show).post(explain::submit))
        .route("/leaked/key", get(leaked_key::show))
        .route("/leaked/token", get(leaked_token::show))
        .route("/sign-in", get(sign_in::sign_in))
        .route(CALLBACK, get(sign_in::callback))
        .route("/sign-out", post(sign_in::sign_out).get(overview::redirect))
        .route(signed_in::PATH, get(signed_in::show))
        .route(signed_out::PATH, get(signed_out::show))
        .route(shortcuts::PATH, get(shortcuts::show).post(shortcuts::submit))
        .route("/assets/console.css", get(assets::CSS))
        .route("/assets/console.js", get(assets::JS))
        .route("/assets/icon.svg", get(assets::ICON))
}
