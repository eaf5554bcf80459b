//! Direct invocations that ask what a credential permits.

use std::time::Duration;

use shared::api::{CredentialPermissions, PermissionsAnswer, PermissionsEvent};

use crate::ExchangeToken;
use crate::log::{Exchange, Success, Trace};
use crate::refusal::Refusal;

/// The time limit of an invocation.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// The name of this kind of invocation in the log.
const GRANT_TYPE: &str = "permissions";

/// Checks a credential like the authorizer, and returns the roles that must permit its requests.
pub(crate) async fn permissions(function: &ExchangeToken, event: &PermissionsEvent) -> PermissionsAnswer {
    let mut trace = Trace::default();
    let outcome = {
        let finding = find(function, event, &mut trace);
        tokio::time::timeout(TIME_LIMIT, Box::pin(finding)).await
    };
    let outcome = outcome.unwrap_or_else(|_| Err(Refusal::timeout()));
    let source = event.source.filter(|_| function.records_addresses);
    let request_id = function.invocation_id();
    let exchange = Exchange { request_id: &request_id, grant_type: Some(GRANT_TYPE), source, request: None };
    exchange.log(&trace, outcome.as_ref().map(|_| Success::Listed));
    match outcome {
        Ok(permitted) => PermissionsAnswer::Permitted(permitted),
        Err(Refusal::Unavailable { .. }) => PermissionsAnswer::Unavailable {},
        Err(refusal) => PermissionsAnswer::Refused { reason: refusal.reason() },
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
