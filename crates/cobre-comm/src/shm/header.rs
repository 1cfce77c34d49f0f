//! The first bytes of a segment, and where everything else lies.

/// Bytes of the header page.
pub(super) const HEADER_BYTES: usize = 4_096;
/// Bytes from one rank's words to the next one's.
pub(super) const SEAT_BYTES: usize = 512;
/// Bytes of a rank that can travel beside its words.
pub(super) const SLOT_BYTES: usize = 128;
/// Most ranks of a job.
pub const MOST_RANKS: usize = 1_024;

const MAGIC: [u8; 8] = *b"COBRESHM";
/// Moves with every change of the layout or of what the words mean.
const LAYOUT: u32 = 1;
const SMALLEST_CHUNK: u64 = 4_096;
const LARGEST_CHUNK: u64 = 1 << 30;

/// Bytes of the header that are written once.
pub(super) const WRITTEN_BYTES: usize = 64;

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Number of ranks.
    pub(crate) ranks: usize,
    /// Bytes of one of the two buffers of a rank.
    pub(crate) chunk: usize,
    /// Number of this job.
    pub(crate) nonce: u128,
    /// Number of the build that made it.
    pub(crate) build: u64,
}

/// Why bytes are no segment of this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    /// Fewer bytes than a header has.
    #[error("the segment is too short")]
    Short,
    /// Other first bytes.
    #[error("this is no segment of cobre")]
    Magic,
    /// Another version of the layout, or another build.
    #[error("the segment is of another version of cobre")]
    Version,
    /// Values that no segment has, or that do not fit the size of the file.
    #[error("the segment's header contradicts itself")]
    Contradiction,
}

/// The number of this build: ranks of different versions do not meet.
pub(super) fn build_number() -> u64 {
    env!("CARGO_PKG_VERSION")
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |number, byte| (number ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

impl Header {
    /// A header of this build.
    pub(crate) fn example(ranks: usize, chunk: usize) -> Self {
        Self { ranks, chunk, nonce: 1, build: build_number() }
    }

    /// Number of bytes of the whole segment.
    pub(crate) fn segment_bytes(&self) -> usize {
        self.buffers_start() + 2 * self.ranks * self.chunk
    }

    /// Where the buffers begin.
    pub(super) fn buffers_start(&self) -> usize {
        (HEADER_BYTES + self.ranks * SEAT_BYTES).next_multiple_of(4_096)
    }

    /// The bytes of a header.
    pub(crate) fn encode(&self) -> [u8; WRITTEN_BYTES] {
        let mut bytes = [0; WRITTEN_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&LAYOUT.to_ne_bytes());
        bytes[12..16].copy_from_slice(&(self.ranks as u32).to_ne_bytes());
        bytes[16..24].copy_from_slice(&(self.chunk as u64).to_ne_bytes());
        bytes[24..32].copy_from_slice(&(self.segment_bytes() as u64).to_ne_bytes());
        bytes[32..48].copy_from_slice(&self.nonce.to_ne_bytes());
        bytes[48..56].copy_from_slice(&self.build.to_ne_bytes());
        bytes
    }

    /// Reads a header of a file of `file_bytes` bytes.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub(crate) fn parse(bytes: &[u8], file_bytes: u64) -> Result<Self, HeaderError> {
        let Some(bytes) = bytes.first_chunk::<WRITTEN_BYTES>() else { return Err(HeaderError::Short) };
        if bytes[..8] != MAGIC {
            return Err(HeaderError::Magic);
        }
        let word = |at: usize| u64::from_ne_bytes(std::array::from_fn(|index| bytes[at + index]));
        let half = |at: usize| u32::from_ne_bytes(std::array::from_fn(|index| bytes[at + index]));
        let build = word(48);
        if half(8) != LAYOUT || build != build_number() {
            return Err(HeaderError::Version);
        }
        let (ranks, chunk) = (half(12) as usize, word(16));
        let is_sound = (1..=MOST_RANKS).contains(&ranks)
            && (SMALLEST_CHUNK..=LARGEST_CHUNK).contains(&chunk)
            && chunk % SMALLEST_CHUNK == 0;
        if !is_sound {
            return Err(HeaderError::Contradiction);
        }
        let nonce = u128::from_ne_bytes(std::array::from_fn(|index| bytes[32 + index]));
        let header = Self { ranks, chunk: chunk as usize, nonce, build };
        let expected = header.segment_bytes() as u64;
        if word(24) != expected || file_bytes != expected {
            return Err(HeaderError::Contradiction);
        }
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Header {
        Header::example(3, 65_536)
    }

    #[test]
    fn a_header_is_read_as_written() {
        let bytes = header().encode();
        let size = header().segment_bytes() as u64;
        assert_eq!(size, 4_096 + 4_096 + 6 * 65_536);
        assert_eq!(Header::parse(&bytes, size), Ok(header()));
        assert_eq!(Header::parse(&bytes[..60], size), Err(HeaderError::Short));
        assert_eq!(Header::parse(&bytes, size - 1), Err(HeaderError::Contradiction));
        assert_eq!(Header::parse(&[0; 64], size), Err(HeaderError::Magic));
        for (at, error) in [
            (8, HeaderError::Version),
            (49, HeaderError::Version),
            (14, HeaderError::Contradiction),
            (20, HeaderError::Contradiction),
            (25, HeaderError::Contradiction),
        ] {
            let mut wrong = bytes;
            wrong[at] ^= 0x40;
            assert_eq!(Header::parse(&wrong, size), Err(error), "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_describes_the_file(
            changes in proptest::collection::vec((0usize..64, any::<u8>()), 0..6),
            file_bytes in prop_oneof![Just(header().segment_bytes() as u64), any::<u64>()],
        ) {
            let mut bytes = header().encode();
            for (at, value) in changes {
                bytes[at] = value;
            }
            if let Ok(parsed) = Header::parse(&bytes, file_bytes) {
                prop_assert_eq!(parsed.segment_bytes() as u64, file_bytes);
            }
        }
    }
}
