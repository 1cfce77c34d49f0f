//! How ranks meet: rank 0 makes the segment, the others find it, and its name is gone before anybody begins.

use std::fs::File;
use std::io::Error;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, fstat};
use rustix::io::Errno;
use rustix::shm;

use super::config::{ShmConfig, failed};
use super::fault::Cause;
use super::header::{HEADER_BYTES, Header, HeaderError, build_number};
use super::locks::{is_locked, try_lock};
use super::protocol::{Board, poison};
use super::segment::{Segment, Standing};
use crate::mapping::{Mapping, file_identity, reserve};
use crate::{BackendError, CommError};

/// The byte whose lock decides who may remove the name: the maker holds it as long as it lives, somebody who removes
/// a dead name for a moment.
const CLAIM: u64 = 0;

/// How long a name without a living maker is left alone by ranks that look for it: its maker may be about to lock it.
const GRACE: Duration = Duration::from_millis(100);

/// The byte whose lock says that a rank lives.
pub(super) fn rank_byte(rank: usize) -> u64 {
    1 + rank as u64
}

/// A rank's segment and the open file that holds its lock.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) segment: Segment,
    pub(super) file: OwnedFd,
}

/// Meets the other ranks.
///
/// # Errors
/// [`BackendError::InitializationFailed`].
pub(super) fn attach(config: &ShmConfig) -> Result<Attached, BackendError> {
    let deadline = Instant::now() + config.connect_timeout;
    let attached = if config.rank == 0 { make(config)? } else { find(config, deadline)? };
    let Attached { segment, file } = &attached;
    if segment.header().ranks != config.size {
        poison(segment, Cause::Refused { rank: config.rank }.encode());
        let ranks = segment.header().ranks;
        return Err(failed(format!("the segment is that of {ranks} ranks, not of {}", config.size)));
    }
    if config.rank != 0 && !lock(file, rank_byte(config.rank))?
        || segment.standing(config.rank) != Standing::Absent
    {
        return Err(failed(format!("rank {} is there already", config.rank)));
    }
    segment.set_standing(config.rank, Standing::Attached);
    let met = await_everybody(config, &attached, deadline);
    if config.rank == 0 {
        // Before anybody begins, and also when nobody can.
        if config.descriptor.is_none() {
            remove(&config.name, file);
        }
        if met.is_ok() {
            segment.open_gate();
        }
    }
    if let Err(error) = met {
        poison(segment, Cause::Refused { rank: config.rank }.encode());
        if config.descriptor.is_none() && matches!(is_locked(file.as_fd(), rank_byte(0)), Ok(false)) {
            // Whoever should have removed it is dead, or this is rank 0, which has done so.
            remove(&config.name, file);
        }
        segment.set_standing(config.rank, Standing::Left);
        return Err(failed(error));
    }
    Ok(attached)
}

fn lock(file: &OwnedFd, byte: u64) -> Result<bool, BackendError> {
    try_lock(file.as_fd(), byte).map_err(|error| failed(format!("no locks on this file system: {error}")))
}

/// Opens an inherited memory file anew: its locks must end with this rank, not with its parent.
fn reopen(descriptor: u32) -> Result<OwnedFd, BackendError> {
    let path = format!("/proc/self/fd/{descriptor}");
    match File::options().read(true).write(true).open(path) {
        Ok(file) => Ok(file.into()),
        Err(error) => Err(failed(format!("descriptor {descriptor} of the segment: {error}"))),
    }
}

fn make(config: &ShmConfig) -> Result<Attached, BackendError> {
    let file = match config.descriptor {
        Some(descriptor) => reopen(descriptor)?,
        None => claim_name(&config.name)?,
    };
    let made = fill(config, &file);
    match made {
        Ok(segment) => Ok(Attached { segment, file }),
        Err(error) => {
            if config.descriptor.is_none() {
                remove(&config.name, &file);
            }
            Err(error)
        }
    }
}

fn fill(config: &ShmConfig, file: &OwnedFd) -> Result<Segment, BackendError> {
    if config.descriptor.is_some() && !lock(file, CLAIM)? {
        return Err(failed("rank 0 is there already"));
    }
    let size = fstat(file).map_err(failed)?.st_size;
    if size != 0 {
        return Err(failed("the segment was used before"));
    }
    if !lock(file, rank_byte(0))? {
        return Err(failed("rank 0 is there already"));
    }
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|error| failed(error.to_string()))?;
    let nonce = u128::from_ne_bytes(nonce);
    let mut refused = None;
    for chunk in chunk_sizes(config.size) {
        let header = Header { ranks: config.size, chunk, nonce, build: build_number() };
        match reserve(file, header.segment_bytes()) {
            Ok(()) => {
                let mapping = Mapping::of(file, header.segment_bytes()).map_err(failed)?;
                return Ok(Segment::create(mapping, header));
            }
            Err(error) => refused = Some((header.segment_bytes(), error)),
        }
    }
    let (requested_bytes, error) = refused.expect("there is a smallest size");
    Err(failed(CommError::AllocationFailed {
        requested_bytes,
        message: format!("{error}; /dev/shm is too small: in a container, raise --shm-size"),
    }))
}

/// Sizes of the buffers, the best first. Ranks that share processors have long buffers: each change of the buffer is
/// a change of the process that runs.
fn chunk_sizes(ranks: usize) -> impl Iterator<Item = usize> {
    const PLAIN: usize = 256 << 10;
    let is_crowded = ranks > processors();
    let best = if is_crowded { ((16 << 20) / ranks).clamp(PLAIN, 2 << 20) & !4_095 } else { PLAIN };
    [best, PLAIN, 64 << 10, 16 << 10, 4 << 10].into_iter()
}

/// Processors this process may use, as affinity and control group allow.
pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Makes the name, which may be left over from a job that died, and claims it.
fn claim_name(name: &str) -> Result<OwnedFd, BackendError> {
    let flags = shm::OFlags::CREATE | shm::OFlags::EXCL | shm::OFlags::RDWR;
    for _ in 0..100 {
        match shm::open(name, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => {
                // Somebody may have taken the new name for a dead one.
                if lock(&file, CLAIM)? && fstat(&file).map_err(failed)?.st_nlink > 0 {
                    return Ok(file);
                }
            }
            Err(Errno::EXIST) => reclaim(name)?,
            Err(error) => return Err(failed(format!("{name} cannot be made in /dev/shm: {error}"))),
        }
    }
    Err(failed(format!("{name} is made and removed by others all the time")))
}

/// Opens a name that exists, if it belongs to this user alone. None when there is none.
fn open_own(name: &str) -> Result<Option<OwnedFd>, BackendError> {
    let file = match shm::open(name, shm::OFlags::RDWR, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(failed(format!("{name} exists and cannot be opened: {error}"))),
    };
    let status = fstat(&file).map_err(failed)?;
    let (owner, user) = (status.st_uid, rustix::process::geteuid().as_raw());
    if owner != user {
        return Err(failed(format!("{name} belongs to user {owner}, not to {user}")));
    }
    if status.st_mode & 0o777 != 0o600 {
        let mode = status.st_mode & 0o777;
        return Err(failed(format!("{name} has mode {mode:o}: others could write to it")));
    }
    Ok(Some(file))
}

/// Removes a name whose maker is dead.
fn reclaim(name: &str) -> Result<(), BackendError> {
    let Some(file) = open_own(name)? else { return Ok(()) };
    if lock(&file, CLAIM)? {
        remove(name, &file);
    } else if is_locked(file.as_fd(), rank_byte(0)).map_err(failed)? {
        return Err(failed(format!("{name} is that of a job that runs")));
    } else {
        // Somebody else is making or removing it.
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Removes a name if it still is that of this file.
fn remove(name: &str, file: &OwnedFd) {
    let Ok(now) = shm::open(name, shm::OFlags::RDWR, Mode::empty()) else { return };
    if let (Ok(one), Ok(other)) = (file_identity(file), file_identity(&now))
        && one == other
    {
        // It may have been removed just now.
        let _ = shm::unlink(name);
    }
}

/// Looks for the segment until it is there.
fn find(config: &ShmConfig, deadline: Instant) -> Result<Attached, BackendError> {
    let mut pause = Duration::from_micros(200);
    let mut dead: Option<([u64; 2], Instant)> = None;
    loop {
        let file = match config.descriptor {
            Some(descriptor) => Some(reopen(descriptor)?),
            None => open_own(&config.name)?,
        };
        if let Some(file) = file {
            match look(&file).map_err(failed)? {
                Found::Ready(segment) => return Ok(Attached { segment: *segment, file }),
                Found::Unfinished => dead = None,
                Found::Dead => {
                    let identity = file_identity(&file).map_err(failed)?;
                    match dead {
                        Some((seen, since)) if seen == identity && config.descriptor.is_none() => {
                            if since.elapsed() > GRACE && lock(&file, CLAIM)? {
                                remove(&config.name, &file);
                            }
                        }
                        _ => dead = Some((identity, Instant::now())),
                    }
                }
            }
        }
        if Instant::now() > deadline {
            let waited_ms = config.connect_timeout.as_millis() as u64;
            return Err(failed(CommError::Timeout { operation: "connect", waited_ms, missing: vec![0] }));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

enum Found {
    Ready(Box<Segment>),
    Unfinished,
    /// Nobody alive made it.
    Dead,
}

fn look(file: &OwnedFd) -> Result<Found, Error> {
    if !is_locked(file.as_fd(), rank_byte(0))? {
        return Ok(Found::Dead);
    }
    let bytes = fstat(file)?.st_size as usize;
    if bytes == 0 {
        return Ok(Found::Unfinished);
    }
    let other = |error: HeaderError| Error::other(error);
    if bytes < HEADER_BYTES {
        return Err(other(HeaderError::Short));
    }
    match Segment::open(Mapping::of(file, bytes)?).map_err(other)? {
        Some(segment) => Ok(Found::Ready(Box::new(segment))),
        None => Ok(Found::Unfinished),
    }
}

/// Rank 0 waits until all are there, the others until rank 0 says so.
fn await_everybody(config: &ShmConfig, attached: &Attached, deadline: Instant) -> Result<(), CommError> {
    let Attached { segment, file } = attached;
    loop {
        let seen = segment.attached();
        let is_open = if config.rank != 0 {
            segment.await_gate()
        } else if seen < config.size {
            segment.await_attached(seen);
            segment.attached() >= config.size
        } else {
            true
        };
        if is_open {
            return Ok(());
        }
        let of_standing = |standing: Standing| {
            (0..config.size).filter(move |&rank| rank != config.rank && segment.standing(rank) == standing)
        };
        let word = segment.poison().load(std::sync::atomic::Ordering::Acquire);
        if word != 0 {
            let how = "it gave up while the ranks were meeting".to_owned();
            return Err(match Cause::decode(word) {
                Cause::Died { rank } => died(rank),
                Cause::Refused { rank } => CommError::PeerLost { rank, how },
                _ => CommError::Poisoned,
            });
        }
        let is_dead = |rank: &usize| matches!(is_locked(file.as_fd(), rank_byte(*rank)), Ok(false));
        if let Some(rank) = of_standing(Standing::Attached).find(is_dead) {
            // The gate may have been opened and the job be over before this rank looked again.
            if config.rank != 0 && segment.await_gate() {
                return Ok(());
            }
            poison(segment, Cause::Died { rank }.encode());
            return Err(died(rank));
        }
        if Instant::now() > deadline {
            let waited_ms = config.connect_timeout.as_millis() as u64;
            let missing = of_standing(Standing::Absent).collect();
            return Err(CommError::Timeout { operation: "connect", waited_ms, missing });
        }
    }
}

fn died(rank: usize) -> CommError {
    CommError::PeerLost { rank, how: "its process ended".into() }
}
