//! A file that only takes room, so that there is some to give up when the disk is full.
//!
//! | the file | means |
//! | --- | --- |
//! | is not there | it was never made, or the folder is new |
//! | is empty | it was given up: what had to be recorded found no room |
//! | has its size in real blocks | it is whole |

use std::fs::{File, OpenOptions};
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

    /// Whether it was given up and not made again since, by whatever process.
    pub(super) fn is_given_up(&self) -> bool {
        self.path.metadata().is_ok_and(|found| found.len() == 0)
    }

    /// Makes it anew. It is not synced: after a crash it is looked at, and made again.
    pub(super) fn make(&self) -> Result<()> {
        let given_up = self.is_given_up();
        let made = self.allocate();
        match (&made, given_up) {
            (Ok(()), _) => {}
            (Err(_), true) => drop(self.give_up()?),
            (Err(_), false) => std::fs::remove_file(&self.path)?,
        }
        made
    }

    fn allocate(&self) -> Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.path)?;
        match fallocate(&file, FallocateFlags::empty(), 0, self.bytes) {
            Err(Errno::OPNOTSUPP) => write_noise(&mut file, self.bytes),
            allocated => Ok(allocated?),
        }
    }

    /// Gives its room back. The empty file that stays tells the next process.
    pub(super) fn give_up(&self) -> Result<Given> {
        if self.is_given_up() {
            return Ok(Given::Nothing);
        }
        let emptied = OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(&self.path);
        match emptied {
            Ok(_) => Ok(Given::Up),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Given::Nothing),
            Err(error) => Err(error),
        }
    }
}

/// For a file system that cannot give blocks without writing them. It may compress, so they are noise, and it may count
/// its blocks only once they are on the disk.
fn write_noise(file: &mut File, bytes: u64) -> Result<()> {
    let mut noise = [0; 16 * 1024];
    let mut left = bytes;
    while left > 0 {
        rand::fill(&mut noise);
        let part = usize::try_from(left).map_or(noise.len(), |left| left.min(noise.len()));
        file.write_all(noise.get(..part).unwrap_or(&noise))?;
        left -= part as u64;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserve_has_real_blocks_and_gives_them_back() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::new(folder.path(), 1 << 20);
        assert_eq!(reserve.give_up().unwrap(), Given::Nothing);
        assert!(!reserve.is_whole() && !reserve.is_given_up());
        reserve.make().unwrap();
        assert!(reserve.is_whole());
        assert_eq!(reserve.give_up().unwrap(), Given::Up);
        assert!(reserve.is_given_up(), "the next process must know");
        assert_eq!(reserve.give_up().unwrap(), Given::Nothing);
        reserve.make().unwrap();
        assert!(reserve.is_whole() && !reserve.is_given_up());
    }

    #[test]
    fn a_reserve_that_cannot_be_made_leaves_what_there_was() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::new(folder.path(), 1 << 20);
        reserve.make().unwrap();
        assert_eq!(reserve.give_up().unwrap(), Given::Up);
        let impossible = Reserve::new(folder.path(), u64::MAX);
        assert!(impossible.make().is_err());
        assert!(reserve.is_given_up());
        std::fs::remove_file(&reserve.path).unwrap();
        assert!(impossible.make().is_err());
        assert!(!reserve.path.exists(), "nobody has given it up");
    }

    #[test]
    fn a_file_that_only_claims_its_size_is_no_reserve() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::new(folder.path(), 1 << 20);
        let sparse = File::create(folder.path().join("reserve")).unwrap();
        sparse.set_len(1 << 20).unwrap();
        assert!(!reserve.is_whole());
        reserve.make().unwrap();
        assert!(reserve.is_whole());
    }

    #[test]
    fn where_blocks_must_be_written_they_are_real_too() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::new(folder.path(), 100_000);
        let mut file = File::create(&reserve.path).unwrap();
        write_noise(&mut file, reserve.bytes).unwrap();
        assert!(reserve.is_whole());
    }
}
