//! Backlogs, segments, and starts that read no more than they must.

use std::path::Path;

use rusqlite::Connection as Database;

use super::*;

const ROWS: &str = "SELECT count(*) FROM";

/// A store with so many pushes, for whose answers nobody waits.
async fn backlog(pushes: usize) -> Bench {
    let bench = Bench::start();
    roomy(&bench).await;
    for n in 1..=pushes {
        quiet(&bench, &format!("MSH|{n}")).await;
    }
    bench
}

async fn roomy(bench: &Bench) {
    let mut chem = device();
    chem.policy.max_queued = 10_000;
    bench.store.configure(only(chem)).await.unwrap();
}

async fn quiet(bench: &Bench, body: &str) {
    let push = NewPush {
        callback: None,
        ..push("", body)
    };
    bench.store.accept(push).await.unwrap();
}

async fn listed(bench: &Bench) -> Vec<(PushId, State, String)> {
    let all = bench.store.list(Filter::default(), 10_000).await.unwrap();
    all.into_iter()
        .map(|push| {
            (
                push.id,
                push.explained.state,
                push.explained.reason.to_string(),
            )
        })
        .collect()
}

async fn stop(bench: Bench) -> TempDir {
    bench.store.stop().await.unwrap();
    bench.ended.await.unwrap().unwrap();
    bench.folder
}

fn database(folder: &Path) -> Database {
    Database::open(folder.join("wardpost.db")).unwrap()
}

fn count(folder: &Path, what: &str) -> i64 {
    database(folder)
        .query_row(&format!("{ROWS} {what}"), [], |row| row.get(0))
        .unwrap()
}

/// Takes the database back to what its first version was.
fn without_segments(folder: &Path) {
    database(folder)
        .execute_batch(
            "DELETE FROM segment; DELETE FROM open; DROP TABLE cold;
             ALTER TABLE segment DROP COLUMN first_push;
             ALTER TABLE segment DROP COLUMN last_answer;
             ALTER TABLE segment DROP COLUMN taken;
             DROP TABLE upload; DROP TABLE alarm; DELETE FROM meta WHERE key = 'origin';
             PRAGMA user_version = 1;",
        )
        .unwrap();
}

async fn command(bench: &Bench, push: u64, verb: Verb) {
    let command = Command {
        push: PushId(push),
        verb,
        who: "uid 0".into(),
        reason: Some("test".into()),
    };
    bench.store.command(command).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_larger_than_memory_keeps_whole_goes_in_order_after_a_start_by_its_segment() {
    let bench = backlog(300).await;
    command(&bench, 200, Verb::Hold).await;
    command(&bench, 250, Verb::Cancel).await;
    let before = listed(&bench).await;
    assert_eq!(before.len(), 299);
    let folder = stop(bench).await;
    assert_eq!(count(folder.path(), "segment WHERE last_push = 300"), 1);
    assert_eq!(count(folder.path(), "open"), 1, "the held one");
    // What a start does not read may be gone: rows of pushes that are over.
    database(folder.path())
        .execute_batch("DELETE FROM push WHERE id = 250; DELETE FROM event WHERE push = 250")
        .unwrap();
    let bench = Bench::on(folder);
    roomy(&bench).await;
    assert_eq!(listed(&bench).await, before);
    bench.store.line_ready(CHEM).await.unwrap();
    for n in (1..=300).filter(|n| ![200, 250].contains(n)) {
        let attempt = bench.attempt();
        assert_eq!(attempt.push, PushId(n));
        assert_eq!(&*attempt.parcel.body.0, &format!("MSH|{n}"));
        let settled = bench.store.settle(attempt, yes(), Connection::Usable);
        settled.await.unwrap();
    }
    assert_eq!(bench.store.report().await.unwrap().live, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_the_first_version_opens_with_all_it_had() {
    let mut bench = backlog(100).await;
    bench.push("c1", "MSH|c1").await;
    bench.store.line_ready(CHEM).await.unwrap();
    let first = bench.attempt();
    let gone = Connection::Gone("closed".into());
    bench.store.settle(first, unknown(), gone).await.unwrap();
    command(&bench, 50, Verb::Hold).await;
    command(&bench, 60, Verb::Cancel).await;
    let before = listed(&bench).await;
    let folder = stop(bench).await;
    without_segments(folder.path());
    bench = Bench::on(folder);
    roomy(&bench).await;
    let states = |all: Vec<(PushId, State, String)>| -> Vec<(PushId, State)> {
        all.into_iter().map(|(id, state, _)| (id, state)).collect()
    };
    assert_eq!(states(listed(&bench).await), states(before));
    let folder = stop(bench).await;
    assert!(count(folder.path(), "segment WHERE bytes NOT NULL") > 0);
    let mut bench = Bench::on(folder);
    roomy(&bench).await;
    // The same callback is still the same push, and an equal order still joins.
    bench.push("c1", "MSH|c1").await;
    bench.push("c2", "MSH|70").await;
    bench.store.barrier().await.unwrap();
    let joined = bench.store.history(PushId(102)).await.unwrap().unwrap();
    assert_eq!(joined.joins, Some(PushId(70)));
    command(&bench, 70, Verb::Cancel).await;
    assert_eq!(bench.answer().await.callback, "c2");
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_follow_each_other_and_a_crash_between_them_loses_nothing() {
    let bench = backlog(5_000).await;
    bench.store.line_ready(CHEM).await.unwrap();
    for _ in 0..10 {
        let attempt = bench.attempt();
        let settled = bench.store.settle(attempt, yes(), Connection::Usable);
        settled.await.unwrap();
    }
    bench.store.barrier().await.unwrap();
    let before = bench.store.report().await.unwrap();
    // As after a crash: the files as they are, while the first store still has them.
    let copy = tempfile::tempdir().unwrap();
    for file in ["wardpost.db", "wardpost.db-wal"] {
        std::fs::copy(bench.folder.path().join(file), copy.path().join(file)).unwrap();
    }
    assert_eq!(count(copy.path(), "segment"), 1);
    let after = Bench::on(copy);
    roomy(&after).await;
    let report = after.store.report().await.unwrap();
    assert_eq!(report.live, before.live);
    assert_eq!(report.devices[0].held, 1, "what was under way is uncertain");
    after.store.line_ready(CHEM).await.unwrap();
    assert_eq!(after.attempt().push, PushId(12));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_fails_beside_a_backlog_loses_nothing_of_it() {
    let bench = backlog(300).await;
    let folder = stop(bench).await;
    let pages: u32 = database(folder.path())
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .unwrap();
    let mut bench = Bench::with_room(folder, pages + 30);
    roomy(&bench).await;
    for n in 0..20 {
        let large = format!("MSH|{n}|{}", "x".repeat(30_000));
        bench.push(&format!("large{n}"), &large).await;
    }
    let Said::Reply(_) = bench.said().await else {
        panic!("not refused");
    };
    let waiting = listed(&bench).await;
    let ids: Vec<u64> = waiting.iter().map(|(id, ..)| id.0).collect();
    assert_eq!(ids[..300], (1..=300).collect::<Vec<_>>());
    bench.store.line_ready(CHEM).await.unwrap();
    assert_eq!(bench.attempt().push, PushId(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_is_recognised_although_its_print_is_shared_by_strangers() {
    let mut bench = Bench::start();
    let print = print_of("shared");
    for n in 0..3 {
        let mut other = push(&format!("c{n}"), &format!("MSH|{n}"));
        (other.content, other.key_prints) = (Some(print), vec![print]);
        other.callback.as_mut().unwrap().print = print;
        bench.store.accept(other).await.unwrap();
    }
    bench.store.line_ready(CHEM).await.unwrap();
    for n in 0..3 {
        assert_eq!(bench.deliver().await.callback, format!("c{n}"));
    }
    let mut bench = bench.restart().await;
    for n in 0..3 {
        let mut again = push(&format!("c{n}"), &format!("MSH|{n}"));
        (again.content, again.key_prints) = (Some(print), vec![print]);
        again.callback.as_mut().unwrap().print = print;
        bench.store.accept(again).await.unwrap();
        assert_eq!(bench.answer().await.callback, format!("c{n}"));
    }
    let mut equal = push("c9", "MSH|0");
    (equal.content, equal.key_prints) = (Some(print), vec![print]);
    bench.store.accept(equal).await.unwrap();
    assert_eq!(bench.answer().await.callback, "c9");
    let joined = bench.store.history(PushId(4)).await.unwrap().unwrap();
    assert_eq!(joined.joins, Some(PushId(1)));
}
