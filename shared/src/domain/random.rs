//! Randomness, as a parameter, and unbiased base62 drawn from it.

use sha2::{Digest, Sha256};

/// The 62 characters of ids and secrets, in the order of their values.
pub(super) const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Where random bytes come from.
pub trait Entropy: Send + Sync {
    /// Fills `buffer` with random bytes.
    ///
    /// # Errors
    /// When the source fails. Whoever asked makes nothing: a key is never made
    /// from a source that failed.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError>;
}

/// The random source failed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the random source failed")]
pub struct EntropyError;

/// The operating system's source.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    #[allow(clippy::disallowed_methods, reason = "this is the Entropy that asks the machine")]
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(buffer).map_err(|_| EntropyError)
    }
}

/// A stream of bytes that depends on a seed alone: SHA-256 in counter mode.
///
/// Ids that must come out the same on a retry are drawn from it. It is no
/// source for secrets: whoever knows the seed knows the stream.
#[derive(Debug)]
pub struct DerivedEntropy {
    seed: [u8; 32],
    counter: std::sync::atomic::AtomicU32,
}

impl DerivedEntropy {
    /// The stream of these parts, each framed by its length so that no two
    /// lists of parts share a stream.
    #[must_use]
    pub fn new(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        Self { seed: hash.finalize().into(), counter: 0.into() }
    }
}

impl Entropy for DerivedEntropy {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        for chunk in buffer.chunks_mut(32) {
            let counter = self.counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let block = Sha256::new().chain_update(self.seed).chain_update(counter.to_be_bytes()).finalize();
            for (to, from) in chunk.iter_mut().zip(block) {
                *to = from;
            }
        }
        Ok(())
    }
}

/// `N` base62 characters, each with the same chance: a byte of 248 or more
/// (4 × 62) is thrown away rather than folded onto the first characters.
///
/// # Errors
/// When the source fails.
pub(super) fn base62<const N: usize>(entropy: &dyn Entropy) -> Result<[u8; N], EntropyError> {
    let mut text = [0; N];
    let mut filled = 0;
    let mut pool = zeroize::Zeroizing::new([0; 64]);
    while filled < N {
        entropy.fill(&mut *pool)?;
        let fair = pool.iter().filter(|byte| **byte < 248);
        for (to, byte) in text.iter_mut().skip(filled).zip(fair) {
            *to = character(u32::from(*byte));
            filled += 1;
        }
    }
    Ok(text)
}

/// The base62 character whose value is `value` modulo 62.
pub(super) fn character(value: u32) -> u8 {
    usize::try_from(value % 62).ok().and_then(|at| BASE62.get(at)).copied().unwrap_or(b'0')
}
