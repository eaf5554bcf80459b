//! Why a credential whose grant is not live is refused.

use std::time::Duration;

use super::{Authentication, EndedCredential};
use crate::domain::{AccountId, GrantBinding, GrantId, Verifier};
use crate::keyring::KeyringError;
use crate::policy::Reason;
use crate::store::{RetiredCredential, RetiredVerifier};

/// The time limit for reading the record of an ended grant. The instance's next request
/// waits for it.
const RECORD_LIMIT: Duration = Duration::from_millis(500);

/// Why a credential whose grant is not live is refused.
#[derive(Debug)]
pub struct NotLive {
    pub reason: Reason,
    /// Whether the credential is genuine: its grant has ended, and the record of the grant
    /// matches the credential.
    pub is_genuine: bool,
    /// Why the reason could not be found, for the log.
    pub cause: Option<String>,
}

impl Authentication {
    /// Finds out why the grant of a credential is not live. Call this after the response, because
    /// the time that it takes reveals whether the grant has ended.
    pub async fn why_not_live(&self, credential: &EndedCredential) -> NotLive {
        let grant = credential.names();
        let record = match self.retired_records.find(grant) {
            Some(record) => Ok(Some(record)),
            None if !self.retired_records.take_read(self.clock.now()) => {
                Err("too many unknown grants in this second to look up each one".to_owned())
            }
            None => self.read_record(grant).await,
        };
        let reason = match record {
            Ok(Some(record)) => self.reason_on_record(credential, &record).await,
            Ok(None) => Ok(Reason::Unknown),
            Err(cause) => Err(cause),
        };
        let (reason, cause) =
            reason.map_or_else(|cause| (Reason::Unknown, Some(cause)), |reason| (reason, None));
        let is_genuine = matches!(reason, Reason::Revoked | Reason::Retired | Reason::Expired);
        NotLive { reason, is_genuine, cause }
    }

    /// Reads the record of an ended grant, and remembers it.
    async fn read_record(&self, grant: (AccountId, GrantId)) -> Result<Option<RetiredCredential>, String> {
        let reading = self.store.find_retired(grant.0, grant.1);
        let record = match tokio::time::timeout(RECORD_LIMIT, reading).await {
            Ok(record) => record.map_err(|error| format!("its record could not be read: {error}"))?,
            Err(_) => return Err("its record could not be read in time".to_owned()),
        };
        if let Some(record) = &record {
            self.retired_records.remember(grant, record.clone());
        }
        Ok(record)
    }

    /// The reason that `record` gives for refusing `credential`.
    async fn reason_on_record(
        &self,
        credential: &EndedCredential,
        record: &RetiredCredential,
    ) -> Result<Reason, String> {
        let matching = tokio::time::timeout(RECORD_LIMIT, self.matches_record(credential, record)).await;
        let matches = matching.map_err(|_| "its pepper could not be read in time".to_owned())?;
        let matches = matches.map_err(|error| format!("its pepper could not be read: {error}"))?;
        Ok(if matches { record.reason } else { Reason::WrongSecret })
    }

    /// Whether `record` is that of `credential`. The record of a key counts only if its verifier
    /// matches the credential.
    async fn matches_record(
        &self,
        credential: &EndedCredential,
        record: &RetiredCredential,
    ) -> Result<bool, KeyringError> {
        Ok(match (credential, &record.key) {
            (EndedCredential::Key(key), Some(RetiredVerifier { spec, verifier })) => {
                let pepper = self.keyring.get(&verifier.pepper).await?;
                Verifier::compute(&pepper, key, spec).matches(&verifier.verifier)
            }
            (EndedCredential::Token(token), Some(RetiredVerifier { spec, verifier })) => {
                token.matches(&GrantBinding::of_key(verifier.verifier.clone(), spec))
            }
            // The record of a federated identity has no verifier. The outer tag shows that this
            // deployment made the token.
            (EndedCredential::Token(_), None) => true,
            (EndedCredential::Key(_), None) => false,
        })
    }
}
