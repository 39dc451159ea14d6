//! The order of system calls: neither a device nor the cloud hears of anything before the disk has it.
//!
//! A killed process leaves its writes in the page cache, so killing proves nothing about syncs. Here the agent runs
//! under strace, and each frame is held against the write to the log of the database that has its record.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Command;

use scenarios::bench::{Bench, DeviceSetup, Setup, run, wait_until};
use scenarios::sim::{Order, field};

const CALLS: &str =
    "trace=fdatasync,fsync,pwrite64,pwritev,write,writev,sendto,sendmsg,sendmmsg,sendfile";
const LOG: &str = "/wardpost.db-wal";
const FRAME_HEADER: usize = 24;

#[test]
fn nothing_is_said_before_the_disk_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    let mut bench = traced(&file);
    let orders: Vec<Order> = (100..117).map(Order::new).collect();
    let (alone, together) = orders.split_at(5);
    for order in alone {
        assert_eq!(bench.push("chem", order).status, 200);
    }
    let pushes: Vec<_> = together
        .iter()
        .zip(["chem", "coag"].into_iter().cycle())
        .map(|(order, device)| bench.pushing(device, order))
        .collect();
    for push in pushes {
        assert_eq!(bench.wait_on(push).unwrap().status, 200);
    }
    let ids: Vec<&str> = orders.iter().map(Order::control_id).collect();
    let trace = Trace::read(&end(&mut bench, &file));
    let faults = trace.faults(&ids);
    assert!(faults.is_empty(), "{faults:#?}");

    let received = bench.received("chem").len() + bench.received("coag").len();
    assert_eq!(trace.to_devices().len(), received, "no frame went unseen");
    assert_eq!(received, orders.len());
}

/// A bench whose agent runs under strace. With `-D` the agent is our child and strace is not, so signals reach it.
fn traced(file: &Path) -> Bench {
    let there = run(Command::new("strace").arg("--version")).is_ok();
    assert!(there, "strace is not there: run cargo xtask setup");
    let file = file.to_string_lossy();
    let words = [
        "strace", "-D", "-f", "-yy", "-xx", "-s", "65536", "-e", CALLS, "-o", &file,
    ];
    Setup::new()
        .device(DeviceSetup::new("chem"))
        .device(DeviceSetup::new("coag"))
        .wrapped(&words)
        .start()
}

/// Stops the agent and returns the trace, which strace ends a moment later.
fn end(bench: &mut Bench, file: &Path) -> String {
    let id = format!("{} ", bench.agent().id());
    assert!(bench.stop_agent().success());
    let read = || std::fs::read_to_string(file).unwrap_or_default();
    wait_until("the end of the trace", || {
        read()
            .lines()
            .any(|line| line.starts_with(&id) && line.ends_with("+++ exited with 0 +++"))
    });
    read()
}

/// A system call that succeeded. Between the lines where it began and ended, it may have had its effect at any time.
#[derive(Debug)]
struct Call {
    began: usize,
    ended: usize,
    name: String,
    /// A path, or both ends of a connection.
    file: String,
    /// What it wrote, without what the kernel did not take.
    bytes: Vec<u8>,
}

impl Call {
    /// Reads `name(3<file>, "\x62", 1) = 1`.
    fn read(began: usize, ended: usize, text: &str) -> Option<Self> {
        let (call, result) = text.rsplit_once(" = ")?;
        let result: usize = result.split(' ').next()?.parse().ok()?;
        let (name, arguments) = call.split_once('(')?;
        let (_, file) = arguments.split_once('<')?;
        let file = &file[..file.find(">,").or_else(|| file.find(">)"))?];
        let mut bytes = arguments
            .split('"')
            .skip(1)
            .step_by(2)
            .flat_map(unescape)
            .collect::<Vec<u8>>();
        bytes.truncate(result);
        Some(Self {
            began,
            ended,
            name: name.into(),
            file: if file.contains("\\x") {
                String::from_utf8_lossy(&unescape(file)).into_owned()
            } else {
                file.into()
            },
            bytes,
        })
    }

    fn syncs(&self) -> bool {
        ["fdatasync", "fsync"].contains(&self.name.as_str())
    }
}

fn unescape(text: &str) -> Vec<u8> {
    text.split("\\x")
        .filter_map(|digits| u8::from_str_radix(digits, 16).ok())
        .collect()
}

/// Something a device or the cloud was told.
#[derive(Debug)]
struct Said {
    /// The line where its first byte may have left.
    at: usize,
    connection: String,
    bytes: Vec<u8>,
}

/// What one connection was sent, each byte with the line where it may have left.
#[derive(Default)]
struct Stream {
    bytes: Vec<u8>,
    lines: Vec<usize>,
}

struct Trace(Vec<Call>);

impl Trace {
    fn read(text: &str) -> Self {
        let mut calls = Vec::new();
        let mut open = HashMap::new();
        for (at, line) in text.lines().enumerate() {
            let Some((thread, words)) = line.split_once(' ') else {
                continue;
            };
            let words = words.trim_start();
            if let Some(start) = words.strip_suffix("<unfinished ...>") {
                open.insert(thread, (at, start));
            } else if let Some((_, rest)) = words.split_once(" resumed>") {
                let start = open.remove(thread);
                calls.extend(start.and_then(|(began, start)| {
                    Call::read(began, at, &format!("{}{rest}", start.trim_end()))
                }));
            } else {
                calls.extend(Call::read(at, at, words));
            }
        }
        calls.sort_by_key(|call| call.began);
        Self(calls)
    }

    /// The line where the first record with this text was safe: its transaction was written to the end, and a sync that
    /// began after that has ended.
    fn safe(&self, text: &str) -> Option<usize> {
        let mut log = self.0.iter().filter(|call| call.file.ends_with(LOG));
        let (mut ends_transaction, mut found) = (false, false);
        let written = log.by_ref().find(|call| {
            if call.bytes.len() == FRAME_HEADER {
                // The size of the database after the commit; zero in all frames but the last.
                ends_transaction = call.bytes[4..8] != [0; 4];
                return false;
            }
            found |= contains(&call.bytes, text);
            found && ends_transaction
        })?;
        log.find(|call| call.syncs() && call.began > written.ended)
            .map(|sync| sync.ended)
    }

    fn streams(&self) -> BTreeMap<&str, Stream> {
        let mut streams: BTreeMap<&str, Stream> = BTreeMap::new();
        for call in self.0.iter().filter(|call| call.file.starts_with("TCP")) {
            let stream = streams.entry(&call.file).or_default();
            stream.bytes.extend(&call.bytes);
            stream.lines.resize(stream.bytes.len(), call.began);
        }
        streams
    }

    /// The MLLP frames, in order for each connection.
    fn to_devices(&self) -> Vec<Said> {
        let mut frames = Vec::new();
        for (connection, stream) in self.streams() {
            let starts = (0..stream.bytes.len()).filter(|at| stream.bytes[*at] == 0x0b);
            frames.extend(starts.filter(|_| stream.bytes[0] == 0x0b).map(|start| {
                let rest = &stream.bytes[start..];
                let end = rest.iter().position(|byte| *byte == 0x1c);
                Said {
                    at: stream.lines[start],
                    connection: connection.into(),
                    bytes: rest[1..end.unwrap_or(rest.len())].into(),
                }
            }));
        }
        frames
    }

    /// The websocket frames, unmasked.
    fn to_cloud(&self) -> Vec<Said> {
        let mut frames = Vec::new();
        for (connection, stream) in self.streams() {
            let head = b"\r\n\r\n";
            let upgrade = stream.bytes.starts_with(b"GET /ws/");
            let start = stream.bytes.windows(4).position(|four| four == head);
            let Some(mut at) = start.filter(|_| upgrade).map(|at| at + head.len()) else {
                continue;
            };
            while let Some((bytes, length)) = unmask(&stream.bytes[at..]) {
                frames.push(Said {
                    at: stream.lines[at],
                    connection: connection.into(),
                    bytes,
                });
                at += length;
            }
        }
        frames
    }

    /// What was said too early, or never, about the orders with these control ids.
    fn faults(&self, ids: &[&str]) -> Vec<String> {
        let (to_devices, to_cloud) = (self.to_devices(), self.to_cloud());
        let mut faults = Vec::new();
        for id in ids {
            let (message, answer) = (format!("|{id}|"), answer(id));
            for (to, said, text) in [
                ("the device", &to_devices, message),
                ("the cloud", &to_cloud, answer),
            ] {
                let first = said.iter().filter(|one| contains(&one.bytes, &text));
                let first = first.map(|one| one.at).min();
                faults.extend(too_early(&format!("{to}, {id}"), first, self.safe(&text)));
            }
        }
        faults.extend(self.attempts_that_were_not_recorded(&to_devices));
        faults
    }

    /// The row with a device's answer settles one attempt and records the next one: it has to be safe before that one.
    fn attempts_that_were_not_recorded(&self, frames: &[Said]) -> Vec<String> {
        let pairs = frames.windows(2);
        pairs
            .filter(|pair| pair[0].connection == pair[1].connection)
            .filter_map(|pair| {
                let id = field(&pair[0].bytes, "MSH", 10).unwrap_or_default();
                let what = format!("the device, after {id}");
                too_early(&what, Some(pair[1].at), self.safe(&answer(&id)))
            })
            .collect()
    }
}

fn too_early(what: &str, said: Option<usize>, safe: Option<usize>) -> Option<String> {
    let in_order = said.zip(safe).is_some_and(|(said, safe)| safe < said);
    let lines = format!("said at line {said:?}, safe at line {safe:?}");
    (!in_order).then(|| format!("{what}: {lines}"))
}

/// What a device says to the message with this control id; all ids of a trace have the same length.
fn answer(id: &str) -> String {
    format!("MSA|AA|{id}")
}

fn contains(bytes: &[u8], text: &str) -> bool {
    let text = text.as_bytes();
    bytes.windows(text.len()).any(|part| part == text)
}

/// The content of the websocket frame these bytes begin with, and the frame's length. A client masks every frame.
fn unmask(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (length, key) = match bytes.get(1)? & 0x7f {
        126 => (
            u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?).into(),
            4,
        ),
        127 => (u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?), 10),
        short => (short.into(), 2),
    };
    let content = key + 4;
    let end = content + usize::try_from(length).ok()?;
    let masked = bytes.get(content..end)?;
    let key = bytes[key..content].iter().cycle();
    Some((
        masked
            .iter()
            .zip(key)
            .map(|(byte, key)| byte ^ key)
            .collect(),
        end,
    ))
}

/// The judge is judged: traces made by hand, all but the first with one thing wrong.
mod judge {
    use super::{FRAME_HEADER, Trace, answer};

    const LOG: &str = "/s/wardpost.db-wal";
    const SYNC: &str = "7 fdatasync(3</s/wardpost.db-wal>) = 0";
    const FIRST_SYNC: usize = 2;
    const FRAME: usize = 3;
    const SECOND_SYNC: usize = 6;
    const ANSWER: usize = 8;

    /// One push from the first commit to its answer.
    fn story() -> Vec<String> {
        let said = answer("C1");
        let websocket = "TCP:[127.0.0.1:3->127.0.0.1:4]";
        let length = u8::try_from(said.len()).expect("a short answer");
        let masked = said.bytes().map(|byte| byte ^ 0x55);
        let answer = [0x81, 0x80 | length, 0x55, 0x55, 0x55, 0x55];
        vec![
            write(LOG, &header(10)),
            write(LOG, b"...MSH|C1|P..."),
            SYNC.into(),
            write("TCP:[127.0.0.1:1->127.0.0.1:2]", b"\x0bMSH|C1|P\x1c\r"),
            write(LOG, &header(10)),
            write(LOG, said.as_bytes()),
            SYNC.into(),
            write(websocket, b"GET /ws/agent HTTP/1.1\r\n\r\n"),
            write(
                websocket,
                &answer.into_iter().chain(masked).collect::<Vec<_>>(),
            ),
        ]
    }

    fn header(size: u8) -> [u8; FRAME_HEADER] {
        let mut header = [0; FRAME_HEADER];
        header[7] = size;
        header
    }

    fn write(file: &str, bytes: &[u8]) -> String {
        use std::fmt::Write as _;
        let text = bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "\\x{byte:02x}");
            text
        });
        format!("7 write(3<{file}>, \"{text}\", {0}) = {0}", bytes.len())
    }

    /// How many faults the judge finds in the story after this change.
    fn faults(change: impl FnOnce(&mut Vec<String>)) -> usize {
        let mut lines = story();
        change(&mut lines);
        Trace::read(&lines.join("\n")).faults(&["C1"]).len()
    }

    #[test]
    fn a_story_in_the_right_order_has_no_fault() {
        assert_eq!(faults(|_| {}), 0);
    }

    #[test]
    fn a_missing_sync_is_a_fault() {
        assert_eq!(faults(|lines| drop(lines.remove(FIRST_SYNC))), 1);
        assert_eq!(faults(|lines| drop(lines.remove(SECOND_SYNC))), 1);
        assert_eq!(faults(|lines| lines.retain(|line| line != SYNC)), 2);
    }

    #[test]
    fn a_sync_that_comes_late_is_a_fault() {
        assert_eq!(faults(|lines| lines.swap(FIRST_SYNC, FRAME)), 1);
        assert_eq!(faults(|lines| lines.swap(SECOND_SYNC, ANSWER)), 1);
    }

    #[test]
    fn a_sync_that_comes_before_the_record_is_a_fault() {
        assert_eq!(faults(|lines| lines.swap(FIRST_SYNC, FIRST_SYNC - 1)), 1);
    }

    #[test]
    fn a_sync_that_has_not_ended_is_a_fault() {
        let late = |lines: &mut Vec<String>| {
            lines[FIRST_SYNC] = "8 fdatasync(3</s/wardpost.db-wal> <unfinished ...>".into();
            lines.insert(FRAME + 1, "8 <... fdatasync resumed>) = 0".into());
        };
        assert_eq!(faults(late), 1);
        let in_time = |lines: &mut Vec<String>| {
            lines[FIRST_SYNC] = "8 fdatasync(3</s/wardpost.db-wal> <unfinished ...>".into();
            lines.insert(FRAME, "8 <... fdatasync resumed>) = 0".into());
        };
        assert_eq!(faults(in_time), 0);
    }

    #[test]
    fn a_sync_that_fails_or_is_of_another_file_is_none() {
        for other in [
            SYNC.replace("= 0", "= -1 EIO (Input/output error)"),
            SYNC.replace("-wal", ""),
        ] {
            assert_eq!(faults(|lines| lines[FIRST_SYNC] = other), 1);
        }
    }

    #[test]
    fn a_sync_before_the_end_of_the_transaction_is_a_fault() {
        assert_eq!(faults(|lines| lines[0] = write(LOG, &header(0))), 1);
    }

    #[test]
    fn a_second_message_before_the_answer_to_the_first_is_safe_is_a_fault() {
        let second = "TCP:[127.0.0.1:1->127.0.0.1:2]";
        let message = write(second, b"\x0bMSH|C2|P\x1c\r");
        let early = message.clone();
        assert_eq!(faults(|lines| lines.insert(SECOND_SYNC, early)), 1);
        assert_eq!(faults(|lines| lines.insert(SECOND_SYNC + 1, message)), 0);
    }

    #[test]
    fn what_was_never_said_is_a_fault() {
        assert_eq!(faults(|lines| drop(lines.remove(FRAME))), 1);
        assert_eq!(faults(|lines| drop(lines.remove(ANSWER))), 1);
    }
}
