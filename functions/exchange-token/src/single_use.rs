//! Credentials and confirmations that must not be accepted again.

use jiff::{SignedDuration, Timestamp};

use crate::ExchangeToken;
use crate::refusal::Refusal;
use crate::token::UnsealedToken;

/// How long a use is remembered after its credential or confirmation can no longer be accepted.
/// More than the clocks of two instances can differ.
const MARGIN: SignedDuration = SignedDuration::from_mins(10);

/// Something that must not be accepted again.
pub(crate) struct SingleUse {
    hash: [u8; 32],
    /// When the use can be forgotten.
    remembered_until: Timestamp,
}

impl SingleUse {
    /// The use of the credential or confirmation with this hash, which is not accepted from
    /// `ends_at` on.
    pub(crate) fn new(hash: [u8; 32], ends_at: Timestamp) -> Self {
        Self { hash, remembered_until: ends_at.saturating_add(MARGIN).unwrap_or(ends_at) }
    }
}

impl ExchangeToken {
    /// Records a use. Returns `false` if there was another use before, for another token.
    ///
    /// # Errors
    /// The use could not be recorded.
    pub(crate) async fn use_once(
        &self,
        single_use: &SingleUse,
        token: &UnsealedToken,
    ) -> Result<bool, Refusal> {
        let SingleUse { hash, remembered_until } = single_use;
        Ok(self.store.use_once(hash, token.claims.id, *remembered_until).await?)
    }
}
