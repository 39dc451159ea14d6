//! With `--keep-pushes`: kept, sent again on every connect, answered once.

use serde_json::json;
use wardpost_cloud::{Database, Options};

use crate::client::{World, connect, options, order, response};

#[tokio::test]
async fn a_push_for_an_absent_agent_is_kept_and_sent_on_every_connect_until_it_is_answered() {
    let world = World::keeping().await;
    assert_eq!(world.push(&order(&json!({}))).await.json()["id"], "ok");
    let mut first = world.agent().await;
    let push = first.next().await;
    drop(first);
    world
        .until("gone", || world.cloud.connected("a1") == 0)
        .await;
    let mut second = world.agent().await;
    assert_eq!(second.next().await, push);
    let callback = push["callback"].as_str().unwrap();
    second.send(&response(callback, 200, "MSA|AA|1")).await;
    second.settle().await;
    drop(second);
    world
        .until("gone", || world.cloud.connected("a1") == 0)
        .await;
    let mut third = world.agent().await;
    // Nothing comes before the answer to this.
    third.settle().await;
    let kept = world.cloud.kept().await;
    assert_eq!((kept.len(), kept[0].sent_times, kept[0].answers), (1, 2, 1));
    assert_eq!(kept[0].answer.as_ref().unwrap().body, "MSA|AA|1");
    assert_eq!(world.cloud.unanswered("a1"), 0);
}

#[tokio::test]
async fn who_waits_for_a_kept_push_gets_the_devices_words() {
    let world = World::keeping().await;
    let mut agent = world.agent().await;
    let (reply, _) = tokio::join!(world.push_and_wait(), agent.acknowledge());
    assert_eq!((reply.status, reply.body.as_str()), (200, "MSA|AA|1"));
}

#[tokio::test]
async fn who_waits_too_long_is_told_under_which_callback_it_is_kept() {
    let world = World::keeping().await;
    let reply = world
        .push(&order(
            &json!({ "waitForResponse": true, "waitTimeout": 10 }),
        ))
        .await;
    assert_eq!(reply.status, 202);
    assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8");
    let mut agent = world.agent().await;
    let callback = agent.acknowledge().await;
    assert!(
        reply.body.starts_with("kept: ") && reply.body.ends_with(&callback),
        "{}",
        reply.body
    );
    agent.settle().await;
    assert_eq!(world.cloud.answers(&callback).await[0].status, 200);
}

#[tokio::test]
async fn the_answer_to_a_heartbeat_says_that_answers_before_it_are_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cloud.db");
    let database = Database::File(file.clone());
    let world = World::with(Options {
        keep_pushes: true,
        database,
        ..options()
    })
    .await;
    world.push(&order(&json!({}))).await;
    let mut agent = world.agent().await;
    let callback = agent.acknowledge().await;
    agent.settle().await;
    // A second process sees it.
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let db = rusqlite::Connection::open_with_flags(file, flags).unwrap();
    let row: (String, u16, String, u64) = db
        .query_row(
            "SELECT agent, answered_status, answered_body, answers FROM kept WHERE callback = ?1",
            [&callback],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )
        .unwrap();
    assert_eq!(row, ("a1".into(), 200, "MSA|AA|1".into(), 1));
}

#[tokio::test]
async fn kept_pushes_come_in_order_and_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::File(folder.path().join("cloud.db"));
    let options = Options {
        keep_pushes: true,
        database,
        ..options()
    };
    let world = World::with(options.clone()).await;
    // More than one page of an outbox.
    for number in 0..150 {
        world
            .push(&order(&json!({ "body": number.to_string() })))
            .await;
    }
    world.cloud.shutdown().await;
    let world = World::with(options).await;
    let mut agent = world.agent().await;
    for number in 0..150 {
        assert_eq!(agent.next().await["body"], number.to_string());
    }
    world.push(&order(&json!({ "body": "next" }))).await;
    assert_eq!(agent.next().await["body"], "next");
    drop(agent);
    world.cloud.shutdown().await;
}

#[tokio::test]
async fn a_different_second_answer_is_counted_and_kept_beside_the_first() {
    let world = World::keeping().await;
    world.push(&order(&json!({}))).await;
    let mut agent = world.agent().await;
    let callback = agent.acknowledge().await;
    agent.send(&response(&callback, 200, "MSA|AA|1")).await;
    agent.settle().await;
    assert_eq!(world.cloud.conflicting_answers(), 0);
    agent.send(&response(&callback, 202, "MSA|AA|1")).await;
    agent
        .send(&json!({ "type": "agent:error", "callback": callback, "body": "no" }))
        .await;
    agent.settle().await;
    assert_eq!(world.cloud.conflicting_answers(), 2);
    let statuses: Vec<_> = world
        .cloud
        .answers(&callback)
        .await
        .iter()
        .map(|a| a.status)
        .collect();
    assert_eq!(statuses, [200, 202, 400]);
    let kept = world.cloud.kept().await;
    assert_eq!((kept[0].answers, kept[0].conflicting), (4, 2));
}

#[tokio::test]
async fn a_kept_push_is_answered_only_by_its_agent() {
    let world = World::keeping().await;
    world.push(&order(&json!({}))).await;
    let callback = world.cloud.kept().await[0].callback.clone();
    let mut stranger = world.open().await;
    stranger.send(&response(&callback, 200, "stranger")).await;
    let mut other = world.open().await;
    let mut as_other = connect(&world.token);
    as_other["agentId"] = json!("a2");
    other.send(&as_other).await;
    other.next().await;
    other.send(&response(&callback, 200, "other")).await;
    other.settle().await;
    stranger.settle().await;
    assert_eq!(world.cloud.refused_answers(), 2);
    assert_eq!(world.cloud.unanswered("a1"), 1);
}

#[tokio::test]
async fn a_ping_is_never_kept() {
    let world = World::keeping().await;
    let ping = json!({ "destination": "10.0.0.7", "contentType": "x-application/ping", "body": "PING",
        "waitForResponse": true, "waitTimeout": 10 });
    world.push(&ping).await.refuses(400, "Timeout");
    assert!(world.cloud.kept().await.is_empty());
}

#[tokio::test]
async fn an_error_with_the_callback_answers_a_kept_push() {
    let world = World::keeping().await;
    let mut agent = world.agent().await;
    let refuse = async {
        let callback = agent.next().await["callback"].clone();
        agent
            .send(&json!({ "type": "agent:error", "callback": callback, "body": "no such device" }))
            .await;
    };
    let (reply, ()) = tokio::join!(world.push_and_wait(), refuse);
    reply.refuses(400, "no such device");
    assert_eq!(world.cloud.unanswered("a1"), 0);
}
