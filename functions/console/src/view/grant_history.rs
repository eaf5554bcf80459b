//! The events about a key or a federated identity.

use shared::api::AuditEvent;
use shared::domain::{AccountId, EventType, GrantId};

use crate::api::{AdminApi, MAX_PAGE_SIZE};
use crate::view::formatting::successor;

/// How many pages of the account's events are searched.
const EVENT_PAGES: usize = 2;

/// The events about a grant among its account's newest events.
pub(crate) struct GrantHistory {
    pub(crate) events: Vec<AuditEvent>,
    /// How many events were searched.
    searched: usize,
    /// Whether the account has older events.
    has_more: bool,
}

impl GrantHistory {
    /// Searches the account's newest events. `None` if they are not available.
    pub(crate) async fn read(api: AdminApi<'_>, account: AccountId, grant: GrantId) -> Option<Self> {
        let mut history = Self { events: Vec::new(), searched: 0, has_more: true };
        let mut cursor = String::new();
        for _ in 0..EVENT_PAGES {
            let Ok(list) = api.events(account, &cursor, MAX_PAGE_SIZE).await else {
                return Some(history).filter(|history| history.searched > 0);
            };
            history.searched += list.items.len();
            history.events.extend(list.items.into_iter().filter(|event| is_about(event, grant)));
            let Some(next) = list.next_cursor else {
                history.has_more = false;
                break;
            };
            cursor = next;
        }
        Some(history)
    }

    /// How many events were searched, if not all.
    pub(crate) fn cut(&self) -> Option<usize> {
        self.has_more.then_some(self.searched)
    }
}

/// Whether an event of the grant's account is about the grant. The deletion of the account ends
/// all of its grants.
fn is_about(event: &AuditEvent, grant: GrantId) -> bool {
    let names_grant = match grant {
        GrantId::Key(key) => event.key_id == Some(key) || successor(event) == Some(key),
        GrantId::Identity(identity) => {
            event.federated_identity.as_ref().is_some_and(|named| named.id == identity)
        }
    };
    names_grant || event.r#type == EventType::ServiceAccountDeleted
}
