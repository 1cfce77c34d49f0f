//! The words and buffers of a mapped segment.
#![allow(unsafe_code, reason = "the words of other processes are reached through addresses in the mapping")]

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bytemuck::Pod;
use rustix::fs::Timespec;
use rustix::thread::futex;

use super::header::{HEADER_BYTES, Header, SEAT_BYTES, SLOT_BYTES, WRITTEN_BYTES};
use super::protocol::Board;
use crate::mapping::Mapping;

/// How long a rank sleeps before it looks whether the others live, in ns.
const SLICE_NS: i64 = 50_000_000;

/// The words of the job, behind the header's written bytes.
#[repr(C)]
struct Gate {
    /// Not zero when everything before it is written.
    state: AtomicU32,
    /// Number of ranks that have come, for sleeping on.
    attached: AtomicU32,
    /// Not zero when all ranks are there and the name is gone.
    open: AtomicU32,
    _space: [u8; 52],
    poison: AtomicU64,
}

/// The words of one rank. The first line is what every call touches; other ranks write into it only to sleep.
#[repr(C, align(128))]
struct Seat {
    epoch: AtomicU32,
    sleepers: AtomicU32,
    calls: [AtomicU64; 2],
    places: [AtomicU64; 2],
    _space: [u8; 24],
    standing: AtomicU32,
    _line: [u8; 60],
}

const SLOTS_OFFSET: usize = 128;
const _: () = assert!(size_of::<Seat>() == SLOTS_OFFSET && SLOTS_OFFSET + 2 * SLOT_BYTES <= SEAT_BYTES);
const _: () = assert!(WRITTEN_BYTES + size_of::<Gate>() <= HEADER_BYTES);

/// Where a rank stands in the life of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Standing {
    Absent = 0,
    Attached = 1,
    Left = 2,
}

/// A mapped segment.
#[derive(Debug)]
pub(super) struct Segment {
    mapping: Mapping,
    header: Header,
}

impl Segment {
    /// Writes a header into a new segment of zeros; the state comes last.
    pub(super) fn create(mapping: Mapping, header: Header) -> Self {
        let bytes = header.encode();
        // SAFETY: nobody else looks at these bytes before the state says they are written.
        unsafe { mapping.slice_mut::<u8>(0, bytes.len()) }.copy_from_slice(&bytes);
        let segment = Self { mapping, header };
        segment.gate().state.store(1, Ordering::Release);
        segment
    }

    /// Reads the header of a segment that another rank made. None while it is not written.
    ///
    /// # Errors
    /// As [`Header::parse`].
    pub(super) fn open(mapping: Mapping) -> Result<Option<Self>, super::header::HeaderError> {
        if mapping.len() < HEADER_BYTES {
            return Err(super::header::HeaderError::Short);
        }
        let placeholder = Header { ranks: 0, chunk: 0, nonce: 0, build: 0 };
        let mut segment = Self { mapping, header: placeholder };
        if segment.gate().state.load(Ordering::Acquire) == 0 {
            return Ok(None);
        }
        // SAFETY: written bytes are never written again.
        let bytes = unsafe { segment.mapping.slice::<u8>(0, WRITTEN_BYTES) };
        segment.header = Header::parse(bytes, segment.mapping.len() as u64)?;
        Ok(Some(segment))
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    fn gate(&self) -> &Gate {
        let start = self.mapping.at(WRITTEN_BYTES, size_of::<Gate>()).cast::<Gate>();
        // SAFETY: in bounds; the mapping is page aligned; atomics may be shared and any bits are a value of them.
        unsafe { start.as_ref() }
    }

    fn seat(&self, rank: usize) -> &Seat {
        assert!(rank < self.header.ranks);
        let start = self.mapping.at(HEADER_BYTES + rank * SEAT_BYTES, size_of::<Seat>()).cast::<Seat>();
        // SAFETY: as in `gate`; seats lie at multiples of their alignment.
        unsafe { start.as_ref() }
    }

    /// Where a rank stands.
    pub(super) fn standing(&self, rank: usize) -> Standing {
        match self.seat(rank).standing.load(Ordering::Acquire) {
            0 => Standing::Absent,
            1 => Standing::Attached,
            _ => Standing::Left,
        }
    }

    /// Takes or leaves the seat of a rank.
    pub(super) fn set_standing(&self, rank: usize, standing: Standing) {
        self.seat(rank).standing.store(standing as u32, Ordering::Release);
        if standing == Standing::Attached {
            self.gate().attached.fetch_add(1, Ordering::AcqRel);
            wake_all(&self.gate().attached);
        }
    }

    /// Number of ranks that have come.
    pub(super) fn attached(&self) -> usize {
        self.gate().attached.load(Ordering::Acquire) as usize
    }

    /// Sleeps until another rank comes or a slice of time is over.
    pub(super) fn await_attached(&self, seen: usize) {
        sleep_while(&self.gate().attached, seen as u32);
    }

    /// Lets everybody begin.
    pub(super) fn open_gate(&self) {
        self.gate().open.store(1, Ordering::Release);
        wake_all(&self.gate().open);
    }

    /// Whether everybody may begin; sleeps up to a slice of time until so.
    pub(super) fn await_gate(&self) -> bool {
        let open = &self.gate().open;
        if open.load(Ordering::Acquire) == 0 {
            sleep_while(open, 0);
        }
        open.load(Ordering::Acquire) != 0
    }

    /// Where a rank's data lies for calls of a parity: 0 in its buffers.
    pub(super) fn place(&self, rank: usize, parity: usize) -> &AtomicU64 {
        &self.seat(rank).places[parity]
    }

    /// The elements beside a rank's words.
    pub(super) fn slot<T: Pod>(&self, rank: usize, parity: usize, len: usize) -> &[T] {
        assert!(rank < self.header.ranks && parity < 2 && len * size_of::<T>() <= SLOT_BYTES);
        let start = HEADER_BYTES + rank * SEAT_BYTES + SLOTS_OFFSET + parity * SLOT_BYTES;
        // SAFETY: callers have seen the rank begin the call whose slot this is; it writes the slot again only when all
        // ranks have begun the next call.
        unsafe { self.mapping.slice(start, len) }
    }

    /// Writes elements beside the words of the own rank, before its step is begun.
    pub(super) fn write_slot<T: Pod>(&self, rank: usize, parity: usize, values: &[T]) {
        assert!(rank < self.header.ranks && parity < 2 && size_of_val(values) <= SLOT_BYTES);
        let start = HEADER_BYTES + rank * SEAT_BYTES + SLOTS_OFFSET + parity * SLOT_BYTES;
        // SAFETY: all ranks have begun the call after the one in which they read this slot.
        unsafe { self.mapping.slice_mut(start, values.len()) }.copy_from_slice(values);
    }

    fn buffer_start(&self, rank: usize, buffer: usize) -> usize {
        assert!(rank < self.header.ranks && buffer < 2);
        self.header.buffers_start() + (2 * rank + buffer) * self.header.chunk
    }

    /// Elements of a rank's buffer, from the element `first`.
    pub(super) fn buffer<T: Pod>(&self, rank: usize, buffer: usize, first: usize, len: usize) -> &[T] {
        assert!((first + len) * size_of::<T>() <= self.header.chunk);
        let start = self.buffer_start(rank, buffer) + first * size_of::<T>();
        // SAFETY: callers have seen the rank begin the step that wrote the buffer; it writes it again only when all
        // ranks have begun a later step.
        unsafe { self.mapping.slice(start, len) }
    }

    /// Writes elements into a buffer of the own rank, which is free, from the element `first`.
    pub(super) fn write_buffer<T: Pod>(&self, rank: usize, buffer: usize, first: usize, values: &[T]) {
        assert!((first + values.len()) * size_of::<T>() <= self.header.chunk);
        let start = self.buffer_start(rank, buffer) + first * size_of::<T>();
        // SAFETY: the caller has waited until the buffer is free; ranks do not read the part that is written.
        unsafe { self.mapping.slice_mut(start, values.len()) }.copy_from_slice(values);
    }
}

impl Board for Segment {
    fn size(&self) -> usize {
        self.header.ranks
    }

    fn epoch(&self, rank: usize) -> &AtomicU32 {
        &self.seat(rank).epoch
    }

    fn sleepers(&self, rank: usize) -> &AtomicU32 {
        &self.seat(rank).sleepers
    }

    fn call(&self, rank: usize, parity: usize) -> &AtomicU64 {
        &self.seat(rank).calls[parity]
    }

    fn poison(&self) -> &AtomicU64 {
        &self.gate().poison
    }

    fn sleep(&self, rank: usize, seen: u32) {
        sleep_while(self.epoch(rank), seen);
    }

    fn wake(&self, rank: usize) {
        wake_all(self.epoch(rank));
    }
}

/// The word is shared between processes, so the futex is not a private one.
fn sleep_while(word: &AtomicU32, seen: u32) {
    let slice = Timespec { tv_sec: 0, tv_nsec: SLICE_NS };
    // Woken, timed out, interrupted or not asleep at all: the caller looks at the word again.
    let _ = futex::wait(word, futex::Flags::empty(), seen, Some(&slice));
}

fn wake_all(word: &AtomicU32) {
    // It fails for no address of a mapping.
    let _ = futex::wake(word, futex::Flags::empty(), i32::MAX as u32);
}
