//! One process a state directory: a lock file that names its owner.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::StoreError;

/// Held as long as the process uses the directory; the kernel lets go of it with the process.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn take(directory: &Path) -> Result<Self, StoreError> {
        let wrong = |source| StoreError::Directory {
            path: directory.display().to_string(),
            source,
        };
        make(directory).map_err(wrong)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(directory.join("lock"))
            .map_err(wrong)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            file.read_to_string(&mut pid).map_err(wrong)?;
            let pid = pid.trim().to_owned();
            return Err(StoreError::Owned {
                path: directory.display().to_string(),
                pid,
            });
        }
        write_pid(&mut file).map_err(wrong)?;
        Ok(Self { _file: file })
    }
}

/// A directory that is new has its name synced, or a power cut could take it with everything that was stored in it.
fn make(directory: &Path) -> std::io::Result<()> {
    let is_new = !directory.exists();
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    match directory.canonicalize()?.parent() {
        Some(parent) if is_new => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}
