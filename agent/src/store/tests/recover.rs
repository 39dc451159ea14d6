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
