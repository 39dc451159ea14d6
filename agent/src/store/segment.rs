//! Segments: what is written from time to time so that a start reads little. What is in them, the queue decides; here is
//! where it lies.
//!
//! | column | holds |
//! |---|---|
//! | `segment.first_push`, `last_push`, `bytes` | prints of these pushes; no bytes where there was no push |
//! | `segment.last_push`, `last_seq`, `last_answer`, `taken` | of the newest row: up to where segment, cold and open are the truth |
//! | `cold.block`, `bytes` | which numbers of a block of 4,096 only wait their turn |
//! | `open.push`, `state` | a push that is not final and to which more has happened: 1 waits, 2 attempt, 3 completing, 4 uncertain, 5 held by a person |

use std::collections::BTreeMap;

use agent_core::push::{Mono, Now, PushId, Seq};
use agent_core::queue::{ColdBlock, Mark, Open, OpenAs, Queue, Recall, SavedPrints, Segment};
use rusqlite::{Connection, OptionalExtension, params};

use super::load;

/// What the tables hold, as far as the next segment must know it.
#[derive(Default)]
pub(super) struct Segments {
    /// Oldest first.
    spans: Vec<Span>,
    open: BTreeMap<PushId, OpenAs>,
    /// After a commit that failed: not before this, in case it failed for the segment.
    not_before: Option<Mono>,
}

struct Span {
    no: i64,
    pushes: Option<(PushId, PushId)>,
}

impl Segments {
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let spans = connection
            .prepare("SELECT no, first_push, last_push FROM segment ORDER BY no")?
            .query_map([], |row| {
                let first: Option<u64> = row.get(1)?;
                let last = PushId(row.get(2)?);
                Ok(Span {
                    no: row.get(0)?,
                    pushes: first.map(|first| (PushId(first), last)),
                })
            })?
            .collect::<rusqlite::Result<_>>()?;
        let open = load::open_states(connection)?;
        Ok(Self {
            spans,
            open: open.into_iter().collect(),
            not_before: None,
        })
    }

    pub(super) fn wait_until(&mut self, at: Mono) {
        self.not_before = Some(at);
    }

    /// Writes a segment into the running transaction if it is time for one.
    pub(super) fn write_if_due(
        &mut self,
        connection: &Connection,
        queue: &mut Queue,
        now: Now,
    ) -> rusqlite::Result<()> {
        if !queue.segment_due() || self.not_before.is_some_and(|at| now.mono < at) {
            return Ok(());
        }
        self.not_before = None;
        self.write(connection, queue)
    }

    pub(super) fn write(
        &mut self,
        connection: &Connection,
        queue: &mut Queue,
    ) -> rusqlite::Result<()> {
        let segment = queue.segment();
        self.write_stretches(connection, &segment)?;
        for block in &segment.cold {
            write_cold(connection, block)?;
        }
        self.write_open(connection, &segment.open)?;
        self.forget(connection, queue)
    }

    fn write_stretches(
        &mut self,
        connection: &Connection,
        segment: &Segment,
    ) -> rusqlite::Result<()> {
        let mark = &segment.mark;
        // One without pushes only says up to where; the next one says it better.
        while let Some(Span { no, pushes: None }) = self.spans.last() {
            delete(connection, *no)?;
            self.spans.pop();
        }
        for stretch in &segment.stretches {
            let pushes = Some((stretch.first, stretch.last));
            self.add(connection, mark, pushes, Some(&stretch.bytes))?;
        }
        if segment.stretches.is_empty() {
            self.add(connection, mark, None, None)?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        connection: &Connection,
        mark: &Mark,
        pushes: Option<(PushId, PushId)>,
        bytes: Option<&[u8]>,
    ) -> rusqlite::Result<()> {
        let no = self.spans.last().map_or(1, |span| span.no + 1);
        let (first, last) = (pushes.map(|(first, _)| first), pushes.map(|(_, last)| last));
        connection
            .prepare_cached(
                "INSERT INTO segment (no, first_push, last_push, last_seq, last_answer, taken, bytes)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                no,
                first.map(|first| first.0),
                last.unwrap_or(mark.push).0,
                mark.seq.0,
                mark.answer.0,
                mark.taken.0,
                bytes,
            ])?;
        self.spans.push(Span { no, pushes });
        Ok(())
    }

    /// Only what has changed: in quiet times that is little, and in a flood much of it stays.
    fn write_open(&mut self, connection: &Connection, open: &[Open]) -> rusqlite::Result<()> {
        let mut before = std::mem::take(&mut self.open);
        let mut insert = connection.prepare_cached(
            "INSERT OR REPLACE INTO open (push, device, state) VALUES (?1, ?2, ?3)",
        )?;
        for open in open {
            if before.remove(&open.push) != Some(open.state) {
                insert.execute(params![open.push.0, open.device.0, open.state as i64])?;
            }
            self.open.insert(open.push, open.state);
        }
        let mut delete = connection.prepare_cached("DELETE FROM open WHERE push = ?1")?;
        for push in before.keys() {
            delete.execute(params![push.0])?;
        }
        Ok(())
    }

    /// Removes segments of which nothing is remembered any more; never the newest.
    fn forget(&mut self, connection: &Connection, queue: &Queue) -> rusqlite::Result<()> {
        let newest = self.spans.pop();
        let (kept, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.spans)
                .into_iter()
                .partition(|span| {
                    span.pushes
                        .is_some_and(|(first, last)| queue.remembers(first, last))
                });
        self.spans = kept;
        self.spans.extend(newest);
        gone.iter().try_for_each(|span| delete(connection, span.no))
    }

    /// Fills the queue's duplicate tables with what the segments keep.
    pub(super) fn recall(
        &self,
        connection: &Connection,
        queue: &mut Queue,
        now: Now,
    ) -> rusqlite::Result<()> {
        let with_pushes = |span: &Span| span.pushes.map(|pushes| (span.no, pushes));
        let spans: Vec<_> = self.spans.iter().rev().filter_map(with_pushes).collect();
        let stretches: Vec<_> = spans.iter().map(|(_, pushes)| *pushes).collect();
        let recall = queue.recollect(&stretches, now);
        let wanted: Vec<_> = spans.iter().zip(recall).collect();
        for depth in [Recall::All, Recall::Living] {
            let of_depth = wanted.iter().filter(|(_, recall)| *recall == depth);
            let numbers: Vec<i64> = of_depth.map(|((no, _), _)| *no).collect();
            for group in numbers.chunks(GROUP) {
                let saved: rusqlite::Result<Vec<_>> =
                    group.iter().map(|no| saved(connection, *no)).collect();
                queue.recall(&saved?, depth);
            }
        }
        Ok(())
    }
}

/// The mark of the newest segment, if there is one.
pub(super) fn mark(connection: &Connection) -> rusqlite::Result<Option<Mark>> {
    connection
        .query_row(
            "SELECT last_push, last_seq, last_answer, taken FROM segment ORDER BY no DESC LIMIT 1",
            [],
            |row| {
                Ok(Mark {
                    push: PushId(row.get(0)?),
                    seq: Seq(row.get(1)?),
                    answer: Seq(row.get(2)?),
                    taken: Seq(row.get(3)?),
                })
            },
        )
        .optional()
}

fn saved(connection: &Connection, no: i64) -> rusqlite::Result<SavedPrints> {
    let mut statement = connection.prepare_cached("SELECT bytes FROM segment WHERE no = ?1")?;
    statement.query_row([no], |row| {
        SavedPrints::decode(row.get_ref(0)?.as_blob()?).ok_or(rusqlite::Error::InvalidQuery)
    })
}

fn write_cold(connection: &Connection, block: &ColdBlock) -> rusqlite::Result<()> {
    let sql = if block.bytes.is_empty() {
        "DELETE FROM cold WHERE block = ?1 AND ?2 = x''"
    } else {
        "INSERT OR REPLACE INTO cold (block, bytes) VALUES (?1, ?2)"
    };
    connection
        .prepare_cached(sql)?
        .execute(params![block.no, block.bytes])
        .map(drop)
}

fn delete(connection: &Connection, no: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM segment WHERE no = ?1")?
        .execute([no])
        .map(drop)
}

/// Segments read in one go: about 1.5 MB, which is given back.
const GROUP: usize = 32;
