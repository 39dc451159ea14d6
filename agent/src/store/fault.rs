//! What an error of the database means: something passes, everything else ends the process.
//!
//! A failed sync must never be tried again, because the kernel may have dropped the pages that it could not write; and
//! what a damaged page says must not be believed. So whatever is not known to pass is the end.

use rusqlite::ErrorCode;

use super::StoreError;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// No room. What must be recorded is tried again with the reserve given up.
    Full,
    /// A row was refused, or somebody else has the database locked.
    Passing,
    /// The disk or the database cannot be trusted any more.
    Broken,
}

pub(super) fn fault(error: &rusqlite::Error) -> Fault {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Fault::Full,
        Some(
            ErrorCode::ConstraintViolation
            | ErrorCode::TooBig
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked,
        ) => Fault::Passing,
        _ => Fault::Broken,
    }
}

impl StoreError {
    pub(super) fn fault(&self) -> Fault {
        match self {
            Self::Sql { source, .. } => fault(source),
            Self::Stopped => Fault::Passing,
            _ => Fault::Broken,
        }
    }

    /// The whole error in one sentence, with what to do.
    pub fn sentence(&self) -> String {
        let Self::Sql { doing, source } = self else {
            let source = std::error::Error::source(self);
            return source.map_or_else(|| self.to_string(), |source| format!("{self}: {source}"));
        };
        format!("cannot {doing}: {source}; {}", advice(source))
    }
}

fn advice(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::SystemIoFailure) => {
            "the disk failed, and nothing is acknowledged any more: look at the kernel's log \
             (`journalctl -k`) and replace the disk"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            "the state directory must be on a file system mounted for writing (a failing disk is \
             remounted read-only, see `journalctl -k`) and belong to the agent's user"
        }
        Some(ErrorCode::DiskFull) => "the disk is full: make room on the box",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program has the database locked: end it"
        }
        _ => {
            "the database cannot be trusted any more: keep its three files for an examination, \
             then restore a backup or move the state directory away"
        }
    }
}
