//! The websocket: handshake, heartbeats, refusals, limits, who may answer what.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use wardpost_cloud::{Ending, Options};

use crate::bots::deploy;
use crate::client::{HL7, Peer, World, connect, host, options, order};

async fn check_connect(world: &World, request: &Value, text: &str) {
    let mut peer = world.open().await;
    peer.send(request).await;
    assert_eq!(peer.next_refusal().await, text, "{request}");
    // The socket stays open, and unconnected.
    peer.settle().await;
    assert_eq!(world.cloud.connected("a1"), 0);
}

fn upload(token: &str, more: &Value) -> Value {
    let mut upload = json!({ "type": "agent:transmit:request", "accessToken": token, "channel": "lab",
        "remote": "10.0.0.7:40112", "contentType": HL7, "callback": "Agent/a1-up",
        "body": "MSH|^~\\&|LAB|L1|EHR|H1|20260301||ORU^R01|9|P|2.5\rPID|1" });
    for (name, value) in more.as_object().unwrap() {
        upload[name] = value.clone();
    }
    upload
}

#[tokio::test]
async fn only_the_second_segment_leads_to_the_agents_socket() {
    let world = World::forgetful().await;
    assert!(
        Peer::try_open(world.cloud.base_url(), "/ws/agent")
            .await
            .is_ok()
    );
    for path in ["/ws/other", "/ws", "/agent", "/ws/agent?x=1"] {
        match Peer::try_open(world.cloud.base_url(), path).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), 404, "{path}"),
            _ => panic!("{path} must not be a websocket"),
        }
    }
}

#[tokio::test]
async fn each_mistake_in_a_connect_has_its_own_words() {
    let world = World::forgetful().await;
    let request = connect(&world.token);
    let with = |name: &str, value: Value| {
        let mut request = request.clone();
        request[name] = value;
        request
    };
    let bare = json!({ "type": "agent:connect:request" });
    check_connect(&world, &bare, "Missing access token").await;
    check_connect(
        &world,
        &with("accessToken", json!("")),
        "Missing access token",
    )
    .await;
    check_connect(&world, &with("agentId", json!("")), "Missing agent ID").await;
    check_connect(
        &world,
        &with("accessToken", json!("opaque")),
        "Invalid access token",
    )
    .await;
    check_connect(&world, &with("agentId", json!("none")), "Not found").await;
}

#[tokio::test]
async fn an_unknown_type_and_an_unreadable_text_are_answered_with_an_error() {
    let world = World::forgetful().await;
    let mut peer = world.open().await;
    peer.send(&json!({ "type": "agent:dance:request", "callback": "c" }))
        .await;
    assert_eq!(
        peer.next_refusal().await,
        "Unknown message type: agent:dance:request"
    );
    peer.send_text("{\"type\":").await;
    assert!(peer.next_refusal().await.starts_with("unreadable message"));
    peer.settle().await;
}

#[tokio::test]
async fn heartbeats_go_both_ways_and_status_shows_them() {
    let heartbeat = Duration::from_millis(20);
    let world = World::with(Options {
        heartbeat,
        ..options()
    })
    .await;
    let mut agent = world.agent().await;
    assert_eq!(agent.next().await["type"], "agent:heartbeat:request");
    agent
        .send(&json!({ "type": "agent:heartbeat:response", "version": "0.1.0-abcdef0" }))
        .await;
    agent
        .send(&json!({ "type": "agent:heartbeat:request" }))
        .await;
    let answer = loop {
        let message = agent.next().await;
        if message["type"] == "agent:heartbeat:response" {
            break message;
        }
    };
    assert!(answer["version"].is_string());
    let status = world.get("fhir/R4/Agent/a1/$status").await.json();
    assert_eq!(status["parameter"][0]["valueCode"], "connected");
    assert_eq!(status["parameter"][1]["valueString"], "0.1.0-abcdef0");
}

#[tokio::test]
async fn a_message_above_one_mebibyte_closes_the_socket_with_1009() {
    let world = World::forgetful().await;
    let mut agent = world.agent().await;
    let body = "x".repeat(1024 * 1024);
    let large = upload(&world.token, &json!({ "body": body }));
    // The stub may have closed before all of it was sent.
    let _ = futures_util::SinkExt::send(&mut agent.socket, Message::Text(large.to_string().into()))
        .await;
    assert_eq!(agent.close_code().await, Some(1009));
    world
        .until("gone", || world.cloud.connected("a1") == 0)
        .await;
}

#[tokio::test]
async fn a_message_of_one_mebibyte_is_taken() {
    let world = World::forgetful().await;
    let mut agent = world.agent().await;
    let bare = upload(&world.token, &json!({ "body": "MSH|" }))
        .to_string()
        .len();
    let body = format!("MSH|{}", "x".repeat(1024 * 1024 - bare));
    agent
        .send(&upload(&world.token, &json!({ "body": body })))
        .await;
    assert_eq!(agent.next().await["statusCode"], 200);
}

#[tokio::test]
async fn each_mistake_in_what_a_device_sends_has_its_own_words() {
    let world = World::forgetful().await;
    let mut peer = world.open().await;
    peer.send(&upload(&world.token, &json!({}))).await;
    assert_eq!(peer.next_refusal().await, "Not connected");
    let mut agent = world.agent().await;
    for (more, text) in [
        (json!({ "accessToken": "" }), "Missing access token"),
        (json!({ "channel": "" }), "Missing channel"),
        (json!({ "body": "" }), "Missing body"),
        (json!({ "accessToken": "opaque" }), "Invalid access token"),
        (json!({ "channel": "none" }), "Channel not found"),
        (json!({ "channel": "lost" }), "Not found"),
    ] {
        agent.send(&upload(&world.token, &more)).await;
        assert_eq!(agent.next_refusal().await, text);
    }
}

#[tokio::test]
async fn what_a_device_sends_goes_to_its_bot_and_the_bots_words_go_back() {
    let world = World::forgetful().await;
    let mut agent = world.agent().await;
    agent.send(&upload(&world.token, &json!({}))).await;
    let answer = agent.next().await;
    assert_eq!(answer["type"], "agent:transmit:response");
    assert_eq!(answer["statusCode"], 200);
    assert_eq!(
        (&answer["channel"], &answer["callback"]),
        (&json!("lab"), &json!("Agent/a1-up"))
    );
    assert_eq!(answer["remote"], "10.0.0.7:40112");
    assert!(answer["body"].as_str().unwrap().ends_with("MSA|AA|9|OK"));
    agent
        .send(&upload(
            &world.token,
            &json!({ "contentType": "application/json", "body": "{}" }),
        ))
        .await;
    assert_eq!(agent.next().await["body"], "Bot execution logs:\n");
}

#[tokio::test]
async fn a_bot_of_a_channel_may_return_anything_or_fail() {
    let world = World::forgetful().await;
    let mut agent = world.agent().await;
    let kind = json!({ "contentType": "application/json", "body": "{\"n\":1}" });
    for (body, status, kind_back, answer) in [
        (
            "return { n: input.n + 1 };",
            200,
            "application/json",
            json!({ "n": 2 }),
        ),
        ("return 7;", 200, "application/json", json!(7)),
        (
            "console.log('got', input.n);",
            200,
            "application/json",
            json!("Bot execution logs:\ngot 1"),
        ),
        (
            "return '';",
            200,
            "application/json",
            json!("Bot execution logs:\n"),
        ),
    ] {
        deploy(
            &world,
            "b1",
            &format!("exports.handler = async (medplum, {{ input }}) => {{ {body} }};"),
        )
        .await;
        agent.send(&upload(&world.token, &kind)).await;
        let said = agent.next().await;
        assert_eq!(
            (&said["statusCode"], &said["contentType"]),
            (&json!(status), &json!(kind_back))
        );
        assert_eq!(said["body"], answer, "{body}");
    }
    deploy(
        &world,
        "b1",
        "exports.handler = async () => {\n throw new Error('no such patient');\n};",
    )
    .await;
    agent.send(&upload(&world.token, &json!({}))).await;
    let said = agent.next().await;
    assert_eq!(
        (&said["statusCode"], &said["contentType"]),
        (&json!(400), &json!("application/json"))
    );
    assert_eq!(said["callback"], "Agent/a1-up");
    let outcome: Value = serde_json::from_str(said["body"].as_str().unwrap()).unwrap();
    assert_eq!(outcome["issue"][0]["details"]["text"], "no such patient");
    assert!(
        outcome["issue"][0]["diagnostics"]
            .as_str()
            .unwrap()
            .contains("(lab-order.js:2:")
    );
}

#[tokio::test]
async fn what_cannot_be_read_as_its_type_is_refused_before_any_bot() {
    let world = World::forgetful().await;
    let mut agent = world.agent().await;
    agent
        .send(&upload(&world.token, &json!({ "body": "PID|1" })))
        .await;
    assert_eq!(agent.next_refusal().await, "Invalid HL7 message");
    let broken = json!({ "contentType": "application/json", "body": "{" });
    agent.send(&upload(&world.token, &broken)).await;
    assert!(agent.next_refusal().await.starts_with("EOF while parsing"));
}

#[tokio::test]
async fn a_slow_bot_holds_up_neither_heartbeats_nor_the_next_message() {
    let world = World::forgetful().await;
    let mut agent = world.agent().await;
    let code = "exports.handler = async (medplum, { input }) => {
        while (input.wait && (await medplum.readResource('Device', 'd2')).url === undefined) {}
        return input.name;
    };";
    deploy(&world, "b1", code).await;
    let message = |name: &str, wait: bool| {
        let body = json!({ "name": name, "wait": wait }).to_string();
        let more = json!({ "contentType": "application/json", "body": body });
        upload(&world.token, &more)
    };
    agent.send(&message("slow", true)).await;
    agent.settle().await;
    agent.send(&message("quick", false)).await;
    assert_eq!(agent.next().await["body"], "quick");
    let device = json!({ "resourceType": "Device", "id": "d2", "url": "mllp://127.0.0.1:1" });
    world
        .json(hyper::Method::PUT, "fhir/R4/Device/d2", &[], &device)
        .await;
    assert_eq!(agent.next().await["body"], "slow");
}

#[tokio::test]
async fn a_bot_of_a_channel_runs_as_the_agent() {
    let world = World::forgetful().await;
    let mut agent = world.agent().await;
    let code = "exports.handler = async (medplum) =>
        (await medplum.createResource({ resourceType: 'Observation' })).meta.author.reference;";
    deploy(&world, "b1", code).await;
    agent.send(&upload(&world.token, &json!({}))).await;
    assert_eq!(agent.next().await["body"], "ClientApplication/c1");
}

#[tokio::test]
async fn a_socket_that_connects_twice_gets_everything_twice() {
    for world in [World::forgetful().await, World::keeping().await] {
        let mut agent = world.agent().await;
        agent.send(&connect(&world.token)).await;
        assert_eq!(agent.next().await["type"], "agent:connect:response");
        world
            .until("connected twice", || world.cloud.connected("a1") == 2)
            .await;
        world.push(&order(&json!({}))).await;
        let first = agent.next().await;
        assert_eq!(agent.next().await, first);
    }
}

#[tokio::test]
async fn the_first_socket_to_close_flips_the_status() {
    let world = World::forgetful().await;
    let status = async || {
        world.get("fhir/R4/Agent/a1/$status").await.json()["parameter"][0]["valueCode"].clone()
    };
    assert_eq!(status().await, "unknown");
    let one = world.agent().await;
    let mut other = world.agent().await;
    world
        .until("connected twice", || world.cloud.connected("a1") == 2)
        .await;
    assert_eq!(status().await, "connected");
    drop(one);
    world
        .until("one left", || world.cloud.connected("a1") == 1)
        .await;
    assert_eq!(status().await, "disconnected");
    other
        .send(&json!({ "type": "agent:heartbeat:response", "version": "0.1.0-abcdef0" }))
        .await;
    other.settle().await;
    assert_eq!(status().await, "connected");
}

#[tokio::test]
async fn sockets_end_as_a_test_says_and_with_1001_on_shutdown() {
    let world = World::forgetful().await;
    for (ending, code) in [(Ending::Code(1001), Some(1001)), (Ending::Abort, None)] {
        let mut agent = world.agent().await;
        world.cloud.end_sockets("a1", ending);
        assert_eq!(agent.close_code().await, code, "{ending:?}");
        world
            .until("gone", || world.cloud.connected("a1") == 0)
            .await;
    }
    let mut agent = world.agent().await;
    let ((), code) = tokio::join!(world.cloud.shutdown(), agent.close_code());
    assert_eq!(code, Some(1001));
}

#[tokio::test]
async fn an_upgrade_that_is_no_websocket_is_not_found() {
    let world = World::forgetful().await;
    let mut stream = TcpStream::connect(host(world.cloud.base_url()))
        .await
        .unwrap();
    let request = b"GET /ws/agent HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}
