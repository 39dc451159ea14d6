//! A file that only takes room, so that there is some to give up when the disk is full.
//!
//! | the file | means |
//! | --- | --- |
//! | is not there | it was never made, or the folder is new |
//! | is empty | it was given up: what had to be recorded found no room |
//! | has its size in real blocks | it is whole |

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Result, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, OFlags, fallocate};
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
            .symlink_metadata()
            .is_ok_and(|found| found.len() == self.bytes && found.blocks() * 512 >= self.bytes)
    }

    /// Whether it was given up and not made again since, by whatever process.
    pub(super) fn is_given_up(&self) -> bool {
        let found = self.path.symlink_metadata();
        found.is_ok_and(|found| found.is_file() && found.len() == 0)
    }

    /// Makes it anew, or leaves what it was: given up, or not there.
    pub(super) fn make(&self) -> Result<()> {
        let given_up = self.is_given_up();
        let made = self.allocate();
        if made.is_err() && (!given_up || self.give_up().is_err()) {
            self.remove()?;
        }
        made
    }

    fn allocate(&self) -> Result<()> {
        let mut file = match self.open(OpenOptions::new().create(true)) {
            // Somebody else's file, or a link: nothing that could be a reserve.
            Err(_) => {
                self.remove()?;
                self.open(OpenOptions::new().create(true))?
            }
            Ok(file) => file,
        };
        match fallocate(&file, FallocateFlags::empty(), 0, self.bytes) {
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno.into()),
        }
        file.set_len(self.bytes)?;
        if !self.is_whole() {
            write_noise(&mut file, self.bytes)?;
        }
        // Blocks may be counted, and the size be remembered, only from here on.
        file.sync_all()?;
        if self.is_whole() {
            return Ok(());
        }
        Err(Error::other(
            "this file system gives a file of that size no blocks",
        ))
    }

    /// Gives its room back. The empty file that stays tells the next process.
    pub(super) fn give_up(&self) -> Result<Given> {
        if self.is_given_up() {
            return Ok(Given::Nothing);
        }
        match self.open(OpenOptions::new().truncate(true)) {
            Ok(_) => Ok(Given::Up),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Given::Nothing),
            // The room matters more than the next process's knowledge of it.
            Err(_) => self.remove().map(|()| Given::Up),
        }
    }

    fn open(&self, how: &mut OpenOptions) -> Result<File> {
        how.write(true)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&self.path)
    }

    fn remove(&self) -> Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// For a file system that gives blocks only to what is written. It may compress, so that is noise.
fn write_noise(file: &mut File, bytes: u64) -> Result<()> {
    let mut noise = [0; 16 * 1024];
    let mut left = bytes;
    while left > 0 {
        rand::fill(&mut noise);
        let part = usize::try_from(left).map_or(noise.len(), |left| left.min(noise.len()));
        file.write_all(noise.get(..part).unwrap_or(&noise))?;
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
    fn a_link_is_no_reserve_and_what_it_points_to_stays() {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("other");
        std::fs::write(&other, "words").unwrap();
        let reserve = Reserve::new(folder.path(), 1 << 20);
        let link = || std::os::unix::fs::symlink(&other, &reserve.path).unwrap();
        link();
        assert_eq!(reserve.give_up().unwrap(), Given::Up);
        assert!(!reserve.is_given_up());
        link();
        reserve.make().unwrap();
        assert!(reserve.is_whole());
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "words");
    }

    #[test]
    fn one_of_another_size_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        Reserve::new(folder.path(), 1 << 20).make().unwrap();
        for bytes in [1 << 16, 1 << 21] {
            let reserve = Reserve::new(folder.path(), bytes);
            assert!(!reserve.is_whole());
            reserve.make().unwrap();
            assert!(reserve.is_whole());
        }
    }

    #[test]
    fn where_blocks_must_be_written_they_are_real_too() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::new(folder.path(), 100_000);
        let mut file = File::create(&reserve.path).unwrap();
        write_noise(&mut file, reserve.bytes).unwrap();
        file.sync_all().unwrap();
        assert!(reserve.is_whole());
    }
}
