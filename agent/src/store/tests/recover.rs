//! Commits that fail, and what becomes of all that shared them.

use super::*;

/// A bench whose writer waits behind its first attempt, with room for so many pages.
async fn waiting(pages: u32) -> (Bench, Attempt, sync::Sender<()>) {
    let (open, gate) = sync::channel();
    let bench = Bench::gated(tempfile::tempdir().unwrap(), pages, (BOUNDS, Some(gate)));
    bench.store.line_ready(CHEM).await.unwrap();
    bench.push("c1", "MSH|1").await;
    let attempt = bench.attempt();
    (bench, attempt, open)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_fails_loses_no_question_that_shared_it() {
    let (mut bench, attempt, gate) = waiting(60).await;
    let store = bench.store.clone();
    let resting = Connection::Resting;
    store.settle(attempt, yes(), resting).await.unwrap();
    store.line_resting(CHEM).await.unwrap();
    let large_push = push("large", &format!("MSH|{}", "x".repeat(300_000)));
    let large = async {
        store.accept(large_push).await.unwrap();
        drop(gate);
    };
    let (barrier, report, waiting, explained, ()) = tokio::join!(
        store.barrier(),
        store.report(),
        store.list(Filter::default(), 10),
        store.explain(PushId(1)),
        large
    );
    barrier.expect("the store lives, and says so");
    assert_eq!(report.unwrap().live, 0);
    assert_eq!(waiting.unwrap().len(), 0, "the large one was refused");
    assert!(explained.unwrap().is_none(), "it is settled");
    assert_eq!(bench.answer().await.callback, "c1");
    assert!(matches!(bench.said().await, Said::Reply(_)));
}

/// Lets the commits fail that record the agent's switch, until it is taken away.
const IN_THE_WAY: &str =
    "CREATE TRIGGER in_the_way BEFORE INSERT ON meta WHEN NEW.key = 'agent_off'
    BEGIN SELECT raise(ABORT, 'no'); END";

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_could_not_be_recorded_is_in_force_and_recorded_later() {
    let bench = Bench::start();
    let path = bench.folder.path().join("wardpost.db");
    let other = rusqlite::Connection::open(path).unwrap();
    other.busy_timeout(Duration::from_secs(5)).unwrap();
    other.execute_batch(IN_THE_WAY).unwrap();
    bench.store.switch(AgentSwitch::Off).await.unwrap();
    bench.push("c1", "MSH|1").await;
    let waits = bench.store.explain(PushId(1)).await.unwrap().unwrap();
    assert_eq!(waits.explained.state, State::Held);
    other.execute_batch("DROP TRIGGER in_the_way").unwrap();
    let recorded = async {
        let off = "SELECT count(*) FROM meta WHERE key = 'agent_off' AND value = 1";
        while other
            .query_row(off, [], |row| row.get::<_, i64>(0))
            .unwrap()
            == 0
        {
            bench.store.barrier().await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let recorded = tokio::time::timeout(Duration::from_secs(10), recorded).await;
    recorded.expect("it is recorded as soon as it can be");
    let bench = bench.restart().await;
    let waits = bench.store.explain(PushId(1)).await.unwrap().unwrap();
    assert_eq!(waits.explained.state, State::Held);
}
