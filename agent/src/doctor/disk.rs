//! The state directory: room, reserve, how fast a sync is, and whether the database is sound.

use std::path::Path;
use std::time::Duration;

use super::Finding;
use crate::store::{Bounds, Database, Looked, ReserveFile, StoreError, look as look_at};

pub(super) fn look(state: &Path, bounds: Bounds) -> Vec<Finding> {
    match look_at(state, bounds.reserve) {
        Ok(looked) => vec![
            room(&looked, bounds),
            database(&looked, bounds),
            reserve(&looked),
            sync(&looked),
        ],
        Err(error) => vec![Finding::wrong(
            DATABASE,
            [error.sentence(), advice(&error).into()],
        )],
    }
}

fn advice(error: &StoreError) -> &'static str {
    match error {
        StoreError::Directory { .. } => {
            "run this as root or as the user wardpost, and see whether the directory is there and mounted for writing"
        }
        StoreError::FromTheFuture { .. } => "install the newer version again",
        _ => "see *When the disk is broken* in the guide for operators",
    }
}

fn room(looked: &Looked, bounds: Bounds) -> Finding {
    let said = format!(
        "{} MiB free, of which {} must stay free",
        mib(looked.free),
        mib(bounds.min_free)
    );
    if looked.free < bounds.min_free {
        let next = "make room: new pushes are refused until there is some";
        return Finding::wrong(("disk", "room"), [said, next.into()]);
    }
    Finding::good(("disk", "room"), said)
}

fn database(looked: &Looked, bounds: Bounds) -> Finding {
    let Database::Sound { used } = looked.database else {
        let next = "start the service, which makes it";
        return Finding::warning(DATABASE, ["there is none yet".into(), next.into()]);
    };
    let said = format!(
        "sound as far as a moment shows; {} of {} MiB in use",
        mib(used),
        mib(bounds.max_disk)
    );
    if used > bounds.max_disk {
        let next =
            "new pushes are refused: see `wardpost queue` and [retention], or raise max_disk";
        return Finding::wrong(DATABASE, [said, next.into()]);
    }
    Finding::good(DATABASE, said)
}

fn reserve(looked: &Looked) -> Finding {
    match (looked.reserve, looked.database) {
        (ReserveFile::Whole, _) => Finding::good(RESERVE, "whole"),
        (ReserveFile::Missing, Database::Absent) => {
            Finding::not_tried(RESERVE, "the agent has not run here yet")
        }
        (ReserveFile::Missing, Database::Sound { .. }) => {
            let next = "make room: a running agent makes it again within a minute";
            let said = "it is given up, or has another size than the configuration says";
            Finding::warning(RESERVE, [said.into(), next.into()])
        }
    }
}

fn sync(looked: &Looked) -> Finding {
    let said = format!(
        "the slowest of some took {:.1} ms",
        looked.sync.as_secs_f64() * 1e3
    );
    if looked.sync > SLOW {
        let next = "each push waits for two of them: look at the disk, and what else uses it";
        return Finding::warning(("disk", "sync"), [said, next.into()]);
    }
    Finding::good(("disk", "sync"), said)
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

const DATABASE: (&str, &str) = ("disk", "database");
const RESERVE: (&str, &str) = ("disk", "reserve");
/// A disk of a small box is well below; a failing one is above.
const SLOW: Duration = Duration::from_millis(250);
