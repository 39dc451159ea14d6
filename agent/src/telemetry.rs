//! Logs: to the journal with fields when the service manager listens, to the terminal otherwise, and the newest lines
//! kept in memory for whoever asks from the cloud.

mod journal;

use std::collections::VecDeque;
use std::error::Error;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::clock;
use crate::tls::told;

/// The newest log lines, oldest dropped first.
#[derive(Clone, Debug, Default)]
pub struct LogRing(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    /// Number of the oldest line kept.
    first: u64,
    lines: VecDeque<Value>,
}

/// Changes how much is logged.
#[derive(Clone, Debug)]
pub struct LevelSwitch(Option<reload::Handle<EnvFilter, Registry>>);

/// Starts logging. `level` is the configuration's; the variable `WARDPOST_LOG` overrides it with a filter.
pub fn start(level: Level) -> (LogRing, LevelSwitch) {
    let ring = LogRing::default();
    let wished = std::env::var(VARIABLE).ok();
    let wished = wished.map(EnvFilter::try_new);
    let (set, unreadable) = match wished.transpose() {
        Ok(set) => (set, None),
        Err(error) => (None, Some(error)),
    };
    let is_set = set.is_some();
    let (filter, handle) = reload::Layer::new(set.unwrap_or_else(|| filter(level)));
    let journal = journal::is_listening().then_some(journal::Journal);
    let terminal = journal.is_none().then(|| {
        fmt::layer()
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr)
    });
    // A second subscriber in one process is refused; the first one goes on.
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(ring.clone())
        .with(journal)
        .with(terminal)
        .try_init();
    if let Some(error) = unreadable {
        tracing::warn!(
            error = &error as &dyn Error,
            "{VARIABLE} is no filter and is not used"
        );
    }
    (ring, LevelSwitch((!is_set).then_some(handle)))
}

fn filter(level: Level) -> EnvFilter {
    EnvFilter::new(format!("warn,wardpost={level},agent_core={level}"))
}

impl LevelSwitch {
    /// From now on; without effect where the variable `WARDPOST_LOG` says how much is logged.
    pub fn turn_to(&self, level: Level) {
        let turned = self.0.as_ref().map(|handle| handle.reload(filter(level)));
        if let Some(Err(error)) = turned {
            tracing::warn!(%error, "the level of the log stays as it was");
        }
    }
}

impl LogRing {
    /// Up to `limit` lines, newest first, older than `before`; and where the next page begins, if there is one.
    pub fn page(&self, limit: usize, before: Option<u64>) -> (Vec<Value>, Option<u64>) {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let end = kept.first + kept.lines.len() as u64;
        let end = before.map_or(end, |before| before.clamp(kept.first, end));
        let start = end.saturating_sub(limit as u64).max(kept.first);
        let lines = (start..end)
            .rev()
            .filter_map(|number| kept.at(number).cloned())
            .collect();
        (lines, (start > kept.first).then_some(start))
    }

    fn add(&self, line: Value) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.lines.push_back(line);
        if kept.lines.len() > KEPT {
            kept.lines.pop_front();
            kept.first += 1;
        }
    }
}

impl Lines {
    fn at(&self, number: u64) -> Option<&Value> {
        self.lines.get(usize::try_from(number - self.first).ok()?)
    }
}

impl<S: Subscriber> Layer<S> for LogRing {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        let mut line = fields.0;
        let msg = line.remove("message").unwrap_or_default();
        line.insert("level".into(), event.metadata().level().as_str().into());
        line.insert("msg".into(), msg);
        line.insert("timestamp".into(), clock::rfc3339(clock::utc()).into());
        self.add(Value::Object(line));
    }
}

struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.0.insert(field.name().into(), told(value).into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = write!(text, "{value:?}");
        self.0.insert(field.name().into(), text.into());
    }
}

/// Overrides how much is logged.
const VARIABLE: &str = "WARDPOST_LOG";
const KEPT: usize = 2000;

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(lines: u64) -> LogRing {
        let ring = LogRing::default();
        for line in 0..lines {
            ring.add(line.into());
        }
        ring
    }

    #[test]
    fn an_error_is_kept_with_what_it_comes_from() {
        let ring = LogRing::default();
        let error = crate::control::client::AskError::Unanswered {
            advice: "look".into(),
            source: Some(std::io::Error::other("the disk is full")),
        };
        tracing::subscriber::with_default(Registry::default().with(ring.clone()), || {
            tracing::warn!(error = &error as &dyn Error, "not kept");
        });
        let (page, _) = ring.page(1, None);
        assert_eq!(page[0]["error"], "look: the disk is full");
    }

    #[test]
    fn pages_go_from_the_newest_line_to_the_oldest_and_end() {
        let ring = ring(5);
        let (page, next) = ring.page(2, None);
        assert_eq!((page, next), (vec![4.into(), 3.into()], Some(3)));
        let (page, next) = ring.page(2, next);
        assert_eq!((page, next), (vec![2.into(), 1.into()], Some(1)));
        let (page, next) = ring.page(2, next);
        assert_eq!((page, next), (vec![0.into()], None));
    }

    #[test]
    fn old_lines_are_dropped_and_an_old_cursor_still_works() {
        let ring = ring(KEPT as u64 + 10);
        let (page, next) = ring.page(1000, Some(12));
        assert_eq!((page.len(), next), (2, None));
        assert_eq!(ring.page(10, Some(3)), (vec![], None));
    }
}
