//! What is removed, when, and that nothing of it is left.

use super::*;
use crate::clock;

const DAY: Duration = Duration::from_hours(24);
const KEPT: Kept = Kept {
    words: Duration::from_hours(7 * 24),
    rows: Duration::from_hours(90 * 24),
};

impl Bench {
    /// Sweeps as if it were so many days later.
    pub(super) async fn sweep(&self, days: u32) -> Result<Swept, String> {
        self.sweep_keeping(KEPT, days).await
    }

    async fn sweep_keeping(&self, kept: Kept, days: u32) -> Result<Swept, String> {
        let now = clock::utc().plus(DAY * days);
        loop {
            match self.store.sweep(now, kept).await.unwrap()? {
                Progress::More => {}
                Progress::Done(swept) => return Ok(swept),
            }
        }
    }

    /// Pushes, delivers, and hears that the answer has left the socket.
    async fn through(&mut self, callback: &str, body: &str) -> Answer {
        self.push(callback, body).await;
        let answer = self.deliver().await;
        self.heard(answer.seq).await;
        answer
    }

    pub(super) async fn heard(&self, upto: Seq) {
        self.store.taken(upto);
        self.store.flush_taken().await.unwrap();
        self.store.barrier().await.unwrap();
    }

    async fn command(&self, push: u64, verb: Verb, reason: &str) -> Result<Done, CommandError> {
        let command = Command {
            push: PushId(push),
            verb,
            who: "uid 7".into(),
            reason: Some(reason.into()),
        };
        self.store.command(command).await.unwrap()
    }

    /// How often these bytes are in the files of the database.
    fn traces(&self, of: &str) -> usize {
        ["wardpost.db", "wardpost.db-wal", "wardpost.db-shm"]
            .iter()
            .map(|name| std::fs::read(self.folder.path().join(name)).unwrap_or_default())
            .map(|bytes| {
                let windows = bytes.windows(of.len());
                windows.filter(|window| *window == of.as_bytes()).count()
            })
            .sum()
    }

    fn number(&self, query: &str) -> i64 {
        let path = self.folder.path().join("wardpost.db");
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.query_row(query, [], |row| row.get(0)).unwrap()
    }
}

fn yes_saying(words: &str) -> Outcome {
    Outcome::Acknowledged {
        level: Level::Accepted,
        reply: Phi(words.into()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_week_after_its_end_nothing_of_a_body_is_left_in_any_file() {
    let mut bench = Bench::start();
    bench.push("c0", "MSH|0").await;
    bench
        .command(1, Verb::Cancel, "Canary-Reason")
        .await
        .unwrap();
    bench.answer().await;
    bench.store.line_ready(CHEM).await.unwrap();
    let mut last = Seq(0);
    for n in 1..=40 {
        // Some in their row, some on pages of their own.
        let body = format!("MSH|{n:020}|{}", "Canary-Body|".repeat(1 + n % 7 * 150));
        bench.push(&format!("c{n}"), &body).await;
        let attempt = bench.attempt();
        let outcome = yes_saying("MSA|AA|Canary-Answer");
        bench
            .store
            .settle(attempt, outcome, Connection::Usable)
            .await
            .unwrap();
        last = bench.answer().await.seq;
    }
    bench.heard(last).await;
    for canary in ["Canary-Body", "Canary-Answer", "Canary-Reason"] {
        assert!(bench.traces(canary) > 0, "{canary} was there");
    }
    assert_eq!(bench.sweep(6).await.unwrap().words, 0, "too young");
    assert_eq!(bench.sweep(8).await.unwrap().words, 41);
    for canary in ["Canary-Body", "Canary-Answer", "Canary-Reason"] {
        assert_eq!(bench.traces(canary), 0, "{canary} is still there");
    }
    assert_eq!(
        bench.number("SELECT count(*) FROM push WHERE length(body_sha256) = 32"),
        41
    );
    assert_eq!(
        bench.number("SELECT count(*) FROM event WHERE status NOT NULL"),
        41
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_a_swept_push_is_told_as_it_is() {
    let mut bench = Bench::start();
    bench.store.line_ready(CHEM).await.unwrap();
    bench.through("c1", "MSH|1").await;
    bench.sweep(8).await.unwrap();
    bench.push("c1", "MSH|1").await;
    let again = bench.answer().await;
    assert_eq!(
        (again.status, again.content_type.as_str()),
        (200, "text/plain")
    );
    assert!(again.body.0.contains("not kept any more"));
    assert_eq!(
        bench.number("SELECT count(*) FROM push"),
        1,
        "it is the same push"
    );
    let refused = bench.command(1, Verb::Resend, "again").await.unwrap_err();
    assert!(matches!(refused, CommandError::BodyGone(PushId(1))));
    let history = bench.store.history(PushId(1)).await.unwrap().unwrap();
    assert_eq!(
        (history.bytes, history.events.last().unwrap().status),
        (None, Some(200))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_final_or_not_heard_is_never_removed() {
    let mut bench = Bench::start();
    bench.store.line_ready(CHEM).await.unwrap();
    bench.push("uncertain", "MSH|1").await;
    bench.push("follower", "MSH|1").await;
    let attempt = bench.attempt();
    let gone = Connection::Gone("closed".into());
    bench.store.settle(attempt, unknown(), gone).await.unwrap();
    bench.store.line_ready(CHEM).await.unwrap();
    bench.push("heard", "MSH|2").await;
    let heard = bench.deliver().await;
    bench.push("unheard", "MSH|3").await;
    let unheard = bench.deliver().await;
    bench.heard(heard.seq).await;
    let swept = bench.sweep(1000).await.unwrap();
    assert_eq!((swept.words, swept.rows), (1, 1), "what was heard");

    let mut bench = bench.restart().await;
    let waiting = bench.store.list(Filter::default(), 10).await.unwrap();
    assert_eq!(waiting.len(), 2, "the uncertain one and its follower");
    let again = bench
        .store
        .answers_after(bench.store.taken_mark(), 10)
        .await
        .unwrap();
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].body, unheard.body);
    bench
        .command(1, Verb::Resend, "not in its list")
        .await
        .unwrap();
    bench.store.line_ready(CHEM).await.unwrap();
    let first = bench.deliver().await;
    let second = bench.answer().await;
    assert_eq!(
        (first.callback.as_str(), second.callback.as_str()),
        ("uncertain", "follower")
    );
    assert_eq!(first.body, second.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_ninety_days_the_rows_go_and_the_rest_starts_as_before() {
    let mut bench = Bench::start();
    bench.push("held", "MSH|held").await;
    bench.command(1, Verb::Hold, "fasting").await.unwrap();
    bench.store.line_ready(CHEM).await.unwrap();
    for n in 0..200 {
        bench.through(&format!("c{n}"), &format!("MSH|{n}")).await;
    }
    let (taken, last) = (bench.store.taken_mark(), bench.store.last_answer());
    let swept = bench.sweep(91).await.unwrap();
    assert_eq!(
        (swept.words, swept.rows),
        (200, 199),
        "all but the newest push"
    );
    assert_eq!(bench.number("SELECT count(*) FROM push"), 2);
    assert!(bench.number("SELECT count(*) FROM event") < 6);
    assert_eq!(
        bench.sweep(92).await.unwrap(),
        Swept::default(),
        "nothing is left to do"
    );

    let mut bench = bench.restart().await;
    assert_eq!(
        (bench.store.taken_mark(), bench.store.last_answer()),
        (taken, last)
    );
    assert_eq!(bench.store.answers_after(taken, 10).await.unwrap(), []);
    bench.store.line_ready(CHEM).await.unwrap();
    bench.push("c1", "MSH|1").await;
    let attempt = bench.attempt();
    assert_eq!(attempt.push, PushId(202), "no number is given twice");
    bench
        .store
        .settle(attempt, yes(), Connection::Usable)
        .await
        .unwrap();
    bench.answer().await;
    bench.command(1, Verb::Release, "ate").await.unwrap();
    assert_eq!(bench.deliver().await.callback, "held");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_rode_on_a_removed_row_stays_with_a_push_that_is_held() {
    let mut bench = Bench::start();
    bench.store.line_ready(CHEM).await.unwrap();
    bench.push("c1", "MSH|1").await;
    bench.push("c2", "MSH|2").await;
    let first = bench.deliver().await;
    let attempt = bench.attempt();
    let gone = Connection::Gone("closed".into());
    bench.store.settle(attempt, unknown(), gone).await.unwrap();
    bench.heard(first.seq).await;
    bench.store.line_ready(CHEM).await.unwrap();
    bench.through("c3", "MSH|3").await;
    assert_eq!(bench.sweep(91).await.unwrap().rows, 1);
    let bench = bench.restart().await;
    let history = bench.store.history(PushId(2)).await.unwrap().unwrap();
    let kinds: Vec<Kind> = history.events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [Kind::Completing, Kind::Held]);
    let held = bench.store.explain(PushId(2)).await.unwrap().unwrap();
    assert_eq!(held.explained.state, State::Held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_comes_again_is_recognised_as_long_as_its_device_says() {
    let mut device = device();
    device.policy.rejoin_window = DAY * 3;
    let mut bench = Bench::start();
    bench.store.configure(only(device)).await.unwrap();
    bench.store.line_ready(CHEM).await.unwrap();
    bench.through("c1", "MSH|1").await;
    let hours = Kept {
        words: Duration::from_hours(1),
        rows: Duration::from_hours(1),
    };
    assert_eq!(
        bench.sweep_keeping(hours, 2).await.unwrap(),
        Swept::default()
    );
    bench.push("c2", "MSH|1").await;
    assert_eq!(bench.answer().await.callback, "c2");
    assert_eq!(bench.number("SELECT joins FROM push WHERE id = 2"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_behind_the_records_removes_nothing() {
    let mut bench = Bench::start();
    bench.store.line_ready(CHEM).await.unwrap();
    bench.through("c1", "MSH|1").await;
    let now = Timestamp(clock::utc().0 - 60_000);
    let refused = bench.store.sweep(now, KEPT).await.unwrap().unwrap_err();
    assert!(refused.contains("before the newest record"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_stays_provable_when_its_reasons_and_then_its_rows_are_removed() {
    let bench = Bench::start();
    bench.push("c1", "MSH|1").await;
    for _ in 0..5 {
        bench.command(1, Verb::Hold, "Canary").await.unwrap();
        bench.command(1, Verb::Release, "Canary").await.unwrap();
    }
    let database = bench.folder.path().join("wardpost.db");
    let holds = || rows::audit_holds(&rusqlite::Connection::open(&database).unwrap()).unwrap();
    let words_left = "SELECT count(*) FROM audit WHERE typeof(reason) = 'text'";
    assert!(holds());
    bench.sweep(8).await.unwrap();
    assert_eq!(bench.number(words_left), 0);
    assert!(holds());
    bench.sweep(91).await.unwrap();
    assert_eq!(bench.number("SELECT count(*) FROM audit"), 1);
    assert!(holds());
    let bench = bench.restart().await;
    bench.command(1, Verb::Hold, "later").await.unwrap();
    assert!(holds(), "the chain goes on");
    let connection = rusqlite::Connection::open(&database).unwrap();
    connection
        .execute("DELETE FROM audit WHERE id = 10", [])
        .unwrap();
    assert!(!holds(), "a row that is missing shows");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_stays_as_large_as_one_round_needs_it() {
    let mut bench = Bench::start();
    bench.store.line_ready(CHEM).await.unwrap();
    let mut sizes = Vec::new();
    for round in 0..8 {
        for n in 0..60 {
            let body = format!("MSH|{round}|{n}|{}", "x".repeat(n * 100));
            bench.through(&format!("c{round}-{n}"), &body).await;
        }
        bench.sweep(91).await.unwrap();
        sizes.push(bench.number("PRAGMA page_count"));
    }
    let (early, last) = (sizes[2], sizes[7]);
    assert!(last <= early + early / 10, "{sizes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_with_later_news_is_one_push_and_nothing_of_the_news_is_left() {
    let mut bench = Bench::start();
    bench.store.line_ready(CHEM).await.unwrap();
    bench.through("c1", "MSH|1").await;
    let refused = LateNews::Refused(Phi("MSA|AE|Canary-Late".into()));
    bench.store.late(PushId(1), CHEM, refused).await.unwrap();
    let higher = LateNews::Level(Level::Performed);
    bench.store.late(PushId(1), CHEM, higher).await.unwrap();
    bench.through("c2", "MSH|2").await;
    assert!(bench.traces("Canary-Late") > 0);
    let swept = bench.sweep(91).await.unwrap();
    assert_eq!((swept.words, swept.rows), (2, 1), "all but the newest push");
    assert_eq!(bench.traces("Canary-Late"), 0);
}
