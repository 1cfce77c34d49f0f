//! Locks of single bytes of a file, held by an open file and gone with it: how ranks see that another one died.
//!
//! Such a lock survives the reuse of process numbers and is seen from other process namespaces.
#![allow(unsafe_code, reason = "fcntl is variadic, and rustix has no locks of open files")]

use std::io::{Error, ErrorKind};
use std::os::fd::{AsRawFd, BorrowedFd};

fn request(byte: u64) -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: byte as libc::off_t,
        l_len: 1,
        l_pid: 0,
    }
}

/// Takes the lock of a byte; false when another open file has it.
///
/// # Errors
/// That of the system: a file system without locks.
pub(super) fn try_lock(file: BorrowedFd<'_>, byte: u64) -> Result<bool, Error> {
    let lock = request(byte);
    // SAFETY: the descriptor is open and the command takes a pointer to a `flock`, which it reads.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } {
        0 => Ok(true),
        _ => match Error::last_os_error() {
            error if error.kind() == ErrorKind::WouldBlock => Ok(false),
            error if error.kind() == ErrorKind::PermissionDenied => Ok(false),
            error => Err(error),
        },
    }
}

/// Whether another open file has the lock of a byte.
///
/// # Errors
/// That of the system.
pub(super) fn is_locked(file: BorrowedFd<'_>, byte: u64) -> Result<bool, Error> {
    let mut lock = request(byte);
    // SAFETY: as above; this command writes the `flock` that the pointer names.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) } {
        0 => Ok(lock.l_type != libc::F_UNLCK as libc::c_short),
        _ => Err(Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_lock_ends_with_its_file() {
        let file = crate::mapping::anonymous_file(4_096).unwrap();
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let open = || std::fs::File::options().read(true).write(true).open(&path).unwrap();
        let (holder, other) = (open(), open());
        assert!(try_lock(holder.as_fd(), 3).unwrap());
        assert!(!try_lock(other.as_fd(), 3).unwrap());
        assert!(is_locked(other.as_fd(), 3).unwrap());
        assert!(!is_locked(other.as_fd(), 2).unwrap());
        assert!(!is_locked(holder.as_fd(), 3).unwrap(), "a lock of one's own does not count");
        drop(holder);
        assert!(!is_locked(other.as_fd(), 3).unwrap());
    }
}
