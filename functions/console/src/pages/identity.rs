//! `GET /accounts/{id}/identities/{identity_id}`: a live or ended federated identity, with what it
//! accepts, an example to copy, its activity and its history.

use askama::Template;
use axum::extract::Path;
use jiff::Timestamp;
use shared::api::{
    EndedFederatedIdentity, FederatedIdentity, IdentityRule, IdentityState, ServiceAccount,
    ServiceAccountWithKeys,
};
use shared::domain::{AccountId, ClaimValue, GrantId, IdentityId, Platform, RoleName};

use crate::auth::session::Session;
use crate::error::PageResult;
use crate::view::formatting::{HistoryEntry, KeyNames, TimeText, count};
use crate::view::grant_activity::GrantActivity;
use crate::view::grant_history::GrantHistory;
use crate::view::layout::Page;
use crate::view::snippets::{self, Step, Workload};
use crate::view::tool_names::ToolNames;
use crate::view::usage::KeyUsage;

/// A federated identity in a list.
pub(super) struct IdentityRow {
    pub(super) identity: FederatedIdentity,
    pub(super) expires: Option<TimeText>,
    /// The CSS class and the label of the identity's state.
    pub(super) state: (&'static str, &'static str),
    pub(super) uses: KeyUsage,
}

impl IdentityRow {
    pub(super) fn new(identity: FederatedIdentity, is_enabled: bool, session: &Session) -> Self {
        let now = session.now();
        Self {
            expires: identity.rule.expires_at.map(|at| TimeText::new(at, now)),
            state: state(identity.state, is_enabled),
            uses: KeyUsage::new(identity.usage.recent, identity.usage.last_use, now),
            identity,
        }
    }

    /// The identities of `account`, newest first.
    pub(super) fn all(
        identities: Vec<FederatedIdentity>,
        account: &ServiceAccount,
        session: &Session,
    ) -> Vec<Self> {
        identities.into_iter().rev().map(|identity| Self::new(identity, account.enabled, session)).collect()
    }
}

/// An ended federated identity in a list.
pub(super) struct EndedRow {
    pub(super) identity: EndedFederatedIdentity,
    pub(super) ended: TimeText,
    /// The CSS class and the label of how the identity ended.
    pub(super) state: (&'static str, &'static str),
    pub(super) uses: KeyUsage,
}

impl EndedRow {
    pub(super) fn new(identity: EndedFederatedIdentity, now: Timestamp) -> Self {
        Self {
            ended: TimeText::new(identity.ended_at, now),
            state: state(identity.state, true),
            uses: KeyUsage::new(identity.usage.recent, identity.usage.last_use, now),
            identity,
        }
    }
}

/// What is known about the identity.
struct IdentityDetails {
    id: IdentityId,
    /// `None` if the account no longer lists the identity.
    name: Option<String>,
    /// The CSS class and the label of the identity's state.
    state: (&'static str, &'static str),
    rule: Option<IdentityRule>,
    created: Option<TimeText>,
    created_by: Option<String>,
    expires: Option<TimeText>,
    ended: Option<TimeText>,
    ended_by: Option<String>,
    /// Whether the identity can be ended.
    is_live: bool,
}

impl IdentityDetails {
    fn find(id: IdentityId, read: &ServiceAccountWithKeys, session: &Session) -> Self {
        let time = |at| TimeText::new(at, session.now());
        let live = read.federated_identities.iter().find(|identity| identity.id == id);
        if let Some(identity) = live {
            let row = IdentityRow::new(identity.clone(), read.account.enabled, session);
            return Self {
                name: Some(row.identity.name),
                state: row.state,
                created: Some(time(row.identity.created_at)),
                created_by: Some(row.identity.created_by.name),
                expires: row.expires,
                rule: Some(row.identity.rule),
                is_live: true,
                ..Self::unlisted(id)
            };
        }
        let ended = read.ended_federated_identities.iter().find(|identity| identity.id == id);
        ended.cloned().map_or_else(
            || Self::unlisted(id),
            |identity| Self {
                name: Some(identity.name),
                state: state(identity.state, true),
                rule: Some(identity.rule),
                created: Some(time(identity.created_at)),
                created_by: Some(identity.created_by.name),
                ended: Some(time(identity.ended_at)),
                ended_by: identity.ended_by.map(|actor| actor.name),
                ..Self::unlisted(id)
            },
        )
    }

    /// An ended identity that its account does not list, or whose account was deleted.
    fn unlisted(id: IdentityId) -> Self {
        Self {
            id,
            name: None,
            state: ("bad", "Ended"),
            rule: None,
            created: None,
            created_by: None,
            expires: None,
            ended: None,
            ended_by: None,
            is_live: false,
        }
    }

    /// The name or, if it is unknown, the ID.
    fn title(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.id.to_string())
    }
}

/// The CSS class and the label of the state of an identity. `is_enabled` says whether its account is
/// enabled.
pub(super) fn state(state: IdentityState, is_enabled: bool) -> (&'static str, &'static str) {
    match state {
        IdentityState::Active if is_enabled => ("good", "Active"),
        IdentityState::Active => ("bad", "Disabled"),
        IdentityState::Expired => ("bad", "Expired"),
        IdentityState::IssuerDeleted => ("bad", "Issuer not trusted"),
        IdentityState::Deleted => ("bad", "Ended"),
    }
}

#[derive(Template)]
#[template(path = "identity.html")]
struct IdentityPage {
    page: Page,
    account_id: AccountId,
    /// `None` if the account was deleted.
    account: Option<ServiceAccount>,
    identity: IdentityDetails,
    is_issuer_missing: bool,
    /// The URL of the issuer, if the issuer is trusted.
    issuer_url: Option<String>,
    uses: KeyUsage,
    /// How to use the identity. Empty for an ended identity.
    steps: Vec<Step>,
    note: &'static str,
    activity: GrantActivity,
    events: Vec<HistoryEntry>,
    /// How many of the account's events were searched, if not all.
    cut: Option<usize>,
    is_history_known: bool,
}

impl IdentityPage {
    /// The identity's own role.
    fn role(&self) -> Option<&RoleName> {
        self.identity.rule.as_ref()?.role.as_ref()
    }

    /// For example, `10 minutes`.
    fn age(seconds: u32) -> String {
        match seconds {
            seconds if seconds % 3600 == 0 => count((seconds / 3600).into(), "hour"),
            seconds if seconds % 60 == 0 => count((seconds / 60).into(), "minute"),
            seconds => count(seconds.into(), "second"),
        }
    }

    /// The type of a claim's value, unless it is text.
    fn kind(value: &ClaimValue) -> Option<&'static str> {
        match value {
            ClaimValue::Boolean(_) => Some("boolean"),
            ClaimValue::Number(_) => Some("number"),
            ClaimValue::Text(_) => None,
        }
    }
}

pub(super) async fn show(
    session: Session,
    Path((id, identity)): Path<(AccountId, IdentityId)>,
) -> PageResult {
    let api = session.api();
    let grant = GrantId::Identity(identity);
    let (activity, read, history, issuers, tools) = tokio::join!(
        api.grant_activity(id, grant),
        api.account(id),
        GrantHistory::read(api, id, grant),
        api.issuers(),
        ToolNames::read(&session)
    );
    let activity = activity?;
    // A deleted account has no identities, but the activity of its identities remains.
    let read = match read {
        Ok(read) => Some(read),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error.into()),
    };
    let now = session.now();
    let names = KeyNames::default();
    let details = read.as_ref().map_or_else(
        || IdentityDetails::unlisted(identity),
        |read| IdentityDetails::find(identity, read, &session),
    );
    // The page works without the issuers, so that the identity can always be ended.
    let issuer = details
        .rule
        .as_ref()
        .and_then(|rule| issuers.unwrap_or_default().into_iter().find(|issuer| issuer.name == rule.issuer));
    let (steps, note) = match details.rule.as_ref().filter(|_| details.is_live) {
        Some(rule) => {
            let platform = issuer.as_ref().map_or(Platform::Other, |issuer| issuer.platform);
            steps(&session.console.api.base, platform, (id, identity), rule)
        }
        None => (Vec::new(), ""),
    };
    let cut = history.as_ref().and_then(GrantHistory::cut);
    let is_history_known = history.is_some();
    let events = history.map(|history| history.events).unwrap_or_default().into_iter();
    let is_checkable = read.is_some() && details.rule.as_ref().is_some_and(|rule| rule.role.is_none());
    let page = IdentityPage {
        page: session.page(),
        account_id: id,
        is_issuer_missing: details.state == state(IdentityState::IssuerDeleted, true),
        issuer_url: issuer.map(|issuer| issuer.issuer),
        identity: details,
        uses: KeyUsage::new(activity.activity.recent, activity.last_use, now),
        steps,
        note,
        activity: GrantActivity::new((id, grant), is_checkable, activity, tools, now),
        events: events.map(|event| HistoryEntry::for_account(event, &names, now)).collect(),
        cut,
        is_history_known,
        account: read.map(|read| read.account),
    };
    session.show(page)
}

/// How a program that `rule` accepts uses the identity.
fn steps(
    api: &str,
    platform: Platform,
    (account, identity): (AccountId, IdentityId),
    rule: &IdentityRule,
) -> (Vec<Step>, &'static str) {
    // A program that must have one of several values gets the first one as an example.
    let text = |claim: &str| match rule.claims.get(claim).and_then(|values| values.first()) {
        Some(ClaimValue::Text(text)) => Some(text.as_str()),
        Some(ClaimValue::Boolean(_) | ClaimValue::Number(_)) | None => None,
    };
    let service_account = text("sub").and_then(|sub| sub.strip_prefix("system:serviceaccount:"));
    let workload = Workload {
        account,
        identity,
        audience: &rule.audience,
        environment: text("environment"),
        service_account: service_account.and_then(|names| names.split_once(':')),
        has_workflow: rule.claims.contains_key("job_workflow_ref")
            || rule.claims.contains_key("workflow_ref"),
    };
    snippets::token_steps(api, platform, &workload)
}
