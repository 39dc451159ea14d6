//! Pushes of Tasks on a real database.

use agent_core::queue::Taken;

use super::*;

fn of_task(version: u32) -> NewPush {
    push(&format!("Task/t1/{version}"), "MSH|1")
}

async fn take(bench: &Bench, push: NewPush) -> PushId {
    match bench.store.take_task(push).await.unwrap() {
        Taken::Kept(push) => push,
        Taken::Refused(why) => panic!("refused: {why}"),
    }
}

async fn standing(bench: &Bench, push: PushId) -> Standing {
    bench.store.standing(push).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_task_is_held_over_a_restart_and_goes_when_it_is_claimed() {
    let bench = Bench::start();
    bench.store.line_ready(CHEM).await.unwrap();
    let held = take(&bench, of_task(1)).await;
    let bench = bench.restart().await;
    bench.store.line_ready(CHEM).await.unwrap();
    assert_eq!(bench.store.unclaimed().await.unwrap(), [held]);
    let before = standing(&bench, held).await;
    assert_eq!(before.callback, "Task/t1/1");
    assert_eq!(
        (before.state, before.held),
        (State::Held, Some(HeldBy::Claim))
    );
    assert_eq!(take(&bench, of_task(1)).await, held);

    bench.store.watch_task(held);
    bench.store.claimed(held).await.unwrap();
    let attempt = bench.attempt();
    assert_eq!(bench.store.task_news().await, [held]);
    assert_eq!(standing(&bench, held).await.state, State::Sending);
    let settled = bench.store.settle(attempt, yes(), Connection::Usable);
    settled.await.unwrap();
    assert_eq!(bench.store.task_news().await, [held]);
    let after = standing(&bench, held).await;
    assert_eq!(after.state, State::Delivered);
    assert!(after.words.is_some(), "the device's words are kept");
}

#[tokio::test]
async fn the_answer_to_a_task_never_goes_to_the_websocket() {
    let mut bench = Bench::start();
    bench.store.line_ready(CHEM).await.unwrap();
    let held = take(&bench, of_task(1)).await;
    bench.store.claimed(held).await.unwrap();
    let settled = bench
        .store
        .settle(bench.attempt(), yes(), Connection::Usable);
    settled.await.unwrap();
    bench.store.accept(of_task(1)).await.unwrap();
    bench.store.barrier().await.unwrap();
    assert_eq!(bench.store.last_answer(), Seq(0));
    let all = bench.store.answers_after(Seq(0), 10).await.unwrap();
    assert!(all.is_empty(), "{all:?}");
    assert!(bench.said.try_recv().is_err());
}

#[tokio::test]
async fn what_was_withdrawn_says_why_and_what_is_unknown_is_none() {
    let bench = Bench::start();
    let held = take(&bench, of_task(1)).await;
    let why = "somebody else claimed it".to_owned();
    bench.store.withdraw(held, why.clone()).await.unwrap();
    let after = standing(&bench, held).await;
    assert_eq!((after.state, after.reason), (State::Cancelled, Some(why)));
    assert!(bench.store.standing(PushId(99)).await.unwrap().is_none());
    assert!(bench.store.unclaimed().await.unwrap().is_empty());
}
