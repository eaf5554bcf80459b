//! `GET /accounts/{id}/role-usage`: which permissions of an account's role were used.

use askama::Template;
use axum::extract::Path;
use shared::api::{ObservationGap, RoleUsage, ServiceAccount};
use shared::domain::{AccountId, RoleName, utc_day};
use shared::policy::NoSuggestion;

use super::edit_role;
use crate::auth::session::Session;
use crate::error::PageResult;
use crate::view::formatting::count;
use crate::view::layout::Page;

#[derive(Template)]
#[template(path = "role_usage.html")]
struct RoleUsagePage {
    page: Page,
    account: ServiceAccount,
    usage: RoleUsage,
}

pub(super) async fn show(session: Session, Path(id): Path<AccountId>) -> PageResult {
    let (account, usage) = tokio::join!(session.api().account_with_version(id), session.api().role_usage(id));
    let (account, _) = account?;
    let page = RoleUsagePage { page: session.page(), account, usage: usage? };
    session.show(page)
}

/// A form that creates a smaller role for an account, or `None` without a suggestion.
pub(super) async fn draft(session: &Session, id: AccountId) -> PageResult<Option<edit_role::Form>> {
    let (account, usage) = tokio::join!(session.api().account_with_version(id), session.api().role_usage(id));
    let ((account, _), usage) = (account?, usage?);
    let Some(permissions) = usage.suggested_permissions else { return Ok(None) };
    let today = utc_day(session.now());
    Ok(Some(edit_role::Form {
        name: suggested_name(&account.name, account.role.as_str()),
        description: format!("What {} used until {today}", account.name),
        permissions: permissions.join("\n"),
        account: id.to_string(),
        ..edit_role::Form::default()
    }))
}

/// A name for a role of the account `account`, which has the role `present`: the account's
/// name, as far as a role's name can have it, with a number if the present role has that
/// name.
fn suggested_name(account: &str, present: &str) -> String {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let name: String = account.chars().map(|c| if is_valid(c) { c } else { '-' }).collect();
    let name = name.trim_matches('-');
    let name = if name.starts_with(|c: char| c.is_ascii_alphabetic()) { name } else { "SmallerRole" };
    // Room for a number.
    let name: String = name.chars().take(RoleName::MAX_CHARS - 4).collect();
    let number = |rest: &str| rest.strip_prefix('-').and_then(|number| number.parse::<u16>().ok());
    match present.strip_prefix(name.as_str()) {
        Some("") => format!("{name}-2"),
        Some(rest) => match number(rest).filter(|number| *number < 999) {
            Some(number) => format!("{name}-{}", number + 1),
            None => name,
        },
        None => name,
    }
}

/// For example, `3 of 12 permissions used in the last 90 days`.
pub(super) fn summary(usage: &RoleUsage) -> String {
    let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let all = usage.permissions.len();
    if usage.gaps.contains(&ObservationGap::NoRoutes) {
        return "No use of the permissions was recorded in the last 90 days".to_owned();
    }
    let used = all.saturating_sub(usage.unused_permission_count);
    format!("{used} of {} used in the last 90 days", count(number(all), "permission"))
}

/// What an observation does not show, in a sentence.
fn gap(gap: ObservationGap) -> &'static str {
    match gap {
        ObservationGap::NoRoutes => {
            "No route was recorded, so it is unknown what the account's programs need."
        }
        ObservationGap::OtherRoutes => {
            "The keys used more routes than Keyward records individually. Programs may need routes that are not \
             listed here."
        }
        ObservationGap::UnmatchedRoutes => {
            "Some requests used a route without a path, such as $default, so it is unknown which paths the \
             programs need."
        }
        ObservationGap::KeysWithoutRoutes => {
            "A key was used, but none of its routes was recorded. A REST API with a TOKEN authorizer does not \
             report routes."
        }
        ObservationGap::NotPermittedRoutes => {
            "Some routes were used that the role no longer permits. A smaller role does not include them."
        }
        ObservationGap::RoleMissing => "The account's role was deleted, so all of its requests are refused.",
        ObservationGap::RoleChanged => {
            "The role changed during this time, so newer permissions were observed for a shorter time."
        }
        ObservationGap::KeyRoles => {
            "Some keys have their own role, so they could use only part of the account's role."
        }
    }
}

/// Why there is no smaller role, in a sentence.
fn no_suggestion(reason: NoSuggestion) -> &'static str {
    match reason {
        NoSuggestion::NoRoutes => {
            "Keyward cannot draft a smaller role, because no use was recorded. A role without permissions would \
             look safe, but would stop every program that still has a key."
        }
        NoSuggestion::NoPermittedRoute => {
            "Keyward cannot draft a smaller role, because the role permits none of the recorded routes."
        }
        NoSuggestion::UnmatchedRoutes => {
            "Keyward cannot draft a smaller role, because some recorded routes do not show which paths the \
             programs need."
        }
        NoSuggestion::AlreadyMinimal => "The role permits only what was used, so there is no smaller role.",
        NoSuggestion::TooManyPermissions => {
            "Keyward cannot draft a smaller role, because the role would need more than 100 permissions."
        }
    }
}
