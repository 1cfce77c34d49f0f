//! What a rank needs to know to find the others.

use std::fmt;
use std::time::Duration;

use crate::stall::{STALL_NOTICE, StallObserver};
use crate::{BackendError, Stall};

/// How long a rank watches for another before it sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpinLimit {
    /// Looks with nothing but a pause between them, about 20 ns each.
    pub spins: u32,
    /// Looks after giving the processor to whoever else wants it.
    pub yields: u32,
}

/// A rank of a job over shared memory.
#[derive(Clone)]
pub struct ShmConfig {
    /// The name of the segment, which begins with `/`; the same on all ranks, and of no other job.
    pub name: String,
    /// An inherited descriptor of an empty memory file, in place of the name. It is opened anew.
    pub descriptor: Option<u32>,
    /// This rank.
    pub rank: usize,
    /// Number of ranks.
    pub size: usize,
    /// How long a collective waits for ranks that live but do not come; without it, for ever.
    pub timeout: Option<Duration>,
    /// How long [`ShmBackend::connect`](super::ShmBackend::connect) waits for all ranks.
    pub connect_timeout: Duration,
    /// How long a collective waits before `on_stall` is called, and between two calls of it.
    pub stall_notice: Duration,
    /// Called while a collective waits.
    pub on_stall: Option<StallObserver>,
    /// How long a rank watches before it sleeps; without it, as the number of processors suggests.
    pub spin: Option<SpinLimit>,
}

impl fmt::Debug for ShmConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ShmConfig")
            .field("name", &self.name)
            .field("descriptor", &self.descriptor)
            .field("rank", &self.rank)
            .field("size", &self.size)
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("stall_notice", &self.stall_notice)
            .field("spin", &self.spin)
            .finish_non_exhaustive()
    }
}

const NAME: &str = "COBRE_SHM_NAME";
const RANK: &str = "COBRE_SHM_RANK";
const SIZE: &str = "COBRE_SHM_SIZE";
const TIMEOUT: &str = "COBRE_SHM_TIMEOUT_SECS";
const SPIN: &str = "COBRE_COMM_SPIN";

impl ShmConfig {
    /// Rank `rank` of `size` in the job `name`; everything else as usual.
    pub fn new(name: impl Into<String>, rank: usize, size: usize) -> Self {
        Self {
            name: name.into(),
            descriptor: None,
            rank,
            size,
            timeout: None,
            connect_timeout: Duration::from_secs(30),
            stall_notice: STALL_NOTICE,
            on_stall: None,
            spin: None,
        }
    }

    /// Reads `COBRE_SHM_NAME`, `COBRE_SHM_RANK` and `COBRE_SHM_SIZE`, and where they are set
    /// `COBRE_SHM_TIMEOUT_SECS` and `COBRE_COMM_SPIN` (`auto`, or pauses and yields as in `200/64`).
    ///
    /// # Errors
    /// [`BackendError::MissingConfiguration`] for variables that are not set, and
    /// [`BackendError::InitializationFailed`] for values that mean nothing.
    pub fn from_env() -> Result<Self, BackendError> {
        Self::from_variables(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    /// As [`from_env`](Self::from_env), from any source of variables.
    ///
    /// # Errors
    /// As there.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, BackendError> {
        let (name, rank, size) = match (variable(NAME), variable(RANK), variable(SIZE)) {
            (Some(name), Some(rank), Some(size)) => (name, rank, size),
            found => {
                let missing_vars = [(NAME, found.0), (RANK, found.1), (SIZE, found.2)]
                    .into_iter()
                    .filter_map(|(name, value)| value.is_none().then_some(name))
                    .collect();
                return Err(BackendError::MissingConfiguration { backend: "shm", missing_vars });
            }
        };
        let mut config = Self::new(name, number(RANK, &rank)?, number(SIZE, &size)?);
        if let Some(seconds) = variable(TIMEOUT) {
            let duration = seconds.parse::<f64>().ok().filter(|seconds| *seconds > 0.0);
            let duration = duration.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            config.timeout = Some(duration.ok_or_else(|| meaningless(TIMEOUT, &seconds))?);
        }
        if let Some(spin) = variable(SPIN).filter(|spin| spin != "auto") {
            let (spins, yields) = spin.split_once('/').unwrap_or((&spin, "64"));
            match (spins.parse(), yields.parse()) {
                (Ok(spins), Ok(yields)) => config.spin = Some(SpinLimit { spins, yields }),
                _ => return Err(meaningless(SPIN, &spin)),
            }
        }
        config.check()?;
        Ok(config)
    }

    /// Whether the numbers are those of a job.
    ///
    /// # Errors
    /// [`BackendError::InitializationFailed`].
    pub(super) fn check(&self) -> Result<(), BackendError> {
        let is_name = self.name.len() > 1
            && self.name.len() < 250
            && self.name.starts_with('/')
            && !self.name[1..].contains(['/', '\0'])
            && !["/.", "/.."].contains(&self.name.as_str());
        if self.descriptor.is_none() && !is_name {
            return Err(failed(format!("{:?} is no name: one slash, then letters", self.name)));
        }
        if self.rank >= self.size || self.size > super::MOST_RANKS {
            let most = super::MOST_RANKS;
            return Err(failed(format!("rank {} of {} (at most {most})", self.rank, self.size)));
        }
        Ok(())
    }

    /// Tells the observer of stalls, if there is one.
    pub(super) fn tell(&self, stall: &Stall) {
        if let Some(observer) = &self.on_stall {
            observer(stall);
        }
    }
}

/// The error of a backend that did not start.
pub(super) fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> BackendError {
    BackendError::InitializationFailed { backend: "shm", source: source.into() }
}

fn meaningless(variable: &str, value: &str) -> BackendError {
    failed(format!("{variable}={value} means nothing"))
}

fn number(variable: &str, value: &str) -> Result<usize, BackendError> {
    value.parse().map_err(|_| meaningless(variable, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<ShmConfig, BackendError> {
        let pairs: Vec<(String, String)> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        ShmConfig::from_variables(move |name| {
            pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.clone())
        })
    }

    #[test]
    fn variables_are_read() {
        let needed = [(NAME, "/job"), (RANK, "1"), (SIZE, "2")];
        let config = read(&needed).unwrap();
        assert_eq!((config.name.as_str(), config.rank, config.size), ("/job", 1, 2));
        assert_eq!((config.timeout, config.spin), (None, None));
        let all = [&needed[..], &[(TIMEOUT, "2"), (SPIN, "100/8")]].concat();
        let config = read(&all).unwrap();
        assert_eq!(config.timeout, Some(Duration::from_secs(2)));
        assert_eq!(config.spin, Some(SpinLimit { spins: 100, yields: 8 }));
        let missing = read(&[(NAME, "/job"), (SIZE, "2")]).unwrap_err();
        assert!(
            matches!(missing, BackendError::MissingConfiguration { missing_vars, .. } if missing_vars == [RANK])
        );
        for wrong in [(NAME, "job"), (NAME, "/a/b"), (NAME, "/"), (RANK, "2"), (RANK, "-1"), (SIZE, "x")] {
            let pairs: Vec<_> =
                needed.iter().map(|pair| if pair.0 == wrong.0 { wrong } else { *pair }).collect();
            assert!(read(&pairs).is_err(), "{wrong:?}");
        }
        for wrong in [(TIMEOUT, "0"), (TIMEOUT, "soon"), (TIMEOUT, "1e300"), (SPIN, "fast")] {
            assert!(read(&[&needed[..], &[wrong]].concat()).is_err(), "{wrong:?}");
        }
    }
}
