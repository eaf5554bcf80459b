//! Pages of lists.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use jiff::Timestamp;

use crate::domain::{AccountId, EventId, EventType, FoldedName, RoleName};

/// Items of a page, if the caller does not say.
pub const DEFAULT_LIMIT: u8 = 25;
/// The most items of a page.
pub const MAX_LIMIT: u8 = 100;

/// DynamoDB's limit of a sort key, in bytes.
const MAX_SORT_KEY_BYTES: usize = 1024;

/// Which page.
#[derive(Clone, Debug)]
pub struct PageRequest {
    /// At most so many items.
    pub limit: i32,
    /// Where the page before ended.
    pub cursor: Option<Cursor>,
}

/// Which accounts.
#[derive(Clone, Debug, Default)]
pub struct AccountFilter {
    /// Those whose name begins so.
    pub prefix: Option<FoldedName>,
    /// Those with this role.
    pub role: Option<RoleName>,
    /// The enabled or the disabled ones.
    pub enabled: Option<bool>,
}

/// Which events.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Those by the person of this id or name.
    pub actor: Option<String>,
    /// Those of this account.
    pub account: Option<AccountId>,
    /// Those of this type.
    pub event_type: Option<EventType>,
    /// Those at this instant and later.
    pub from: Option<Timestamp>,
    /// Those before this instant.
    pub to: Option<Timestamp>,
}

/// A page.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// Its items.
    pub items: Vec<T>,
    /// Where it ended, if there is more.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// The page of the first `limit` of `items`. If there are more, it ends
    /// where `cursor` says of its last item.
    pub(super) fn cut(mut items: Vec<T>, limit: i32, cursor: impl FnOnce(&T) -> Cursor) -> Self {
        let limit = usize::try_from(limit).unwrap_or(0);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(cursor) } else { None };
        Self { items, next }
    }
}

/// Where a page ended. Callers see it as opaque, URL-safe text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// At this account, in the order of names.
    Account {
        /// The account.
        id: AccountId,
        /// Its folded name.
        name: FoldedName,
    },
    /// At this event.
    Event(EventId),
    /// At this role.
    Role(RoleName),
    /// In the list of all events, before those of this id and above. There need
    /// be no event of this id.
    AllEvents(EventId),
}

/// Text that is no cursor of this list.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("this is no cursor of this list: pass a `nextCursor` as it was answered")]
pub struct InvalidCursor;

impl Cursor {
    /// Its text. It says only where to go on, so a forged one reaches nothing
    /// that the list itself would not show.
    #[must_use]
    pub fn encode(&self) -> String {
        let text = match self {
            Self::Account { id, name } => format!("a{}{}", id.bare(), name.as_str()),
            Self::Event(id) => format!("e{id}"),
            Self::Role(name) => format!("r{name}"),
            Self::AllEvents(id) => format!("t{id}"),
        };
        URL_SAFE_NO_PAD.encode(text)
    }

    /// Reads a cursor of the list of those accounts whose names begin with
    /// `prefix`.
    ///
    /// # Errors
    /// When it is none. (DynamoDB would refuse to go on from a place outside of
    /// the list.)
    pub fn decode_account(text: &str, prefix: Option<&FoldedName>) -> Result<Self, InvalidCursor> {
        let text = decode(text)?;
        let (id, name) = text
            .strip_prefix('a')
            .and_then(|rest| rest.split_at_checked(AccountId::BARE_LENGTH))
            .ok_or(InvalidCursor)?;
        let id = AccountId::from_bare(id).map_err(|_| InvalidCursor)?;
        let name = FoldedName::new(name);
        let is_of_list = prefix.is_none_or(|prefix| name.as_str().starts_with(prefix.as_str()));
        if name.as_str().is_empty() || name.as_str().len() > MAX_SORT_KEY_BYTES || !is_of_list {
            return Err(InvalidCursor);
        }
        Ok(Self::Account { id, name })
    }

    /// Reads a cursor of a list of one account's events.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode_event(text: &str) -> Result<Self, InvalidCursor> {
        decode_event_id(text, 'e').map(Self::Event)
    }

    /// Reads a cursor of the list of roles.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode_role(text: &str) -> Result<Self, InvalidCursor> {
        let text = decode(text)?;
        let name = text.strip_prefix('r').ok_or(InvalidCursor)?;
        RoleName::parse(name).map(Self::Role).map_err(|_| InvalidCursor)
    }

    /// Reads a cursor of the list of all events.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode_all_events(text: &str) -> Result<Self, InvalidCursor> {
        decode_event_id(text, 't').map(Self::AllEvents)
    }
}

fn decode_event_id(text: &str, kind: char) -> Result<EventId, InvalidCursor> {
    let text = decode(text)?;
    text.strip_prefix(kind).and_then(|id| id.parse().ok()).ok_or(InvalidCursor)
}

fn decode(text: &str) -> Result<String, InvalidCursor> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidCursor)?;
    String::from_utf8(bytes).map_err(|_| InvalidCursor)
}
