//! Direct invocations that ask what a credential permits.

use std::time::Duration;

use shared::api::{CredentialPermissions, PermissionsAnswer, PermissionsEvent};

use crate::ExchangeToken;
use crate::follow_up::FollowUp;
use crate::log::{Exchange, Kind, Success, Trace};
use crate::refusal::Refusal;

/// The time limit of an invocation.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Checks a credential like the authorizer, and returns the roles that must permit its requests.
pub(crate) async fn permissions(function: &ExchangeToken, event: &PermissionsEvent) -> PermissionsAnswer {
    let mut trace = Trace::default();
    let outcome = {
        let finding = find(function, event, &mut trace);
        tokio::time::timeout(TIME_LIMIT, Box::pin(finding)).await
    };
    let outcome = outcome.unwrap_or_else(|_| Err(Refusal::timeout()));
    let (answer, outcome) = match outcome {
        Ok(permitted) => (PermissionsAnswer::Permitted(permitted), Ok(Success::Listed)),
        Err(refusal) => (refused(&refusal), Err(refusal)),
    };
    let (request_id, source) = (function.invocation_id(), event.source);
    let exchange = Exchange { request_id, kind: Kind::Permissions, source };
    function.finish(FollowUp { exchange, trace, outcome });
    answer
}

fn refused(refusal: &Refusal) -> PermissionsAnswer {
    match refusal {
        Refusal::Unavailable { .. } => PermissionsAnswer::Unavailable {},
        Refusal::Request { .. }
        | Refusal::Credential(_)
        | Refusal::Rejected(_)
        | Refusal::NotPermitted { .. }
        | Refusal::Confirmation(_) => PermissionsAnswer::Refused { reason: refusal.reason() },
    }
}

async fn find(
    function: &ExchangeToken,
    event: &PermissionsEvent,
    trace: &mut Trace,
) -> Result<CredentialPermissions, Refusal> {
    let credential = function.check_credential(&event.credential, event.source, trace).await?;
    let roles = credential.find_roles(&function.roles).await?;
    Ok(CredentialPermissions {
        account: credential.account,
        grant: credential.grant.id(),
        roles: roles.all().into_iter().cloned().collect(),
        expires_at: credential.ends_at(),
        name: credential.account_name,
    })
}
