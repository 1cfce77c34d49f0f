//! Ranks on any machines, over TCP.
//!
//! Rank 0 is the coordinator; every other rank has one connection, to it. Each collective is announced to the
//! coordinator by every rank, with what all ranks have to agree on; the coordinator compares, combines in the order
//! of the ranks and passes on. A rank that cannot go on says so in its last frame, and one that dies is seen by the
//! end of its connection: the coordinator then tells all others which rank it was.
//!
//! Ranks recognise each other by a token ([`Token`]) that never crosses the network. Data itself is not encrypted.

mod accept;
mod address;
mod call;
mod config;
mod coordinator;
mod failure;
mod frame;
pub(crate) mod fuzzing;
mod handshake;
mod inherited;
mod join;
mod link;
mod patience;
mod readiness;
mod token;
mod traffic;
mod watch;
mod worker;

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use config::TcpConfig;
pub use token::Token;

use self::call::{Call, Lane};
use self::coordinator::Exchange;
use self::failure::Failure;
use self::frame::{Reason, Shutdown};
use self::handshake::Job;
use self::link::Link;
use self::patience::{Limits, Patience};
use self::readiness::Readiness;
use self::token::Key;
use self::traffic::{Placing, Reducing, Traffic};
use self::watch::Watch;
use self::worker::Errand;
use crate::{
    BackendError, CommData, CommError, Communicator, HeapRegion, LocalBackend, LocalCommunicator, ReduceOp,
    SharedMemoryProvider, check_allgatherv, check_allreduce, watch_lifeline_from_env,
};

/// How long a rank that fails tries to tell the others.
const FAREWELL: Duration = Duration::from_millis(250);

/// How long it waits for those that have much to read before its last frame.
const LINGER: Duration = Duration::from_millis(100);

/// A rank of a job over TCP.
///
/// ```
/// use cobre_comm::{Communicator, ReduceOp, TcpBackend, TcpConfig};
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?.to_string();
/// let worker = std::thread::spawn(move || {
///     let comm = TcpBackend::connect(&TcpConfig::new(1, 2, address))?;
///     comm.allreduce(&[2.0], &mut [0.0], ReduceOp::Sum)?;
///     Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// });
/// let mut config = TcpConfig::new(0, 2, "");
/// config.listener = Some(listener);
/// let comm = TcpBackend::connect(&config)?;
/// let mut sum = [0.0];
/// comm.allreduce(&[1.5], &mut sum, ReduceOp::Sum)?;
/// assert_eq!(sum, [3.5]);
/// worker.join().unwrap().unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TcpBackend {
    rank: usize,
    size: usize,
    limits: Limits,
    is_poisoned: AtomicBool,
    /// Whether a thread is in a collective.
    is_busy: AtomicBool,
    state: Arc<Mutex<State>>,
    /// On the coordinator, where somebody may wait while it computes.
    watch: Option<Watch>,
}

/// What a collective uses.
struct State {
    /// The workers in their order, or the coordinator alone.
    links: Vec<Link>,
    /// The number of the next call.
    seq: u32,
    /// Whether the other ranks know that this one has stopped.
    has_parted: bool,
    /// What was seen between two calls: the next one returns it.
    seen: Option<Failure>,
}

impl TcpBackend {
    /// Joins the job; returns when all ranks have. Afterwards the process watches the lifeline to its parent
    /// ([`LIFELINE_VARIABLE`](crate::LIFELINE_VARIABLE)), if it has one.
    ///
    /// # Errors
    /// [`BackendError::MissingConfiguration`] without a token where other machines can connect,
    /// [`BackendError::InitializationFailed`] when the settings make no sense, the port is taken, a rank does not come
    /// in time or the coordinator refuses this one.
    pub fn connect(config: &TcpConfig) -> Result<Self, BackendError> {
        config.check()?;
        watch_lifeline_from_env("tcp")?;
        let job = Job::new(Key::new(config.token.as_ref()), config.size);
        let streams = match config.rank {
            _ if config.size == 1 => Vec::new(),
            0 => accept::admit(config, &job)?,
            _ => vec![join::join(config, &job)?],
        };
        let first = usize::from(config.rank == 0);
        let links = streams.into_iter().enumerate().map(|(index, stream)| Link::new(first + index, stream));
        let links: Vec<Link> =
            links.collect::<Result<_, _>>().map_err(|error| config::failed(error.to_string()))?;
        let limits = Limits {
            timeout: config.timeout,
            notice: config.stall_notice,
            observer: config.on_stall.clone(),
        };
        let state = Arc::new(Mutex::new(State { links, seq: 0, has_parted: false, seen: None }));
        let is_watching = config.rank == 0 && config.size > 2;
        let watch = is_watching
            .then(|| Watch::start(&state))
            .transpose()
            .map_err(|error| config::failed(error.to_string()))?;
        Ok(Self {
            rank: config.rank,
            size: config.size,
            limits,
            is_poisoned: AtomicBool::new(false),
            is_busy: AtomicBool::new(false),
            state,
            watch,
        })
    }

    /// Performs one collective: `check` is what its arguments are worth, `run` does it.
    fn collective(
        &self,
        operation: &'static str,
        check: Result<(), CommError>,
        run: impl FnOnce(&mut State, Patience<'_>) -> Result<(), Failure>,
    ) -> Result<(), CommError> {
        if self.is_busy.swap(true, Ordering::Acquire) {
            // Whoever is in the other collective tells the ranks when it is over.
            self.is_poisoned.store(true, Ordering::Relaxed);
            return Err(concurrent().into_error(operation, self.rank));
        }
        let _busy = Busy(&self.is_busy);
        self.perform(operation, check, run)
    }

    fn perform(
        &self,
        operation: &'static str,
        check: Result<(), CommError>,
        run: impl FnOnce(&mut State, Patience<'_>) -> Result<(), Failure>,
    ) -> Result<(), CommError> {
        // A thread that panicked in a collective left it unfinished.
        let mut state = self.state.lock().unwrap_or_else(|broken| {
            self.is_poisoned.store(true, Ordering::Relaxed);
            broken.into_inner()
        });
        if self.is_poisoned.load(Ordering::Relaxed) {
            self.part(&mut state, &self.broken());
            return Err(CommError::Poisoned);
        }
        if let Some(failure) = state.seen.take() {
            self.part(&mut state, &failure);
            return Err(failure.into_error(operation, self.rank));
        }
        if let Err(error) = check {
            let detail =
                format!("rank {} called {operation} with arguments that do not fit: {error}", self.rank);
            self.part(&mut state, &Failure::Mismatch { culprit: self.rank, detail });
            return Err(error);
        }
        let outcome = run(&mut state, Patience::new(&self.limits, operation));
        state.seq = state.seq.wrapping_add(1);
        let outcome = outcome.map_err(|failure| {
            self.part(&mut state, &failure);
            failure.into_error(operation, self.rank)
        });
        if outcome.is_ok() && self.is_poisoned.load(Ordering::Relaxed) {
            self.part(&mut state, &self.broken());
        }
        outcome
    }

    fn broken(&self) -> Failure {
        let message = format!("rank {} cannot go on after two of its threads called at once", self.rank);
        Failure::Failed { culprit: self.rank, message }
    }

    /// Tells the other ranks why this one stops.
    fn part(&self, state: &mut State, failure: &Failure) {
        self.is_poisoned.store(true, Ordering::Relaxed);
        state.part(&failure.shutdown());
    }

    fn is_coordinator(&self) -> bool {
        self.rank == 0
    }
}

/// Does something with links whenever they are ready, until it is done with all or the time is over.
fn settle(
    links: &mut Vec<&mut Link>,
    until: Instant,
    is_writing: bool,
    mut is_done: impl FnMut(&mut Link) -> bool,
) {
    loop {
        links.retain_mut(|link| !is_done(link));
        let left = until.saturating_duration_since(Instant::now());
        if links.is_empty() || left.is_zero() {
            return;
        }
        let wish = Readiness { read: !is_writing, write: is_writing, is_over: false };
        let mut wishes = vec![wish; links.len()];
        let sockets: Vec<_> = links.iter().map(|link| link.stream()).collect();
        if readiness::wait(&sockets, &mut wishes, Some(left)).is_err() {
            return;
        }
    }
}

/// While it lives, its rank is in a collective.
struct Busy<'a>(&'a AtomicBool);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

fn concurrent() -> Failure {
    let message = "another thread of this rank is in a collective".to_owned();
    Failure::Failed { culprit: 0, message }
}

impl State {
    /// Sends the last frame to all other ranks, as far as they take it in time.
    fn part(&mut self, shutdown: &Shutdown) {
        if std::mem::replace(&mut self.has_parted, true) {
            return;
        }
        let frame = shutdown.frame();
        let is_lost = |rank: usize| shutdown.reason == Reason::Lost && rank == shutdown.culprit;
        let mut open: Vec<&mut Link> = self.links.iter_mut().filter(|link| !is_lost(link.rank)).collect();
        for link in &mut open {
            link.abandon();
            link.queue_frame(frame.clone());
        }
        let until = Instant::now() + FAREWELL;
        settle(&mut open, until, true, |link| !matches!(link.push(&[]), Ok(false)));
        for link in &self.links {
            link.close();
        }
        // A socket that is closed with something unread takes back what it has not sent: the last frame, where much
        // data is before it. Those it goes to are in the call, read it and close their side.
        let until = Instant::now() + LINGER;
        let is_failing = shutdown.reason != Reason::Left;
        let mut open: Vec<&mut Link> = self
            .links
            .iter_mut()
            .filter(|link| is_failing && link.is_loaded() && !is_lost(link.rank))
            .collect();
        settle(&mut open, until, false, Link::drain);
    }

    /// Handles of the connections.
    fn streams(&self) -> std::io::Result<Vec<TcpStream>> {
        self.links.iter().map(|link| link.stream().try_clone()).collect()
    }

    /// The connection to a rank ended between two calls.
    fn mourn(&mut self, index: usize) {
        if self.has_parted {
            return;
        }
        let rank = self.links[index].rank;
        let last = self.links[index].farewell(0);
        let has_left = last.as_ref().is_some_and(|last| last.reason == Reason::Left);
        let how = "its connection was closed".to_owned();
        let failure = last.map_or(Failure::Lost { rank, how }, Failure::from_shutdown);
        // A rank may leave when no call follows: that is for the next call to say.
        if !has_left {
            self.part(&failure.shutdown());
        }
        if !has_left || self.seen.is_none() {
            self.seen = Some(failure);
        }
    }

    /// A call of the coordinator.
    fn exchange(
        &mut self,
        call: Call,
        totals: &[usize],
        traffic: impl Traffic,
        patience: Patience<'_>,
    ) -> Result<(), Failure> {
        Exchange::new(&mut self.links, call, self.seq, totals, traffic).run(patience)
    }

    /// A call of a worker.
    fn errand(
        &mut self,
        call: Call,
        total: usize,
        brought: Option<&[u8]>,
        back: (&mut [u8], Vec<Lane>),
        patience: Patience<'_>,
    ) -> Result<(), Failure> {
        let (buffer, lanes) = back;
        let seq = self.seq;
        Errand { link: &mut self.links[0], call, seq, total, brought, buffer, lanes }.run(patience)
    }
}

impl Communicator for TcpBackend {
    fn allgatherv<T: CommData>(
        &self,
        send: &[T],
        recv: &mut [T],
        counts: &[usize],
        displs: &[usize],
    ) -> Result<(), CommError> {
        let check = check_allgatherv(send.len(), recv.len(), counts, displs, (self.rank, self.size));
        self.collective("allgatherv", check, |state, patience| {
            let (rank, width) = (self.rank, size_of::<T>());
            recv[displs[rank]..displs[rank] + counts[rank]].copy_from_slice(send);
            let call = Call::allgatherv(T::TAG, counts);
            let totals: Vec<usize> = counts.iter().map(|count| count * width).collect();
            let lane = |origin: usize| Lane {
                origin,
                start: displs[origin] * width,
                len: totals[origin],
                ready: if origin == rank { totals[origin] } else { 0 },
            };
            let buffer: &mut [u8] = bytemuck::cast_slice_mut(recv);
            if self.is_coordinator() {
                let lanes = (0..self.size).map(lane).collect();
                return state.exchange(call, &totals, Placing { buffer, lanes }, patience);
            }
            let lanes = (0..self.size).filter(|origin| *origin != rank).map(lane).collect();
            state.errand(call, totals[rank], Some(bytemuck::cast_slice(send)), (buffer, lanes), patience)
        })
    }

    fn allreduce<T: CommData>(&self, send: &[T], recv: &mut [T], op: ReduceOp) -> Result<(), CommError> {
        let check = check_allreduce::<T>(send.len(), recv.len(), op);
        self.collective("allreduce", check, |state, patience| {
            let total = size_of_val(send);
            let call = Call::allreduce(T::TAG, op);
            if self.size == 1 {
                recv.copy_from_slice(send);
                Ok(())
            } else if self.is_coordinator() {
                let traffic = Reducing::new(send, recv, op, self.size);
                state.exchange(call, &vec![total; self.size], traffic, patience)
            } else {
                let lanes = vec![Lane { origin: 0, start: 0, len: total, ready: 0 }];
                let back = (bytemuck::cast_slice_mut(recv), lanes);
                state.errand(call, total, Some(bytemuck::cast_slice(send)), back, patience)
            }
        })
    }

    fn broadcast<T: CommData>(&self, buffer: &mut [T], root: usize) -> Result<(), CommError> {
        let size = self.size;
        let check = if root < size { Ok(()) } else { Err(CommError::InvalidRoot { root, size }) };
        self.collective("broadcast", check, |state, patience| {
            let total = size_of_val(buffer);
            let call = Call::broadcast(T::TAG, root);
            let is_root = root == self.rank;
            let bytes: &mut [u8] = bytemuck::cast_slice_mut(buffer);
            let lane = Lane { origin: root, start: 0, len: total, ready: if is_root { total } else { 0 } };
            if self.is_coordinator() {
                let traffic = Placing { buffer: bytes, lanes: vec![lane] };
                state.exchange(call, &vec![total; size], traffic, patience)
            } else if is_root {
                let word = Lane { len: 0, ready: 0, ..lane };
                state.errand(call, total, Some(bytes), (&mut [], vec![word]), patience)
            } else {
                state.errand(call, total, None, (bytes, vec![lane]), patience)
            }
        })
    }

    fn barrier(&self) -> Result<(), CommError> {
        self.collective("barrier", Ok(()), |state, patience| {
            let call = Call::barrier();
            let lanes = vec![Lane { origin: 0, start: 0, len: 0, ready: 0 }];
            if self.is_coordinator() {
                let traffic = Placing { buffer: &mut [], lanes };
                state.exchange(call, &vec![0; self.size], traffic, patience)
            } else {
                state.errand(call, 0, None, (&mut [], lanes), patience)
            }
        })
    }

    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn abort(&self, code: i32) -> ! {
        // Where another thread is in a collective, the end of the connections has to say it.
        if !self.is_busy.swap(true, Ordering::Acquire) {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let number = u64::from(code as u32);
            let (text, ranks) = (String::new(), Vec::new());
            state.part(&Shutdown { reason: Reason::Aborted, culprit: self.rank, number, text, ranks });
        }
        std::process::exit(code)
    }
}

impl LocalCommunicator for TcpBackend {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn barrier(&self) -> Result<(), CommError> {
        Communicator::barrier(self)
    }
}

impl SharedMemoryProvider for TcpBackend {
    type Region<T: CommData> = HeapRegion<T>;

    fn create_shared_region<T: CommData>(&self, count: usize) -> Result<HeapRegion<T>, CommError> {
        HeapRegion::new(count)
    }

    /// This process alone: ranks over TCP share no memory, wherever they are.
    fn split_local(&self) -> Result<Box<dyn LocalCommunicator>, CommError> {
        Ok(Box::new(LocalBackend))
    }

    fn is_leader(&self) -> bool {
        true
    }
}

impl Drop for TcpBackend {
    fn drop(&mut self) {
        self.watch = None;
        let mut state: MutexGuard<'_, State> = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (text, ranks) = (String::new(), Vec::new());
        state.part(&Shutdown { reason: Reason::Left, culprit: self.rank, number: 0, text, ranks });
    }
}
