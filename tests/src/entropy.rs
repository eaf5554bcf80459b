//! Random sources that a test controls.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use shared::domain::{Entropy, EntropyError};

/// A source with the same bytes in every run.
pub struct SeededEntropy(Mutex<StdRng>);

impl SeededEntropy {
    /// A source whose bytes depend only on `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        self.0.lock().unwrap().fill_bytes(buffer);
        Ok(())
    }
}

/// A source that always fails.
pub struct FailingEntropy;

impl Entropy for FailingEntropy {
    fn fill(&self, _: &mut [u8]) -> Result<(), EntropyError> {
        Err(EntropyError)
    }
}

/// A source that a test can switch to failing.
pub struct BreakableEntropy {
    inner: SeededEntropy,
    broken: Arc<AtomicBool>,
}

impl BreakableEntropy {
    /// A source with this seed, and the flag that makes it fail.
    pub fn new(seed: u64) -> (Self, Arc<AtomicBool>) {
        let broken = Arc::new(AtomicBool::new(false));
        (Self { inner: SeededEntropy::new(seed), broken: Arc::clone(&broken) }, broken)
    }
}

impl Entropy for BreakableEntropy {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        if self.broken.load(Ordering::Relaxed) { Err(EntropyError) } else { self.inner.fill(buffer) }
    }
}
