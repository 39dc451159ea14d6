//! A file that only takes room, so that there is some to give up when the disk is full.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Result, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
}

/// Whether there was something to give up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Given {
    Up,
    Nothing,
}

impl Reserve {
    pub(super) fn new(directory: &Path, bytes: u64) -> Self {
        let path = directory.join("reserve");
        Self { path, bytes }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it is there with real blocks, as many as it should have.
    pub(super) fn is_whole(&self) -> bool {
        self.path
            .metadata()
            .is_ok_and(|found| found.len() == self.bytes && found.blocks() * 512 >= self.bytes)
    }

    /// Makes it anew. It is not synced: after a crash it is looked at, and made again.
    pub(super) fn make(&self) -> Result<()> {
        self.give_up()?;
        let made = self.allocate();
        if made.is_err() {
            self.give_up()?;
        }
        made
    }

    fn allocate(&self) -> Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.path)?;
        match fallocate(&file, FallocateFlags::empty(), 0, self.bytes) {
            Err(Errno::OPNOTSUPP) => write_zeros(&mut file, self.bytes),
            allocated => Ok(allocated?),
        }
    }

    pub(super) fn give_up(&self) -> Result<Given> {
        match std::fs::remove_file(&self.path) {
            Ok(()) => Ok(Given::Up),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Given::Nothing),
            Err(error) => Err(error),
        }
    }
}

/// For a file system that cannot give blocks without writing them.
fn write_zeros(file: &mut std::fs::File, bytes: u64) -> Result<()> {
    let zeros = [0; 16 * 1024];
    let mut left = bytes;
    while left > 0 {
        let part = usize::try_from(left).map_or(zeros.len(), |left| left.min(zeros.len()));
        file.write_all(zeros.get(..part).unwrap_or(&zeros))?;
        left -= part as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserve_has_real_blocks_and_gives_them_back() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::new(folder.path(), 1 << 20);
        assert!(!reserve.is_whole());
        reserve.make().unwrap();
        assert!(reserve.is_whole());
        assert_eq!(reserve.give_up().unwrap(), Given::Up);
        assert_eq!(reserve.give_up().unwrap(), Given::Nothing);
        assert!(!reserve.is_whole());
    }

    #[test]
    fn a_file_that_only_claims_its_size_is_no_reserve() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::new(folder.path(), 1 << 20);
        let sparse = std::fs::File::create(folder.path().join("reserve")).unwrap();
        sparse.set_len(1 << 20).unwrap();
        assert!(!reserve.is_whole());
        reserve.make().unwrap();
        assert!(reserve.is_whole());
    }
}
