//! A hundred reloads of all kinds while pushes flow; the oracle judges what came of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use scenarios::bench::{
    Bench, DeviceSetup, Setup, destination, not_waiting, push_path, url, wait_until,
};
use scenarios::oracle::{
    CloudAnswer, HoldScope, Kept, OnUncertain, Policy, Receipt, Snapshot, Story, WhenUnreachable,
    at_end, unfinished,
};
use scenarios::sim::{Kind, Order, always, field, sha256};

use super::{connections, reload_from_the_cloud, rewrite};

/// What a reload is about. None of them is about the line of `steady` or of `policy`.
const KINDS: [fn(&Bench, usize); 7] = [nothing, delivery, line, switch, folder, mistake, session];
const DEVICES: [&str; 4] = ["steady", "policy", "line", "switch"];
const RELOADS: usize = 100;

fn nothing(_: &Bench, _: usize) {}

/// Puts a key with its value at the top of a file, in place of what it was.
fn set(bench: &Bench, file: &str, line: &str) {
    let key = line.split('=').next().unwrap_or_default();
    rewrite(bench, file, |text| {
        let others = text.lines().filter(|old| !old.starts_with(key));
        let lines: Vec<&str> = [line].into_iter().chain(others).collect();
        lines.join(
            "
",
        ) + "
"
    });
}

fn delivery(bench: &Bench, round: usize) {
    rewrite(bench, "devices.d/policy.toml", |text| {
        let end = text.find("[delivery]").unwrap_or(text.len());
        let head = text.get(..end).unwrap_or_default();
        format!("{head}[delivery]\nmax_queued = {}\n", 50_000 + round)
    });
}

fn line(bench: &Bench, round: usize) {
    rewrite(bench, "devices.d/line.toml", |text| {
        let end = text.find("[hl7]").unwrap_or(text.len());
        let head = text.get(..end).unwrap_or_default();
        format!("{head}[hl7]\nack_timeout = \"{}s\"\n", 60 + round)
    });
}

fn switch(bench: &Bench, round: usize) {
    let enabled = !(round / KINDS.len()).is_multiple_of(2);
    set(
        bench,
        "devices.d/switch.toml",
        &format!("enabled = {enabled}"),
    );
}

/// A device to which nothing is pushed comes and goes.
fn folder(bench: &Bench, _: usize) {
    let file = bench.path("devices.d/guest.toml");
    if file.exists() {
        std::fs::remove_file(file).expect("a file is removed");
    } else {
        std::fs::write(file, "name = \"guest\"\nurl = \"mllp://127.0.0.1:9\"\n")
            .expect("a file is written");
    }
}

fn mistake(bench: &Bench, _: usize) {
    std::fs::write(bench.path("devices.d/bad.toml"), "name = 3\n").expect("a file is written");
}

/// The same cloud by another name: the session is renewed.
fn session(bench: &Bench, _: usize) {
    rewrite(bench, "wardpost.toml", |text| {
        if text.contains("localhost") {
            text.replace("localhost", "127.0.0.1")
        } else {
            text.replace("127.0.0.1", "localhost")
        }
    });
}

/// The whole of what the cloud kept, and what it was told.
fn cloud(bench: &Bench) -> rusqlite::Result<(Vec<Kept>, Vec<CloudAnswer>)> {
    let names: HashMap<String, &str> = DEVICES
        .iter()
        .map(|name| (url(bench.device(name).address()), *name))
        .collect();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = Connection::open_with_flags(bench.stub_database(), flags)?;
    database.busy_timeout(Duration::from_secs(5))?;
    let sql = "SELECT callback, remote, body, answers, conflicting, answered_status, \
               ifnull(answered_body, '') FROM kept ORDER BY seq";
    let mut statement = database.prepare(sql)?;
    let rows = statement.query_map([], |row| {
        let (callback, remote, body): (String, String, String) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        let kept = Kept {
            callback: callback.clone(),
            device: names.get(&remote).copied().unwrap_or("?").to_owned(),
            sha256: sha256(body.as_bytes()),
            control_id: field(body.as_bytes(), "MSH", 10).unwrap_or_default(),
            at: 0,
            sent: 0,
            answers: row.get(3)?,
            conflicting: row.get(4)?,
        };
        let status: Option<i64> = row.get(5)?;
        let body = row.get(6)?;
        let answer = status.map(|status| CloudAnswer {
            callback,
            status,
            body,
        });
        Ok((kept, answer))
    });
    let all: Vec<_> = rows?.collect::<rusqlite::Result<_>>()?;
    let (kept, answers): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    Ok((kept, answers.into_iter().flatten().collect()))
}

fn story(bench: &Bench, kept: Vec<Kept>) -> Story {
    let policy = Policy {
        on_uncertain: OnUncertain::Hold,
        hold_scope: HoldScope::Order,
        when_unreachable: WhenUnreachable::Queue,
        expires: None,
    };
    let received = bench.journal().all().into_iter().map(Receipt::from);
    let mut story = Story {
        policies: DEVICES.map(|name| (name.to_owned(), policy)).into(),
        kept,
        received: received.collect(),
        lines: BTreeMap::new(),
        ..Story::default()
    };
    story.add(Snapshot::read(&bench.database()).expect("the database is read"));
    story
}

fn pushing(bench: &Bench, over: &Arc<AtomicBool>) -> tokio::task::JoinHandle<u32> {
    let (http, over) = (bench.http().clone(), Arc::clone(over));
    bench.runtime().spawn(async move {
        let mut number = 0;
        while !over.load(Ordering::Relaxed) {
            for device in DEVICES {
                number += 1;
                let text = Order::new(number).of(number % 40).text();
                let body = not_waiting(&destination(device), agent_wire::HL7, &text);
                let reply = http
                    .post(&push_path(), &body)
                    .await
                    .expect("the cloud answers");
                assert!(reply.status < 300, "{reply:?}");
            }
        }
        number
    })
}

/// The files are changed, somebody reloads, and what must be refused is.
fn reload(bench: &mut Bench, round: usize) {
    KINDS[round % KINDS.len()](bench, round);
    let bad = bench.path("devices.d/bad.toml");
    match round % 3 {
        0 => {
            let ran = bench.wardpost(&["reload"]);
            assert_eq!(ran.code == 0, !bad.exists(), "{}", ran.said());
        }
        1 => {
            // The agent may be away for a moment, if its session is renewed just now.
            wait_until("the agent to answer the cloud", || {
                let reply = reload_from_the_cloud(bench);
                let refused = reply.text().contains("nothing was changed");
                assert!(!refused || bad.exists(), "{reply:?}");
                reply.status == 200 || refused
            });
        }
        _ => bench
            .agent()
            .hang_up()
            .expect("a process that runs takes a signal"),
    }
    if bad.exists() {
        // The signal may not have been heard yet; then it finds nothing bad.
        std::fs::remove_file(bad).expect("the bad file is there");
    }
}

#[test]
fn a_hundred_reloads_lose_double_and_reorder_nothing() {
    let quick = || always(Kind::Aa.after(Duration::from_millis(2)));
    let setup = DEVICES.iter().fold(Setup::new().keeping(), |setup, name| {
        setup.device(DeviceSetup::new(name).doing(quick()))
    });
    let mut bench = setup.start();
    let over = Arc::new(AtomicBool::new(false));
    let traffic = pushing(&bench, &over);
    wait_until("pushes to flow", || bench.received("steady").len() > 5);
    for round in 0..RELOADS {
        let seen = bench.received("steady").len();
        reload(&mut bench, round);
        wait_until("pushes to go on", || bench.received("steady").len() > seen);
    }
    over.store(true, Ordering::Relaxed);
    let pushed = bench.wait_on(traffic).unwrap();
    set(&bench, "devices.d/switch.toml", "enabled = true");
    assert_eq!(bench.wardpost(&["reload"]).code, 0);
    wait_until("everything to be delivered and answered", || {
        let (kept, answers) = cloud(&bench).unwrap();
        let left = Snapshot::read(&bench.database()).map(|end| unfinished(&end));
        kept.len() == answers.len() && left.is_ok_and(|left| left.is_empty())
    });
    assert!(bench.stop_agent().success());
    let (kept, answers) = cloud(&bench).unwrap();
    assert_eq!(kept.len(), pushed as usize);
    let verdict = at_end(&story(&bench, kept), &answers);
    assert_eq!(verdict.breaks, [], "{:?}", verdict.tally);
    assert_eq!(bench.journal().len(), pushed as usize, "each once");
    for untouched in ["steady", "policy"] {
        assert_eq!(connections(&bench, untouched), [1], "{untouched}");
    }
    assert!(connections(&bench, "line").len() > 10);
}
