use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

fn file(folder: &tempfile::TempDir) -> Database {
    Database::File(folder.path().join("cloud.db"))
}

fn push(callback: &str) -> Arc<NewPush> {
    Arc::new(NewPush {
        callback: callback.into(),
        agent: "a1".into(),
        remote: "mllp://127.0.0.1:1".into(),
        content_type: "text/plain".into(),
        return_ack: None,
        body: "MSH|".into(),
    })
}

fn incoming(callback: &str, agent: &str, body: &str) -> Incoming {
    let answer = Answer {
        status: 200,
        content_type: None,
        body: body.into(),
    };
    Incoming {
        callback: callback.into(),
        agents: vec![agent.into()],
        answer,
    }
}

async fn answer(store: &Store, incoming: Incoming) -> Told {
    let (reply, told) = oneshot::channel();
    let then = Box::new(move |told| drop(reply.send(told)));
    store.answer(incoming, then).await.unwrap();
    told.await.unwrap()
}

async fn close(opened: Opened) {
    opened.store.stop().await;
    opened.thread.join().unwrap();
}

fn created(store: &Store, id: &str) -> Option<Arc<Value>> {
    store.current.read("Patient", id).ok()
}

#[tokio::test]
async fn a_resource_and_its_versions_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let opened = Store::open(&file(&folder)).unwrap();
    assert!(opened.first_start);
    let first = Change::Put(json!({ "resourceType": "Patient", "id": "p", "name": "one" }));
    let first = opened.store.write(first).await.unwrap().unwrap().resource;
    let second = Change::Put(json!({ "resourceType": "Patient", "id": "p", "name": "two" }));
    opened.store.write(second).await.unwrap().unwrap();
    opened.store.seeded().await.unwrap();
    close(opened).await;

    let opened = Store::open(&file(&folder)).unwrap();
    assert!(!opened.first_start);
    assert_eq!(created(&opened.store, "p").unwrap()["name"], "two");
    let version = text(&first["meta"], "versionId").to_owned();
    let old = opened
        .store
        .version(Name::new("Patient", "p"), version)
        .await
        .unwrap();
    assert_eq!(old.unwrap()["name"], "one");
    close(opened).await;
}

#[tokio::test]
async fn a_deleted_resource_is_gone_and_stays_gone() {
    let folder = tempfile::tempdir().unwrap();
    let opened = Store::open(&file(&folder)).unwrap();
    let patient = Change::Put(json!({ "resourceType": "Patient", "id": "p" }));
    opened.store.write(patient).await.unwrap().unwrap();
    let name = Name::new("Patient", "p");
    opened
        .store
        .write(Change::Delete(name.clone()))
        .await
        .unwrap()
        .unwrap();
    let again = opened.store.write(Change::Delete(name)).await.unwrap();
    assert_eq!(again.unwrap_err(), Refused::Gone);
    close(opened).await;

    let opened = Store::open(&file(&folder)).unwrap();
    assert_eq!(
        opened.store.current.read("Patient", "p"),
        Err(Missing::Gone)
    );
    close(opened).await;
}

#[tokio::test]
async fn an_equal_update_makes_no_new_version() {
    let opened = Store::open(&Database::Memory).unwrap();
    let patient = json!({ "resourceType": "Patient", "id": "p" });
    let first = opened
        .store
        .write(Change::Create(patient))
        .await
        .unwrap()
        .unwrap()
        .resource;
    let name = Name::new("Patient", "p");
    let edit = Edit::Replace((*first).clone());
    let change = Change::Edit {
        name,
        if_match: None,
        edit,
        by: None,
    };
    let again = opened.store.write(change).await.unwrap().unwrap();
    assert_eq!((again.resource, again.effect), (first, Effect::Unchanged));
    close(opened).await;
}

#[tokio::test]
async fn only_the_first_answer_counts_and_a_different_one_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let opened = Store::open(&file(&folder)).unwrap();
    let store = &opened.store;
    store.keep(push("c1"), Box::new(drop)).await.unwrap();
    assert_eq!(
        answer(store, incoming("c1", "other", "ack")).await,
        Told::Foreign
    );
    assert_eq!(
        answer(store, incoming("unknown", "a1", "ack")).await,
        Told::Foreign
    );
    let first = Told::First {
        agent: "a1".into(),
        seq: Some(1),
    };
    assert_eq!(answer(store, incoming("c1", "a1", "ack")).await, first);
    assert_eq!(
        answer(store, incoming("c1", "a1", "ack")).await,
        Told::Again
    );
    assert_eq!(
        answer(store, incoming("c1", "a1", "nak")).await,
        Told::Conflict
    );
    let answers = store.answers("c1".into()).await.unwrap();
    assert_eq!(
        answers.iter().map(|a| a.body.as_str()).collect::<Vec<_>>(),
        ["ack", "nak"]
    );
    close(opened).await;

    let opened = Store::open(&file(&folder)).unwrap();
    assert_eq!((opened.conflicting, opened.unanswered.len()), (1, 0));
    let kept = opened.store.kept().await.unwrap();
    assert_eq!((kept[0].answers, kept[0].conflicting), (3, 1));
    close(opened).await;
}

#[tokio::test]
async fn unanswered_pushes_come_back_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let opened = Store::open(&file(&folder)).unwrap();
    for callback in ["c1", "c2", "c3"] {
        opened
            .store
            .keep(push(callback), Box::new(drop))
            .await
            .unwrap();
    }
    answer(&opened.store, incoming("c2", "a1", "ack")).await;
    close(opened).await;

    let opened = Store::open(&file(&folder)).unwrap();
    let callbacks: Vec<_> = opened
        .unanswered
        .iter()
        .map(|k| k.callback.as_str())
        .collect();
    assert_eq!(callbacks, ["c1", "c3"]);
    close(opened).await;
}

#[test]
fn a_file_from_another_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let db = writer::open(&file(&folder)).unwrap();
    db.execute("UPDATE meta SET value = '7' WHERE key = 'schema'", ())
        .unwrap();
    drop(db);
    let Err(OpenError::Schema { found: 7 }) = Store::open(&file(&folder)) else {
        panic!("a foreign schema must be refused");
    };
}
