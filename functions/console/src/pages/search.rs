//! `GET, POST /search`: searches accounts, keys and federated identities.
//!
//! The search box sends its text with POST, so that a pasted credential never gets into an
//! address.
//! A text without a credential is redirected to an address that can be shared. A whole key or token
//! is looked up like a leaked one: see [`leaked`].

use askama::Template;
use axum::body::Body;
use axum::extract::{FromRequest as _, Query, Request, State};
use axum::response::{IntoResponse as _, Redirect};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use shared::api::{KeyState, MatchedField, SearchResults};
use shared::domain::{AccountId, IdentityId, KEY_PREFIX, KeyId, TOKEN_PREFIX, may_contain_credential};

use super::leaked;
use crate::app_state::AppState;
use crate::auth::session::{PostedSecret, Session};
use crate::error::{PageError, PageResult};
use crate::view::form::FormErrors;
use crate::view::formatting::count;
use crate::view::layout::{Page, with_status};

/// The path of the page and its form.
pub(crate) const PATH: &str = "/search";
/// The limits of the text, in characters.
const MIN_CHARS: usize = 2;
const MAX_CHARS: usize = 128;
/// The largest form, in bytes. A key can be pasted with the text around it.
const MAX_FORM_BYTES: usize = 64 * 1024;

/// The form.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Form {
    q: SecretString,
}

/// The text in the address, and the cursor of a page.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct SearchQuery {
    q: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    cursor: String,
    /// Whether the text was not searched, because it contains a JWT or a part of a credential. The
    /// address does not have the text.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    token: bool,
}

#[derive(Template)]
#[template(path = "search.html")]
struct Search {
    page: Page,
    query: SearchQuery,
    errors: FormErrors,
    /// `None` without a valid text.
    results: Option<SearchResults>,
    /// The addresses of the first page and of the next page.
    first: Option<String>,
    next: Option<String>,
}

impl Search {
    /// For example, `312 accounts`.
    fn searched(&self) -> String {
        let searched = self.results.as_ref().map_or(0, |results| results.searched_accounts);
        count(u64::try_from(searched).unwrap_or(u64::MAX), "account")
    }

    /// Whether nothing matches.
    fn is_empty(results: &SearchResults) -> bool {
        let SearchResults { accounts, keys, federated_identities, .. } = results;
        accounts.is_empty() && keys.is_empty() && federated_identities.is_empty()
    }

    /// The fields that matched, for example `Name, tags`.
    fn matched(fields: &[MatchedField]) -> String {
        let words = |field: &MatchedField| match field {
            MatchedField::Id => "ID",
            MatchedField::Name => "name",
            MatchedField::Owner => "owner",
            MatchedField::Tags => "tags",
            MatchedField::Hint => "last characters",
        };
        fields.iter().map(words).collect::<Vec<_>>().join(", ")
    }

    /// The CSS class and the label of a key's state.
    fn state(state: KeyState) -> (&'static str, &'static str) {
        match state {
            KeyState::Active => ("good", "Active"),
            KeyState::Retiring => ("warn", "Grace period"),
            KeyState::Expired => ("bad", "Expired"),
            KeyState::Retired => ("bad", "Retired"),
        }
    }
}

/// The address of the results for `query`.
fn address(query: &SearchQuery) -> PageResult<String> {
    let query = serde_html_form::to_string(query).map_err(PageError::unavailable)?;
    Ok(format!("{PATH}?{query}"))
}

pub(super) async fn submit(State(console): State<AppState>, request: Request) -> PageResult {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, MAX_FORM_BYTES).await.map_err(|_| PageError::Malformed)?;
    let form: Form = serde_html_form::from_bytes(&body).map_err(|_| PageError::Malformed)?;
    let text = form.q.expose_secret();
    if !text.contains(KEY_PREFIX) && !text.contains(TOKEN_PREFIX) {
        let token = may_contain_credential(text);
        let q = if token { String::new() } else { text.trim().to_owned() };
        let query = SearchQuery { q, token, ..SearchQuery::default() };
        return Ok(Redirect::to(&address(&query)?).into_response());
    }
    let request = Request::from_parts(parts, Body::from(body));
    let PostedSecret(session, form) = PostedSecret::<Form>::from_request(request, &console).await?;
    leaked::look_up(session, &form.q).await
}

pub(super) async fn show(session: Session, Query(query): Query<SearchQuery>) -> PageResult {
    // The page does not repeat a token.
    let token = query.token || may_contain_credential(&query.q);
    let q = if token { String::new() } else { query.q.trim().to_owned() };
    let query = SearchQuery { q, token, ..query };
    let errors = check(&query);
    let is_searched = errors.is_empty() && !query.q.is_empty();
    let results = if is_searched { Some(session.api().search(&query.q, &query.cursor).await?) } else { None };
    if let Some(page) = results.as_ref().and_then(|results| exact_page(&query.q, results)) {
        return Ok(Redirect::to(&page).into_response());
    }
    let other = |cursor| address(&SearchQuery { q: query.q.clone(), cursor, token: false });
    let next = results.as_ref().and_then(|results| results.next_cursor.clone());
    let search = Search {
        page: session.page(),
        first: if query.cursor.is_empty() { None } else { Some(other(String::new())?) },
        next: next.map(other).transpose()?,
        results,
        errors,
        query,
    };
    if search.errors.is_empty() { session.show(search) } else { with_status(search.errors.status(), search) }
}

fn check(query: &SearchQuery) -> FormErrors {
    let length = query.q.chars().count();
    let problem = if query.token {
        "the text contains a JWT, or a part of a key or token. Such texts are not searched. To look up a key or token, \
         paste all of it"
    } else if length > MAX_CHARS {
        "the text must be at most 128 characters"
    } else if length > 0 && length < MIN_CHARS {
        "the text must have at least 2 characters"
    } else {
        return FormErrors::default();
    };
    FormErrors::field("q", problem)
}

/// The page of the only result, if `text` is a whole ID.
fn exact_page(text: &str, results: &SearchResults) -> Option<String> {
    let SearchResults { accounts, keys, federated_identities, .. } = results;
    match (accounts.as_slice(), keys.as_slice(), federated_identities.as_slice()) {
        ([account], [], []) if text.parse::<AccountId>().is_ok() => {
            let history = if account.deleted_at.is_some() { "/history" } else { "" };
            Some(format!("/accounts/{}{history}", account.id))
        }
        ([], [found], []) if text.parse::<KeyId>().is_ok() => {
            Some(format!("/accounts/{}/keys/{}", found.account.id, found.key.id))
        }
        ([], [], [found]) if text.parse::<IdentityId>().is_ok() => {
            Some(format!("/accounts/{}/identities/{}", found.account.id, found.identity.id))
        }
        _ => None,
    }
}
