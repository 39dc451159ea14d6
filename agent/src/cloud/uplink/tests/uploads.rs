//! What goes up, over a real socket: sent under a callback of its own, closed by the answer to any of them.

use super::*;
use crate::store::Upload;
use agent_core::phi::Phi;
use agent_core::upload::{End, UploadId};
use agent_wire::{DeviceMessage, TransmitResponse};

fn upload(id: u64, channel: &str, body: &str) -> Upload {
    Upload {
        id: UploadId(id),
        channel: channel.into(),
        remote: "device://self".into(),
        content_type: "application/json".into(),
        body: Phi(body.into()),
    }
}

async fn next_upload(session: &mut Session) -> DeviceMessage {
    loop {
        match session.next().await {
            ToServer::TransmitRequest(message) => return message,
            ToServer::HeartbeatRequest => session.answer_heartbeat().await,
            other => panic!("an upload was expected: {other:?}"),
        }
    }
}

fn response(to: &DeviceMessage, status_code: Option<u16>) -> ToAgent {
    ToAgent::TransmitResponse(TransmitResponse {
        channel: to.channel.clone(),
        remote: to.remote.clone().unwrap_or_default(),
        callback: to.callback.clone(),
        content_type: "application/json".into(),
        status_code,
        body: "Bot execution logs:\n".into(),
    })
}

fn waits(cloud: &FakeCloud, uploads: &[Upload]) {
    cloud.change(|state| state.uploads.extend(uploads.iter().cloned()));
}

#[tokio::test]
async fn an_upload_goes_out_with_a_token_and_is_closed_by_its_answer() {
    within("the upload", async {
        let (server, cloud) = Bench::prepare().await;
        waits(
            &cloud,
            &[upload(1, "news", "{\"a\":1}"), upload(2, "news", "{}")],
        );
        let mut bench = Bench::run(server, cloud);
        let mut session = bench.live().await;
        let first = next_upload(&mut session).await;
        assert_eq!(first.access_token.as_deref(), Some("token-1"));
        assert_eq!(first.channel.as_deref(), Some("news"));
        assert_eq!(first.remote.as_deref(), Some("device://self"));
        assert_eq!(first.body.as_deref(), Some("{\"a\":1}"));
        assert_eq!(first.callback.as_deref(), Some("Agent/agent-1-upload-1#1"));
        session.send(&response(&first, None)).await;
        let second = next_upload(&mut session).await;
        assert_eq!(second.body.as_deref(), Some("{}"));
        session.send(&response(&second, Some(200))).await;
        bench
            .cloud
            .until(|state| state.closed == [(UploadId(1), End::Taken), (UploadId(2), End::Taken)])
            .await;
    })
    .await;
}

#[tokio::test]
async fn an_upload_whose_answer_was_lost_with_the_session_goes_again_with_the_same_bytes() {
    within("the second try", async {
        let (server, cloud) = Bench::prepare().await;
        waits(&cloud, &[upload(7, "news", "{\"a\":1}")]);
        let mut bench = Bench::run(server, cloud);
        let mut session = bench.live().await;
        let first = next_upload(&mut session).await;
        session.close(1001).await;
        let mut session = bench.live().await;
        let again = next_upload(&mut session).await;
        assert_eq!(again.body, first.body);
        assert_ne!(again.callback, first.callback);
        // The server may be late with the first one, and that will do.
        session.send(&response(&first, Some(200))).await;
        bench.cloud.until(|state| state.closed.len() == 1).await;
    })
    .await;
}

#[tokio::test]
async fn a_refused_upload_and_one_that_met_an_error_are_tried_again() {
    within("the third try", async {
        let (server, cloud) = Bench::prepare().await;
        waits(&cloud, &[upload(1, "news", "{}")]);
        let mut bench = Bench::run(server, cloud);
        let mut session = bench.live().await;
        let first = next_upload(&mut session).await;
        session.send(&response(&first, Some(400))).await;
        let second = next_upload(&mut session).await;
        assert_eq!(second.body, first.body);
        let fault = ToAgent::Error {
            callback: None,
            body: "Channel not found".into(),
        };
        session.send(&fault).await;
        let third = next_upload(&mut session).await;
        session.send(&response(&third, Some(200))).await;
        bench.cloud.until(|state| state.closed.len() == 1).await;
    })
    .await;
}

#[tokio::test]
async fn one_that_is_too_large_for_the_server_is_given_up_and_the_next_one_goes() {
    within("the small one", async {
        let (server, cloud) = Bench::prepare().await;
        let large = "x".repeat(MAX_ENVELOPE);
        waits(
            &cloud,
            &[upload(1, "news", &large), upload(2, "news", "{}")],
        );
        let mut bench = Bench::run(server, cloud);
        let mut session = bench.live().await;
        assert_eq!(next_upload(&mut session).await.body.as_deref(), Some("{}"));
        bench
            .cloud
            .until(|state| matches!(state.closed[..], [(UploadId(1), End::GivenUp(_))]))
            .await;
    })
    .await;
}

#[tokio::test]
async fn what_gets_another_channel_goes_there() {
    within("the other channel", async {
        let (server, cloud) = Bench::prepare().await;
        waits(&cloud, &[upload(1, "wrong", "{}")]);
        let mut bench = Bench::run(server, cloud);
        let mut session = bench.live().await;
        next_upload(&mut session).await;
        bench.cloud.change(|state| {
            state.uploads[0].channel = "right".into();
            state.epoch += 1;
        });
        let again = next_upload(&mut session).await;
        assert_eq!(again.channel.as_deref(), Some("right"));
    })
    .await;
}
