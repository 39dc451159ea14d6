//! Alarms on a real database: each edge once, across restarts, and to whom it may concern.

use agent_core::alarm::{Edge, Episode, Kind as AlarmKind, Name};
use agent_core::upload::UploadId;
use serde_json::Value;

use super::uploads::{conforms, deliver_outcome, told, turned};
use super::*;

fn name(subject: &str) -> Name {
    Name {
        kind: AlarmKind::DeviceAway,
        subject: subject.into(),
    }
}

fn raise(subject: &str) -> Edge {
    Edge::Raise {
        name: name(subject),
        text: "it is not reached".into(),
    }
}

async fn record(bench: &Bench, edge: Edge) -> Episode {
    let done = bench.store.alarms(vec![edge]).await.unwrap();
    done.into_iter().map(|(_, episode)| episode).next().unwrap()
}

/// What goes up, each as its schema says.
async fn messages(bench: &Bench) -> Vec<Value> {
    let mut messages = Vec::new();
    for (id, _) in bench.store.uploads_after(UploadId(0), 100).await.unwrap() {
        let upload = bench.store.upload(id).await.unwrap().unwrap();
        let message = serde_json::from_str(&upload.body.0).unwrap();
        conforms("alarm", &message);
        messages.push(message);
    }
    messages
}

async fn open(bench: &Bench) -> Vec<(Episode, String)> {
    let open = bench.store.open_alarms().await.unwrap().into_iter();
    open.map(|alarm| (alarm.episode, alarm.name.subject))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raise_and_its_end_go_up_under_one_episode_and_ids_of_their_own() {
    let bench = told(tempfile::tempdir().unwrap(), Some("news"));
    let episode = record(&bench, raise("chem")).await;
    let bench = told(bench.close().await, Some("news"));
    assert_eq!(open(&bench).await, [(episode, "chem".to_owned())]);
    let name = name("chem");
    record(&bench, Edge::Recover { name, episode }).await;
    assert!(open(&bench).await.is_empty());
    let [raised, recovered] = &messages(&bench).await[..] else {
        panic!("two messages");
    };
    assert_eq!(
        (&raised["state"], &recovered["state"]),
        (&"raised".into(), &"recovered".into())
    );
    assert_eq!(raised["alarm"], recovered["alarm"]);
    assert_ne!(raised["id"], recovered["id"]);
    assert_eq!(raised["subject"], "chem");
    assert_eq!(raised["since"], recovered["since"]);
    let next = record(&bench, raise("chem")).await;
    assert!(next > episode, "another episode");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_that_is_open_is_not_raised_twice() {
    let bench = told(tempfile::tempdir().unwrap(), Some("news"));
    let episode = record(&bench, raise("chem")).await;
    assert_eq!(record(&bench, raise("chem")).await, episode);
    assert_ne!(record(&bench, raise("hema")).await, episode);
    assert_eq!(messages(&bench).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_raised_before_there_was_a_channel_is_told_when_there_is_one() {
    let bench = Bench::start();
    let episode = record(&bench, raise("chem")).await;
    let over = record(&bench, raise("hema")).await;
    let hema = name("hema");
    record(
        &bench,
        Edge::Recover {
            name: hema,
            episode: over,
        },
    )
    .await;
    assert!(messages(&bench).await.is_empty());
    bench.store.configure(turned(Some("news"))).await.unwrap();
    let told_now = messages(&bench).await;
    assert_eq!(told_now.len(), 1, "what is over already is no news");
    assert_eq!(told_now[0]["subject"], "chem");
    let bench = told(bench.close().await, Some("news"));
    assert_eq!(messages(&bench).await, told_now);
    let name = name("chem");
    record(&bench, Edge::Recover { name, episode }).await;
    assert_eq!(messages(&bench).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_the_agent_gave_up_is_kept_in_mind_and_one_that_a_person_ruled_on_is_not() {
    let bench = told(tempfile::tempdir().unwrap(), None);
    let impossible = || Outcome::Impossible {
        why: "no words for it".into(),
    };
    let first = deliver_outcome(&bench, "MSH|1", impossible()).await;
    let second = deliver_outcome(&bench, "MSH|2", impossible()).await;
    let dead = bench.store.last_dead().await.unwrap();
    assert_eq!(
        (dead.len(), dead[0].device, dead[0].push),
        (1, CHEM, second)
    );
    assert!(first < second);
    let held = deliver_outcome(&bench, "MSH|3", unknown()).await;
    let command = Command {
        push: held,
        verb: Verb::Settle(Ruling::NotDelivered),
        who: "uid 0".into(),
        reason: None,
    };
    bench.store.command(command).await.unwrap().unwrap();
    assert_eq!(bench.store.last_dead().await.unwrap(), dead);
    let bench = told(bench.close().await, None);
    assert_eq!(bench.store.last_dead().await.unwrap(), dead);
}
