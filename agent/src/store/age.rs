//! How far back rows are surely old, though clocks may have been wrong while they were written.
//!
//! Rows are numbered in the order in which they were written; their times come from a clock that may have been in the
//! wrong year for a while. So a row is taken to be as old as the newest believable time up to its own: one that claims
//! to be from long ago is not older than what came before it. One that claims to be from the future waits for a
//! believable one behind it.

use agent_core::push::Timestamp;

/// Everything up to this row is done, and the newest believable time up to there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    pub(super) row: i64,
    pub(super) at: Timestamp,
}

/// What is old is older than `before`; what is later than `now` is not believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Old {
    pub(super) before: Timestamp,
    pub(super) now: Timestamp,
}

/// The last of these rows, which follow `mark` in their order, up to which all are old.
pub(super) fn reach(
    mark: Mark,
    rows: impl IntoIterator<Item = (i64, Timestamp)>,
    old: Old,
) -> Mark {
    let mut reached = mark;
    let mut newest = if mark.at > old.now {
        Timestamp(0)
    } else {
        mark.at
    };
    for (row, at) in rows {
        if at > old.now {
            continue;
        }
        newest = newest.max(at);
        if newest > old.before {
            break;
        }
        reached = Mark { row, at: newest };
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of rows with these times are old, at 100, when old is what is older than 50.
    fn old(times: &[i64]) -> i64 {
        let rows = (1..).zip(times.iter().map(|at| Timestamp(*at)));
        let mark = Mark {
            row: 0,
            at: Timestamp(0),
        };
        let old = Old {
            before: Timestamp(50),
            now: Timestamp(100),
        };
        reach(mark, rows, old).row
    }

    #[test]
    fn what_is_old_ends_where_the_first_young_row_begins() {
        assert_eq!(old(&[10, 20, 50, 51, 20]), 3);
        assert_eq!(old(&[]), 0);
    }

    #[test]
    fn a_row_from_a_clock_that_was_behind_is_not_older_than_the_one_before_it() {
        assert_eq!(old(&[10, 60, 0, 0, 61]), 1);
    }

    #[test]
    fn a_row_from_the_future_is_as_old_as_the_one_after_it() {
        assert_eq!(old(&[10, 2000, 40, 60]), 3);
        assert_eq!(old(&[10, 2000, 60]), 1, "it may be young");
        assert_eq!(old(&[10, 2000]), 1, "nobody knows yet");
    }
}
