//! The requests of a key or a federated identity, as the sections of its page.

use askama::Template;
use askama::filters::HtmlSafe;
use jiff::Timestamp;
use shared::activity::{COUNTS_KEPT_DAYS, SHOWN_HOURS};
use shared::api::{KeyActivity, RequestRecord};
use shared::domain::{AccountId, GrantId};

use crate::pages::explain;
use crate::view::chart::Chart;
use crate::view::formatting::TimeText;
use crate::view::tool_names::ToolNames;

/// The sections with the requests of a key or a federated identity.
#[derive(Template)]
#[template(path = "activity.html")]
pub(crate) struct GrantActivity {
    /// What the grant is called.
    noun: &'static str,
    account: AccountId,
    grant: GrantId,
    /// Whether the access of the grant can be checked: its account still exists, and a federated
    /// identity has no role of its own.
    is_checkable: bool,
    activity: KeyActivity,
    tools: ToolNames,
    hours: Chart,
    days: Chart,
    now: Timestamp,
}

/// The template escapes its values.
impl HtmlSafe for GrantActivity {}

impl GrantActivity {
    pub(crate) fn new(
        (account, grant): (AccountId, GrantId),
        is_checkable: bool,
        activity: KeyActivity,
        tools: ToolNames,
        now: Timestamp,
    ) -> Self {
        Self {
            noun: match grant {
                GrantId::Key(_) => "key",
                GrantId::Identity(_) => "federated identity",
            },
            account,
            grant,
            is_checkable,
            hours: Chart::of_hours(&activity.activity, SHOWN_HOURS, now),
            days: Chart::of_days(&activity.activity, COUNTS_KEPT_DAYS, now),
            activity,
            tools,
            now,
        }
    }

    fn time(&self, at: &Timestamp) -> TimeText {
        TimeText::new(*at, self.now)
    }

    /// The address of the page that explains a refused request.
    fn explain(&self, request: &RequestRecord) -> Option<String> {
        explain::link(&self.account, &self.grant, request)
    }
}
