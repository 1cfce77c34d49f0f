//! What a rank of a TCP job has to know, in code or from the environment.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::time::Duration;

use super::address::Address;
use super::token::Token;
use crate::{BackendError, STALL_NOTICE, StallObserver};

/// The address of the coordinator (rank 0): `host`, `host:port`, `[v6]:port`.
pub(super) const COORDINATOR_VARIABLE: &str = "COBRE_TCP_COORDINATOR";
/// The coordinator's port, where its address names none.
pub(super) const PORT_VARIABLE: &str = "COBRE_TCP_PORT";
/// This process's number.
pub(super) const RANK_VARIABLE: &str = "COBRE_TCP_RANK";
/// The number of processes.
pub(super) const SIZE_VARIABLE: &str = "COBRE_TCP_SIZE";
/// The address on which the coordinator listens.
pub(super) const BIND_VARIABLE: &str = "COBRE_TCP_BIND_ADDR";
/// How long ranks try to find each other, in ms.
pub(super) const CONNECT_TIMEOUT_VARIABLE: &str = "COBRE_TCP_CONNECT_TIMEOUT_MS";
/// After how many seconds a collective that does not advance is an error; without it, it is a notice.
pub(super) const TIMEOUT_VARIABLE: &str = "COBRE_TCP_TIMEOUT_SECS";
/// The secret of the job, 32 hexadecimal digits.
pub(super) const TOKEN_VARIABLE: &str = "COBRE_COMM_TOKEN";
/// A file that holds the secret.
pub(super) const TOKEN_FILE_VARIABLE: &str = "COBRE_COMM_TOKEN_FILE";

const DEFAULT_PORT: u16 = 29_500;
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Roots travel in 16 bits.
const LARGEST_SIZE: usize = u16::MAX as usize;

/// How a rank joins a job over TCP.
pub struct TcpConfig {
    /// This process's number.
    pub rank: usize,
    /// Number of processes, 65 535 at most.
    pub size: usize,
    /// Where rank 0 is: `host`, `host:port`, `[v6]:port`. Rank 0 may leave it empty.
    pub coordinator: String,
    /// The port where `coordinator` names none.
    pub port: u16,
    /// Where rank 0 listens. By default on this machine alone when the coordinator's address is a loopback address,
    /// else on all its addresses.
    pub bind_address: Option<IpAddr>,
    /// The secret of the job; needed as soon as other machines can connect.
    pub token: Option<Token>,
    /// How long the ranks try to find each other.
    pub connect_timeout: Duration,
    /// After this time without progress a collective fails with [`CommError::Timeout`](crate::CommError::Timeout).
    /// Without it, ranks that live are waited for.
    pub timeout: Option<Duration>,
    /// When `on_stall` is told for the first time, and between two times.
    pub stall_notice: Duration,
    /// Told when a collective waits for ranks that live but do not come.
    pub on_stall: Option<StallObserver>,
    /// A socket that listens already, for rank 0: whoever starts the ranks knows the port then. Drop it, with this
    /// configuration, once the ranks are connected.
    pub listener: Option<TcpListener>,
}

impl TcpConfig {
    /// A rank with default settings and without a token.
    pub fn new(rank: usize, size: usize, coordinator: impl Into<String>) -> Self {
        Self {
            rank,
            size,
            coordinator: coordinator.into(),
            port: DEFAULT_PORT,
            bind_address: None,
            token: None,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            timeout: None,
            stall_notice: STALL_NOTICE,
            on_stall: None,
            listener: None,
        }
    }

    /// The settings in the environment: `COBRE_TCP_RANK`, `COBRE_TCP_SIZE`, `COBRE_TCP_COORDINATOR` (not needed by rank
    /// 0), `COBRE_TCP_PORT` (29500), `COBRE_TCP_BIND_ADDR`, `COBRE_TCP_CONNECT_TIMEOUT_MS` (30000),
    /// `COBRE_TCP_TIMEOUT_SECS` and `COBRE_COMM_TOKEN` or `COBRE_COMM_TOKEN_FILE`.
    ///
    /// # Errors
    /// [`BackendError::MissingConfiguration`] when a variable is missing that is needed, or the token where other
    /// machines can connect; [`BackendError::InitializationFailed`] when one has a value that means nothing.
    pub fn from_env() -> Result<Self, BackendError> {
        Self::from_variables(&|name| match std::env::var(name) {
            Ok(value) => Ok(Some(value)),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(failed(format!("{name} is not valid text"))),
        })
    }

    /// As [`from_env`](Self::from_env), of variables that `read` gives.
    pub(crate) fn from_variables(
        read: &dyn Fn(&'static str) -> Result<Option<String>, BackendError>,
    ) -> Result<Self, BackendError> {
        let rank = number(read, RANK_VARIABLE, 0..=LARGEST_SIZE as u64 - 1)?;
        let size = number(read, SIZE_VARIABLE, 1..=LARGEST_SIZE as u64)?;
        let coordinator = read(COORDINATOR_VARIABLE)?;
        let mut missing_vars = Vec::new();
        for (name, is_missing) in [
            (RANK_VARIABLE, rank.is_none()),
            (SIZE_VARIABLE, size.is_none()),
            (COORDINATOR_VARIABLE, coordinator.is_none() && rank != Some(0)),
        ] {
            if is_missing {
                missing_vars.push(name);
            }
        }
        let (Some(rank), Some(size), true) = (rank, size, missing_vars.is_empty()) else {
            return Err(BackendError::MissingConfiguration { backend: "tcp", missing_vars });
        };
        let mut config = Self::new(rank as usize, size as usize, coordinator.unwrap_or_default());
        if let Some(port) = number(read, PORT_VARIABLE, 1..=u64::from(u16::MAX))? {
            config.port = port as u16;
        }
        if let Some(text) = read(BIND_VARIABLE)? {
            let address =
                text.parse().map_err(|_| failed(format!("{BIND_VARIABLE}={text} is no IP address")))?;
            config.bind_address = Some(address);
        }
        if let Some(timeout) = number(read, CONNECT_TIMEOUT_VARIABLE, 1..=u64::from(u32::MAX))? {
            config.connect_timeout = Duration::from_millis(timeout);
        }
        config.timeout = number(read, TIMEOUT_VARIABLE, 1..=u64::from(u32::MAX))?.map(Duration::from_secs);
        config.token = token(read)?;
        config.check()?;
        Ok(config)
    }

    /// Checks what can be checked before a socket is opened; gives the coordinator's address, if there is one.
    pub(super) fn check(&self) -> Result<Option<Address>, BackendError> {
        let Self { rank, size, coordinator, .. } = self;
        if *size == 0 || *size > LARGEST_SIZE || rank >= size {
            return Err(failed(format!("rank {rank} in a job of {size} ranks")));
        }
        let address = if coordinator.is_empty() && *rank == 0 {
            None
        } else {
            let parsed = Address::parse(coordinator);
            Some(parsed.ok_or_else(|| {
                failed(format!(
                    "{COORDINATOR_VARIABLE}={coordinator} is no host, host:port or [address]:port"
                ))
            })?)
        };
        let is_reachable = match &address {
            _ if *size == 1 => false,
            _ if *rank == 0 => !self.listening(address.as_ref())?.is_loopback(),
            Some(address) => !address.is_loopback(),
            None => true,
        };
        if is_reachable && self.token.is_none() {
            let missing_vars = vec![TOKEN_VARIABLE];
            return Err(BackendError::MissingConfiguration { backend: "tcp", missing_vars });
        }
        Ok(address)
    }

    /// The address on which rank 0 listens.
    pub(super) fn listening(&self, coordinator: Option<&Address>) -> Result<IpAddr, BackendError> {
        if let Some(listener) = &self.listener {
            let local = listener.local_addr().map_err(|error| failed(error.to_string()))?;
            return Ok(local.ip());
        }
        let default = || coordinator.map_or(Ipv4Addr::UNSPECIFIED.into(), Address::listening);
        Ok(self.bind_address.unwrap_or_else(default))
    }
}

impl fmt::Debug for TcpConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TcpConfig")
            .field("rank", &self.rank)
            .field("size", &self.size)
            .field("coordinator", &self.coordinator)
            .field("port", &self.port)
            .field("bind_address", &self.bind_address)
            .field("token", &self.token)
            .field("connect_timeout", &self.connect_timeout)
            .field("timeout", &self.timeout)
            .field("stall_notice", &self.stall_notice)
            .field("on_stall", &self.on_stall.is_some())
            .field("listener", &self.listener)
            .finish()
    }
}

/// The error of a backend that did not start, in words.
pub(super) fn failed(message: String) -> BackendError {
    BackendError::InitializationFailed { backend: "tcp", source: message.into() }
}

fn number(
    read: &dyn Fn(&'static str) -> Result<Option<String>, BackendError>,
    name: &'static str,
    range: std::ops::RangeInclusive<u64>,
) -> Result<Option<u64>, BackendError> {
    let Some(text) = read(name)? else { return Ok(None) };
    let value = text.parse().ok().filter(|value| range.contains(value));
    let (first, last) = (range.start(), range.end());
    match value {
        Some(value) => Ok(Some(value)),
        None => Err(failed(format!("{name}={text} is no whole number from {first} to {last}"))),
    }
}

/// The token of one of the two variables. Its text appears in no message.
fn token(
    read: &dyn Fn(&'static str) -> Result<Option<String>, BackendError>,
) -> Result<Option<Token>, BackendError> {
    let wrong = |place: &str| failed(format!("{place} does not hold 32 hexadecimal digits"));
    match (read(TOKEN_VARIABLE)?, read(TOKEN_FILE_VARIABLE)?) {
        (Some(_), Some(_)) => {
            Err(failed(format!("both {TOKEN_VARIABLE} and {TOKEN_FILE_VARIABLE} are set: one has to go")))
        }
        (Some(text), None) => Token::from_hex(&text).map(Some).ok_or_else(|| wrong(TOKEN_VARIABLE)),
        (None, Some(path)) => {
            let place = format!("{TOKEN_FILE_VARIABLE}={path}");
            let text = read_start(&path).map_err(|error| failed(format!("{place}: {error}")))?;
            Token::from_hex(&text).map(Some).ok_or_else(|| wrong(&place))
        }
        (None, None) => Ok(None),
    }
}

/// The first bytes of a file: the path may name anything, a device without an end among it.
fn read_start(path: &str) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?.take(256).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "000102030405060708090a0b0c0d0e0f";

    fn parse(variables: &[(&str, &str)]) -> Result<TcpConfig, BackendError> {
        TcpConfig::from_variables(&|name| {
            Ok(variables.iter().find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned()))
        })
    }

    fn missing(variables: &[(&str, &str)]) -> Vec<&'static str> {
        match parse(variables) {
            Err(BackendError::MissingConfiguration { backend: "tcp", missing_vars }) => missing_vars,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(missing(&[]), [RANK_VARIABLE, SIZE_VARIABLE, COORDINATOR_VARIABLE]);
        assert_eq!(missing(&[(RANK_VARIABLE, "0")]), [SIZE_VARIABLE]);
        assert_eq!(missing(&[(RANK_VARIABLE, "1"), (SIZE_VARIABLE, "2")]), [COORDINATOR_VARIABLE]);
        assert_eq!(missing(&[(COORDINATOR_VARIABLE, "a"), (SIZE_VARIABLE, "2")]), [RANK_VARIABLE]);
    }

    #[test]
    fn a_token_is_needed_where_others_can_connect() {
        let worker = [(RANK_VARIABLE, "1"), (SIZE_VARIABLE, "2"), (COORDINATOR_VARIABLE, "node1")];
        assert_eq!(missing(&worker), [TOKEN_VARIABLE]);
        let coordinator = [(RANK_VARIABLE, "0"), (SIZE_VARIABLE, "2")];
        assert_eq!(missing(&coordinator), [TOKEN_VARIABLE]);
        let bound = [(RANK_VARIABLE, "0"), (SIZE_VARIABLE, "2"), (BIND_VARIABLE, "127.0.0.1")];
        assert!(parse(&bound).is_ok());
        let everywhere = [(COORDINATOR_VARIABLE, "localhost"), (BIND_VARIABLE, "0.0.0.0")];
        assert_eq!(missing(&[coordinator.as_slice(), &everywhere].concat()), [TOKEN_VARIABLE]);
        let config = parse(&[worker.as_slice(), &[(TOKEN_VARIABLE, TOKEN)]].concat()).unwrap();
        assert_eq!(config.token.unwrap().to_hex(), TOKEN);
    }

    #[test]
    fn values_are_read_or_refused_by_name() {
        let base = [(RANK_VARIABLE, "1"), (SIZE_VARIABLE, "3"), (COORDINATOR_VARIABLE, "[::1]:77")];
        let with = |name, value| parse(&[base.as_slice(), &[(name, value)]].concat());
        let config = parse(&base).unwrap();
        assert_eq!((config.rank, config.size, config.port), (1, 3, 29_500));
        assert_eq!((config.timeout, config.connect_timeout), (None, Duration::from_secs(30)));
        assert_eq!(with(PORT_VARIABLE, "80").unwrap().port, 80);
        assert_eq!(with(TIMEOUT_VARIABLE, "2").unwrap().timeout, Some(Duration::from_secs(2)));
        assert_eq!(with(CONNECT_TIMEOUT_VARIABLE, "5").unwrap().connect_timeout, Duration::from_millis(5));
        for (name, value) in [
            (PORT_VARIABLE, "0"),
            (PORT_VARIABLE, "65536"),
            (TIMEOUT_VARIABLE, "0"),
            (TIMEOUT_VARIABLE, "-1"),
            (CONNECT_TIMEOUT_VARIABLE, "1s"),
            (BIND_VARIABLE, "node1"),
            (TOKEN_VARIABLE, "secret"),
            (TOKEN_FILE_VARIABLE, "/does/not/exist"),
            (TOKEN_FILE_VARIABLE, "/dev/zero"),
        ] {
            let error = with(name, value).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        for (rank, size, coordinator) in [("3", "3", "localhost"), ("x", "3", "localhost"), ("1", "2", "a b")]
        {
            let variables =
                [(RANK_VARIABLE, rank), (SIZE_VARIABLE, size), (COORDINATOR_VARIABLE, coordinator)];
            assert!(matches!(parse(&variables), Err(BackendError::InitializationFailed { .. })));
        }
    }

    #[test]
    fn the_token_may_lie_in_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{TOKEN}\n")).unwrap();
        let path = file.path().to_str().unwrap();
        let variables = [
            (RANK_VARIABLE, "1"),
            (SIZE_VARIABLE, "2"),
            (COORDINATOR_VARIABLE, "node1"),
            (TOKEN_FILE_VARIABLE, path),
        ];
        assert_eq!(parse(&variables).unwrap().token.unwrap().to_hex(), TOKEN);
        let both = [variables.as_slice(), &[(TOKEN_VARIABLE, TOKEN)]].concat();
        assert!(parse(&both).unwrap_err().to_string().contains("both"));
    }
}
