//! Pushes to the agent itself.

use agent_core::queue::OwnAnswer;

use super::*;

fn own(callback: &str, body: &str) -> NewPush {
    NewPush {
        device: DeviceNo::SELF,
        content_type: crate::cloud::COMMAND.into(),
        remote: "device://self".into(),
        return_ack: None,
        order_keys: Vec::new(),
        key_prints: Vec::new(),
        content: None,
        ..push(callback, body)
    }
}

fn looked(words: &str) -> Own {
    Own::Said(OwnAnswer {
        status: 200,
        words: Phi(words.into()),
    })
}

fn hold(push: u64) -> Own {
    let command = Command {
        push: PushId(push),
        verb: Verb::Hold,
        who: "cloud".into(),
        reason: None,
    };
    Own::Does(command, |done| OwnAnswer {
        status: if done.is_ok() { 200 } else { 400 },
        words: Phi("done".into()),
    })
}

async fn refused(bench: &mut Bench) -> String {
    match bench.said().await {
        Said::Reply(reply) => reply.encode(),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_a_command_is_carried_out_and_a_look_is_refused() {
    let bench = Bench::start();
    bench.push("c1", "MSH|1").await;
    let bounds = Bounds {
        min_free: 1 << 60,
        ..BOUNDS
    };
    let mut bench = Bench::limited(bench.close().await, 60, bounds);
    let look = own("c2", "status");
    bench.store.accept_own(look, looked("{}")).await.unwrap();
    let answer = bench.answer().await;
    assert_eq!(answer.callback, "c2", "only new pushes are refused");
    let too_much = Command {
        push: PushId(1),
        verb: Verb::Hold,
        who: "uid 0".into(),
        reason: Some("x".repeat(300_000)),
    };
    bench.store.command(too_much).await.unwrap_err();
    let look = own("c3", "status");
    bench.store.accept_own(look, looked("{}")).await.unwrap();
    let command = own("c4", "hold");
    bench.store.accept_own(command, hold(1)).await.unwrap();
    assert!(refused(&mut bench).await.contains("disk is full"));
    let answer = bench.answer().await;
    assert_eq!((answer.callback.as_str(), answer.status), ("c4", 200));
    let held = bench.store.explain(PushId(1)).await.unwrap().unwrap();
    assert_eq!(held.explained.state, State::Held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_finds_no_room_does_not_cost_the_reserve() {
    let mut bench = Bench::with_room(tempfile::tempdir().unwrap(), 60);
    let reserve = bench.folder.path().join("reserve");
    bench.store.barrier().await.unwrap();
    assert_eq!(reserve.metadata().unwrap().len(), 1 << 20);
    let large = looked(&"x".repeat(300_000));
    bench
        .store
        .accept_own(own("c1", "queue"), large)
        .await
        .unwrap();
    let why = refused(&mut bench).await;
    assert!(why.contains("could not be recorded"), "{why}");
    bench.store.barrier().await.unwrap();
    assert_eq!(reserve.metadata().unwrap().len(), 1 << 20);
    assert_eq!(bench.store.room_on_disk().refusing, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_the_writer_shares_the_same_memory() {
    let (open, gate) = sync::channel();
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::gated(folder, u32::MAX - 1, (BOUNDS, Some(gate)));
    bench.store.line_ready(CHEM).await.unwrap();
    bench.push("c1", "MSH|1").await;
    let attempt = bench.attempt();
    let room = &bench.store.shared.room;
    let before = room.available_permits();
    let large = own("c2", &" ".repeat(7 * 1024));
    bench.store.accept_own(large, looked("{}")).await.unwrap();
    assert_eq!(room.available_permits(), before - 8);
    drop(open);
    assert_eq!(bench.answer().await.callback, "c2");
    let settled = bench.store.settle(attempt, yes(), Connection::Usable);
    settled.await.unwrap();
    assert_eq!(bench.answer().await.callback, "c1");
}
