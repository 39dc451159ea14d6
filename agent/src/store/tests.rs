//! The store on a real database: real files, real syncs, real time.

mod alarms;
mod cache;
mod own;
mod recover;
mod room;
mod segments;
mod sweep;
mod tasks;
mod uploads;

use std::sync::mpsc as sync;
use std::time::Duration;

use agent_core::push::{
    Callback, Completing, HoldScope, Level, OnUncertain, Options, Policy, State, WhenUnreachable,
};
use agent_core::queue::{Kind, Ruling, Verb};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;

const CHEM: DeviceNo = DeviceNo(1);
const BOUNDS: Bounds = Bounds {
    max_disk: 1 << 30,
    min_free: 1 << 20,
    reserve: 1 << 20,
};

fn upward() -> Upward {
    Upward {
        channel: None,
        agent: "agent-1".into(),
        limit: 1000,
    }
}

/// Lines that only pass on what they are given; the writer then waits in the gate, if there is one.
struct Hands {
    attempts: sync::Sender<Attempt>,
    gate: Option<sync::Receiver<()>>,
}

impl Lines for Hands {
    fn deliver(&self, attempt: Attempt) {
        self.attempts.send(attempt).unwrap();
        if let Some(gate) = &self.gate {
            // An error: the gate is gone.
            let _ = gate.recv();
        }
    }

    fn wanted(&self, _: DeviceNo, _: bool) {}
}

struct Bench {
    folder: TempDir,
    store: Store,
    attempts: sync::Receiver<Attempt>,
    said: mpsc::Receiver<Said>,
    ended: oneshot::Receiver<Result<(), StoreError>>,
}

impl Bench {
    fn start() -> Self {
        Self::on(tempfile::tempdir().unwrap())
    }

    fn on(folder: TempDir) -> Self {
        Self::with_room(folder, u32::MAX - 1)
    }

    /// A database of at most so many pages: `SQLite` then answers exactly as for a disk without room.
    fn with_room(folder: TempDir, pages: u32) -> Self {
        Self::limited(folder, pages, BOUNDS)
    }

    fn bounded(folder: TempDir, bounds: Bounds) -> Self {
        Self::limited(folder, u32::MAX - 1, bounds)
    }

    fn limited(folder: TempDir, pages: u32, bounds: Bounds) -> Self {
        Self::gated(folder, pages, (bounds, None))
    }

    /// Each attempt keeps the writer until the gate lets it pass, or is dropped: what is asked of it meanwhile shares a
    /// batch.
    fn gated(
        folder: TempDir,
        pages: u32,
        (bounds, gate): (Bounds, Option<sync::Receiver<()>>),
    ) -> Self {
        Self::telling(folder, pages, (bounds, gate, upward()))
    }

    fn telling(
        folder: TempDir,
        pages: u32,
        (bounds, gate, upward): (Bounds, Option<sync::Receiver<()>>, Upward),
    ) -> Self {
        let opened = Opened::open(folder.path()).unwrap();
        opened
            .connection
            .pragma_update(None, "max_page_count", pages)
            .unwrap();
        opened.device_numbers(&["chem".to_owned()]).unwrap();
        let (hand, attempts) = sync::channel();
        let hands = Hands {
            attempts: hand,
            gate,
        };
        let (say, said) = mpsc::channel(64);
        let wiring = Wiring {
            devices: vec![(CHEM, device())],
            limit: 10_000,
            bounds,
            upward,
            lines: hands,
            said: say,
            join_digest: |parcel| Some(Sha256::digest(parcel.body.0.as_bytes()).into()),
        };
        let running = opened.start(wiring).unwrap();
        Self {
            folder,
            store: running.store,
            attempts,
            said,
            ended: running.ended,
        }
    }

    async fn close(self) -> TempDir {
        self.store.stop().await.unwrap();
        self.ended.await.unwrap().unwrap();
        self.folder
    }

    async fn restart(self) -> Self {
        Self::on(self.close().await)
    }

    async fn push(&self, callback: &str, body: &str) {
        self.store.accept(push(callback, body)).await.unwrap();
    }

    fn attempt(&self) -> Attempt {
        self.attempts
            .recv_timeout(Duration::from_secs(10))
            .expect("an attempt")
    }

    async fn answer(&mut self) -> Answer {
        match self.said().await {
            Said::Answer(answer) | Said::Again(answer) => answer,
            said @ (Said::Reply(_) | Said::TokenRefused) => {
                panic!("instead of an answer: {said:?}")
            }
        }
    }

    async fn said(&mut self) -> Said {
        let said = tokio::time::timeout(Duration::from_secs(10), self.said.recv()).await;
        said.expect("something is said in time")
            .expect("the store lives")
    }

    async fn deliver(&mut self) -> Answer {
        let attempt = self.attempt();
        self.store
            .settle(attempt, yes(), Connection::Usable)
            .await
            .unwrap();
        self.answer().await
    }
}

fn device() -> DeviceConfig {
    DeviceConfig {
        name: "chem".into(),
        enabled: true,
        policy: Policy {
            answer_within: Duration::from_secs(8),
            when_unreachable: WhenUnreachable::Queue,
            rejoin_window: Duration::from_mins(10),
            on_uncertain: OnUncertain::Hold,
            hold_scope: HoldScope::Order,
            expires: None,
            paused: false,
            max_queued: 100,
            completing: Completing::AtOnce,
        },
    }
}

fn push(callback: &str, body: &str) -> NewPush {
    let key: String = body.chars().take(24).collect();
    NewPush {
        device: CHEM,
        callback: Some(Callback {
            text: callback.into(),
            print: print_of(callback),
        }),
        content_type: "x-application/hl7-v2+er7; answer-within=8".into(),
        remote: "mllp://chem:2575?encoding=utf-8".into(),
        return_ack: Some(ReturnAck::Application),
        key_prints: vec![print_of(&key)],
        order_keys: vec![key],
        content: Some(print_of(body)),
        body_sha256: Sha256::digest(body.as_bytes()).into(),
        body: Phi(body.into()),
        options: Options::default(),
    }
}

fn yes() -> Outcome {
    Outcome::Acknowledged {
        level: Level::Accepted,
        reply: Phi("MSH\rMSA|AA".into()),
    }
}

fn unknown() -> Outcome {
    Outcome::Unknown {
        why: "no answer within 30 s".into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_comes_to_the_line_as_it_was_pushed_and_its_answer_to_the_cloud() {
    let mut bench = Bench::start();
    bench.store.line_ready(CHEM).await.unwrap();
    bench.push("c1", "MSH|1").await;
    let attempt = bench.attempt();
    assert_eq!(&*attempt.parcel.body.0, "MSH|1");
    assert_eq!(attempt.parcel.return_ack, Some(ReturnAck::Application));
    assert_eq!(attempt.kind(), Attempted::Completing);
    bench
        .store
        .settle(attempt, yes(), Connection::Usable)
        .await
        .unwrap();
    let answer = bench.answer().await;
    assert_eq!((answer.callback.as_str(), answer.status), ("c1", 200));
    assert_eq!(answer.content_type, "x-application/hl7-v2+er7");
    assert_eq!(answer.remote, "mllp://chem:2575?encoding=utf-8");
    assert_eq!(answer.body.0, "MSH\rMSA|AA");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_queued_survives_a_restart_and_goes_in_order() {
    let bench = Bench::start();
    for n in 0..20 {
        bench.push(&format!("c{n}"), &format!("MSH|{n}")).await;
    }
    let mut bench = bench.restart().await;
    bench.store.line_ready(CHEM).await.unwrap();
    for n in 0..20 {
        let answer = bench.deliver().await;
        assert_eq!(answer.callback, format!("c{n}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_was_open_at_the_end_is_uncertain_after_it() {
    let bench = Bench::start();
    bench.store.line_ready(CHEM).await.unwrap();
    bench.push("c1", "MSH|1").await;
    let lost = bench.attempt();
    let bench = bench.restart().await;
    let held = bench
        .store
        .explain(lost.push)
        .await
        .unwrap()
        .expect("it is not final");
    assert_eq!(held.explained.state, State::Held);
    let command = Command {
        push: lost.push,
        verb: Verb::Settle(Ruling::Delivered),
        who: "uid 0".into(),
        reason: Some("seen on the analyzer".into()),
    };
    bench.store.command(command).await.unwrap().unwrap();
    let mut bench = bench;
    let answer = bench.answer().await;
    assert_eq!(
        (answer.status, answer.content_type.as_str()),
        (200, "text/plain")
    );
    let history = bench.store.history(lost.push).await.unwrap().unwrap();
    let kinds: Vec<Kind> = history.events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [Kind::Held, Kind::Settled]);
    assert_eq!(
        bench.store.answers_after(Seq(0), 10).await.unwrap(),
        [answer]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_read_back_as_they_were_given_in_order_and_by_page() {
    let mut bench = Bench::start();
    bench.store.line_ready(CHEM).await.unwrap();
    let mut given = Vec::new();
    for n in 0..5 {
        bench.push(&format!("c{n}"), &format!("MSH|{n}")).await;
        given.push(bench.deliver().await);
    }
    given[0].prev = Seq(0);
    let mut bench = bench.restart().await;
    let first = bench.store.answers_after(Seq(0), 3).await.unwrap();
    let rest = bench.store.answers_after(first[2].seq, 3).await.unwrap();
    assert_eq!([first, rest].concat(), given);
    assert_eq!(bench.store.last_answer(), given[4].seq);
    // The same callback again gets the same words.
    bench.push("c3", "MSH|3").await;
    assert_eq!(bench.answer().await.body, given[3].body);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_equal_order_joins_and_a_different_one_with_the_same_print_does_not() {
    let mut bench = Bench::start();
    bench.store.line_ready(CHEM).await.unwrap();
    bench.push("c1", "MSH|1").await;
    bench.push("c2", "MSH|1").await;
    let mut other = push("c3", "MSH|2");
    (other.content, other.key_prints) = (Some(print_of("MSH|1")), vec![print_of("MSH|1")]);
    bench.store.accept(other).await.unwrap();
    let first = bench.deliver().await;
    let second = bench.answer().await;
    assert_eq!(
        (first.callback, second.callback),
        ("c1".to_owned(), "c2".to_owned())
    );
    assert_eq!(first.body, second.body);
    assert_eq!(second.content_type, first.content_type);
    assert_eq!(bench.deliver().await.callback, "c3");
    let joined = bench.store.history(PushId(2)).await.unwrap().unwrap();
    assert_eq!((joined.joins, joined.bytes), (Some(PushId(1)), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_attempt_that_rode_on_another_pushs_row_is_in_the_history() {
    let mut bench = Bench::start();
    bench.store.line_ready(CHEM).await.unwrap();
    bench.push("c1", "MSH|1").await;
    bench.push("c2", "MSH|2").await;
    bench.deliver().await;
    bench.deliver().await;
    let history = bench.store.history(PushId(2)).await.unwrap().unwrap();
    let kinds: Vec<Kind> = history.events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [Kind::Completing, Kind::Settled]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_the_push_and_loses_nothing_that_was_accepted() {
    let mut bench = Bench::with_room(tempfile::tempdir().unwrap(), 60);
    bench.push("c0", "MSH|0").await;
    for n in 1..=40 {
        bench
            .push(&format!("c{n}"), &format!("MSH|{}", "x".repeat(20_000 + n)))
            .await;
    }
    let Said::Reply(refused) = bench.said().await else {
        panic!("not refused");
    };
    let refused = refused.encode();
    assert!(refused.contains(r#""statusCode":400"#), "{refused}");
    assert!(refused.contains("could not store the push"), "{refused}");
    bench.store.line_ready(CHEM).await.unwrap();
    let (mut accepted, refused) = (
        Vec::new(),
        40 - bench
            .store
            .list(Filter::default(), 100)
            .await
            .unwrap()
            .len()
            + 1,
    );
    while accepted.len() + refused < 41 {
        let attempt = bench.attempt();
        accepted.push(attempt.push);
        bench
            .store
            .settle(attempt, yes(), Connection::Usable)
            .await
            .unwrap();
    }
    assert!(
        refused > 10 && accepted.len() > 3,
        "{refused} refused, {} accepted",
        accepted.len()
    );
    assert!(accepted.is_sorted());
}

#[test]
fn one_state_directory_has_one_owner_who_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let first = Opened::open(folder.path()).unwrap();
    let second = Opened::open(folder.path()).unwrap_err().to_string();
    assert!(
        second.contains(&format!("process {}", std::process::id())),
        "{second}"
    );
    drop(first);
    Opened::open(folder.path()).unwrap();
}

#[test]
fn a_database_from_the_future_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(Opened::open(folder.path()).unwrap());
    let path = folder.path().join("wardpost.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection
        .execute_batch("PRAGMA user_version = 99")
        .unwrap();
    drop(connection);
    let refused = Opened::open(folder.path()).unwrap_err().to_string();
    assert!(refused.contains("version 99"), "{refused}");
    assert!(refused.contains("install the newer wardpost"), "{refused}");
}

#[test]
fn the_database_is_for_its_owner_alone_and_counts_its_starts() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    drop(Opened::open(folder.path()).unwrap());
    drop(Opened::open(folder.path()).unwrap());
    let path = folder.path().join("wardpost.db");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let connection = rusqlite::Connection::open(&path).unwrap();
    let fence: i64 = connection
        .query_row("SELECT value FROM meta WHERE key = 'fence'", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(fence, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_did_is_chained_and_a_changed_row_shows() {
    let bench = Bench::start();
    bench.push("c1", "MSH|1").await;
    for (verb, reason) in [
        (Verb::Hold, "fasting"),
        (Verb::Release, "done"),
        (Verb::Cancel, "gone"),
    ] {
        let reason = Some(reason.to_owned());
        let command = Command {
            push: PushId(1),
            verb,
            who: "uid 7".into(),
            reason,
        };
        bench.store.command(command).await.unwrap().unwrap();
    }
    bench.store.stop().await.unwrap();
    let connection = rusqlite::Connection::open(bench.folder.path().join("wardpost.db")).unwrap();
    assert!(rows::audit_holds(&connection).unwrap());
    connection
        .execute("UPDATE audit SET who = 'uid 8' WHERE id = 2", [])
        .unwrap();
    assert!(!rows::audit_holds(&connection).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uncertain_push_with_a_parked_one_behind_it_comes_back_the_same_way() {
    let bench = Bench::start();
    bench.store.line_ready(CHEM).await.unwrap();
    bench.push("c1", "MSH|1").await;
    let mut behind = push("c2", "MSH|2");
    behind.key_prints = vec![print_of("MSH|1")];
    behind.order_keys = vec!["MSH|1".into()];
    bench.store.accept(behind).await.unwrap();
    let attempt = bench.attempt();
    bench
        .store
        .settle(attempt, unknown(), Connection::Gone("closed".into()))
        .await
        .unwrap();
    bench.store.line_ready(CHEM).await.unwrap();
    let bench = bench.restart().await;
    bench.store.line_ready(CHEM).await.unwrap();
    let waiting = bench.store.list(Filter::default(), 10).await.unwrap();
    let states: Vec<State> = waiting.iter().map(|push| push.explained.state).collect();
    assert_eq!(states, [State::Held, State::Queued]);
    assert_eq!(
        waiting[1].explained.reason.to_string(),
        "behind held push 1 of the same order"
    );
}

/// A configuration with this device and no other.
fn only(device: DeviceConfig) -> Configuration {
    Configuration {
        devices: vec![(CHEM, device)],
        limit: 10_000,
        bounds: BOUNDS,
        upward: upward(),
        asked: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_falls_due_while_nobody_ticks_is_seen_by_whatever_comes_next() {
    let mut device = device();
    device.policy.on_uncertain = OnUncertain::Resend;
    let bench = Bench::start();
    bench.store.configure(only(device)).await.unwrap();
    bench.store.line_ready(CHEM).await.unwrap();
    bench.push("c1", "MSH|1").await;
    let attempt = bench.attempt();
    let push = attempt.push;
    let gone = Connection::Gone("closed".into());
    bench.store.settle(attempt, unknown(), gone).await.unwrap();
    bench.store.line_ready(CHEM).await.unwrap();
    let again = async {
        loop {
            bench.store.report().await.unwrap();
            if let Ok(attempt) = bench.attempts.try_recv() {
                return attempt;
            }
            tokio::task::yield_now().await;
        }
    };
    let again = tokio::time::timeout(Duration::from_secs(10), again)
        .await
        .expect("a retry");
    assert_eq!(again.push, push);
}
