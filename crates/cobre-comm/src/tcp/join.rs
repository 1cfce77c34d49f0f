//! How a worker finds the coordinator.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::config::{CONNECT_TIMEOUT_VARIABLE, COORDINATOR_VARIABLE, TcpConfig, failed};
use super::frame::{CONTROL, Incoming, decode};
use super::handshake::{Entrance, Job, Step};
use super::link::prepare;
use crate::BackendError;

/// The pauses between two attempts, the last one repeated.
const PAUSES_MS: [u64; 5] = [5, 10, 25, 50, 100];
/// How long one address may take: another address of the same host may answer.
const ATTEMPT: Duration = Duration::from_secs(3);

/// An attempt that brought no connection.
enum Miss {
    /// The coordinator may come yet.
    Retry(String),
    /// It has refused this rank.
    Refused(String),
}

/// Connects to the coordinator and returns when all ranks have.
///
/// # Errors
/// [`BackendError::InitializationFailed`] when it refuses the rank, or does not answer in time.
pub(super) fn join(config: &TcpConfig, job: &Job) -> Result<TcpStream, BackendError> {
    let Some(address) = config.check()? else {
        return Err(failed(format!("{COORDINATOR_VARIABLE} is empty")));
    };
    let port = address.port.unwrap_or(config.port);
    let until = Instant::now() + config.connect_timeout;
    let mut pauses = PAUSES_MS.into_iter();
    let mut pause = Duration::ZERO;
    loop {
        let reason = match attempt(config, job, (&address.host, port), until) {
            Ok(stream) => return Ok(stream),
            Err(Miss::Refused(text)) => {
                return Err(failed(format!("the coordinator refused rank {}: {text}", config.rank)));
            }
            Err(Miss::Retry(reason)) => reason,
        };
        pause = pauses.next().map_or(pause, Duration::from_millis);
        if Instant::now() + pause >= until {
            return Err(failed(format!(
                "rank {} did not reach the coordinator at {}:{port} within {} ms ({CONNECT_TIMEOUT_VARIABLE}): {reason}",
                config.rank,
                address.host,
                config.connect_timeout.as_millis()
            )));
        }
        std::thread::sleep(pause);
    }
}

fn attempt(config: &TcpConfig, job: &Job, host: (&str, u16), until: Instant) -> Result<TcpStream, Miss> {
    let retry = |error: io::Error| Miss::Retry(error.to_string());
    let mut miss = Miss::Retry(format!("{} has no address", host.0));
    for address in host.to_socket_addrs().map_err(retry)? {
        if config.token.is_none() && !address.ip().is_loopback() {
            miss = Miss::Refused(format!("{address} is not on this machine, and there is no token"));
            continue;
        }
        match connect(config, job, address, until) {
            Ok(stream) => return Ok(stream),
            Err(refused @ Miss::Refused(_)) => return Err(refused),
            Err(other) => miss = other,
        }
    }
    Err(miss)
}

fn connect(config: &TcpConfig, job: &Job, address: SocketAddr, until: Instant) -> Result<TcpStream, Miss> {
    let retry = |error: io::Error| Miss::Retry(error.to_string());
    let left = until.saturating_duration_since(Instant::now()).min(ATTEMPT);
    if left.is_zero() {
        return Err(Miss::Retry("the time is over".to_owned()));
    }
    let mut stream = TcpStream::connect_timeout(&address, left).map_err(retry)?;
    // A socket that connects to a free port of its own machine may meet itself.
    if stream.local_addr().ok() == stream.peer_addr().ok() {
        return Err(Miss::Retry("nobody listens".to_owned()));
    }
    prepare(&stream).map_err(retry)?;
    let (mut entrance, hello) = Entrance::begin(job, config.rank).map_err(retry)?;
    stream.write_all(&hello).map_err(retry)?;
    loop {
        match entrance.hear(&next_frame(&mut stream, until)?) {
            Step::Answer(answer) => stream.write_all(&answer).map_err(retry)?,
            Step::Joined => return Ok(stream),
            Step::Refused(text) => return Err(Miss::Refused(text)),
            Step::Stranger(text) => return Err(Miss::Retry(text.to_owned())),
        }
    }
}

/// Reads one frame and nothing of what follows it: the first collective may follow the last word of the handshake.
fn next_frame(stream: &mut TcpStream, until: Instant) -> Result<Incoming, Miss> {
    let retry = |error: io::Error| Miss::Retry(error.to_string());
    let mut bytes = [0; 4 + CONTROL];
    let mut filled = 0;
    loop {
        match decode(&bytes[..filled]) {
            Ok(Some((frame, _))) => return Ok(frame),
            Ok(None) => {}
            Err(error) => return Err(Miss::Retry(format!("what answers is no coordinator: {error}"))),
        }
        let length = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        let wanted = if filled < 4 { 4 } else { (4 + length).min(bytes.len()) };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Miss::Retry("the coordinator does not answer".to_owned()));
        }
        stream.set_read_timeout(Some(left)).map_err(retry)?;
        match stream.read(&mut bytes[filled..wanted]) {
            Ok(0) => return Err(Miss::Retry("the coordinator closed the connection".to_owned())),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(retry(error)),
        }
    }
}
