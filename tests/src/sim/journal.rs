//! What simulated devices received, in one strictly ascending count over all of them.
//!
//! One line a message, written before its answer leaves: `{"no":1,"at":1767225600000,"device":"chem","connection":1,
//! "control_id":"C7","order_key":"P7","sha256":"…","body":"MSH|…"}`. The file survives the process, not a power cut.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use sha2::{Digest, Sha256};

use super::message::field;

/// One message that reached a device.
#[derive(Clone, Debug)]
pub struct Received {
    /// Ascends over all devices of the journal.
    pub no: u64,
    /// Counts the messages of this device, from 1.
    pub nth: u64,
    /// UTC in milliseconds.
    pub at: u64,
    pub device: Arc<str>,
    /// Counts the connections of this device, from 1.
    pub connection: u64,
    /// When this connection was let in, UTC in milliseconds.
    pub opened: u64,
    /// MSH-10.
    pub control_id: String,
    /// ORC-2.
    pub order_key: String,
    pub sha256: String,
    pub body: Arc<[u8]>,
    /// The acknowledgements of this message that the device began to say, in its words.
    pub answers: Vec<String>,
}

/// One connection of a device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connection {
    number: u64,
    opened: u64,
}

impl Connection {
    /// One that is let in now.
    pub(super) fn now(number: u64) -> Self {
        let opened = now();
        Self { number, opened }
    }
}

impl Received {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The record of any number of devices.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Mutex<Records>>);

#[derive(Debug, Default)]
struct Records {
    received: Vec<Received>,
    file: Option<File>,
}

impl Journal {
    /// Keeps the record in a file, too. A file that exists is continued.
    pub fn to_file(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self(Arc::new(Mutex::new(Records {
            received: Vec::new(),
            file: Some(file),
        }))))
    }

    /// Everything a device received, oldest first.
    pub fn of(&self, device: &str) -> Vec<Received> {
        self.all()
            .into_iter()
            .filter(|received| &*received.device == device)
            .collect()
    }

    pub fn all(&self) -> Vec<Received> {
        self.records().received.clone()
    }

    pub fn len(&self) -> usize {
        self.records().received.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn record(
        &self,
        device: &Arc<str>,
        connection: Connection,
        body: Vec<u8>,
    ) -> io::Result<Received> {
        let mut records = self.records();
        let before = records
            .received
            .iter()
            .rev()
            .find(|earlier| earlier.device == *device);
        let received = Received {
            no: records.received.last().map_or(1, |last| last.no + 1),
            nth: before.map_or(1, |earlier| earlier.nth + 1),
            at: now(),
            device: Arc::clone(device),
            connection: connection.number,
            opened: connection.opened,
            control_id: field(&body, "MSH", 10).unwrap_or_default(),
            order_key: field(&body, "ORC", 2).unwrap_or_default(),
            sha256: sha256(&body),
            body: body.into(),
            answers: Vec::new(),
        };
        records.write(&received)?;
        records.received.push(received.clone());
        Ok(received)
    }

    /// Notes what the device is about to answer to a message.
    pub(super) fn answered(&self, no: u64, answers: Vec<String>) {
        let mut records = self.records();
        let place = records.received.binary_search_by_key(&no, |one| one.no);
        if let Some(received) = place.ok().and_then(|place| records.received.get_mut(place)) {
            received.answers = answers;
        }
    }

    fn records(&self) -> std::sync::MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Records {
    fn write(&mut self, received: &Received) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let mut line = json!({
            "no": received.no, "at": received.at, "device": &*received.device, "connection": received.connection,
            "control_id": received.control_id, "order_key": received.order_key,
            "sha256": received.sha256, "body": received.text(),
        })
        .to_string();
        line.push('\n');
        file.write_all(line.as_bytes())
    }
}

/// SHA-256 in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            use std::fmt::Write;
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Order;

    #[test]
    fn messages_are_counted_over_all_devices_and_for_each() {
        let journal = Journal::default();
        for (device, no, nth) in [("chem", 1, 1), ("coag", 2, 1), ("chem", 3, 2)] {
            let received = journal
                .record(
                    &device.into(),
                    Connection::now(1),
                    Order::new(no).text().into(),
                )
                .unwrap();
            assert_eq!((received.no, received.nth), (no, nth));
        }
        journal.answered(2, vec!["yes".into()]);
        assert_eq!(journal.of("coag")[0].answers, ["yes"]);
        assert_eq!(journal.of("chem").len(), 2);
    }

    #[test]
    fn the_file_has_a_line_for_every_message() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let journal = Journal::to_file(&path).unwrap();
        journal
            .record(
                &"chem".into(),
                Connection::now(1),
                Order::new(7).text().into(),
            )
            .unwrap();
        let line: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(line["control_id"], "C7");
        assert_eq!(line["body"], Order::new(7).text());
    }

    #[test]
    fn a_sum_is_in_hexadecimal_digits() {
        assert!(sha256(b"abc").starts_with("ba7816bf8f01cfea"));
    }
}
