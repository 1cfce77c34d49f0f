//! Files that appear whole or not at all.
//!
//! A draft is written in the folder of its target, made durable, and renamed over the target. On Linux the draft has
//! no name until it is complete (`O_TMPFILE`), so that even a killed process leaves nothing behind; elsewhere it is a
//! hidden file that goes with the process' orderly end, and [`sweep_drafts`] removes what a kill left.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cobre_core::{Error, ErrorKind, Result};

const DRAFT_PREFIX: &str = ".cobre-draft-";

/// A file under construction. Dropping it without [`commit`](Self::commit) leaves no trace.
#[derive(Debug)]
pub struct AtomicFile {
    draft: Draft,
    target: PathBuf,
}

#[derive(Debug)]
enum Draft {
    #[cfg(target_os = "linux")]
    Unnamed(File),
    Named(tempfile::NamedTempFile),
}

impl AtomicFile {
    /// Begins a file that will be `target`, whose folder must exist.
    ///
    /// # Errors
    /// [`ErrorKind::CheckpointFailed`] with the path.
    pub fn create(target: &Path) -> Result<Self> {
        let folder = folder_of(target);
        let draft = Self::draft(folder).map_err(|error| write_failed(target, error))?;
        Ok(Self { draft, target: target.to_owned() })
    }

    fn draft(folder: &Path) -> io::Result<Draft> {
        #[cfg(target_os = "linux")]
        if let Some(file) = unnamed(folder) {
            return Ok(Draft::Unnamed(file));
        }
        named(folder).map(Draft::Named)
    }

    /// Makes the contents durable and gives the file its name, replacing an older file of that name.
    ///
    /// # Errors
    /// [`ErrorKind::CheckpointFailed`] with the path; the older file is untouched then.
    pub fn commit(self) -> Result<()> {
        let target = self.target;
        let outcome = match self.draft {
            #[cfg(target_os = "linux")]
            Draft::Unnamed(file) => file.sync_all().and_then(|()| name_unnamed(&file, &target)),
            Draft::Named(file) => {
                let synced = file.as_file().sync_all();
                synced.and_then(|()| file.persist(&target).map(drop).map_err(|error| error.error))
            }
        };
        outcome.and_then(|()| sync_folder(folder_of(&target))).map_err(|error| write_failed(&target, error))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.draft {
            #[cfg(target_os = "linux")]
            Draft::Unnamed(file) => file.write(bytes),
            Draft::Named(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.draft {
            #[cfg(target_os = "linux")]
            Draft::Unnamed(file) => file.flush(),
            Draft::Named(file) => file.flush(),
        }
    }
}

/// Writes a whole file at once; see [`AtomicFile`].
///
/// # Errors
/// [`ErrorKind::CheckpointFailed`] with the path.
pub fn write(target: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(target)?;
    file.write_all(bytes).map_err(|error| write_failed(target, error))?;
    file.commit()
}

/// Creates a folder and those above it.
///
/// # Errors
/// [`ErrorKind::CheckpointFailed`] with the path.
pub fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|error| write_failed(path, error))
}

/// Removes a file or a folder with all it holds; nothing to remove is no error.
///
/// # Errors
/// [`ErrorKind::CheckpointFailed`] with the path.
pub fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(write_failed(path, error)),
        _ => Ok(()),
    }
}

/// Removes drafts that a killed process left in a folder; a folder that is not there has none.
///
/// # Errors
/// [`ErrorKind::CheckpointFailed`] with the path of a draft that cannot be removed.
pub fn sweep_drafts(folder: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    entries.flatten().filter(|entry| is_draft(&entry.file_name())).try_for_each(|entry| remove(&entry.path()))
}

/// True for the file name of a draft.
pub fn is_draft(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(DRAFT_PREFIX.as_bytes())
}

/// The error of a file that could not be written.
pub(crate) fn write_failed(path: &Path, error: impl Into<io::Error>) -> Error {
    let error = error.into();
    let full = error.kind() == io::ErrorKind::StorageFull;
    let failed = Error::new(ErrorKind::CheckpointFailed, "the file could not be written")
        .with("path", path.display().to_string())
        .caused_by(error);
    if full { failed.suggesting("free some space or choose another output directory") } else { failed }
}

fn folder_of(target: &Path) -> &Path {
    target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn named(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(DRAFT_PREFIX);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

/// A file without a name, when the file system has such and `/proc`, which names it later, is there.
#[cfg(target_os = "linux")]
fn unnamed(folder: &Path) -> Option<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(folder, flags, Mode::from_raw_mode(0o666)).ok()?);
    descriptor_path(&file).exists().then_some(file)
}

#[cfg(target_os = "linux")]
fn descriptor_path(file: &File) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Links a nameless file under a draft's name and renames that: a link alone cannot replace an older file.
#[cfg(target_os = "linux")]
fn name_unnamed(file: &File, target: &Path) -> io::Result<()> {
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::fs::{AtFlags, CWD};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let draft = loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let draft = folder_of(target).join(format!("{DRAFT_PREFIX}{}-{number}", std::process::id()));
        match rustix::fs::linkat(CWD, descriptor_path(file), CWD, &draft, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => break draft,
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    };
    fs::rename(&draft, target).inspect_err(|_| drop(fs::remove_file(&draft)))
}

/// Makes a rename durable. Only Unix can open a folder to do so.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}
