//! How the coordinator lets the workers in, whoever else knocks.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::config::{BIND_VARIABLE, CONNECT_TIMEOUT_VARIABLE, PORT_VARIABLE, TcpConfig, failed};
use super::frame::{Ack, CONTROL, decode};
use super::handshake::{Gate, Job, Verdict};
use super::link::prepare;
use super::readiness::{Readiness, wait};
use super::token::random;
use crate::BackendError;

/// Most peers that are not admitted yet. One more, and the one that has been there longest goes.
const PENDING: usize = 64;
/// How long a peer may take to be admitted.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long to wait when the system has no descriptor for one more connection.
const PAUSE: Duration = Duration::from_millis(10);

/// A peer that has not proven anything: all that is kept of it is a frame's worth of bytes.
struct Pending {
    stream: TcpStream,
    bytes: [u8; 4 + CONTROL],
    filled: usize,
    gate: Gate,
    until: Instant,
}

/// Opens the socket on which the workers connect.
///
/// # Errors
/// [`BackendError::InitializationFailed`], naming address and variable.
pub(super) fn listen(config: &TcpConfig) -> Result<TcpListener, BackendError> {
    let coordinator = config.check()?;
    let listener = if let Some(listener) = &config.listener {
        listener.try_clone().map_err(|error| failed(format!("the socket handed over: {error}")))?
    } else {
        let port = coordinator.as_ref().and_then(|address| address.port).unwrap_or(config.port);
        let address = SocketAddr::new(config.listening(coordinator.as_ref())?, port);
        TcpListener::bind(address).map_err(|error| {
            failed(format!(
                "rank 0 cannot listen on {address}: {error}; {PORT_VARIABLE} sets the port, {BIND_VARIABLE} the address"
            ))
        })?
    };
    listener.set_nonblocking(true).map_err(|error| failed(error.to_string()))?;
    Ok(listener)
}

/// Waits until all workers are connected: their sockets, in the order of the ranks.
///
/// # Errors
/// [`BackendError::InitializationFailed`] when one does not come in time.
pub(super) fn admit(config: &TcpConfig, job: &Job) -> Result<Vec<TcpStream>, BackendError> {
    let listener = listen(config)?;
    let mut reception =
        Reception { listener, job, pending: Vec::new(), admitted: (1..config.size).map(|_| None).collect() };
    let until = Instant::now() + config.connect_timeout;
    while reception.admitted.iter().any(Option::is_none) {
        let now = Instant::now();
        if now >= until {
            return Err(reception.give_up(config.connect_timeout));
        }
        reception.pending.retain(|peer| peer.until > now);
        let next = reception.pending.iter().map(|peer| peer.until).fold(until, Instant::min);
        reception.serve(next - now).map_err(|error| failed(error.to_string()))?;
    }
    let welcome = Ack::Ok { size: config.size as u32 }.frame();
    let mut streams: Vec<TcpStream> = reception.admitted.into_iter().flatten().collect();
    for stream in &mut streams {
        // The first collective meets those that are gone.
        drop(stream.write_all(&welcome));
    }
    Ok(streams)
}

struct Reception<'a> {
    listener: TcpListener,
    job: &'a Job,
    pending: Vec<Pending>,
    /// The worker of rank `index + 1`.
    admitted: Vec<Option<TcpStream>>,
}

impl Reception<'_> {
    /// Waits, at most for `limit`, and serves what came.
    fn serve(&mut self, limit: Duration) -> std::io::Result<()> {
        let admitted: Vec<usize> =
            (0..self.admitted.len()).filter(|index| self.admitted[*index].is_some()).collect();
        let mut sockets: Vec<BorrowedFd<'_>> = vec![self.listener.as_fd()];
        sockets.extend(admitted.iter().filter_map(|index| Some(self.admitted[*index].as_ref()?.as_fd())));
        sockets.extend(self.pending.iter().map(|peer| peer.stream.as_fd()));
        let mut ready = vec![Readiness { read: true, ..Readiness::default() }; sockets.len()];
        wait(&sockets, &mut ready, Some(limit))?;
        // A worker that waits for the others has nothing to say: it is gone, and may come again.
        for (index, ready) in admitted.iter().zip(&ready[1..]) {
            if ready.read {
                self.admitted[*index] = None;
            }
        }
        let ready_peers = ready.split_off(1 + admitted.len());
        for (mut peer, ready) in std::mem::take(&mut self.pending).into_iter().zip(ready_peers) {
            if !ready.read {
                self.pending.push(peer);
                continue;
            }
            match self.hear(&mut peer) {
                Verdict::Answer(_) => self.pending.push(peer),
                Verdict::Admit(rank) => self.admitted[rank - 1] = Some(peer.stream),
                Verdict::Refuse(_) | Verdict::Drop => {}
            }
        }
        if ready[0].read {
            self.accept();
        }
        Ok(())
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    if prepare(&stream).and_then(|()| stream.set_nonblocking(true)).is_err() {
                        continue;
                    }
                    if self.pending.len() == PENDING {
                        self.pending.remove(0);
                    }
                    let until = Instant::now() + PATIENCE;
                    let bytes = [0; 4 + CONTROL];
                    self.pending.push(Pending { stream, bytes, filled: 0, gate: Gate::Closed, until });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(_) => return std::thread::sleep(PAUSE),
            }
        }
    }

    /// Reads what a peer sent and answers the frames in it. An empty answer means that one is incomplete.
    fn hear(&self, peer: &mut Pending) -> Verdict {
        match peer.stream.read(&mut peer.bytes[peer.filled..]) {
            Ok(0) => return Verdict::Drop,
            Ok(count) => peer.filled += count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => return Verdict::Drop,
        }
        loop {
            let (frame, taken) = match decode(&peer.bytes[..peer.filled]) {
                Ok(Some(decoded)) => decoded,
                Ok(None) => return Verdict::Answer(Vec::new()),
                Err(_) => return Verdict::Drop,
            };
            peer.bytes.copy_within(taken..peer.filled, 0);
            peer.filled -= taken;
            let Ok(nonce) = random() else { return Verdict::Drop };
            let verdict = peer.gate.hear(self.job, &frame, nonce, |rank| self.admitted[rank - 1].is_some());
            match &verdict {
                // A new connection has room for so little: a peer for which it has not is none of ours.
                Verdict::Answer(answer) if peer.stream.write_all(answer).is_err() => return Verdict::Drop,
                Verdict::Answer(_) => {}
                Verdict::Refuse(answer) => {
                    drop(peer.stream.write_all(answer));
                    return verdict;
                }
                // Whoever speaks before all ranks are there does not keep to the protocol.
                Verdict::Admit(_) if peer.filled > 0 => return Verdict::Drop,
                Verdict::Admit(_) | Verdict::Drop => return verdict,
            }
        }
    }

    /// Tells the workers that came whom they waited for in vain.
    fn give_up(&mut self, waited: Duration) -> BackendError {
        let missing: Vec<String> = (0..self.admitted.len())
            .filter(|index| self.admitted[*index].is_none())
            .map(|index| (index + 1).to_string())
            .collect();
        let noun = if missing.len() == 1 { "rank" } else { "ranks" };
        let text = format!(
            "{noun} {} did not connect within {} ms ({CONNECT_TIMEOUT_VARIABLE})",
            missing.join(", "),
            waited.as_millis()
        );
        let refusal = Ack::Reject { text: text.clone() }.frame();
        for stream in self.admitted.iter_mut().flatten() {
            drop(stream.write_all(&refusal));
        }
        failed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_take_little_memory() {
        assert!(PENDING * size_of::<Pending>() <= 64 << 10);
    }
}
