//! Memory that several processes map: the file behind it and the mapping itself.
//!
//! The room of unsafe code for mapping: what a process maps here is reserved before it is used, so that a full
//! machine is an error and never a signal.
#![allow(unsafe_code, reason = "mmap hands out raw memory; this file gives it a length and an owner")]

use std::fs::File;
use std::io::{Error, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::ptr::NonNull;
#[cfg(all(feature = "shm", not(loom)))]
use std::{
    marker::PhantomData,
    ops::Range,
    sync::Arc,
    sync::atomic::{AtomicU32, Ordering},
};

use bytemuck::Pod;
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, fstat, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A shared mapping of the first bytes of a file; unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is plain memory that belongs to no thread; every access goes through the unsafe methods, whose
// callers answer for races, and through atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of a file for reading and writing.
    ///
    /// # Errors
    /// That of the system, or of a file that is shorter.
    pub(crate) fn of(file: impl AsFd, len: usize) -> Result<Self, Error> {
        let size = fstat(&file)?.st_size;
        if len == 0 || usize::try_from(size).is_ok_and(|size| size < len) {
            return Err(Error::new(ErrorKind::UnexpectedEof, format!("{len} bytes of a file of {size}")));
        }
        // SAFETY: no address is asked for, so nothing that is mapped already is touched.
        let base = unsafe {
            mmap(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, file, 0)
        }?;
        let base = NonNull::new(base.cast()).ok_or(ErrorKind::OutOfMemory)?;
        Ok(Self { base, len })
    }

    /// The address of the byte at `offset`.
    ///
    /// # Panics
    /// When the `len` bytes from there do not lie within the mapping.
    pub(crate) fn at(&self, offset: usize, len: usize) -> NonNull<u8> {
        assert!(offset <= self.len && len <= self.len - offset, "an access outside of a mapping");
        // SAFETY: the offset lies within the mapping.
        unsafe { self.base.add(offset) }
    }

    /// `len` elements from the byte `offset`.
    ///
    /// # Safety
    /// Nobody, in whatever process, writes them while the slice lives.
    pub(crate) unsafe fn slice<T: Pod>(&self, offset: usize, len: usize) -> &[T] {
        let start = self.at(offset, len * size_of::<T>()).cast::<T>();
        assert!(start.is_aligned());
        // SAFETY: in bounds and aligned as checked; any bits are a value of a `Pod`; the caller excludes writers.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), len) }
    }

    /// `len` elements from the byte `offset`, for writing.
    ///
    /// # Safety
    /// Nobody else, in whatever process, reads or writes them while the slice lives.
    #[allow(clippy::mut_from_ref, reason = "the caller answers for exclusive access, as between processes")]
    pub(crate) unsafe fn slice_mut<T: Pod>(&self, offset: usize, len: usize) -> &mut [T] {
        let start = self.at(offset, len * size_of::<T>()).cast::<T>();
        assert!(start.is_aligned());
        // SAFETY: as in `slice`; the caller excludes every other access.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), len) }
    }
}

#[cfg(all(feature = "shm", not(loom)))]
impl Mapping {
    /// Number of bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Copies elements that their owner, in whatever process, does not write now.
    pub(crate) fn read_shared<T: Pod>(&self, offset: usize, into: &mut [T]) {
        // SAFETY: the owner has them borrowed for a collective that ends after this read.
        into.copy_from_slice(unsafe { self.slice(offset, into.len()) });
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        let start = self.at(offset, size_of::<AtomicU32>()).cast::<AtomicU32>();
        assert!(start.is_aligned());
        // SAFETY: in bounds and aligned; atomics may be shared, and any bits are a value of them.
        unsafe { start.as_ref() }
    }

    /// Whether a [`MappedPart`] with this word was dropped.
    pub(crate) fn is_given_up(&self, word: usize) -> bool {
        self.word(word).load(Ordering::Acquire) != 0
    }
}

/// The elements of a part of a mapping that this process alone writes. When it is dropped, the word at the given
/// offset says so.
#[cfg(all(feature = "shm", not(loom)))]
#[derive(Debug)]
pub(crate) struct MappedPart<T> {
    mapping: Arc<Mapping>,
    part: Range<usize>,
    word: usize,
    element: PhantomData<T>,
}

#[cfg(all(feature = "shm", not(loom)))]
impl<T: Pod> MappedPart<T> {
    /// The part of these bytes, which nobody else has.
    pub(crate) fn new(mapping: Arc<Mapping>, part: Range<usize>, word: usize) -> Self {
        Self { mapping, part, word, element: PhantomData }
    }

    /// The elements.
    pub(crate) fn as_slice(&self) -> &[T] {
        // SAFETY: this process alone writes the part, and only through `as_mut_slice`.
        unsafe { self.mapping.slice(self.part.start, self.part.len() / size_of::<T>()) }
    }

    /// The elements for writing.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: other processes read the part only while this one lends it to a collective.
        unsafe { self.mapping.slice_mut(self.part.start, self.part.len() / size_of::<T>()) }
    }
}

#[cfg(all(feature = "shm", not(loom)))]
impl<T> Drop for MappedPart<T> {
    fn drop(&mut self) {
        self.mapping.word(self.word).store(1, Ordering::Release);
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `of` made, and nothing borrows from it any more.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok());
    }
}

/// A file without a name, `len` zeros of reserved memory that can neither shrink nor grow.
///
/// # Errors
/// That of the system; out of memory when the machine or the control group of the process does not have that much,
/// which is asked first: the kernel would rather end processes than refuse the last page.
pub(crate) fn anonymous_file(len: usize) -> Result<OwnedFd, Error> {
    if len > isize::MAX as usize || available_memory().is_some_and(|bytes| (bytes as usize) < len) {
        return Err(ErrorKind::OutOfMemory.into());
    }
    let file = memfd_create("cobre", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    reserve(&file, len)?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file)
}

/// Lengthens a file to `len` bytes whose memory is there.
///
/// # Errors
/// That of the system: no space.
pub(crate) fn reserve(file: impl AsFd, len: usize) -> Result<(), Error> {
    loop {
        match fallocate(&file, FallocateFlags::empty(), 0, len as u64) {
            // A signal during a long reservation; what is there already stays.
            Err(rustix::io::Errno::INTR) => {}
            outcome => return outcome.map_err(Error::from),
        }
    }
}

/// Bytes that this process could still use, where the system says it.
fn available_memory() -> Option<u64> {
    let of_machine = || -> Option<u64> {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
        Some(line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
    };
    let of_group = || -> Option<u64> {
        let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let folder = PathBuf::from("/sys/fs/cgroup").join(path);
        let read = |name| std::fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
        Some(read("memory.max")?.saturating_sub(read("memory.current")?))
    };
    [of_machine(), of_group()].into_iter().flatten().min()
}

/// Opens the file that another process of this machine holds open as `descriptor`, if it is the one it means.
///
/// # Errors
/// When the process cannot be seen from here, or has another file there.
pub(crate) fn open_of_process(pid: u64, descriptor: u64, identity: [u64; 2]) -> Result<OwnedFd, Error> {
    let path = format!("/proc/{pid}/fd/{descriptor}");
    let file: OwnedFd = File::options().read(true).write(true).open(path)?.into();
    if file_identity(&file)? != identity {
        return Err(Error::other("the process has another file there"));
    }
    Ok(file)
}

/// Device and inode of a file.
///
/// # Errors
/// That of the system.
pub(crate) fn file_identity(file: impl AsFd) -> Result<[u64; 2], Error> {
    let status = fstat(file)?;
    Ok([status.st_dev, status.st_ino])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_see_the_same_bytes() {
        use std::os::fd::AsRawFd;
        let file = anonymous_file(10_000).unwrap();
        let identity = file_identity(&file).unwrap();
        let pid = u64::from(std::process::id());
        let again = open_of_process(pid, file.as_raw_fd() as u64, identity).unwrap();
        let (one, two) = (Mapping::of(&file, 10_000).unwrap(), Mapping::of(&again, 10_000).unwrap());
        // SAFETY: this test alone uses the memory, one slice at a time.
        unsafe { one.slice_mut::<u32>(400, 3) }.copy_from_slice(&[1, 2, 3]);
        // SAFETY: as above.
        assert_eq!(unsafe { two.slice::<u32>(396, 5) }, [0, 1, 2, 3, 0]);
        assert!(std::panic::catch_unwind(|| two.at(9_999, 2)).is_err());
        assert!(open_of_process(pid, file.as_raw_fd() as u64, [identity[0], identity[1] + 1]).is_err());
        assert!(rustix::fs::ftruncate(&file, 5).is_err(), "a sealed file does not shrink");
    }

    #[test]
    fn too_much_is_refused() {
        let error = anonymous_file(1 << 50).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        let file = anonymous_file(10).unwrap();
        assert!(Mapping::of(&file, 11).is_err());
    }
}
