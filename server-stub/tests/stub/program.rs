//! The binary: its flags, its ready line, its end.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::client::{PATIENCE, Peer, connect, token};

const SEED: &str = r#"{
    "clients": [{ "id": "c1", "secret": "s3cret", "name": "Ward 3 agent" }],
    "resources": [{ "resourceType": "Agent", "id": "a1", "name": "Ward 3", "status": "active" }]
}"#;

fn program(folder: &tempfile::TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wardpost-cloud"));
    command
        .args(["--listen", "127.0.0.1:0", "--seed"])
        .arg(folder.path().join("seed.json"));
    command.arg("--db").arg(folder.path().join("cloud.db"));
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command
}

#[tokio::test]
async fn the_program_says_where_it_listens_and_stops_on_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("seed.json"), SEED).unwrap();
    let mut child = program(&folder)
        .arg("--keep-pushes")
        .arg("--heartbeat-ms=20")
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = timeout(PATIENCE, lines.next_line())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let url = ready.strip_prefix("wardpost-cloud listening on ").unwrap();
    let base_url = format!("{url}/");
    let mut agent = Peer::open(&base_url, "/ws/agent").await;
    agent.send(&connect(&token(&base_url).await)).await;
    assert_eq!(
        agent.next().await,
        json!({ "type": "agent:connect:response" })
    );
    assert_eq!(agent.next().await["type"], "agent:heartbeat:request");

    let id = child
        .id()
        .and_then(|id| Pid::from_raw(id.cast_signed()))
        .unwrap();
    kill_process(id, Signal::TERM).unwrap();
    assert_eq!(agent.close_code().await, Some(1001));
    assert!(
        timeout(PATIENCE, child.wait())
            .await
            .unwrap()
            .unwrap()
            .success()
    );
}

#[tokio::test]
async fn a_seed_that_cannot_be_used_ends_the_program_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    for (seed, reason) in [
        ("{", "is not what a seed looks like"),
        (r#"{"resources":[{}]}"#, "resource 1"),
    ] {
        std::fs::write(folder.path().join("seed.json"), seed).unwrap();
        let output = program(&folder)
            .stderr(Stdio::piped())
            .output()
            .await
            .unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(reason), "{said}");
    }
}
