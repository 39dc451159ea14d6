//! A patient who exists nowhere goes through every path there is; then everything that anybody may read is searched
//! for her.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;

use rusqlite::{Connection, OpenFlags, types::ValueRef};
use scenarios::bench::{
    Bench, DeviceSetup, Reply, Setup, destination, not_waiting, wait_until, waiting,
};
use scenarios::cloud::AGENT;
use scenarios::oracle::State;
use scenarios::sim::Kind;
use serde_json::json;

use crate::{device_that, find, wait_for_state};

/// What belongs to the patient, in the places where a message has it.
const CANARY: [&str; 6] = [
    "Zzykanarienfam",
    "Zzykanariengiv",
    "MRN7741177411",
    "19011231",
    "Zzykanarienbefund",
    "PLACER9090909",
];

/// An order for her. The control id is the machine's and may be seen; the order number is hers.
fn order(control_id: &str, part: &str) -> String {
    let [family, given, number, birth, finding, placer] = CANARY;
    format!(
        "MSH|^~\\&|EHR|W|LAB|W|20260301081500||OML^O21^OML_O21|{control_id}|P|2.5.1\r\
         PID|1||{number}^^^W^MR||{family}^{given}||{birth}|F\r\
         ORC|NW|{placer}{part}\rOBR|1|{placer}{part}||GLU^Glucose^L\rNTE|1||{finding}\r"
    )
}

fn push(bench: &Bench, device: &str, body: &str) -> Reply {
    bench.send(&waiting(&destination(device), agent_wire::HL7, body))
}

/// A device that says what it was told about the patient to whoever listens: around its answers and in them.
fn talkative() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("it has an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || drop(chat(stream)));
        }
    });
    port
}

fn chat(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
        let id = text.split('|').nth(9).unwrap_or_default();
        let [family, given, number, ..] = CANARY;
        let words = format!(
            "{family} {number} is no frame\r\u{b}{family}^{given} is no HL7\r\u{1c}\r\
             \u{b}MSH|^~\\&|LAB\rMSA|AA|other-{number}\r\u{1c}\r\
             \u{b}MSH|^~\\&|LAB|W|EHR|W|2026||ACK|1|P|2.5.1\rMSA|AE|{id}|{family} unknown\rERR|||207|E|||{number}\r\u{1c}\r\
             \u{b}MSH|half a frame of {given}"
        );
        stream.write_all(words.as_bytes())?;
    }
}

fn bench(talkative: u16) -> Bench {
    Setup::new()
        .environment("WARDPOST_LOG", "trace")
        .set("cloud.receipts", "\"news\"")
        .set("alarms.held", "\"10ms\"")
        .device(DeviceSetup::new("chem"))
        .device(device_that("refuses", Kind::Ar))
        .device(device_that("half", Kind::Half).text("hl7.ack_timeout", "200ms"))
        .device(device_that("closes", Kind::Close))
        .device(device_that("garbage", Kind::Garbage).text("hl7.ack_timeout", "200ms"))
        .device(device_that("foreign", Kind::Foreign).text("hl7.ack_timeout", "200ms"))
        .device(DeviceSetup::new("ascii").text("hl7.charset", "us-ascii"))
        .device(
            DeviceSetup::new("talks").text("transport.connect", &format!("127.0.0.1:{talkative}")),
        )
        .start_without_agent()
}

/// Every way a push can go, and what its caller hears.
fn go_every_way(bench: &mut Bench) -> Vec<Reply> {
    let devices = [
        "chem", "refuses", "half", "closes", "garbage", "foreign", "talks",
    ];
    let mut replies: Vec<Reply> = devices
        .iter()
        .map(|device| push(bench, device, &order(&format!("C-{device}"), device)))
        .collect();
    // The same once more, which joins; in letters that a device does not have; without an id; not HL7 at all.
    replies.push(push(bench, "chem", &order("C-chem", "chem")));
    replies.push(push(
        bench,
        "ascii",
        &order("C-ä", "a").replace("NTE|1||", "NTE|1||ä"),
    ));
    replies.push(push(bench, "chem", &order("", "b")));
    replies.push(push(bench, "chem", CANARY[0]));
    // A Bot that takes body and content type for each other.
    let whole = order("C-swapped", "s");
    replies.push(bench.send(&waiting(&destination("chem"), &whole, agent_wire::HL7)));
    let option = format!("{}; expires={}", agent_wire::HL7, CANARY[0]);
    replies.push(bench.send(&waiting(&destination("chem"), &option, &order("C-o", "o"))));
    let nowhere = format!("mllp://{}:1", CANARY[0]);
    replies.push(bench.send(&waiting(&nowhere, agent_wire::HL7, &order("C-n", "n"))));
    replies.push(bench.command(&json!({ "verb": CANARY[0], "push": CANARY[1] })));
    replies
}

/// What a person does with the pushes, and a crash and a restart in between.
fn handle(bench: &mut Bench) {
    let held = wait_for_state(bench, &format!("{}half", CANARY[5]), State::Held);
    let settled = [
        "settle",
        &held.to_string(),
        "not-delivered",
        "--reason",
        "not there",
    ];
    assert_eq!(bench.wardpost(&settled).code, 0);
    bench.switch_off("chem");
    let later = order("C-later", "later");
    bench.send(&not_waiting(&destination("chem"), agent_wire::HL7, &later));
    let (later, _) = find(bench, &format!("{}later", CANARY[5]));
    assert_eq!(bench.wardpost(&["hold", &later.to_string()]).code, 0);
    bench.kill_agent();
    bench.start_agent();
    assert_eq!(bench.wardpost(&["release", &later.to_string()]).code, 0);
    bench.switch_on("chem");
    wait_for_state(bench, &format!("{}later", CANARY[5]), State::Delivered);
}

/// Everything that somebody may read, each with where it is.
fn artifacts(bench: &Bench) -> Vec<(String, String)> {
    let mut all = vec![("the log".to_owned(), bench.agent_log())];
    let commands = [
        &["status"][..],
        &["devices"],
        &["queue"],
        &["queue", "--state", "held"],
        &["diag"],
        &["doctor"],
    ];
    for words in commands {
        for json in [&[][..], &["--json"]] {
            let words = [json, words].concat();
            all.push((format!("wardpost {words:?}"), bench.wardpost(&words).said()));
        }
    }
    for push in 1..=pushes(bench) {
        let words = ["why", &push.to_string()];
        all.push((format!("wardpost {words:?}"), bench.wardpost(&words).said()));
    }
    for operation in ["$status", "$stats", "$fetch-logs"] {
        let path = format!("/fhir/R4/Agent/{AGENT}/{operation}");
        let reply = bench
            .wait_on(bench.http().read(&path))
            .expect("the cloud answers");
        all.push((operation.to_owned(), format!("{reply:?}")));
    }
    all.extend(columns(&bench.database()));
    all
}

fn pushes(bench: &Bench) -> u64 {
    let database = open(&bench.database());
    let count = "SELECT max(id) FROM push";
    let most = database.query_row(count, [], |row| row.get(0));
    most.expect("the database has pushes")
}

fn open(path: &Path) -> Connection {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("it opens")
}

/// What the database says outside of the columns that are there to hold what was pushed and answered.
fn columns(path: &Path) -> Vec<(String, String)> {
    let database = open(path);
    [
        "SELECT who, reason FROM event",
        "SELECT channel, remote, reason FROM upload",
        "SELECT kind, subject, text FROM alarm",
        "SELECT * FROM audit",
        "SELECT * FROM meta",
    ]
    .into_iter()
    .map(|query| {
        let words = texts(&database, query).expect("it can be read");
        (query.to_owned(), words)
    })
    .collect()
}

/// Every text that a query finds, a line each.
fn texts(database: &Connection, query: &str) -> rusqlite::Result<String> {
    let mut words = String::from("\n");
    let mut statement = database.prepare(query)?;
    let width = statement.column_count();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        for column in 0..width {
            if let ValueRef::Text(text) = row.get_ref(column)? {
                words.push_str(&String::from_utf8_lossy(text));
                words.push('\n');
            }
        }
    }
    Ok(words)
}

/// The first word of hers in a text, with what stands around it.
fn trace_of_her(text: &str) -> Option<String> {
    let lower = text.to_lowercase();
    let at = CANARY
        .iter()
        .find_map(|word| lower.find(&word.to_lowercase()))?;
    let from = lower.floor_char_boundary(at.saturating_sub(200));
    let to = lower.ceil_char_boundary((at + 60).min(lower.len()));
    lower.get(from..to).map(str::to_owned)
}

#[test]
fn no_word_of_a_patient_is_anywhere_that_is_read() {
    let mut bench = bench(talkative());
    bench.start_agent();
    let replies = go_every_way(&mut bench);
    handle(&mut bench);
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        assert_eq!(trace_of_her(&format!("{reply:?}")), None, "in an answer");
    }
    let artifacts = artifacts(&bench);
    let log = &artifacts.first().unwrap().1;
    assert!(
        log.contains("DEBUG") && log.len() > 4_000,
        "the log is whole"
    );
    for (place, text) in &artifacts {
        assert!(!text.is_empty(), "{place} is empty");
        assert_eq!(trace_of_her(text), None, "in {place}");
    }
}

#[test]
fn no_word_of_a_patient_is_said_about_an_envelope_that_cannot_be_read() {
    let bench = Setup::new()
        .fake_cloud()
        .environment("WARDPOST_LOG", "trace")
        .device(DeviceSetup::new("chem"))
        .start();
    let [family, given, number, ..] = CANARY;
    for text in [
        format!(
            "{{\"type\":\"agent:transmit:request\",\"body\":{{\"{family}\":1}},\"callback\":\"c1\"}}"
        ),
        format!("{{\"type\":\"agent:{family}\",\"callback\":\"c2\"}}"),
        format!("{{\"type\":\"agent:transmit:request\",\"body\":\"{family}"),
        format!("{family} {given}"),
        format!("[\"{number}\"]"),
        format!(
            "{{\"type\":\"agent:transmit:request\",\"contentType\":17,\"body\":\"{number}\",\"callback\":\"c3\"}}"
        ),
        format!("{{\"type\":\"agent:logs:request\",\"limit\":\"{number}\",\"callback\":\"c4\"}}"),
    ] {
        bench.say(&text);
    }
    let error = bench.answer("c1").to_string();
    assert_eq!(trace_of_her(&error), None, "in an error to the cloud");
    wait_until("the agent to go on", || {
        bench.wardpost(&["status"]).code == 0
    });
    assert_eq!(trace_of_her(&bench.agent_log()), None, "in the log");
}

#[test]
fn a_search_that_finds_nothing_would_find_her() {
    assert!(trace_of_her("ä … ZZYKANARIENFAM … ö").is_some());
    assert_eq!(trace_of_her("nobody"), None);
}
