//! One connection: frames in and out of a socket that never blocks.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown as Side, TcpStream};
use std::ops::Range;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use super::failure::Failure;
use super::frame::{self, Incoming, Prefix, Shutdown, Tag};

/// Bytes read ahead: what follows a payload comes in the same system call, and small payloads are copied from here.
const INBOX: usize = 4096;
/// From this many bytes on, a payload is written from where it lies.
const SMALL: usize = 4096;
/// Bytes of small frames that are collected before they are written.
const OUTBOX: usize = 64 << 10;

/// The kernel gives up a silent host after 5 s + 4 × 2 s; data that it does not acknowledge, after 12 s.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_PROBES: u32 = 4;
const UNACKNOWLEDGED: Duration = Duration::from_secs(12);

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// This many bytes.
    Bytes(usize),
    /// Nothing is there now.
    Nothing,
}

/// A connection to a rank.
pub(super) struct Link {
    /// The rank at the other end.
    pub(super) rank: usize,
    stream: TcpStream,
    inbox: Box<[u8; INBOX]>,
    unread: Range<usize>,
    /// Heads and small frames, ready to be written.
    outbox: Vec<u8>,
    written: usize,
    /// The bytes that follow the outbox, in the buffer that the caller gives to `push`.
    payload: Range<usize>,
    /// Frames of their own that wait for the payload to be over.
    later: VecDeque<Vec<u8>>,
    /// Bytes written since the other end was heard: they may still be on their way.
    unanswered: usize,
}

/// Sets what every socket of a job needs.
///
/// # Errors
/// When the system refuses one of the options.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    Ok(())
}

impl Link {
    /// Takes a connection whose handshake is over.
    ///
    /// # Errors
    /// When the socket's mode cannot be set.
    pub(super) fn new(rank: usize, stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            rank,
            stream,
            inbox: Box::new([0; INBOX]),
            unread: 0..0,
            outbox: Vec::new(),
            written: 0,
            payload: 0..0,
            later: VecDeque::new(),
            unanswered: 0,
        })
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether bytes have been read that nobody has taken.
    pub(super) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// The next frame, of a collective its head, if it has arrived; reads from the socket when nothing is left.
    ///
    /// # Errors
    /// [`Failure::Lost`] when the other end is gone or what it sends is no frame.
    pub(super) fn incoming(&mut self) -> Result<Option<Incoming>, Failure> {
        loop {
            if let Some(frame) = self.take_frame()? {
                return Ok(Some(frame));
            }
            if self.refill()? == Arrival::Nothing {
                return Ok(None);
            }
        }
    }

    fn take_frame(&mut self) -> Result<Option<Incoming>, Failure> {
        match frame::decode(&self.inbox[self.unread.clone()]) {
            Ok(Some((frame, taken))) => {
                self.unread.start += taken;
                self.unanswered = 0;
                Ok(Some(frame))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(Failure::Failed {
                culprit: self.rank,
                message: format!("rank {} sent {error}", self.rank),
            }),
        }
    }

    /// Reads what there is after the unread bytes.
    fn refill(&mut self) -> Result<Arrival, Failure> {
        self.inbox.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
        // A frame that fits nowhere was refused when its length was read.
        let end = self.unread.end;
        let outcome = self.stream.read(&mut self.inbox[end..]);
        let arrival = self.judge(outcome)?;
        if let Arrival::Bytes(count) = arrival {
            self.unread.end += count;
        }
        Ok(arrival)
    }

    /// Reads payload bytes into `room`, which is not empty and no longer than the payload's rest. What follows them
    /// is kept.
    ///
    /// # Errors
    /// [`Failure::Lost`] when the other end is gone.
    pub(super) fn read(&mut self, room: &mut [u8]) -> Result<Arrival, Failure> {
        if self.unread.is_empty() {
            let mut parts = [IoSliceMut::new(room), IoSliceMut::new(self.inbox.as_mut_slice())];
            let outcome = self.stream.read_vectored(&mut parts);
            return Ok(match self.judge(outcome)? {
                Arrival::Bytes(count) => {
                    let into_room = count.min(room.len());
                    self.unread = 0..count - into_room;
                    Arrival::Bytes(into_room)
                }
                Arrival::Nothing => Arrival::Nothing,
            });
        }
        let count = room.len().min(self.unread.len());
        let start = self.unread.start;
        room[..count].copy_from_slice(&self.inbox[start..start + count]);
        self.unread.start += count;
        Ok(Arrival::Bytes(count))
    }

    fn judge(&self, outcome: io::Result<usize>) -> Result<Arrival, Failure> {
        match outcome {
            Ok(0) => Err(self.lost("its connection was closed")),
            Ok(count) => Ok(Arrival::Bytes(count)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                Ok(Arrival::Nothing)
            }
            Err(error) => Err(self.lost(&error.to_string())),
        }
    }

    fn lost(&self, how: &str) -> Failure {
        Failure::Lost { rank: self.rank, how: how.to_owned() }
    }

    /// Bytes that wait to be written.
    pub(super) fn backlog(&self) -> usize {
        self.outbox.len() - self.written + self.payload.len()
    }

    /// Whether something waits to be written.
    pub(super) fn is_writing(&self) -> bool {
        self.backlog() > 0
    }

    /// Whether another frame can be queued before something is written.
    pub(super) fn has_room(&self) -> bool {
        self.payload.is_empty() && self.outbox.len() - self.written < OUTBOX
    }

    /// Queues a collective's frame whose data is `buffer[data]`; `buffer` is what `push` will get.
    pub(super) fn queue(&mut self, tag: Tag, prefix: Prefix, buffer: &[u8], data: Range<usize>) {
        debug_assert!(self.payload.is_empty(), "a frame follows the frame before");
        self.outbox.extend(prefix.head(tag, data.len()));
        if data.len() <= SMALL {
            self.outbox.extend(&buffer[data]);
        } else {
            self.payload = data;
        }
    }

    /// Queues a whole frame, behind what is queued already.
    pub(super) fn queue_frame(&mut self, frame: Vec<u8>) {
        if self.payload.is_empty() {
            self.outbox.extend(frame);
        } else {
            self.later.push_back(frame);
        }
    }

    /// Writes as much as the socket takes; true when nothing waits any more.
    ///
    /// # Errors
    /// [`Failure`] when the other end is gone: what its last frame says, if it left one.
    pub(super) fn push(&mut self, buffer: &[u8]) -> Result<bool, Failure> {
        while self.is_writing() {
            let rest = &self.outbox[self.written..];
            let outcome = if self.payload.is_empty() {
                self.stream.write(rest)
            } else {
                let parts = [IoSlice::new(rest), IoSlice::new(&buffer[self.payload.clone()])];
                self.stream.write_vectored(&parts)
            };
            match outcome {
                Ok(count) => self.advance(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.lost(&error.to_string())),
            }
        }
        Ok(true)
    }

    fn advance(&mut self, count: usize) {
        self.unanswered += count;
        let of_outbox = count.min(self.outbox.len() - self.written);
        self.written += of_outbox;
        self.payload.start += count - of_outbox;
        if self.written == self.outbox.len() {
            self.outbox.clear();
            self.written = 0;
            if self.payload.is_empty() {
                self.payload = 0..0;
                for frame in self.later.drain(..) {
                    self.outbox.extend(frame);
                }
            }
        }
    }

    /// Prepares for the last frame: a payload that has begun is completed with zeros, which nobody will look at,
    /// because the other end would take the frame for a part of it.
    pub(super) fn abandon(&mut self) {
        let missing = self.payload.len();
        self.payload = 0..0;
        self.outbox.resize(self.outbox.len() + missing, 0);
        self.later.clear();
    }

    /// After the other end was lost: what its last frame says, if one can be found behind `skipped` bytes of a
    /// payload. Otherwise `failure`.
    pub(super) fn last_words(&mut self, skipped: usize, failure: Failure) -> Failure {
        self.farewell(skipped).map_or(failure, Failure::from_shutdown)
    }

    /// Reads all that the other end has sent, up to its last frame, of which there is none when it died.
    pub(super) fn farewell(&mut self, mut skipped: usize) -> Option<Shutdown> {
        loop {
            let passed = skipped.min(self.unread.len());
            self.unread.start += passed;
            skipped -= passed;
            if skipped == 0 {
                match self.take_frame().ok()? {
                    Some(Incoming::Shutdown(shutdown)) => return Some(shutdown),
                    Some(Incoming::Data { payload, .. }) => {
                        skipped = payload;
                        continue;
                    }
                    Some(_) => continue,
                    None => {}
                }
            }
            match self.refill() {
                Ok(Arrival::Bytes(_)) => {}
                _ => return None,
            }
        }
    }

    /// Whether so much may be on its way that it has not all left this machine.
    pub(super) fn is_loaded(&self) -> bool {
        self.unanswered > INBOX
    }

    /// Throws away what comes; true when nothing more will.
    pub(super) fn drain(&mut self) -> bool {
        self.unread = 0..0;
        loop {
            match self.stream.read(self.inbox.as_mut_slice()) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return true,
            }
        }
    }

    /// Tells the other end that nothing more comes.
    pub(super) fn close(&self) {
        // It may be closed already.
        drop(self.stream.shutdown(Side::Write));
    }
}
