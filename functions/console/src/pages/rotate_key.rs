//! `GET, POST /accounts/{id}/keys/{key_id}/rotate`: replaces a key, with a grace period
//! for the old key.

use askama::Template;
use axum::extract::Path;
use serde::Deserialize;
use shared::api::{KeyState, ProblemCode, ServiceAccount};
use shared::domain::{AccountId, KeyId};

use super::account::KeyRow;
use super::{issued_before, issued_key};
use crate::api::ApiError;
use crate::auth::session::{Posted, Session};
use crate::error::{PageError, PageResult};
use crate::view::form::{FormErrors, new_attempt};
use crate::view::impact::{Impact, Source};
use crate::view::layout::{Page, with_status};

/// The grace periods: seconds, label and hint.
const GRACES: [(u32, &str, &str); 5] = [
    (0, "None", "The old key is refused immediately. For a key that may have leaked."),
    (3600, "1 hour", "For a program that you update by hand now."),
    (86_400, "1 day", "For a program that reads its key when it is deployed."),
    (259_200, "3 days", "For a program that is updated over a weekend."),
    (604_800, "7 days", "For a program that another team has to update."),
];

/// The default grace period, in seconds.
const DEFAULT_GRACE: &str = "86400";

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Form {
    attempt: String,
    grace: String,
}

#[derive(Template)]
#[template(path = "rotate_key.html")]
struct RotateKey {
    page: Page,
    account: ServiceAccount,
    row: KeyRow,
    impact: Impact,
    form: Form,
    errors: FormErrors,
}

pub(super) async fn show(session: Session, Path((account, key)): Path<(AccountId, KeyId)>) -> PageResult {
    let form = Form { attempt: new_attempt(&session.console)?, grace: DEFAULT_GRACE.to_owned() };
    let path = format!("/accounts/{account}");
    let Some(page) = form_page(&session, account, key, form, FormErrors::default()).await? else {
        return session.redirect(&path, NOT_FOUND);
    };
    let why_not = match page.row.key.state {
        KeyState::Active => return session.show(page),
        KeyState::Retiring | KeyState::Retired => ROTATED,
        KeyState::Expired => EXPIRED,
    };
    session.redirect(&path, why_not)
}

const ROTATED: &str = "This key was already rotated. Rotate the key that replaced it.";
const EXPIRED: &str = "This key has expired, so it cannot be rotated. Issue a new key.";
const REVOKED: &str = "This key was revoked, so it cannot be rotated. Issue a new key.";

/// Why the key can never be rotated, if that is the API's reason.
fn permanent_refusal(error: &ApiError) -> Option<&'static str> {
    let code = error.code()?;
    let reasons = [
        (ProblemCode::KeyAlreadyRotated, ROTATED),
        (ProblemCode::KeyExpired, EXPIRED),
        (ProblemCode::KeyRevoked, REVOKED),
    ];
    reasons.into_iter().find(|(permanent, _)| *permanent == code).map(|(_, reason)| reason)
}

/// The notice for a key that no longer exists. The response that showed a new key may have
/// been lost.
const NOT_FOUND: &str = "Key not found. It was revoked, or rotated without a grace period. If the account has a new key \
                    whose secret you have not seen, revoke that key and issue another one.";

/// The form. `None` if the account has no such key.
async fn form_page(
    session: &Session,
    account: AccountId,
    key: KeyId,
    form: Form,
    errors: FormErrors,
) -> PageResult<Option<RotateKey>> {
    let Some((account, row)) = KeyRow::find(session, account, key).await? else { return Ok(None) };
    let impact = Impact::of_key(session, &account, &row.key).await;
    Ok(Some(RotateKey { page: session.page(), account, row, impact, form, errors }))
}

pub(super) async fn submit(
    Path((account, key)): Path<(AccountId, KeyId)>,
    Posted(session, form): Posted<Form>,
) -> PageResult {
    let grace = GRACES.into_iter().find(|(seconds, _, _)| seconds.to_string() == form.grace);
    // The form offers only these periods.
    let (grace, _, _) = grace.ok_or(PageError::Malformed)?;
    let path = format!("/accounts/{account}");
    match session.api().rotate_key(account, key, grace, &form.attempt).await {
        Ok(rotated) => issued_key::show(session, account, rotated.issued, Some(rotated.replaces)).await,
        Err(error) if error.code() == Some(ProblemCode::KeyAlreadyIssued) => {
            issued_before::show(&session, account)
        }
        // The form was sent again with another grace period.
        Err(error) if error.code() == Some(ProblemCode::IdempotencyKeyReused) => {
            let notice = "The key was not rotated again. This form was already submitted with another grace period, \
                          and rotated the key then. To stop the old key now, revoke it.";
            session.redirect(&path, notice)
        }
        Err(error @ ApiError::Unavailable { .. }) => Err(session.or_retry(error)),
        Err(error) => {
            if let Some(why) = permanent_refusal(&error) {
                return session.redirect(&path, &format!("No key was issued. {why}"));
            }
            let errors = FormErrors::from_api(explain_key_limit(error))?;
            match form_page(&session, account, key, form, errors).await? {
                Some(page) => with_status(page.errors.status(), page),
                None => session.redirect(&path, NOT_FOUND),
            }
        }
    }
}

/// Replaces the API's explanation of the key limit with one for this form.
fn explain_key_limit(mut error: ApiError) -> ApiError {
    if let ApiError::Problem(problem) = &mut error
        && problem.code == ProblemCode::KeyLimitReached
    {
        "While the old key still works, the account would have too many keys. Revoke a key that is no longer \
         needed, or choose “None”, which stops the old key immediately."
            .clone_into(&mut problem.detail);
    }
    error
}
