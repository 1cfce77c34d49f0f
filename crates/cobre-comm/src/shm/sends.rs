//! Send buffers that all ranks map: an allgatherv from them copies once.

use std::ops::Range;
use std::sync::Arc;

use crate::mapping::{MappedPart, Mapping};
use crate::{CommData, CommError};

/// The first bytes of a mapping hold one word of each rank, not zero when the rank has given its part up.
const PAGE: usize = 4_096;
/// A place is a buffer's number plus one, and behind these bits the offset.
const OFFSET_BITS: u32 = 44;

/// One collective allocation.
#[derive(Debug)]
struct Allocation {
    number: u64,
    mapping: Arc<Mapping>,
    /// Bytes of each rank's part.
    parts: Vec<Range<usize>>,
    rank: usize,
}

/// The send buffers that some rank may still send from.
#[derive(Debug, Default)]
pub(super) struct Sends {
    allocations: Vec<Allocation>,
    made: u64,
}

/// Where the parts of the ranks lie, and how long the mapping is; None when it is too long.
pub(super) fn lay_out(bytes: &[usize]) -> Option<(Vec<Range<usize>>, usize)> {
    let mut end = (bytes.len() * 4).next_multiple_of(PAGE);
    let mut parts = Vec::with_capacity(bytes.len());
    for &len in bytes {
        let stop = end.checked_add(len)?;
        parts.push(end..stop);
        end = stop.checked_next_multiple_of(PAGE)?;
    }
    (end < 1 << OFFSET_BITS).then_some((parts, end))
}

impl Sends {
    /// Enters a mapping of all ranks and gives out the part of this one.
    pub(super) fn add<T: CommData>(
        &mut self,
        mapping: Mapping,
        parts: Vec<Range<usize>>,
        rank: usize,
    ) -> MappedPart<T> {
        self.allocations.retain(|allocation| !allocation.is_given_up());
        let mapping = Arc::new(mapping);
        let part = MappedPart::new(Arc::clone(&mapping), parts[rank].clone(), 4 * rank);
        self.allocations.push(Allocation { number: self.made, mapping, parts, rank });
        self.made += 1;
        part
    }

    /// Where the other ranks find these elements, 0 when they do not.
    pub(super) fn place_of<T: CommData>(&self, send: &[T]) -> u64 {
        let address = send.as_ptr().addr();
        self.allocations
            .iter()
            .find_map(|allocation| allocation.place_of(address, size_of_val(send)))
            .unwrap_or(0)
    }

    /// Copies elements from where another rank says they are.
    ///
    /// # Errors
    /// [`CommError::CollectiveFailed`] for a place that is none.
    pub(super) fn read<T: CommData>(&self, peer: usize, place: u64, into: &mut [T]) -> Result<(), CommError> {
        let offset = (place & ((1 << OFFSET_BITS) - 1)) as usize;
        let number = (place >> OFFSET_BITS).wrapping_sub(1);
        let bytes = size_of_val(into);
        self.allocations
            .iter()
            .find(|allocation| allocation.number & PLACE_NUMBERS == number)
            .filter(|allocation| {
                let part = &allocation.parts[peer];
                offset >= part.start && offset <= part.end && bytes <= part.end - offset
            })
            .map(|allocation| allocation.mapping.read_shared(offset, into))
            .ok_or_else(|| CommError::CollectiveFailed {
                operation: "allgatherv",
                mpi_error_code: 0,
                message: format!("rank {peer} sends from a buffer that does not exist here"),
            })
    }
}

/// Numbers as places hold them. So many buffers do not live at once.
const PLACE_NUMBERS: u64 = (1 << (64 - OFFSET_BITS)) - 2;

impl Allocation {
    fn is_given_up(&self) -> bool {
        (0..self.parts.len()).all(|rank| self.mapping.is_given_up(4 * rank))
    }

    fn place_of(&self, address: usize, bytes: usize) -> Option<u64> {
        let part = &self.parts[self.rank];
        let start = self.mapping.at(part.start, part.len()).as_ptr().addr();
        let within = address.checked_sub(start)?;
        let fits = bytes > 0 && within < part.len() && bytes <= part.len() - within;
        fits.then(|| ((self.number & PLACE_NUMBERS) + 1) << OFFSET_BITS | (part.start + within) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_lie_apart() {
        let (parts, len) = lay_out(&[1, 0, 5_000]).unwrap();
        assert_eq!(parts, [4_096..4_097, 8_192..8_192, 8_192..13_192]);
        assert_eq!(len, 16_384);
        assert!(lay_out(&[usize::MAX]).is_none());
        assert!(lay_out(&[1 << 44]).is_none());
    }

    #[test]
    fn places_are_found_and_read() {
        let file = crate::mapping::anonymous_file(16_384).unwrap();
        let map = || Mapping::of(&file, 16_384).unwrap();
        let (parts, _) = lay_out(&[64, 64]).unwrap();
        let (mut one, mut two) = (Sends::default(), Sends::default());
        let mut own = one.add::<u32>(map(), parts.clone(), 0);
        let other = two.add::<u32>(map(), parts, 1);
        own.as_mut_slice().copy_from_slice(&std::array::from_fn::<u32, 16, _>(|index| index as u32));
        let place = one.place_of(&own.as_slice()[4..7]);
        assert_ne!(place, 0);
        let mut read = [0u32; 3];
        two.read(0, place, &mut read).unwrap();
        assert_eq!(read, [4, 5, 6]);
        assert!(two.read(1, place, &mut read).is_err(), "that is not a place of rank 1");
        assert!(two.read(0, place, &mut [0u32; 13]).is_err());
        assert_eq!(one.place_of(&read), 0);
        drop(own);
        assert!(!two.allocations[0].is_given_up());
        drop(other);
        assert!(two.allocations[0].is_given_up());
    }
}
