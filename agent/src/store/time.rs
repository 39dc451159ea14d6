//! The time that the store writes down: judged at each batch, its mark kept by commits that happen anyway.
//!
//! | key in `meta` | value |
//! | --- | --- |
//! | `clock` | the newest time that was believed, the boot-time clock then, the last push that was here before that boot, which boot it was, and the last event before it |
//! | `doubtful PUSH SEQ` | what was recorded after these was stamped in doubt; the value has the last ones, `PUSH SEQ`, once that is over |

use agent_core::clock::{Clock, ClockJudge, ClockMark, CloudTime};
use agent_core::push::{Mono, Now, PushId, Seq, Timestamp};
use agent_core::queue::Before;
use rusqlite::{Connection, OptionalExtension, params};
use tracing::{info, warn};

use super::Lines;
use super::writer::Writer;
use crate::clock;

/// The clock of the store.
#[derive(Debug)]
pub(super) struct Time {
    judge: ClockJudge,
    verdict: Clock,
    boot: Boot,
    /// When the mark was last written down; not at all by this process yet.
    saved: Option<Mono>,
    /// It is in the transaction of the moment, since then.
    under_way: Option<Mono>,
    doubtful: Stretch,
    /// What the next commit takes along.
    due: Vec<(String, Option<String>)>,
}

/// Which boot this is, and what was here before it.
#[derive(Debug)]
enum Boot {
    /// The last process ran in it, too.
    Same {
        id: String,
        before: Before,
    },
    New {
        id: String,
    },
}

impl Boot {
    fn before(&mut self, newest: Before) -> Before {
        if let Self::New { id } = self {
            let id = std::mem::take(id);
            *self = Self::Same { id, before: newest };
        }
        let Self::Same { before, .. } = self else {
            return newest;
        };
        if before.seq == UNKNOWN {
            before.seq = newest.seq;
        }
        *before
    }
}

/// Rows that are being stamped in doubt.
#[derive(Debug)]
enum Stretch {
    None,
    Open(String),
}

impl Time {
    /// Begins where the last process ended.
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let saved = read(connection, "SELECT value FROM meta WHERE key = 'clock'")?;
        let open = "SELECT key FROM meta WHERE key LIKE 'doubtful %' AND value IS NULL LIMIT 1";
        let open = read(connection, open)?;
        let id = clock::boot().unwrap_or_default();
        let saved = saved.as_deref().and_then(Saved::parse);
        let now = clock::mono();
        let (mark, boot) = match saved {
            // Without a boot id every start counts as one after a power-off.
            Some(saved) if saved.boot == id && !id.is_empty() => {
                let before = saved.before;
                (Some(saved.mark), Boot::Same { id, before })
            }
            Some(saved) => {
                let utc = saved.mark.utc;
                (Some(ClockMark { utc, mono: now }), Boot::New { id })
            }
            None => (None, Boot::New { id }),
        };
        Ok(Self {
            judge: ClockJudge::new(mark),
            verdict: Clock::Sound,
            boot,
            saved: None,
            under_way: None,
            doubtful: open.map_or(Stretch::None, Stretch::Open),
            due: Vec::new(),
        })
    }

    /// What was here before this boot of the system began, `newest` being the newest at this start.
    pub(super) fn here_before(&mut self, newest: Before) -> Before {
        self.boot.before(newest)
    }

    pub(super) fn heard(&mut self, cloud: CloudTime) {
        self.judge.heard(cloud);
    }

    /// Reads the clocks. A verdict that has changed is given, too.
    pub(super) fn look(&mut self) -> (Now, Option<Clock>) {
        let reading = clock::reading();
        let judged = self.judge.look(reading);
        let before = std::mem::replace(&mut self.verdict, judged.clock);
        let now = Now {
            mono: reading.mono,
            utc: judged.utc,
            dice: rand::random(),
        };
        (now, (!before.is_like(judged.clock)).then_some(judged.clock))
    }

    pub(super) fn verdict(&self) -> Clock {
        self.verdict
    }

    /// Takes note of a verdict that has changed, with the newest rows that were stamped under the one before.
    pub(super) fn changed(&mut self, newest: Before) {
        let place = format!("{} {}", newest.push, newest.seq.0);
        match (
            self.verdict,
            std::mem::replace(&mut self.doubtful, Stretch::None),
        ) {
            (Clock::Doubtful(doubt), Stretch::None) => {
                warn!(%doubt, "nothing expires until that is settled");
                let key = format!("doubtful {place}");
                self.due.push((key.clone(), None));
                self.doubtful = Stretch::Open(key);
            }
            (Clock::Doubtful(doubt), open) => {
                warn!(%doubt, "nothing expires until that is settled");
                self.doubtful = open;
            }
            (Clock::Sound, Stretch::Open(key)) => {
                info!("the clock is sound again");
                self.due.push((key, Some(place)));
            }
            (Clock::Sound, Stretch::None) => {}
        }
    }

    /// Writes what is due into the transaction of the moment. Whether that is durable, [`Time::saved`] is told.
    pub(super) fn save_if_due(
        &mut self,
        connection: &Connection,
        now: Mono,
    ) -> rusqlite::Result<()> {
        let fresh = self.saved.is_some_and(|saved| now < saved.plus(SAVE_EVERY));
        if self.due.is_empty() && fresh {
            return Ok(());
        }
        self.save(connection)?;
        self.under_way = Some(now);
        Ok(())
    }

    /// The transaction is durable.
    pub(super) fn saved(&mut self) {
        if let Some(now) = self.under_way.take() {
            self.saved = Some(now);
            self.due.clear();
        }
    }

    /// The transaction came to nothing: what was due still is.
    pub(super) fn not_saved(&mut self) {
        self.under_way = None;
    }

    fn save(&self, connection: &Connection) -> rusqlite::Result<()> {
        let put = "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)";
        let mut put = connection.prepare_cached(put)?;
        for (key, value) in &self.due {
            put.execute(params![key, value])?;
        }
        if let (Some(mark), Boot::Same { id, before }) = (self.judge.mark(), &self.boot) {
            let Before { push, seq } = before;
            let text = format!("{} {} {push} {id} {}", mark.utc.0, mark.mono.0, seq.0);
            put.execute(params!["clock", text])?;
        }
        Ok(())
    }
}

/// What the last process wrote down.
struct Saved {
    mark: ClockMark,
    before: Before,
    boot: String,
}

impl Saved {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let utc = Timestamp(words.next()?.parse().ok()?);
        let mono = Mono(words.next()?.parse().ok()?);
        let push = PushId(words.next()?.parse().ok()?);
        let boot = words.next()?.to_owned();
        let seq = match words.next() {
            Some(seq) => Seq(seq.parse().ok()?),
            None => UNKNOWN,
        };
        let before = Before { push, seq };
        Some(Self {
            mark: ClockMark { utc, mono },
            before,
            boot,
        })
    }
}

impl<L: Lines> Writer<L> {
    /// What time it is, as far as it can be believed.
    pub(super) fn now(&mut self) -> Now {
        let (now, changed) = self.time.look();
        if let Some(clock) = changed {
            self.time.changed(self.queue.newest());
            self.new_verdict = Some(clock);
        }
        self.post_clock();
        now
    }

    fn post_clock(&self) {
        let posted = &self.shared.clock;
        *posted
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = self.time.verdict();
    }
}

fn read(connection: &Connection, query: &str) -> rusqlite::Result<Option<String>> {
    let found = connection.query_row(query, [], |row| row.get(0));
    found.optional().map(Option::flatten)
}

/// A commit takes the mark along when it is so old: a page more, seldom.
const SAVE_EVERY: std::time::Duration = std::time::Duration::from_mins(1);

/// An earlier version did not write it down.
const UNKNOWN: Seq = Seq(u64::MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn before(push: u64, seq: u64) -> Before {
        let (push, seq) = (PushId(push), Seq(seq));
        Before { push, seq }
    }

    #[test]
    fn what_was_saved_is_read_back() {
        let saved = Saved::parse("1804987800000 50000 17 6d7f 23").unwrap();
        assert_eq!(saved.mark.utc, Timestamp(1_804_987_800_000));
        assert_eq!(saved.mark.mono, Mono(50_000));
        assert_eq!(saved.before, before(17, 23));
        assert_eq!(saved.boot, "6d7f");
        let saved = Saved::parse("1804987800000 50000 17 6d7f").unwrap();
        assert_eq!(saved.before.seq, UNKNOWN, "of an earlier version");
        for wrong in ["", "1 2 3", "x 2 3 boot", "1 2 -3 boot", "1 2 3 boot x"] {
            assert!(Saved::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn after_an_upgrade_what_a_person_lets_go_from_then_on_counts_as_of_this_boot() {
        let id = String::new();
        let mut boot = Boot::Same {
            id,
            before: before(17, UNKNOWN.0),
        };
        assert_eq!(boot.before(before(20, 30)), before(17, 30));
        assert_eq!(boot.before(before(21, 40)), before(17, 30));
    }

    fn database() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        let table = "CREATE TABLE meta (key TEXT PRIMARY KEY, value)";
        connection.execute_batch(table).unwrap();
        connection
    }

    fn keys(connection: &Connection) -> Vec<String> {
        let mut keys = connection
            .prepare("SELECT key FROM meta ORDER BY key")
            .unwrap();
        let keys = keys.query_map([], |row| row.get(0)).unwrap();
        keys.collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn the_first_start_after_power_on_writes_down_which_boot_it_is_in() {
        let connection = database();
        let mut time = Time::read(&connection).unwrap();
        time.here_before(before(17, 23));
        time.look();
        time.save_if_due(&connection, Mono(5_000)).unwrap();
        assert_eq!(keys(&connection), ["clock"]);
    }

    #[test]
    fn what_was_written_into_a_commit_that_failed_is_written_into_the_next() {
        let connection = database();
        let mut time = Time::read(&connection).unwrap();
        time.here_before(before(17, 23));
        time.look();
        time.due.push(("doubtful 17 23".into(), None));
        connection.execute_batch("BEGIN").unwrap();
        time.save_if_due(&connection, Mono(100_000)).unwrap();
        connection.execute_batch("ROLLBACK").unwrap();
        time.not_saved();
        // A commit that has nothing of it does not count.
        time.saved();
        time.save_if_due(&connection, Mono(100_001)).unwrap();
        time.saved();
        assert_eq!(keys(&connection), ["clock", "doubtful 17 23"]);
        assert!(time.due.is_empty());
    }
}
