//! Receipts on a real database: in the commit of their event, until the cloud has them, then for a while.

use agent_core::upload::{End, UploadId};
use serde_json::Value;

use super::*;

fn to(channel: Option<&str>) -> Upward {
    Upward {
        channel: channel.map(str::to_owned),
        ..upward()
    }
}

pub(super) fn told(folder: TempDir, channel: Option<&str>) -> Bench {
    Bench::telling(folder, u32::MAX - 1, (BOUNDS, None, to(channel)))
}

/// Whoever pushes does not wait.
async fn push_and_go(bench: &Bench, body: &str) {
    let mut push = push("", body);
    push.callback = None;
    bench.store.accept(push).await.unwrap();
}

/// A push that nobody waits for, delivered.
async fn deliver(bench: &Bench, body: &str) {
    deliver_outcome(bench, body, yes()).await;
}

/// The same with another end.
pub(super) async fn deliver_outcome(bench: &Bench, body: &str, outcome: Outcome) -> PushId {
    bench.store.line_ready(CHEM).await.unwrap();
    push_and_go(bench, body).await;
    let attempt = bench.attempt();
    let push = attempt.push;
    let usable = Connection::Usable;
    bench.store.settle(attempt, outcome, usable).await.unwrap();
    bench.store.barrier().await.unwrap();
    push
}

async fn waiting(bench: &Bench) -> Vec<Upload> {
    bench.store.barrier().await.unwrap();
    let mut uploads = Vec::new();
    for (id, channel) in bench.store.uploads_after(UploadId(0), 1000).await.unwrap() {
        let upload = bench.store.upload(id).await.unwrap().expect("it waits");
        assert_eq!(upload.channel, channel);
        uploads.push(upload);
    }
    assert_eq!(bench.store.uploads().waiting, uploads.len() as u64);
    uploads
}

/// The receipts that wait, each of them as its schema says.
async fn receipts(bench: &Bench) -> Vec<Value> {
    let uploads = waiting(bench).await;
    let parse = |upload: &Upload| serde_json::from_str(&upload.body.0).unwrap();
    let receipts: Vec<Value> = uploads.iter().map(parse).collect();
    for receipt in &receipts {
        conforms("receipt", receipt);
    }
    receipts
}

/// Holds a text against one of the schemas of the documentation, with a validator that is not ours.
pub(super) fn conforms(schema: &str, value: &Value) {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("../docs/schemas/{schema}.schema.json"));
    let text = std::fs::read_to_string(&file).unwrap();
    let mut compiler = boon::Compiler::new();
    compiler.enable_format_assertions();
    let url = format!("http://localhost/{schema}.json");
    let resource: Value = serde_json::from_str(&text).unwrap();
    for example in resource["examples"].as_array().unwrap_or(&Vec::new()) {
        assert_eq!(example["type"], format!("wardpost-{schema}"));
    }
    compiler.add_resource(&url, resource.clone()).unwrap();
    let mut schemas = boon::Schemas::new();
    let index = compiler.compile(&url, &mut schemas).unwrap();
    let examples = resource["examples"].as_array().cloned().unwrap_or_default();
    assert!(!examples.is_empty());
    for value in examples.iter().chain([value]) {
        if let Err(fault) = schemas.validate(value, index) {
            panic!("{value:#}\n{fault:#}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_is_there_with_its_event_and_holds_the_devices_words_apart() {
    let bench = told(tempfile::tempdir().unwrap(), Some("news"));
    deliver(&bench, "MSH|1").await;
    let [receipt] = &receipts(&bench).await[..] else {
        panic!("one push, one receipt");
    };
    assert_eq!(receipt["push"], 1);
    assert_eq!(receipt["agent"], "agent-1");
    assert_eq!(receipt["device"], "chem");
    assert_eq!(
        (&receipt["event"], &receipt["state"]),
        (&"settled".into(), &"delivered".into())
    );
    assert_eq!(receipt["clinical"]["answer"], "MSH\rMSA|AA");
    assert_eq!(receipt["clinical"]["orderKeys"][0], "MSH|1");
    let mut rest = receipt.clone();
    rest.as_object_mut().unwrap().remove("clinical");
    assert!(!rest.to_string().contains("MS"), "{rest}");
    let upload = &waiting(&bench).await[0];
    assert!(!format!("{upload:?}").contains("MSA"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_keeps_its_name_and_its_bytes_until_it_is_closed_and_no_other_gets_its_name() {
    let bench = told(tempfile::tempdir().unwrap(), Some("news"));
    deliver(&bench, "MSH|1").await;
    let before = waiting(&bench).await;
    let folder = bench.close().await;
    let bench = told(folder, Some("news"));
    assert_eq!(waiting(&bench).await, before);
    bench
        .store
        .close_upload(before[0].id, End::Taken)
        .await
        .unwrap();
    assert!(waiting(&bench).await.is_empty());
    assert_eq!(bench.store.upload(before[0].id).await.unwrap(), None);
    let bench = told(bench.close().await, Some("news"));
    assert!(waiting(&bench).await.is_empty());
    deliver(&bench, "MSH|2").await;
    assert!(waiting(&bench).await[0].id > before[0].id);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_heard_in_time_leaves_no_receipt() {
    let mut bench = told(tempfile::tempdir().unwrap(), Some("news"));
    bench.store.line_ready(CHEM).await.unwrap();
    bench.push("c1", "MSH|1").await;
    let attempt = bench.attempt();
    let usable = Connection::Usable;
    bench.store.settle(attempt, yes(), usable).await.unwrap();
    assert_eq!(bench.answer().await.status, 200);
    assert!(waiting(&bench).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_channel_nothing_is_written() {
    let bench = Bench::start();
    deliver(&bench, "MSH|1").await;
    assert!(waiting(&bench).await.is_empty());
    assert_eq!(bench.store.newest_upload().0, UploadId(0));
}

pub(super) fn turned(channel: Option<&str>) -> Configuration {
    Configuration {
        upward: to(channel),
        ..only(device())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_follows_the_channel_and_is_withdrawn_with_it() {
    let bench = told(tempfile::tempdir().unwrap(), Some("wrong"));
    deliver(&bench, "MSH|1").await;
    let (_, epoch) = bench.store.newest_upload();
    bench.store.configure(turned(Some("right"))).await.unwrap();
    assert_eq!(waiting(&bench).await[0].channel, "right");
    assert!(
        bench.store.newest_upload().1 > epoch,
        "whoever sends looks anew"
    );
    bench.store.configure(turned(None)).await.unwrap();
    assert!(waiting(&bench).await.is_empty());
    deliver(&bench, "MSH|2").await;
    assert!(waiting(&bench).await.is_empty());
    let bench = told(bench.close().await, Some("right"));
    assert!(
        waiting(&bench).await.is_empty(),
        "what was withdrawn stays so"
    );
    deliver(&bench, "MSH|3").await;
    assert_eq!(receipts(&bench).await[0]["push"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_too_many_wait_new_ones_are_left_out_and_counted_and_pushes_go_on() {
    let few = Upward {
        limit: 2,
        ..to(Some("news"))
    };
    let bench = Bench::telling(
        tempfile::tempdir().unwrap(),
        u32::MAX - 1,
        (BOUNDS, None, few),
    );
    for body in ["MSH|1", "MSH|2", "MSH|3"] {
        deliver(&bench, body).await;
    }
    let waits = waiting(&bench).await;
    assert_eq!((waits.len(), bench.store.uploads().lost), (2, 1));
    bench
        .store
        .close_upload(waits[0].id, End::Taken)
        .await
        .unwrap();
    deliver(&bench, "MSH|4").await;
    let pushes: Vec<Value> = receipts(&bench)
        .await
        .iter()
        .map(|r| r["push"].clone())
        .collect();
    assert_eq!(pushes, [2, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_the_server_could_not_take_stays_here_and_its_size_is_told() {
    let bench = told(tempfile::tempdir().unwrap(), Some("news"));
    bench.store.line_ready(CHEM).await.unwrap();
    push_and_go(&bench, "MSH|1").await;
    let words = "\r".repeat(400_000);
    let long = Outcome::Refused {
        reply: Phi(words.into()),
    };
    let attempt = bench.attempt();
    let usable = Connection::Usable;
    bench.store.settle(attempt, long, usable).await.unwrap();
    let receipt = &receipts(&bench).await[0];
    assert_eq!(receipt["clinical"]["answerBytes"], 400_000);
    assert_eq!(receipt["clinical"]["answer"], Value::Null);
    assert_eq!(receipt["state"], "rejected");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_and_its_end_are_told_with_who_decided() {
    let bench = told(tempfile::tempdir().unwrap(), Some("news"));
    bench.store.line_ready(CHEM).await.unwrap();
    push_and_go(&bench, "MSH|1").await;
    let attempt = bench.attempt();
    let push = attempt.push;
    let gone = Connection::Gone("closed".into());
    bench.store.settle(attempt, unknown(), gone).await.unwrap();
    let command = Command {
        push,
        verb: Verb::Settle(Ruling::Delivered),
        who: "cloud".into(),
        reason: Some("seen on the screen".into()),
    };
    bench.store.command(command).await.unwrap().unwrap();
    let news = receipts(&bench).await;
    assert_eq!(
        (&news[0]["event"], &news[0]["state"]),
        (&"held".into(), &"held".into())
    );
    assert_eq!(news[1]["state"], "delivered");
    assert_eq!(news[1]["by"], "cloud");
    assert_eq!(
        news[1]["clinical"]["answer"],
        Value::Null,
        "no device said that"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cloud_has_is_swept_and_what_waits_is_not() {
    let bench = told(tempfile::tempdir().unwrap(), Some("news"));
    deliver(&bench, "MSH|1").await;
    deliver(&bench, "MSH|2").await;
    let first = waiting(&bench).await[0].id;
    bench.store.close_upload(first, End::Taken).await.unwrap();
    bench.store.barrier().await.unwrap();
    let later = crate::clock::utc().plus(Duration::from_hours(24 * 100));
    let kept = Kept {
        words: Duration::from_hours(24),
        rows: Duration::from_hours(24 * 90),
    };
    while bench.store.sweep(later, kept).await.unwrap().unwrap() == Progress::More {}
    let left = waiting(&bench).await;
    assert_eq!(left.len(), 1);
    assert!(left[0].id > first);
    let folder = bench.close().await;
    let connection = rusqlite::Connection::open(folder.path().join("wardpost.db")).unwrap();
    let rows = "SELECT count(*) FROM upload";
    let rows: u64 = connection.query_row(rows, [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 1);
}
