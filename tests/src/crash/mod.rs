//! The power goes at any moment: the files as a disk could have kept them, each judged against what the outside had
//! heard by then.
//!
//! A busy run of the agent is [recorded](run) once, by the [`shim`](crate::shim). From the record the [`disk`] builds
//! any number of [`states`], each at a moment of the run, with all that was synced and some part of what was not. Each is
//! opened by a real `SQLite` and judged by the [`oracle`](crate::oracle): no answer and no message to a device may be
//! outside that the disk does not have. On some the real agent is [started again](revive) and has to finish.

pub mod disk;
pub mod heard;
pub mod record;
pub mod revive;
pub mod run;
pub mod states;

pub use run::{Recording, record};
