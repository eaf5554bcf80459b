//! Finds the account that was entered in a form.

use shared::domain::{AccountId, AccountName, FoldedName};

use crate::api::{AccountsQuery, ApiError};
use crate::auth::session::Session;

/// Finds the account with the ID or name `text`. An ID is not checked for existence.
pub(crate) async fn by_id_or_name(session: &Session, text: &str) -> Result<Option<AccountId>, ApiError> {
    if let Ok(id) = text.parse() {
        return Ok(Some(id));
    }
    // The text could be a pasted key, so only a valid name is sent to the API.
    if AccountName::parse(text).is_err() {
        return Ok(None);
    }
    let folded = FoldedName::new(text);
    // An exact match is first in the list of names with this prefix.
    let query = AccountsQuery { prefix: text.to_owned(), limit: Some(1), ..AccountsQuery::default() };
    let list = session.api().accounts(&query).await?;
    let first = list.items.into_iter().next().map(|listed| listed.account);
    let exact = first.filter(|account| FoldedName::new(&account.name) == folded);
    Ok(exact.map(|account| account.id))
}
