//! The whole unit over real sockets on 127.0.0.1, against a server that each test plays by hand.

mod fake_cloud;
mod fake_server;
mod uploads;

use agent_wire::{PushRequest, ToAgent};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use self::fake_cloud::FakeCloud;
use self::fake_server::{FakeServer, Session, agent_resource};
use super::*;
use crate::cloud::dial::WayOut;
use crate::cloud::settings::{Content, SECRET};
use crate::cloud::token::Credentials;
use crate::cloud::{AgentStatus, Answer, MAX_ENVELOPE, agent_version};
use crate::secret::Secret;
use crate::tls::Watch;

/// The unit under test and both its sides.
struct Bench {
    server: FakeServer,
    cloud: FakeCloud,
    said: mpsc::Sender<Said>,
    cancel: CancellationToken,
    settings: watch::Sender<Arc<Settings>>,
    unit: JoinHandle<()>,
    /// With the secret.
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn prepare() -> (FakeServer, FakeCloud) {
        (FakeServer::start().await, FakeCloud::new())
    }

    async fn start() -> Self {
        let (server, cloud) = Self::prepare().await;
        Self::run(server, cloud)
    }

    fn run(server: FakeServer, cloud: FakeCloud) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("client-secret");
        std::fs::write(&secret, "s3cret\n").unwrap();
        let credentials = Credentials {
            client: "client-1".into(),
            secret: Secret::File(secret),
        };
        let settings = Settings {
            url: server.url(),
            agent: "agent-1".into(),
            credentials,
            way: WayOut::default(),
            largest_message: LARGEST_MESSAGE,
            watch: Watch::default(),
            mailbox: crate::cloud::mailbox::Rules {
                mode: crate::cloud::mailbox::Mode::Off,
                poll: Duration::from_mins(1),
            },
            contents: Vec::new(),
        };
        let (settings, news) = watch::channel(Arc::new(settings));
        let (said, hearing) = mpsc::channel(64);
        let cancel = CancellationToken::new();
        let mut unit = Uplink::new(cloud.clone(), news, hearing, cancel.clone().into());
        unit.throw = || Dice(0);
        Self {
            server,
            cloud,
            said,
            cancel,
            settings,
            _folder: folder,
            unit: tokio::spawn(unit.keep()),
        }
    }

    async fn live(&mut self) -> Session {
        self.server.session().await.0
    }

    /// Records an answer and offers it, as the rest of the agent does.
    async fn answer(&self, body: &str) -> Answer {
        let answer = self.cloud.record(body);
        self.said.send(Said::Answer(answer.clone())).await.unwrap();
        answer
    }
}

/// A test that hangs should say where.
async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    let Ok(done) = timeout(Duration::from_mins(1), work).await else {
        panic!("{what} did not happen");
    };
    done
}

fn push(body: &str) -> ToAgent {
    ToAgent::TransmitRequest(PushRequest {
        remote: Some("mllp://10.0.0.7:2575".into()),
        content_type: Some(agent_wire::HL7.into()),
        body: Some(body.into()),
        callback: Some("callback-1".into()),
        return_ack: None,
    })
}

fn error(callback: Option<&str>, body: &str) -> ToServer {
    ToServer::Error {
        callback: callback.map(str::to_owned),
        body: body.to_owned(),
    }
}

#[tokio::test]
async fn a_push_is_taken_its_answer_sent_and_the_next_heartbeat_takes_it() {
    within("the answer", async {
        let mut bench = Bench::start().await;
        let mut session = bench.live().await;
        session.send(&push("an order")).await;
        bench
            .cloud
            .until(|state| state.pushes == ["an order"])
            .await;
        let answer = bench.answer("MSA|AA").await;
        let expected = (answer.callback, "MSA|AA".to_owned());
        assert_eq!(session.next_answer().await, expected);
        assert_eq!(session.next().await, ToServer::HeartbeatRequest);
        assert_eq!(bench.cloud.see(|state| state.taken.0), 0);
        session.answer_heartbeat().await;
        bench.cloud.until(|state| state.taken == answer.seq).await;
    })
    .await;
}

#[tokio::test]
async fn a_heartbeat_is_answered_with_the_version_also_before_the_connect_response() {
    within("the heartbeat", async {
        let mut bench = Bench::start().await;
        let mut session = bench.server.opened().await;
        session.connect_request().await;
        session.send(&ToAgent::HeartbeatRequest).await;
        let expected = ToServer::HeartbeatResponse {
            version: Some(agent_version()),
        };
        assert_eq!(session.next().await, expected);
    })
    .await;
}

#[tokio::test]
async fn a_push_before_the_connect_response_is_taken_and_nothing_is_said_until_then() {
    within("the refusal", async {
        let mut bench = Bench::start().await;
        bench.cloud.record("an old answer");
        let mut session = bench.server.opened().await;
        session.connect_request().await;
        session.send(&push("refuse me")).await;
        bench.cloud.until(|state| state.pushes.len() == 1).await;
        session.send(&ToAgent::HeartbeatRequest).await;
        assert!(matches!(
            session.next().await,
            ToServer::HeartbeatResponse { .. }
        ));
        session.send(&ToAgent::ConnectResponse).await;
        assert_eq!(
            session.next_said().await,
            error(Some("callback-1"), "refused")
        );
        assert_eq!(session.next_answer().await.1, "an old answer");
    })
    .await;
}

#[tokio::test]
async fn answers_that_no_heartbeat_has_taken_come_again_in_the_next_session_byte_for_byte() {
    within("the second copy", async {
        let mut bench = Bench::start().await;
        let mut session = bench.live().await;
        bench.answer("one").await;
        bench.answer("two").await;
        let first = [session.next_text().await, session.next_text().await];
        drop(session);
        bench
            .cloud
            .until(|state| state.links.last() == Some(&Link::Down))
            .await;
        bench.answer("three, while the link is down").await;
        let mut session = bench.live().await;
        let again = [session.next_text().await, session.next_text().await];
        assert_eq!(first, again);
        assert_eq!(
            session.next_answer().await.1,
            "three, while the link is down"
        );
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_the_channel_dropped_is_read_from_disk_in_its_place() {
    within("both answers", async {
        let mut bench = Bench::start().await;
        let mut session = bench.live().await;
        bench.cloud.record("dropped");
        bench.answer("kept").await;
        assert_eq!(session.next_answer().await.1, "dropped");
        assert_eq!(session.next_answer().await.1, "kept");
        bench.cloud.record("dropped, with none after it");
        assert_eq!(session.next_answer().await.1, "dropped, with none after it");
    })
    .await;
}

#[tokio::test]
async fn a_backlog_goes_out_page_by_page_in_order_while_new_answers_come() {
    within("the backlog", async {
        let (server, cloud) = Bench::prepare().await;
        let old: Vec<_> = (0..700)
            .map(|n| cloud.record(&format!("{n}")).callback)
            .collect();
        let mut bench = Bench::run(server, cloud);
        let mut session = bench.live().await;
        let mut expected = old;
        for callback in &expected[..300] {
            assert_eq!(session.next_answer().await.0, *callback);
        }
        expected.push(bench.answer("new").await.callback);
        for callback in &expected[300..] {
            assert_eq!(session.next_answer().await.0, *callback);
        }
        assert!(
            bench
                .cloud
                .see(|state| state.pages.iter().all(|page| *page <= 256))
        );
    })
    .await;
}

#[tokio::test]
async fn answers_wait_while_the_disk_cannot_be_read() {
    within("the answer", async {
        let (server, cloud) = Bench::prepare().await;
        cloud.record("patient");
        cloud.change(|state| state.unreadable = 2);
        let mut bench = Bench::run(server, cloud);
        let mut session = bench.live().await;
        assert_eq!(session.next_answer().await.1, "patient");
    })
    .await;
}

#[tokio::test]
async fn an_answer_is_repeated_when_its_callback_comes_again() {
    within("the repetition", async {
        let mut bench = Bench::start().await;
        let mut session = bench.live().await;
        let answer = bench.answer("once").await;
        let first = session.next_text().await;
        bench.said.send(Said::Again(answer)).await.unwrap();
        assert_eq!(session.next_text().await, first);
    })
    .await;
}

#[tokio::test]
async fn a_refused_connect_is_tried_again_with_another_token() {
    within("the second connect", async {
        let mut bench = Bench::start().await;
        let mut session = bench.server.opened().await;
        assert_eq!(session.connect_request().await, "token-1");
        session
            .send(&ToAgent::Error {
                callback: None,
                body: "Invalid access token".into(),
            })
            .await;
        session.ended().await;
        let (_session, token) = bench.server.session().await;
        assert_eq!(token, "token-2");
        bench.cloud.until(|state| state.links == [Link::Live]).await;
        let words = "the server refused the connection: Invalid access token";
        assert!(
            bench
                .cloud
                .see(|state| state.words.iter().any(|said| said == words))
        );
    })
    .await;
}

#[tokio::test]
async fn a_token_endpoint_that_fails_in_many_ways_is_asked_until_it_gives_one() {
    within("the session", async {
        let (server, cloud) = Bench::prepare().await;
        server.token_answers(500, "<html>oops</html>");
        server.token_answers(400, r#"{"error_description":"Invalid secret"}"#);
        server.token_answers(401, r#"{"error":"invalid_client"}"#);
        server.token_answers(200, r#"{"token_type":"Bearer"}"#);
        server.token_answers(200, "<html>please log in</html>");
        let mut bench = Bench::run(server, cloud);
        let (_session, token) = bench.server.session().await;
        assert_eq!(token, "token-1");
        let told = bench.cloud.see(|state| state.words.join("\n"));
        assert!(
            told.contains("no token: the server cannot give a token now (HTTP 500)"),
            "{told}"
        );
        assert!(told.contains("Invalid secret (HTTP 400)"), "{told}");
        assert!(told.contains("invalid_client (HTTP 401)"), "{told}");
        assert!(told.contains("holds no access_token"), "{told}");
        assert!(told.contains("captive portal"), "{told}");
    })
    .await;
}

#[tokio::test]
async fn a_token_endpoint_is_left_alone_for_as_long_as_it_asks_within_reason() {
    within("the next try to be told", async {
        let (server, cloud) = Bench::prepare().await;
        server.token_says(429, "Retry-After: 86400\r\n", "{}");
        let before = clock::mono();
        let bench = Bench::run(server, cloud);
        bench
            .cloud
            .until(|state| !state.next_tries.is_empty())
            .await;
        let next = bench.cloud.see(|state| state.next_tries[0]);
        assert!(next >= before.plus(Duration::from_secs(15)));
        assert!(next < before.plus(Duration::from_hours(1)));
    })
    .await;
}

#[tokio::test]
async fn what_is_no_message_is_answered_with_a_sentence() {
    within("the errors", async {
        let mut bench = Bench::start().await;
        let mut session = bench.live().await;
        session.send_frame(Message::Text("{not json".into())).await;
        let unreadable = "unreadable message: it is not JSON (line 1, column 2)";
        assert_eq!(session.next_said().await, error(None, unreadable));
        session.send_frame(Message::Binary("{}".into())).await;
        let ToServer::Error {
            callback: None,
            body,
        } = session.next_said().await
        else {
            panic!()
        };
        assert!(body.contains("binary frame"), "{body}");
        let unknown = ToAgent::Unknown {
            kind: "agent:dance".into(),
            callback: Some("c".into()),
        };
        session.send(&unknown).await;
        let expected = error(Some("c"), "Unknown message type: agent:dance");
        assert_eq!(session.next_said().await, expected);
    })
    .await;
}

#[tokio::test]
async fn a_reload_reads_the_agent_again_and_then_says_so() {
    within("the reload", async {
        let mut bench = Bench::start().await;
        let mut session = bench.live().await;
        bench
            .cloud
            .until(|state| state.statuses == [AgentStatus::Active])
            .await;
        bench.server.agent_answers(200, agent_resource("off"));
        session
            .send(&ToAgent::ReloadRequest {
                callback: Some("r1".into()),
            })
            .await;
        let done = ToServer::ReloadResponse {
            callback: Some("r1".into()),
            status_code: 200,
        };
        assert_eq!(session.next_said().await, done);
        assert_eq!(
            bench.cloud.see(|state| state.statuses.clone()),
            [AgentStatus::Active, AgentStatus::Off]
        );
        bench.server.agent_answers(502, String::new());
        session
            .send(&ToAgent::ReloadRequest {
                callback: Some("r2".into()),
            })
            .await;
        let failed = error(
            Some("r2"),
            "the server cannot show Agent/agent-1 now (HTTP 502)",
        );
        assert_eq!(session.next_said().await, failed);
        let reads = bench.server.agent_reads();
        bench.server.agent_answers(200, agent_resource("error"));
        bench
            .cloud
            .until(|state| state.statuses.last() == Some(&AgentStatus::Error))
            .await;
        assert!(
            bench.server.agent_reads() > reads,
            "it was read again without being asked"
        );
    })
    .await;
}

fn other_secret() -> Content {
    Content {
        what: SECRET,
        found: Ok([7; 32]),
    }
}

#[tokio::test]
async fn a_reload_of_files_with_mistakes_is_told_and_the_agent_is_read_all_the_same() {
    within("the refusal", async {
        let mut bench = Bench::start().await;
        let mut session = bench.live().await;
        bench
            .cloud
            .until(|state| state.statuses == [AgentStatus::Active])
            .await;
        bench
            .cloud
            .change(|state| state.mistake = Some("nothing was changed: chem.toml".into()));
        bench.server.agent_answers(200, agent_resource("off"));
        let callback = Some("r1".to_owned());
        session.send(&ToAgent::ReloadRequest { callback }).await;
        let refused = error(Some("r1"), "nothing was changed: chem.toml");
        assert_eq!(session.next_said().await, refused);
        bench
            .cloud
            .until(|state| state.statuses.last() == Some(&AgentStatus::Off))
            .await;
        assert_eq!(bench.cloud.see(|state| state.reloads), 1);
    })
    .await;
}

#[tokio::test]
async fn other_settings_begin_another_session_and_a_larger_message_does_not() {
    within("the other session", async {
        let mut bench = Bench::start().await;
        let mut session = bench.live().await;
        let change = |change: fn(&mut Settings)| {
            let mut next = Settings::clone(&bench.settings.borrow());
            change(&mut next);
            bench.settings.send_replace(Arc::new(next));
        };
        change(|settings| settings.largest_message *= 2);
        session.send(&push("an order")).await;
        bench
            .cloud
            .until(|state| state.pushes == ["an order"])
            .await;
        assert_eq!(bench.cloud.see(|state| state.links.clone()), [Link::Live]);
        change(|settings| settings.contents.push(other_secret()));
        session.ended().await;
        let _session = bench.live().await;
        let links = [Link::Live, Link::Down, Link::Live];
        bench.cloud.until(|state| state.links == links).await;
    })
    .await;
}

#[tokio::test]
async fn who_asked_for_other_settings_is_told_before_the_session_ends() {
    within("the answer", async {
        let mut bench = Bench::start().await;
        let mut session = bench.live().await;
        let settings = bench.settings.clone();
        bench.cloud.on_reload(move || {
            settings.send_modify(|settings| Arc::make_mut(settings).contents.push(other_secret()));
        });
        let callback = Some("r1".to_owned());
        session.send(&ToAgent::ReloadRequest { callback }).await;
        let done = ToServer::ReloadResponse {
            callback: Some("r1".into()),
            status_code: 200,
        };
        assert_eq!(session.next_said().await, done);
        bench.live().await;
    })
    .await;
}

#[tokio::test]
async fn an_answer_too_large_for_any_server_is_left_out_and_the_next_one_goes_out() {
    within("the small one", async {
        let mut bench = Bench::start().await;
        let mut session = bench.live().await;
        bench.answer(&"x".repeat(MAX_ENVELOPE)).await;
        bench.answer("small").await;
        assert_eq!(session.next_answer().await.1, "small");
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_this_server_finds_too_large_does_not_come_back_for_ever() {
    within("the small one", async {
        let mut bench = Bench::start().await;
        let mut session = bench.live().await;
        bench.answer(&"x".repeat(700_000)).await;
        assert_eq!(session.next_answer().await.1.len(), 700_000);
        session.close(1009).await;
        bench
            .cloud
            .until(|state| state.links.last() == Some(&Link::Down))
            .await;
        bench.answer("small").await;
        let mut session = bench.live().await;
        assert_eq!(session.next_answer().await.1, "small");
    })
    .await;
}

#[tokio::test]
async fn a_server_that_does_not_read_is_still_read() {
    within("the push", async {
        let mut bench = Bench::start().await;
        let mut session = bench.live().await;
        let body = "x".repeat(500_000);
        for _ in 0..64 {
            bench.cloud.record(&body);
        }
        bench.cloud.until(|state| state.pages.len() == 1).await;
        session.send(&push("while your answers are stuck")).await;
        bench.cloud.until(|state| state.pushes.len() == 1).await;
        for _ in 0..64 {
            assert_eq!(session.next_answer().await.1.len(), body.len());
        }
    })
    .await;
}

#[tokio::test]
async fn when_stopped_it_says_goodbye_and_ends() {
    within("the end", async {
        let mut bench = Bench::start().await;
        let session = bench.live().await;
        bench.cloud.until(|state| state.links == [Link::Live]).await;
        bench.cancel.cancel();
        session.ended().await;
        bench.unit.await.unwrap();
        assert_eq!(
            bench.cloud.see(|state| state.links.clone()),
            [Link::Live, Link::Down]
        );
    })
    .await;
}

#[tokio::test]
async fn it_starts_and_stops_without_a_network() {
    within("the end", async {
        let (server, cloud) = Bench::prepare().await;
        for _ in 0..100 {
            server.token_answers(503, "");
        }
        let bench = Bench::run(server, cloud);
        bench.cloud.until(|state| !state.words.is_empty()).await;
        bench.answer("nobody listens").await;
        bench.cancel.cancel();
        bench.unit.await.unwrap();
        assert!(bench.cloud.see(|state| state.links.is_empty()));
    })
    .await;
}
