//! `GET /iam/v1/events`: lists all audit events.

use serde::Deserialize;
use shared::api::FoundEvents;
use shared::domain::{AccountId, ActorSearch, ApiName, EventType, IssuerName, RoleName, parse_instant};
use shared::http::{Failure, Paging, Reply, Request, query_parameter};
use shared::store::{AllEventsCursor, EventFilter, EventScope};
use utoipa::IntoParams;

use crate::ListServiceAccounts;

/// The filters, and the fields of [`Paging`].
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EventsQuery {
    /// Only events by admins whose id or name contains this text, ignoring case: see
    /// `actor` of the events. At most 256 characters.
    #[param(min_length = 1, max_length = 256, example = "admin@example.com")]
    actor: Option<String>,
    /// Only events of the service account with this id. The account may have
    /// been deleted.
    #[param(example = "sa_4hQ0bTnYwLzR8sVc")]
    account: Option<String>,
    /// Only events about the custom role with this name. The role may have been
    /// deleted. Cannot be combined with `account`.
    #[param(max_length = 64, example = "ReportsReader")]
    role: Option<String>,
    /// Only events about the trusted issuer with this name. The issuer may have been
    /// deleted. Cannot be combined with `account` and `role`.
    #[param(max_length = 32, example = "github")]
    issuer: Option<String>,
    /// Only events about the protected API with this name. The API may have been deleted.
    /// Cannot be combined with `account`, `role` and `issuer`.
    #[param(max_length = 32, example = "teams")]
    api: Option<String>,
    /// Only events of this type: `serviceAccount.created`,
    /// `serviceAccount.updated`, `serviceAccount.deleted`,
    /// `serviceAccount.reviewed`, `key.issued`,
    /// `key.rotated`, `key.revoked`, `federatedIdentity.created`,
    /// `federatedIdentity.deleted`, `role.created`, `role.updated`,
    /// `role.deleted`, `issuer.created`, `issuer.updated`, `issuer.deleted`,
    /// `api.registered`, `api.changed` or `api.deleted`.
    #[param(example = "key.revoked")]
    r#type: Option<String>,
    /// Only events at or after this instant (RFC 3339). In a URL, write `+` as
    /// `%2B`.
    #[param(format = DateTime, example = "2026-11-01T00:00:00Z")]
    from: Option<String>,
    /// Only events before this instant (RFC 3339). Not earlier than `from`.
    #[param(format = DateTime, example = "2026-12-01T00:00:00Z")]
    to: Option<String>,
    #[param(ignore)]
    cursor: Option<String>,
    #[param(ignore)]
    limit: Option<String>,
}

impl EventsQuery {
    /// Checks the filters.
    fn validate(self) -> Result<(EventFilter, Paging), Failure> {
        let event_type = |name: &str| {
            EventType::parse(name).ok_or_else(|| {
                let known: Vec<_> = EventType::ALL.iter().map(|known| known.name()).collect();
                format!("must be one of {}", known.join(", "))
            })
        };
        let account = query_parameter("account", self.account.as_deref(), str::parse::<AccountId>)?;
        let role = query_parameter("role", self.role.as_deref(), RoleName::parse)?;
        let issuer = query_parameter("issuer", self.issuer.as_deref(), IssuerName::parse)?;
        let api = query_parameter("api", self.api.as_deref(), ApiName::parse)?;
        let scope = match (account, role, issuer, api) {
            (Some(_), Some(_), _, _) => {
                return Err(Failure::invalid_parameter("role", "cannot be combined with `account`"));
            }
            (Some(_), None, Some(_), _) | (None, Some(_), Some(_), _) => {
                let problem = "cannot be combined with `account` and `role`";
                return Err(Failure::invalid_parameter("issuer", problem));
            }
            (Some(_), None, None, Some(_))
            | (None, Some(_), None, Some(_))
            | (None, None, Some(_), Some(_)) => {
                let problem = "cannot be combined with `account`, `role` and `issuer`";
                return Err(Failure::invalid_parameter("api", problem));
            }
            (Some(account), None, None, None) => EventScope::Account(account),
            (None, Some(role), None, None) => EventScope::Role(role),
            (None, None, Some(issuer), None) => EventScope::Issuer(issuer),
            (None, None, None, Some(api)) => EventScope::Api(api),
            (None, None, None, None) => EventScope::All,
        };
        let filter = EventFilter {
            actor: query_parameter("actor", self.actor.as_deref(), ActorSearch::parse)?,
            scope,
            event_type: query_parameter("type", self.r#type.as_deref(), event_type)?,
            from: query_parameter("from", self.from.as_deref(), parse_instant)?,
            to: query_parameter("to", self.to.as_deref(), parse_instant)?,
        };
        if filter.from.zip(filter.to).is_some_and(|(from, to)| from > to) {
            return Err(Failure::invalid_parameter("from", "must not be later than `to`"));
        }
        Ok((filter, Paging { cursor: self.cursor, limit: self.limit }))
    }
}

/// List all audit events
///
/// Returns the audit events of all service accounts, deleted ones included, of custom
/// roles, of trusted issuers and of protected APIs, newest first. An event must match all filters.
///
/// A request searches a limited number of events. If few of them match, the page is
/// short or empty, and `searchedBackTo` says how far the search got. Continue with
/// `nextCursor`.
///
/// The list is eventually consistent: an event may take a moment to appear in it.
/// With `account`, `role`, `issuer` or `api` it is always up to date.
#[utoipa::path(
    get,
    path = "/iam/v1/events",
    operation_id = "listAllEvents",
    tag = "Audit events",
    params(EventsQuery, Paging),
    responses(
        (status = 200, description = "A page of audit events.", body = FoundEvents),
        (status = 400, description = "malformed_request"),
    )
)]
pub async fn list_all_events(function: &ListServiceAccounts, request: &Request) -> Result<Reply, Failure> {
    let query: EventsQuery = request.query()?;
    let (filter, paging) = query.validate()?;
    let page = paging.page(AllEventsCursor::decode)?;
    let events = function.store.list_all_events(&filter, &page).await?;
    Ok(Reply::ok(&FoundEvents::new(events, page.limit)))
}
