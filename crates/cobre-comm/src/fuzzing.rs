//! Readers of bytes that other processes write, for programs that feed them anything.

#[cfg(feature = "tcp")]
pub use crate::tcp::fuzzing::{environment, frame, handshake};

/// Reads the header of a segment: eight bytes of the file's size, in the machine's order, then the header. What is
/// accepted must be what a rank would have written.
///
/// # Panics
/// When it is not.
#[cfg(all(feature = "shm", not(loom)))]
pub fn shm_header(bytes: &[u8]) {
    let Some((size, header)) = bytes.split_first_chunk::<8>() else { return };
    let file_bytes = u64::from_ne_bytes(*size);
    if let Ok(accepted) = crate::shm::Header::parse(header, file_bytes) {
        assert_eq!(accepted.segment_bytes() as u64, file_bytes);
        assert_eq!(crate::shm::Header::parse(&accepted.encode(), file_bytes), Ok(accepted));
    }
}

/// The bytes [`shm_header`] reads, of a header that is accepted.
#[cfg(all(feature = "shm", not(loom)))]
pub fn shm_header_example(ranks: usize, chunk: usize) -> Vec<u8> {
    let header = crate::shm::Header::example(ranks, chunk);
    [&(header.segment_bytes() as u64).to_ne_bytes()[..], &header.encode()].concat()
}
