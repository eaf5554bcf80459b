//! The data folder, which only the user who runs local mode can open.
//!
//! The folder contains the table and the secrets. Its mode keeps other users out, and
//! local mode uses no file that another user could have put there.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::Serialize;

use crate::StartError;

/// The table.
pub(crate) const DATABASE: &str = "keyward.sqlite";
/// The pepper and the admin's password.
pub(crate) const SECRETS: &str = "secrets.json";
/// The addresses, tokens and password, for scripts.
pub(crate) const LOCAL_JSON: &str = "local.json";
/// The log.
pub(crate) const LOG: &str = "log.jsonl";
/// The older part of the log.
pub(crate) const OLD_LOG: &str = "log.1.jsonl";
/// Exists while the demo data is created.
const UNFINISHED_DEMO: &str = "demo.unfinished";
const LOCK: &str = "lock";

/// Every file that is read or written in place. `SQLite` creates the last three
/// (<https://www.sqlite.org/tempfiles.html>).
const FILES: [&str; 10] = [
    LOCK,
    UNFINISHED_DEMO,
    SECRETS,
    LOCAL_JSON,
    LOG,
    OLD_LOG,
    DATABASE,
    "keyward.sqlite-wal",
    "keyward.sqlite-shm",
    "keyward.sqlite-journal",
];

/// The data folder, locked for this process until the value is dropped.
pub(crate) struct DataFolder {
    pub(crate) path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Creates the folder if it does not exist, and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, StartError> {
        // Strips a trailing slash. With one, the check below would follow a link.
        let path: PathBuf = path.components().collect();
        let unusable = |cause| StartError::Data { path: path.clone(), cause };
        if fs::symlink_metadata(&path).is_ok_and(|folder| folder.is_symlink()) {
            return Err(StartError::LinkedFolder(path));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(unusable)?;
        let folder = fs::symlink_metadata(&path).map_err(unusable)?;
        if folder.uid() != rustix::process::geteuid().as_raw() {
            return Err(StartError::ForeignFolder(path));
        }
        if folder.mode() & 0o077 != 0 {
            return Err(StartError::OpenFolder { mode: folder.mode() & 0o7777, path });
        }
        if let Some(parent) = replaceable_by_others(&path).map_err(unusable)? {
            return Err(StartError::OpenParent { path, parent });
        }
        // Other users cannot change or replace the folder now, so the results of
        // these checks stay true.
        for name in FILES {
            check_file(path.join(name))?;
        }
        let lock = open_private(&path.join(LOCK)).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) if path.join(UNFINISHED_DEMO).exists() => Err(StartError::UnfinishedDemo(path)),
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StartError::AlreadyRunning(path)),
            Err(TryLockError::Error(cause)) => Err(StartError::Data { path, cause }),
        }
    }

    /// Fails if the folder has a database.
    pub(crate) fn refuse_database(&self) -> Result<(), StartError> {
        if self.path.join(DATABASE).exists() {
            return Err(StartError::DemoNeedsNewFolder(self.path.clone()));
        }
        Ok(())
    }

    /// Marks the folder as one whose demo data is being created. If the process ends before
    /// [`finish_demo`](Self::finish_demo), the folder cannot be used any more.
    pub(crate) fn begin_demo(&self) -> Result<(), StartError> {
        let path = self.path.join(UNFINISHED_DEMO);
        open_private(&path).map(drop).map_err(|cause| StartError::Data { path, cause })
    }

    /// Removes the mark of [`begin_demo`](Self::begin_demo).
    pub(crate) fn finish_demo(&self) -> Result<(), StartError> {
        let path = self.path.join(UNFINISHED_DEMO);
        fs::remove_file(&path).map_err(|cause| StartError::Data { path, cause })
    }

    /// The path of the database, which is created with mode 0600 if it does not
    /// exist. `SQLite` gives its other files the same mode.
    pub(crate) fn database(&self) -> Result<PathBuf, StartError> {
        let path = self.path.join(DATABASE);
        match open_private(&path) {
            Ok(_) => Ok(path),
            Err(cause) => Err(StartError::Data { path, cause }),
        }
    }

    /// Writes `value` as JSON to the file `name`. If this fails, an existing file stays
    /// unchanged.
    pub(crate) fn write(&self, name: &str, value: &impl Serialize) -> Result<(), StartError> {
        let path = self.path.join(name);
        let write = || -> io::Result<()> {
            // A new file with mode 0600 (`O_EXCL`).
            let mut file = tempfile::Builder::new().prefix(".").tempfile_in(&self.path)?;
            serde_json::to_writer_pretty(&mut file, value)?;
            file.write_all(b"\n")?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            Ok(())
        };
        write().map_err(|cause| StartError::Data { path: path.clone(), cause })
    }
}

/// Finds a folder above `path`, or a link in the path, with which another user can
/// replace the folder at `path`: another user's link, or a folder to which everyone can
/// write. A sticky folder is safe unless it belongs to another user, because its owner
/// can rename everything in it (<https://man7.org/linux/man-pages/man7/inode.7.html>).
fn replaceable_by_others(path: &Path) -> io::Result<Option<PathBuf>> {
    let is_trusted = |owner: u32| owner == 0 || owner == rustix::process::geteuid().as_raw();
    // The path as written, and the path with its links resolved.
    for path in [std::path::absolute(path)?, fs::canonicalize(path)?] {
        for parent in path.ancestors().skip(1) {
            let here = fs::symlink_metadata(parent)?;
            let is_safe = if here.is_symlink() {
                is_trusted(here.uid())
            } else {
                here.mode() & 0o002 == 0 || (here.mode() & 0o1000 != 0 && is_trusted(here.uid()))
            };
            if !is_safe {
                return Ok(Some(parent.to_owned()));
            }
        }
    }
    Ok(None)
}

/// Refuses a file that is a link, is not a regular file, or belongs to another user.
fn check_file(path: PathBuf) -> Result<(), StartError> {
    match fs::symlink_metadata(&path) {
        Ok(file) if file.is_symlink() => Err(StartError::ForeignFile { path, what: "is a symbolic link" }),
        Ok(file) if !file.is_file() => Err(StartError::ForeignFile { path, what: "is not a regular file" }),
        Ok(file) if file.uid() != rustix::process::geteuid().as_raw() => {
            Err(StartError::ForeignFile { path, what: "belongs to another user" })
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(StartError::Data { path, cause }),
    }
}

/// Opens a file for appending. Creates a missing file with mode 0600, and refuses a
/// link.
pub(crate) fn open_private(path: &Path) -> io::Result<File> {
    let no_follow = OFlags::NOFOLLOW.bits().cast_signed();
    File::options().append(true).create(true).mode(0o600).custom_flags(no_follow).open(path)
}
