//! Pages and cursors of lists.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;

use crate::domain::{
    Account, AccountId, ActorSearch, ApiName, Event, EventId, EventType, FoldedName, IssuerName, RoleName,
    TagKey, TagValue,
};

/// The default number of items in a page.
pub const DEFAULT_LIMIT: u8 = 25;
/// The maximum number of items in a page.
pub const MAX_LIMIT: u8 = 100;

/// DynamoDB's limit for a sort key, in bytes.
const MAX_SORT_KEY_BYTES: usize = 1024;

/// The requested page of a list.
#[derive(Clone, Debug)]
pub struct PageRequest<C> {
    /// The maximum number of items.
    pub limit: i32,
    /// The end of the previous page.
    pub cursor: Option<C>,
}

/// A filter for accounts.
#[derive(Clone, Debug, Default)]
pub struct AccountFilter {
    /// Accounts whose folded name starts with this prefix.
    pub prefix: Option<FoldedName>,
    /// Accounts with this role.
    pub role: Option<RoleName>,
    /// Enabled or disabled accounts.
    pub enabled: Option<bool>,
    /// Accounts whose folded owner contains this text.
    pub owner: Option<FoldedName>,
    /// Accounts with this tag.
    pub tag: Option<TagFilter>,
    /// The order of the folded names.
    pub order: ListOrder,
}

/// A filter for the tags of an account.
#[derive(Clone, Debug)]
pub struct TagFilter {
    /// The name of the tag.
    pub name: TagKey,
    /// The value of the tag. `None` stands for any value.
    pub value: Option<TagValue>,
}

/// The order of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListOrder {
    #[default]
    Ascending,
    Descending,
}

/// A page of the list of accounts.
#[derive(Clone, Debug)]
pub struct AccountPage {
    /// The accounts.
    pub page: Page<Account, AccountCursor>,
    /// The number of accounts that were compared with the filters, if the page ended before it
    /// was full, although there are more accounts.
    pub searched: Option<usize>,
}

/// Whose audit events are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EventScope {
    /// All accounts, custom roles, trusted issuers and protected APIs.
    #[default]
    All,
    Account(AccountId),
    Role(RoleName),
    Issuer(IssuerName),
    Api(ApiName),
}

/// A filter for audit events.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    pub scope: EventScope,
    /// Events caused by these admins.
    pub actor: Option<ActorSearch>,
    /// Events of this type.
    pub event_type: Option<EventType>,
    /// Events at this instant or later.
    pub from: Option<Timestamp>,
    /// Events before this instant.
    pub to: Option<Timestamp>,
}

impl EventFilter {
    /// Whether events of the scope and the interval can be left out.
    pub(super) fn is_selective(&self) -> bool {
        self.actor.is_some() || self.event_type.is_some()
    }

    /// Whether the actor and the type of `event` match.
    pub(super) fn selects(&self, event: &Event) -> bool {
        self.actor.as_ref().is_none_or(|search| search.finds(&event.actor))
            && self.event_type.is_none_or(|event_type| event_type == event.event_type)
    }
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page<T, C> {
    /// The items.
    pub items: Vec<T>,
    /// The end of this page, if there are more items.
    pub next: Option<C>,
}

impl<T, C> Page<T, C> {
    /// Keeps the first `limit` of `items`. If there are more, `cursor` creates the
    /// page's cursor from its last item.
    pub(super) fn cut(mut items: Vec<T>, limit: i32, cursor: impl FnOnce(&T) -> C) -> Self {
        let limit = usize::try_from(limit).unwrap_or(0);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(cursor) } else { None };
        Self { items, next }
    }
}

// A cursor marks the end of a page. Clients see opaque, URL-safe text. Its first
// decoded letter identifies the list, so that other lists refuse the cursor. A forged
// cursor only selects a position: it gives access to no item that the list does not
// show anyway.

/// A position in the list of accounts, which is in the order of folded names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountCursor {
    pub(super) id: AccountId,
    pub(super) name: FoldedName,
}

/// A position in the list of one account's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventCursor(pub(super) EventId);

/// A position in the list of all events: the next page has events with smaller ids. An
/// event with this id need not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllEventsCursor(pub(super) EventId);

impl AllEventsCursor {
    /// The instant of the position. All events after this instant are on earlier pages.
    pub fn at(self) -> Timestamp {
        self.0.at()
    }
}

/// A position in the list of roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleCursor(pub(super) RoleName);

/// Text that is not a cursor of this list.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("must be a `nextCursor` that this operation returned")]
pub struct InvalidCursor;

impl AccountCursor {
    /// Reads a cursor of a list of accounts whose folded names start with
    /// `prefix`. Refuses a position outside of that list, because DynamoDB would
    /// refuse to continue from there.
    pub fn decode(text: &str, prefix: Option<&FoldedName>) -> Result<Self, InvalidCursor> {
        let text = decode('a', text)?;
        let (id, name) = text.split_at_checked(AccountId::BARE_LENGTH).ok_or(InvalidCursor)?;
        let id = AccountId::from_bare(id).map_err(|_| InvalidCursor)?;
        let name = FoldedName::new(name);
        let is_in_list = prefix.is_none_or(|prefix| name.as_str().starts_with(prefix.as_str()));
        if name.as_str().is_empty() || name.as_str().len() > MAX_SORT_KEY_BYTES || !is_in_list {
            return Err(InvalidCursor);
        }
        Ok(Self { id, name })
    }
}

impl fmt::Display for AccountCursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        encode(formatter, format_args!("a{}{}", self.id.bare(), self.name.as_str()))
    }
}

/// Implements the text of a cursor that has one value.
macro_rules! cursor_text {
    ($cursor:ident, $letter:literal) => {
        impl $cursor {
            /// Reads a cursor of this list.
            pub fn decode(text: &str) -> Result<Self, InvalidCursor> {
                decode($letter, text)?.parse().map(Self).map_err(|_| InvalidCursor)
            }
        }

        impl fmt::Display for $cursor {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                encode(formatter, format_args!("{}{}", $letter, self.0))
            }
        }
    };
}

cursor_text!(EventCursor, 'e');
cursor_text!(AllEventsCursor, 't');
cursor_text!(RoleCursor, 'r');

pub(super) fn encode(formatter: &mut fmt::Formatter<'_>, text: fmt::Arguments<'_>) -> fmt::Result {
    formatter.write_str(&URL_SAFE_NO_PAD.encode(text.to_string()))
}

/// Decodes the text of a cursor of the list with the letter `list`, and strips the
/// letter.
pub(super) fn decode(list: char, text: &str) -> Result<String, InvalidCursor> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidCursor)?;
    let text = String::from_utf8(bytes).map_err(|_| InvalidCursor)?;
    text.strip_prefix(list).map(ToOwned::to_owned).ok_or(InvalidCursor)
}
