//! What the library does, in the words of the file it reads (see `tests/shim/disk.c`).

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// What happens to the calls on one state directory. Without more they are counted.
#[derive(Clone, Debug)]
pub struct Plan {
    text: String,
    calls: Calls,
    records: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Calls {
    Told,
    Silent,
}

/// A call that fails.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Among the counted ones, from 1.
    pub nth: usize,
    pub errno: Errno,
    pub lasting: Lasting,
}

/// How long a fault lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lasting {
    Once,
    /// Every later call fails, too, until the fault is lifted.
    On,
    /// Every call fails from [`arm`](super::Shim::arm) until the fault is lifted, whatever the number.
    Armed,
    /// Once; if it is a write, half of it is written and the next one fails.
    Short,
}

/// The number of an error, as Linux counts on every machine we build for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(pub i32);

impl Errno {
    pub const IO: Self = Self(5);
    pub const NO_SPACE: Self = Self(28);
    pub const READ_ONLY: Self = Self(30);
    pub const QUOTA: Self = Self(122);
    pub const NO_LOCKS: Self = Self(37);

    pub fn name(self) -> &'static str {
        match self {
            Self::IO => "EIO",
            Self::NO_SPACE => "ENOSPC",
            Self::READ_ONLY => "EROFS",
            Self::QUOTA => "EDQUOT",
            Self::NO_LOCKS => "ENOLCK",
            _ => "an error",
        }
    }
}

/// Kinds of calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Open,
    Read,
    Write,
    Truncate,
    Allocate,
    Sync,
    Unlink,
    Rename,
    Mkdir,
    Lock,
    Map,
    Stat,
}

impl Kind {
    /// What needs the disk. Locks are in the kernel's memory.
    pub const TOUCHES_THE_DISK: [Self; 11] = [
        Self::Open,
        Self::Read,
        Self::Write,
        Self::Truncate,
        Self::Allocate,
        Self::Sync,
        Self::Unlink,
        Self::Rename,
        Self::Mkdir,
        Self::Map,
        Self::Stat,
    ];
    /// What may fail because there is no room.
    pub const TAKES_ROOM: [Self; 6] = [
        Self::Open,
        Self::Write,
        Self::Truncate,
        Self::Allocate,
        Self::Sync,
        Self::Mkdir,
    ];
    /// What changes something, so that a read-only file system refuses it.
    pub const CHANGES: [Self; 8] = [
        Self::Open,
        Self::Write,
        Self::Truncate,
        Self::Allocate,
        Self::Sync,
        Self::Mkdir,
        Self::Unlink,
        Self::Rename,
    ];

    fn word(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

impl Plan {
    /// Counts the calls on files of this directory.
    pub fn on(state: &Path) -> Self {
        Self {
            text: format!("state {}\n", state.display()),
            calls: Calls::Told,
            records: false,
        }
    }

    /// Only these kinds are counted, and may fail.
    #[must_use]
    pub fn counting(self, kinds: &[Kind]) -> Self {
        let words: Vec<String> = kinds.iter().map(|kind| kind.word()).collect();
        self.with(&format!("count {}", words.join(" ")))
    }

    #[must_use]
    pub fn failing(self, fault: Fault) -> Self {
        let how = match fault.lasting {
            Lasting::Once => "once",
            Lasting::On => "on",
            Lasting::Armed => "armed",
            Lasting::Short => "short",
        };
        self.with(&format!("fail {} {} {how}", fault.nth, fault.errno.0))
    }

    /// Every sync takes so much longer. Calls are not counted, so that nothing else is slower than it was.
    #[must_use]
    pub fn slow(self, more: Duration) -> Self {
        let slow = self.with(&format!("slow {}", more.as_micros()));
        Self {
            calls: Calls::Silent,
            ..slow
        }
    }

    /// Syncs say that they did, and do nothing: what a disk is without them.
    #[must_use]
    pub fn dropping_syncs(self) -> Self {
        self.with("drop")
    }

    /// Everything that happens to the files, and everything that is sent, is written down with its bytes.
    #[must_use]
    pub fn recording(self) -> Self {
        Self {
            records: true,
            ..self
        }
    }

    fn with(mut self, line: &str) -> Self {
        self.text.push_str(line);
        self.text.push('\n');
        self
    }

    pub(super) fn text(&self, calls: &Path, record: &Path) -> String {
        let mut text = self.text.clone();
        // Writing to a string cannot fail.
        if self.calls == Calls::Told {
            let _ = writeln!(text, "calls {}", calls.display());
        }
        if self.records {
            let _ = writeln!(text, "record {}", record.display());
        }
        text
    }
}
