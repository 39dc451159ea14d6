//! The log in the journal: a line that says all for whoever reads, and the same as fields for whoever searches.

use serde_json::{Map, Value};
use systemd::journal;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::Fields;

/// Writes to the journal of this machine.
pub(super) struct Journal;

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        let about = event.metadata();
        let entry = entry(*about.level(), about.target(), fields.0);
        let entry: Vec<&str> = entry.iter().map(String::as_str).collect();
        // A journal that takes nothing leaves nobody to tell.
        let _ = journal::send(&entry);
    }
}

/// Whether what this process writes as errors goes to the journal. The variable alone does not say so: it is handed down
/// to whatever the service starts, and to a shell in it, with its own terminal.
pub(super) fn is_listening() -> bool {
    let Some(named) = std::env::var_os("JOURNAL_STREAM") else {
        return false;
    };
    rustix::fs::fstat(std::io::stderr())
        .is_ok_and(|about| named == *format!("{}:{}", about.st_dev, about.st_ino))
}

fn entry(level: Level, target: &str, mut fields: Map<String, Value>) -> Vec<String> {
    let mut line = words(&fields.remove("message").unwrap_or_default());
    let mut entry = vec![
        format!("PRIORITY={}", priority(level)),
        "SYSLOG_IDENTIFIER=wardpost".to_owned(),
        format!("TARGET={target}"),
    ];
    for (name, value) in &fields {
        let value = words(value);
        line = format!("{line} {name}={value}");
        let name = name.to_ascii_uppercase();
        entry.push(format!("WARDPOST_{name}={value}"));
    }
    entry.push(format!("MESSAGE={line}"));
    entry
}

/// A value without the quotes that JSON puts around a text.
fn words(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// As syslog numbers them (RFC 5424, 6.2.1).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_all_and_each_field_can_be_searched_for() {
        let fields =
            serde_json::json!({ "message": "device away", "device": "chem-1", "failures": 2 });
        let Value::Object(fields) = fields else {
            unreachable!("it was written as an object")
        };
        assert_eq!(
            entry(Level::WARN, "wardpost::line", fields),
            [
                "PRIORITY=4",
                "SYSLOG_IDENTIFIER=wardpost",
                "TARGET=wardpost::line",
                "WARDPOST_DEVICE=chem-1",
                "WARDPOST_FAILURES=2",
                "MESSAGE=device away device=chem-1 failures=2",
            ]
        );
    }
}
