//! An account that somebody types into a form: by its id, or by its name.

use shared::domain::{AccountId, AccountName, FoldedName};

use crate::api::{AccountsQuery, ApiError};
use crate::auth::session::Visit;

/// The account that `text` is the id or the name of. Whether there is one of an
/// id is not asked.
///
/// # Errors
/// The API's.
pub(crate) async fn by_id_or_name(visit: &Visit, text: &str) -> Result<Option<AccountId>, ApiError> {
    if let Ok(id) = text.parse() {
        return Ok(Some(id));
    }
    // What is no name goes no further: it might be a key that was pasted.
    if AccountName::parse(text).is_err() {
        return Ok(None);
    }
    let folded = FoldedName::new(text);
    // Its own name stands before all that begin with it.
    let query = AccountsQuery { prefix: text.to_owned(), limit: Some(1), ..AccountsQuery::default() };
    let list = visit.api().accounts(&query).await?;
    let first = list.items.into_iter().map(|listed| listed.account).next();
    let named = first.filter(|account| FoldedName::new(&account.name) == folded);
    Ok(named.map(|account| account.id))
}
