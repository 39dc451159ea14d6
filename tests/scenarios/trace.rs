//! The order of system calls: neither a device nor the cloud hears of anything before the disk has it.
//!
//! A killed process leaves its writes in the page cache, so killing proves nothing about syncs. Here the agent runs
//! under strace. Each frame is held against the write to the log of the database that has its record, and against the
//! database itself: the one that a power cut just before the frame's first byte would have left, built from what was
//! synced by then, names of files included.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::Command;

use rand::SeedableRng;
use rand::rngs::StdRng;
use scenarios::bench::{Bench, DeviceSetup, Setup, run, wait_until};
use scenarios::crash::disk::{Disk, Keeps, Syncs};
use scenarios::crash::heard::{Said, Streams};
use scenarios::crash::record::Event;
use scenarios::oracle::{History, Snapshot};
use scenarios::shim::{Plan, Shim};
use scenarios::sim::{Order, field};

const CALLS: &str = "trace=openat,unlink,ftruncate,fdatasync,fsync,pwrite64,pwritev,write,writev,\
                     sendto,sendmsg,sendmmsg,sendfile";
const LOG: &str = "/wardpost.db-wal";
const FRAME_HEADER: usize = 24;

#[test]
fn nothing_is_said_before_the_disk_has_it() {
    let (trace, orders) = traced_run(setup());
    let ids: Vec<&str> = orders.iter().map(Order::control_id).collect();
    let faults = [trace.faults(&ids), trace.unrecorded(&orders)].concat();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn an_agent_whose_syncs_do_nothing_is_found_out() {
    let shim = Shim::new().expect("the shim compiles");
    let (trace, orders) = traced_run_with(shim.around(setup()), |bench| {
        let plan = Plan::on(&bench.path("state")).dropping_syncs();
        shim.follow(&plan).expect("a plan is written");
    });
    let ids: Vec<&str> = orders.iter().map(Order::control_id).collect();
    assert!(trace.faults(&ids).len() >= 2 * orders.len());
    assert!(trace.unrecorded(&orders).len() >= 2 * orders.len());
}

/// The trace of a run, and the orders that were pushed in it: some alone, some together.
fn traced_run(setup: Setup) -> (Trace, Vec<Order>) {
    traced_run_with(setup, |_| {})
}

fn traced_run_with(setup: Setup, prepare: impl FnOnce(&Bench)) -> (Trace, Vec<Order>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("trace");
    let mut bench = traced(setup, &file);
    prepare(&bench);
    bench.start_agent();
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
        assert_eq!(bench.wait_on(push).expect("a push ends").status, 200);
    }
    let trace = Trace::read(&end(&mut bench, &file));
    let received = bench.received("chem").len() + bench.received("coag").len();
    assert_eq!(trace.to_devices().len(), received, "no frame went unseen");
    assert_eq!(received, orders.len());
    (trace, orders)
}

fn setup() -> Setup {
    Setup::new()
        .device(DeviceSetup::new("chem"))
        .device(DeviceSetup::new("coag"))
}

/// A bench whose agent runs under strace. With `-D` the agent is our child and strace is not, so signals reach it.
fn traced(setup: Setup, file: &Path) -> Bench {
    let there = run(Command::new("strace").arg("--version")).is_ok();
    assert!(there, "strace is not there: run cargo xtask setup");
    let file = file.to_string_lossy();
    let words = [
        "strace", "-D", "-f", "-yy", "-xx", "-s", "65536", "-e", CALLS, "-o", &file,
    ];
    setup.wrapped(&words).start_without_agent()
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
    /// The last argument, where that is a number: the place of a write, the length of a file.
    number: usize,
}

impl Call {
    /// Reads `name(3<file>, "\x62", 1) = 1`, or a call with a path, of which only what makes or removes a file matters.
    fn read(began: usize, ended: usize, text: &str) -> Option<Self> {
        let (call, result) = text.rsplit_once(" = ")?;
        let (name, arguments) = call.split_once('(')?;
        let quoted = || arguments.split('"').skip(1).step_by(2).flat_map(unescape);
        let last = arguments
            .trim_end()
            .trim_end_matches(')')
            .rsplit(", ")
            .next()?;
        let mut read = Self {
            began,
            ended,
            name: name.into(),
            file: String::new(),
            bytes: vec![],
            number: last.parse().unwrap_or_default(),
        };
        if ["openat", "unlink"].contains(&name) {
            let changes = name == "unlink" || arguments.contains("O_CREAT");
            read.file = String::from_utf8_lossy(&quoted().collect::<Vec<u8>>()).into_owned();
            return (changes && !result.starts_with('-')).then_some(read);
        }
        let result: usize = result.split(' ').next()?.parse().ok()?;
        let (_, file) = arguments.split_once('<')?;
        let file = &file[..file.find(">,").or_else(|| file.find(">)"))?];
        read.bytes = quoted().take(result).collect();
        read.file = if file.contains("\\x") {
            String::from_utf8_lossy(&unescape(file)).into_owned()
        } else {
            file.into()
        };
        Some(read)
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

    fn streams(&self) -> Streams {
        let mut streams = Streams::default();
        for call in self.0.iter().filter(|call| call.file.starts_with("TCP")) {
            streams.push(&call.file, call.began, &call.bytes);
        }
        streams
    }

    fn to_devices(&self) -> Vec<Said> {
        self.streams().to_devices()
    }

    fn to_cloud(&self) -> Vec<Said> {
        self.streams().to_cloud()
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
                let first = first(said, &text);
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

/// The database that was safe at a moment.
impl Trace {
    /// What happened to the files of the state directory, each with the line from which on it may count.
    fn events(&self) -> Vec<(usize, Event)> {
        let (mut events, mut there) = (Vec::new(), HashSet::new());
        for call in &self.0 {
            let Some((_, name)) = call.file.split_once("/state") else {
                continue;
            };
            let file = match name.strip_prefix('/') {
                Some(name) => name.to_owned(),
                None if name.is_empty() => ".".to_owned(),
                None => continue,
            };
            match call.name.as_str() {
                "openat" if there.insert(file.clone()) => {
                    events.push((call.ended, Event::Created { file }));
                }
                "unlink" => {
                    there.remove(&file);
                    events.push((call.ended, Event::Unlinked { file }));
                }
                "pwrite64" => events.push((call.ended, written(call, file))),
                "ftruncate" => {
                    let length = call.number;
                    events.push((call.ended, Event::Truncated { file, length }));
                }
                _ if call.syncs() => {
                    events.push((call.began, Event::SyncBegan { file: file.clone() }));
                    events.push((call.ended, Event::SyncEnded { file }));
                }
                _ => {}
            }
        }
        events.sort_by_key(|(line, _)| *line);
        events
    }

    /// What a power cut just before this line would have left at least.
    fn safe_database(&self, line: usize) -> rusqlite::Result<Snapshot> {
        let mut disk = Disk::default();
        for (_, event) in self.events().iter().filter(|(at, _)| *at < line) {
            disk.take(event, Syncs::Work);
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, bytes) in disk.image(Keeps::Nothing, &mut StdRng::seed_from_u64(0)) {
            if name.starts_with("wardpost.db") && !name.ends_with("-shm") {
                std::fs::write(folder.path().join(name), bytes).expect("a file is written");
            }
        }
        Snapshot::read(&folder.path().join("wardpost.db"))
    }

    /// The orders of which a message or an answer was on its way before the database had the attempt or the answer.
    fn unrecorded(&self, orders: &[Order]) -> Vec<String> {
        let (to_devices, to_cloud) = (self.to_devices(), self.to_cloud());
        let mut faults = Vec::new();
        for order in orders {
            let (id, key) = (order.control_id(), order.control_id().replace('C', "P"));
            let attempted =
                |found: &Snapshot, push| History::of(found).attempts_of(push).count() > 0;
            let answered = |found: &Snapshot, push| {
                let mut events = found.events.iter();
                events.any(|event| event.push == push && event.status == Some(200))
            };
            let sent = first(&to_devices, &format!("|{id}|"));
            faults.extend(self.missing(&format!("the attempt of {id}"), (sent, &key), attempted));
            let told = first(&to_cloud, &answer(id));
            faults.extend(self.missing(&format!("the answer of {id}"), (told, &key), answered));
        }
        faults
    }

    fn missing(
        &self,
        what: &str,
        (line, key): (Option<usize>, &str),
        has: impl Fn(&Snapshot, i64) -> bool,
    ) -> Option<String> {
        let found = self.safe_database(line.unwrap_or_default());
        let is_there = found.is_ok_and(|found| {
            let mut pushes = found.pushes.values();
            let push = pushes.find(|push| push.order_keys.iter().any(|own| own == key));
            push.is_some_and(|push| has(&found, push.id))
        });
        (!is_there).then(|| format!("{what} was not safe at line {line:?}"))
    }
}

fn written(call: &Call, file: String) -> Event {
    Event::Written {
        file,
        at: call.number,
        bytes: call.bytes.clone(),
    }
}

/// The line where the first message with this text may have left.
fn first(said: &[Said], text: &str) -> Option<usize> {
    let with_it = said.iter().filter(|one| contains(&one.bytes, text));
    with_it.map(|one| one.at).min()
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
