//! Random sources, which are passed as a parameter, and unbiased base62 text.

use sha2::{Digest, Sha256};

/// The characters of ids and secrets, in the order of their values.
pub(super) const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A source of random bytes.
pub trait Entropy: Send + Sync {
    /// Fills `buffer` with random bytes.
    ///
    /// # Errors
    /// The source fails. The caller must then generate nothing.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError>;
}

/// The random source failed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the random source failed")]
pub struct EntropyError;

/// The operating system's random source.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the only use of the operating system's random source"
    )]
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(buffer).map_err(|_| EntropyError)
    }
}

/// A deterministic stream of bytes from a seed: SHA-256 in counter mode.
///
/// It generates ids that must be the same on a retry. Never use it for secrets: the
/// stream is predictable from the seed.
#[derive(Debug)]
pub struct DerivedEntropy {
    seed: [u8; 32],
    counter: std::sync::atomic::AtomicU32,
}

impl DerivedEntropy {
    /// Creates the stream of these parts. Each part is framed by its length, so that
    /// different lists of parts have different streams.
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

/// Generates `N` base62 characters, each with the same probability. Bytes from 248
/// (4 × 62) are dropped, because taking them modulo 62 would favor the first characters.
///
/// # Errors
/// The source fails.
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

/// The number of base62 characters that encode 0 to 8 bytes.
const CHUNK_LENGTHS: [usize; 9] = [0, 2, 3, 5, 6, 7, 9, 10, 11];

/// Appends `bytes` to `text` in base62. Each chunk of eight bytes is a big-endian number of
/// 11 digits, and the rest is a shorter number.
pub(super) fn encode_base62(bytes: &[u8], text: &mut String) {
    for chunk in bytes.chunks(8) {
        let mut rest = chunk.iter().fold(0, |number: u64, byte| (number << 8) | u64::from(*byte));
        let mut digits = [b'0'; 11];
        let length = CHUNK_LENGTHS.get(chunk.len()).copied().unwrap_or(digits.len());
        for to in digits.iter_mut().take(length).rev() {
            *to = u32::try_from(rest % 62).map_or(b'0', character);
            rest /= 62;
        }
        text.extend(digits.iter().take(length).copied().map(char::from));
    }
}

/// Decodes text from [`encode_base62`]. Each list of bytes has only one valid text.
pub(super) fn decode_base62(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 8 / 11);
    for chunk in text.chunks(11) {
        let length = CHUNK_LENGTHS.iter().position(|length| *length == chunk.len())?;
        let mut number: u64 = 0;
        for digit in chunk {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'A'..=b'Z' => digit - b'A' + 10,
                b'a'..=b'z' => digit - b'a' + 36,
                _ => return None,
            };
            number = number.checked_mul(62)?.checked_add(value.into())?;
        }
        let number = number.to_be_bytes();
        let (unused, used) = number.split_at_checked(8 - length)?;
        if unused.iter().any(|byte| *byte != 0) {
            return None;
        }
        bytes.extend_from_slice(used);
    }
    Some(bytes)
}

/// The base62 character for `value` modulo 62.
pub(super) fn character(value: u32) -> u8 {
    usize::try_from(value % 62).ok().and_then(|at| BASE62.get(at)).copied().unwrap_or(b'0')
}
