//! Scripted misbehaviour: each fault does what its name says, and only while it is set.

use std::time::Duration;

use serde_json::json;
use wardpost_cloud::{CallbackForm, Ending, Instead, Options, RefuseTokens};

use crate::client::{World, connect, login, options, order};

const FORM: &str = "grant_type=client_credentials&client_id=c1&client_secret=s3cret";

#[tokio::test]
async fn tokens_are_refused_as_often_as_asked() {
    let world = World::forgetful().await;
    for status in [400, 429, 503] {
        world
            .cloud
            .faults(|faults| faults.refuse_tokens = Some(RefuseTokens { times: 2, status }));
        let mut statuses = Vec::new();
        for _ in 0..3 {
            statuses.push(login(world.cloud.base_url(), &[], FORM).await.status);
        }
        assert_eq!(statuses, [status, status, 200]);
    }
}

#[tokio::test]
async fn what_comes_instead_of_a_token_comes_until_it_is_taken_back() {
    let world = World::forgetful().await;
    let mut seen = Vec::new();
    for instead in [
        Instead::Status(502),
        Instead::Later {
            status: 429,
            seconds: 7,
        },
        Instead::Page,
        Instead::Garbage,
    ] {
        world
            .cloud
            .faults(|faults| faults.instead_of_tokens = Some(instead));
        for _ in 0..2 {
            let reply = login(world.cloud.base_url(), &[], FORM).await;
            assert!(!reply.body.contains("access_token"), "{reply:?}");
            seen.push(reply.status);
        }
    }
    assert_eq!(seen, [502, 502, 429, 429, 200, 200, 200, 200]);
    world.cloud.faults(|faults| faults.instead_of_tokens = None);
    assert_eq!(login(world.cloud.base_url(), &[], FORM).await.status, 200);
}

#[tokio::test]
async fn a_session_can_end_as_soon_as_it_has_begun() {
    let world = World::forgetful().await;
    world
        .cloud
        .faults(|faults| faults.end_on_connect = Some(Ending::Code(1013)));
    let mut peer = world.open().await;
    peer.send(&connect(&world.token)).await;
    assert_eq!(peer.next().await["type"], "agent:connect:response");
    assert_eq!(peer.close_code().await, Some(1013));
}

#[tokio::test]
async fn a_connect_is_refused_delayed_or_never_answered() {
    let world = World::forgetful().await;
    world
        .cloud
        .faults(|faults| faults.refuse_connect = Some("Invalid access token".into()));
    let mut peer = world.open().await;
    peer.send(&connect(&world.token)).await;
    assert_eq!(peer.next_refusal().await, "Invalid access token");

    world.cloud.faults(|faults| {
        faults.refuse_connect = None;
        faults.delay_connect = Some(Duration::from_millis(10));
        faults.drop_connect_response = true;
    });
    peer.send(&connect(&world.token)).await;
    // The stub takes it for connected; the first thing the agent hears is something else.
    peer.settle().await;
    assert_eq!(world.cloud.connected("a1"), 1);
}

#[tokio::test]
async fn a_silent_server_neither_sends_nor_answers_heartbeats() {
    let world = World::with(Options {
        heartbeat: Duration::from_millis(1),
        ..options()
    })
    .await;
    world.cloud.faults(|faults| faults.no_heartbeats = true);
    let mut agent = world.agent().await;
    agent
        .send(&json!({ "type": "agent:heartbeat:request" }))
        .await;
    agent.send(&json!({ "type": "agent:dance:request" })).await;
    assert_eq!(
        agent.next_refusal().await,
        "Unknown message type: agent:dance:request"
    );
}

#[tokio::test]
async fn a_push_comes_twice_or_late() {
    let world = World::forgetful().await;
    let mut agent = world.agent().await;
    world.cloud.faults(|faults| faults.duplicate_pushes = true);
    world.push(&order(&json!({}))).await;
    assert_eq!(agent.next().await, agent.next().await);
    world.cloud.faults(|faults| {
        faults.duplicate_pushes = false;
        faults.delay_pushes = Some(Duration::from_millis(100));
    });
    let hasty = order(&json!({ "waitForResponse": true, "waitTimeout": 1 }));
    world.push(&hasty).await.refuses(400, "Timeout");
    assert_eq!(agent.next().await["type"], "agent:transmit:request");
}

#[tokio::test]
async fn callbacks_come_in_both_forms() {
    let world = World::forgetful().await;
    let mut agent = world.agent().await;
    world
        .cloud
        .faults(|faults| faults.callbacks = CallbackForm::Host);
    let (reply, callback) = tokio::join!(world.push_and_wait(), agent.acknowledge());
    assert_eq!(reply.status, 200);
    assert!(
        callback.starts_with("agent:cb:wardpost-cloud:"),
        "{callback}"
    );
    assert_eq!(world.cloud.issued("a1"), [callback]);
}

#[tokio::test]
async fn the_answer_to_an_upload_may_lack_its_status_or_have_an_object_as_body() {
    let world = World::forgetful().await;
    world.cloud.faults(|faults| {
        faults.omit_status_code = true;
        faults.object_body = true;
    });
    let mut agent = world.agent().await;
    agent
        .send(
            &json!({ "type": "agent:transmit:request", "accessToken": world.token, "channel": "lab",
            "remote": "r", "contentType": "text/plain", "body": "x", "callback": "c" }),
        )
        .await;
    let answer = agent.next().await;
    assert_eq!(answer.get("statusCode"), None);
    assert_eq!(answer["body"], json!({ "text": "Bot execution logs:\n" }));
}

#[tokio::test]
async fn any_text_can_be_sent_to_an_agent() {
    let world = World::forgetful().await;
    let mut agent = world.agent().await;
    world
        .cloud
        .send_text("a1", r#"{"type":"agent:error","body":"out of the blue"}"#);
    assert_eq!(agent.next_refusal().await, "out of the blue");
}
