//! Files that appear whole or not at all.
//!
//! A draft is written in the folder of its target, made durable, and renamed over the target. On Linux the draft has
//! no name until it is complete (`O_TMPFILE`), so that even a killed process leaves nothing behind; elsewhere it is a
//! hidden file that goes with the process' orderly end, and [`sweep_drafts`] removes what a kill left. So it is with
//! whole folders, which cannot be made without a name.

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

/// Replaces a folder that holds the files `names` and nothing else, all at once: `fill` writes them into the folder
/// it is given. Where the system cannot exchange folders, and in a folder that holds something else besides, the files
/// are replaced one by one.
///
/// # Errors
/// That of `fill`; [`ErrorKind::CheckpointFailed`] with the path. The older folder is untouched then, if it was to be
/// replaced at once.
pub fn replace_folder(
    target: &Path,
    names: &[&str],
    fill: &mut dyn FnMut(&Path) -> Result<()>,
) -> Result<()> {
    let parent = folder_of(target);
    create_folder(parent)?;
    let is_ours = match fs::symlink_metadata(target) {
        Err(_) => true,
        Ok(found) if !found.is_dir() => false,
        Ok(_) => fs::read_dir(target).is_ok_and(|mut entries| {
            let is_named = |entry: fs::DirEntry| {
                names.iter().any(|name| entry.file_name().as_encoded_bytes() == name.as_bytes())
            };
            entries.all(|entry| entry.is_ok_and(is_named))
        }),
    };
    if is_ours {
        let draft = tempfile::Builder::new()
            .prefix(DRAFT_PREFIX)
            .tempdir_in(parent)
            .map_err(|error| write_failed(target, error))?;
        fill(draft.path())?;
        open_to_others(draft.path()).map_err(|error| write_failed(target, error))?;
        if exchange(draft.path(), target).map_err(|error| write_failed(target, error))? {
            return sync_folder(parent).map_err(|error| write_failed(target, error));
        }
    }
    create_folder(target)?;
    fill(target)
}

/// Gives a folder the mode that folders get, instead of that of a private temporary folder.
fn open_to_others(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let sibling = fs::metadata(folder_of(folder))?.permissions().mode() & 0o777;
        fs::set_permissions(folder, fs::Permissions::from_mode(sibling | 0o700))?;
    }
    Ok(())
}

/// Puts a folder in the place of another, which takes the place of the first; false when the system cannot.
fn exchange(draft: &Path, target: &Path) -> io::Result<bool> {
    sync_folder(draft)?;
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        for flags in [RenameFlags::NOREPLACE, RenameFlags::EXCHANGE] {
            match renameat_with(CWD, draft, CWD, target, flags) {
                Ok(()) => return Ok(true),
                Err(Errno::EXIST | Errno::NOENT) => {}
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = target;
        Ok(false)
    }
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
