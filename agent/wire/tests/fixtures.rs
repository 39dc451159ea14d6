//! Every fixture is read as exactly the value it stands for, and written again as the same JSON.
//!
//! The same files are checked against Medplum's published TypeScript types (`tests/peers/fixtures.mjs`),
//! so the agent and the cloud stub, which both use this crate, cannot agree on a mistake.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use agent_wire::{DeviceMessage, HL7, LogsPage, PING, PushRequest, TEXT};
use agent_wire::{ToAgent, ToServer, TransmitResponse};
use serde_json::{Value, json};

const ORDER: &str = "MSH|^~\\&|EHR|CLINIC|LAB|CLINIC|20260301081500||OML^O21^OML_O21|ORD-1001-1|P|2.5.1\r\
    PID|1||900001||DOE^JANE\rORC|NW|ORD-1001\rOBR|1|ORD-1001||GLU^Glucose\r";
const ORDER_NOBODY_WAITS_FOR: &str = "MSH|^~\\&|EHR|CLINIC|LAB|CLINIC|20260301081500||OML^O21^OML_O21|ORD-1002-1|P|2.5.1\r\
    PID|1||900001||DOE^JANE\r";
const ORDER_ACK: &str = "MSH|^~\\&|LAB|CLINIC|EHR|CLINIC|20260301081501||ACK^O21^ACK|1|P|2.5.1\r\
    MSA|AA|ORD-1001-1\r";
const RESULT: &str = "MSH|^~\\&|LAB|CLINIC|EHR|CLINIC|20260301091500||ORU^R01^ORU_R01|RES-77|P|2.5.1\r\
    PID|1||900001||DOE^JANE\rOBX|1|NM|GLU^Glucose||5.4|mmol/L\r";
const RESULT_ACK: &str = "MSH|^~\\&|EHR|CLINIC|LAB|CLINIC|20260301091501||ACK^R01^ACK|77|P|2.5.1\r\
    MSA|AA|RES-77\r";

#[test]
fn what_a_server_sends_is_read_as_its_value_and_written_as_its_json() {
    for (name, expected) in to_agent() {
        let text = fixture(name);
        assert_eq!(ToAgent::decode(&text).unwrap(), expected, "{name}");
        assert_eq!(value(&expected.encode()), value(&text), "{name}");
    }
}

#[test]
fn what_an_agent_sends_is_read_as_its_value_and_written_as_its_json() {
    for (name, expected) in to_server() {
        let text = fixture(name);
        assert_eq!(ToServer::decode(&text).unwrap(), expected, "{name}");
        assert_eq!(value(&expected.encode()), value(&text), "{name}");
    }
}

#[test]
fn every_fixture_has_its_value() {
    let known: BTreeSet<String> = to_agent()
        .into_iter()
        .map(|(name, _)| name)
        .chain(to_server().into_iter().map(|(name, _)| name))
        .map(|name| format!("{name}.json"))
        .collect();
    assert_eq!(known, files());
}

#[test]
fn what_is_written_stays_on_one_line() {
    for (name, message) in to_server() {
        assert!(!message.encode().contains('\n'), "{name}");
    }
}

fn to_agent() -> Vec<(&'static str, ToAgent)> {
    let mut all = to_agent_about_messages();
    all.extend(to_agent_about_itself());
    all
}

fn to_agent_about_messages() -> Vec<(&'static str, ToAgent)> {
    vec![
        (
            "to-agent-transmit-request",
            ToAgent::TransmitRequest(push()),
        ),
        (
            "to-agent-transmit-request-nobody-waits",
            ToAgent::TransmitRequest(push_nobody_waits_for()),
        ),
        (
            "to-agent-transmit-request-ping",
            ToAgent::TransmitRequest(ping()),
        ),
        (
            "to-agent-transmit-response",
            ToAgent::TransmitResponse(answer_to_a_result()),
        ),
        (
            "to-agent-error",
            ToAgent::Error {
                callback: None,
                body: "Channel not found".into(),
            },
        ),
    ]
}

fn to_agent_about_itself() -> Vec<(&'static str, ToAgent)> {
    let version = Some("5.2.13-stub".into());
    let upgrade = ToAgent::UpgradeRequest {
        callback: callback(4),
        version: Some("5.2.13".into()),
        force: true,
    };
    let logs = ToAgent::LogsRequest {
        callback: callback(3),
        limit: Some(50),
        before: Some("eyJsaW5lIjo0MX0".into()),
    };
    vec![
        ("to-agent-connect-response", ToAgent::ConnectResponse),
        ("to-agent-heartbeat-request", ToAgent::HeartbeatRequest),
        (
            "to-agent-heartbeat-response",
            ToAgent::HeartbeatResponse { version },
        ),
        (
            "to-agent-reloadconfig-request",
            ToAgent::ReloadRequest {
                callback: callback(1),
            },
        ),
        (
            "to-agent-stats-request",
            ToAgent::StatsRequest {
                callback: callback(2),
            },
        ),
        ("to-agent-logs-request", logs),
        ("to-agent-upgrade-request", upgrade),
    ]
}

fn to_server() -> Vec<(&'static str, ToServer)> {
    let mut all = to_server_about_messages();
    all.extend(to_server_about_itself());
    all
}

fn to_server_about_messages() -> Vec<(&'static str, ToServer)> {
    let body = "this agent is upgraded with its image, not by the server".into();
    vec![
        (
            "to-server-transmit-request",
            ToServer::TransmitRequest(result()),
        ),
        (
            "to-server-transmit-response",
            ToServer::TransmitResponse(acknowledged()),
        ),
        (
            "to-server-transmit-response-queued",
            ToServer::TransmitResponse(queued()),
        ),
        (
            "to-server-transmit-response-refused",
            ToServer::TransmitResponse(refused()),
        ),
        (
            "to-server-error",
            ToServer::Error {
                callback: callback(4),
                body,
            },
        ),
    ]
}

fn to_server_about_itself() -> Vec<(&'static str, ToServer)> {
    let connect = ToServer::ConnectRequest {
        access_token: Some("header.payload.signature".into()),
        agent_id: Some("6f1c".into()),
    };
    let version = Some("0.1.0".into());
    let stats = ToServer::StatsResponse {
        callback: callback(2),
        status_code: 200,
        stats: stats(),
    };
    let logs = ToServer::LogsResponse {
        callback: callback(3),
        status_code: 200,
        page: page(),
    };
    let reload = ToServer::ReloadResponse {
        callback: callback(1),
        status_code: 200,
    };
    let upgrade = ToServer::UpgradeResponse {
        callback: callback(4),
        status_code: 200,
    };
    vec![
        ("to-server-connect-request", connect),
        ("to-server-heartbeat-request", ToServer::HeartbeatRequest),
        (
            "to-server-heartbeat-response",
            ToServer::HeartbeatResponse { version },
        ),
        ("to-server-reloadconfig-response", reload),
        ("to-server-upgrade-response", upgrade),
        ("to-server-stats-response", stats),
        ("to-server-logs-response", logs),
    ]
}

fn push() -> PushRequest {
    PushRequest {
        remote: Some("mllp://192.0.2.7:2575?encoding=iso-8859-1".into()),
        content_type: Some(HL7.into()),
        body: Some(ORDER.into()),
        callback: Some("Agent/6f1c-0b7e".into()),
        return_ack: Some("application".into()),
    }
}

fn push_nobody_waits_for() -> PushRequest {
    PushRequest {
        remote: Some("mllp://192.0.2.7:2575".into()),
        content_type: Some(HL7.into()),
        body: Some(ORDER_NOBODY_WAITS_FOR.into()),
        ..PushRequest::default()
    }
}

fn ping() -> PushRequest {
    PushRequest {
        remote: Some("192.0.2.7".into()),
        content_type: Some(PING.into()),
        body: Some("PING 1".into()),
        callback: Some("agent:cb:node-1:3c5e".into()),
        return_ack: None,
    }
}

fn answer_to_a_result() -> TransmitResponse {
    TransmitResponse {
        channel: Some("chem-results".into()),
        remote: "192.0.2.7:40112".into(),
        callback: Some("Agent/6f1c-77aa".into()),
        content_type: HL7.into(),
        status_code: Some(200),
        body: RESULT_ACK.into(),
    }
}

fn result() -> DeviceMessage {
    DeviceMessage {
        access_token: Some("header.payload.signature".into()),
        channel: Some("chem-results".into()),
        remote: Some("192.0.2.7:40112".into()),
        content_type: Some(HL7.into()),
        body: Some(RESULT.into()),
        callback: Some("Agent/6f1c-77aa".into()),
    }
}

fn acknowledged() -> TransmitResponse {
    TransmitResponse {
        channel: None,
        remote: "mllp://192.0.2.7:2575?encoding=iso-8859-1".into(),
        callback: Some("Agent/6f1c-0b7e".into()),
        content_type: HL7.into(),
        status_code: Some(200),
        body: ORDER_ACK.into(),
    }
}

fn queued() -> TransmitResponse {
    TransmitResponse {
        remote: "mllp://192.0.2.7:2575".into(),
        callback: Some("Agent/6f1c-0b7f".into()),
        content_type: TEXT.into(),
        status_code: Some(202),
        body: "queued: the device is away; push 41 is kept and will be delivered".into(),
        ..acknowledged()
    }
}

fn refused() -> TransmitResponse {
    TransmitResponse {
        remote: "mllp://192.0.2.99:2575".into(),
        callback: Some("Agent/6f1c-0b80".into()),
        content_type: TEXT.into(),
        status_code: Some(400),
        body: "no device file names mllp://192.0.2.99:2575; add one to devices.d".into(),
        ..acknowledged()
    }
}

fn stats() -> Value {
    json!({
        "hl7ConnectionsOpen": 1, "ping": 12, "webSocketQueueDepth": 0, "hl7QueueDepth": 3,
        "hl7ClientCount": 1, "live": true, "outstandingHeartbeats": 0, "channelStats": {},
        "clientStats": { "mllp://192.0.2.7:2575": { "rtt": {
            "count": 2, "min": 8, "max": 12, "average": 10.5,
            "p50": 8, "p95": 12, "p99": 12, "pendingCount": 0
        } } }
    })
}

fn page() -> LogsPage {
    LogsPage {
        logs: vec![json!({
            "level": "INFO", "msg": "device is back",
            "timestamp": "2026-03-01T08:15:00.000Z", "device": "chem-1"
        })],
        has_more: Some(true),
        next_before: Some("eyJsaW5lIjoxfQ".into()),
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "every member that holds it is optional"
)]
fn callback(last: u8) -> Option<String> {
    Some(format!("agent:cb:node-1:4d0{last}"))
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).expect("a message is JSON")
}

fn fixture(name: &str) -> String {
    std::fs::read_to_string(folder().join(format!("{name}.json"))).expect(name)
}

fn files() -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder())
        .expect("the fixtures have a folder")
        .flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}
