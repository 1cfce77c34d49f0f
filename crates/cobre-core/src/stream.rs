//! Random streams addressed by what they are for.
//!
//! Each stream is `ChaCha8` keyed by the tuple (seed, purpose, iteration, path, stage) itself: no hashing, hence
//! no collisions, and no state shared between streams. Any rank or thread that knows the tuple draws the same
//! numbers, which is what makes results independent of who does the work. (Bernstein, `ChaCha`, 2008.)

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// What the numbers of a stream are used for; two purposes never share a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Values of the backward tree's openings.
    Openings = 1,
    /// Choice of child and opening in the forward pass.
    Forward = 2,
    /// Choice of child and opening in a simulation.
    Simulation = 3,
}

/// The address of a stream. Equal keys give equal numbers; different keys are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamKey {
    /// The user's seed.
    pub seed: u64,
    /// What the numbers are for.
    pub purpose: Purpose,
    /// Iteration, 0 where there is none.
    pub iteration: u64,
    /// Path or scenario in global numbering, 0 where there is none.
    pub path: u64,
    /// Stage (depth in the policy graph), 0 where there is none.
    pub stage: u32,
}

impl StreamKey {
    /// Opens the stream at its beginning.
    ///
    /// ```
    /// use cobre_core::{Purpose, StreamKey};
    /// let key = StreamKey { seed: 42, purpose: Purpose::Forward, iteration: 3, path: 1, stage: 7 };
    /// assert_eq!(key.open().uniform().to_bits(), key.open().uniform().to_bits());
    /// ```
    pub fn open(self) -> Stream {
        let mut key = [0u8; 32];
        key[0..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..12].copy_from_slice(&(self.purpose as u32).to_le_bytes());
        key[12..16].copy_from_slice(&self.stage.to_le_bytes());
        key[16..24].copy_from_slice(&self.iteration.to_le_bytes());
        key[24..32].copy_from_slice(&self.path.to_le_bytes());
        Stream(ChaCha8Rng::from_seed(key))
    }
}

/// A sequence of random numbers.
#[derive(Clone, Debug)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The next number, uniform on `[0, 1)` with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// The next number, standard normal (ziggurat of `rand_distr`, whose values a test pins).
    pub fn standard_normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.0)
    }

    /// An index drawn with the given probabilities, by inversion of their cumulative sum; `None` with the
    /// probability that is missing to one (a sum within 1e-9 of one counts as one).
    ///
    /// ```
    /// use cobre_core::{Purpose, StreamKey};
    /// let key = StreamKey { seed: 1, purpose: Purpose::Forward, iteration: 0, path: 0, stage: 0 };
    /// assert_eq!(key.open().choose([0.0, 1.0]), Some(1));
    /// assert_eq!(key.open().choose([]), None);
    /// ```
    pub fn choose(&mut self, probabilities: impl IntoIterator<Item = f64>) -> Option<usize> {
        let draw = self.uniform();
        let mut sum = 0.0;
        let mut last = None;
        for (index, probability) in probabilities.into_iter().enumerate() {
            sum += probability;
            if probability > 0.0 {
                last = Some(index);
            }
            if draw < sum {
                return Some(index);
            }
        }
        if sum >= 1.0 - 1e-9 { last } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> StreamKey {
        StreamKey { seed: 42, purpose: Purpose::Openings, iteration: 1, path: 2, stage: 3 }
    }

    #[test]
    fn values_are_pinned() {
        let mut stream = key().open();
        let uniform = [stream.uniform(), stream.uniform()];
        let mut stream = key().open();
        let normal = [stream.standard_normal(), stream.standard_normal()];
        assert_eq!(
            (uniform, normal),
            (
                [0.649_451_000_331_263_8, 0.877_152_587_623_120_4],
                [0.158_391_075_671_758_36, 1.204_530_167_346_304_5]
            ),
            "a stream's numbers changed: every published result changes with them"
        );
    }

    #[test]
    fn every_part_of_the_key_matters() {
        let variants = [
            key(),
            StreamKey { seed: 43, ..key() },
            StreamKey { purpose: Purpose::Forward, ..key() },
            StreamKey { iteration: 2, ..key() },
            StreamKey { path: 3, ..key() },
            StreamKey { stage: 4, ..key() },
        ];
        let firsts: std::collections::BTreeSet<u64> =
            variants.iter().map(|variant| variant.open().uniform().to_bits()).collect();
        assert_eq!(firsts.len(), variants.len());
    }

    #[test]
    fn choice_follows_the_probabilities() {
        let mut stream = key().open();
        let mut counts = [0u32; 3];
        for _ in 0..20_000 {
            match stream.choose([0.5, 0.0, 0.25]) {
                Some(index) => counts[index] += 1,
                None => counts[1] += 1,
            }
        }
        // Four standard deviations of a binomial with n = 20,000.
        assert!((f64::from(counts[0]) - 10_000.0).abs() < 283.0, "{counts:?}");
        assert!((f64::from(counts[2]) - 5_000.0).abs() < 245.0, "{counts:?}");
    }
}
