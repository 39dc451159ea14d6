//! Subscriptions: a change of a resource runs a Bot, once, in the background.

use hyper::Method;
use serde_json::{Value, json};

use crate::bots::deployed;
use crate::client::World;

const INTERACTION: &str =
    "https://medplum.com/fhir/StructureDefinition/subscription-supported-interaction";

/// A Bot that notes what it saw in a Basic.
const NOTE: &str = "exports.handler = async (medplum, { input, headers, contentType, requester }) => {
  const seen = input.deletedResource ?? input;
  await medplum.createResource({ resourceType: 'Basic', note: {
    id: seen.id, version: seen.meta.versionId, status: seen.status, deleted: Boolean(input.deletedResource),
    interaction: headers['X-Medplum-Interaction'], type: contentType, by: requester.reference } });
};";

async fn subscribe(world: &World, bot: &str, criteria: &str, extension: Value) -> String {
    let subscription = json!({
        "resourceType": "Subscription", "status": "active", "reason": "orders", "criteria": criteria,
        "channel": { "type": "rest-hook", "endpoint": bot }, "extension": extension,
    });
    let reply = world.post("fhir/R4/Subscription", &subscription).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.json()["id"].as_str().unwrap().to_owned()
}

async fn order(world: &World, status: &str) -> Value {
    let order = json!({ "resourceType": "ServiceRequest", "status": status, "intent": "order" });
    world.post("fhir/R4/ServiceRequest", &order).await.json()
}

async fn update(world: &World, order: &Value, status: &str) -> Value {
    let mut changed = order.clone();
    changed["status"] = json!(status);
    let path = format!("fhir/R4/ServiceRequest/{}", order["id"].as_str().unwrap());
    world.json(Method::PUT, &path, &[], &changed).await.json()
}

async fn list(world: &World, path: &str) -> Vec<Value> {
    let found = world.get(path).await.json();
    let entries = found["entry"].as_array().unwrap().iter();
    entries.map(|entry| entry["resource"].clone()).collect()
}

/// Waits until so many runs about a resource are on record; gives them, oldest first.
async fn runs(world: &World, about: &Value, count: usize) -> Vec<Value> {
    let about = format!(
        "fhir/R4/AuditEvent?entity={}/{}",
        about["resourceType"].as_str().unwrap(),
        about["id"].as_str().unwrap()
    );
    let mut found = list(world, &about).await;
    for _ in 0..10_000 {
        if found.len() >= count {
            break;
        }
        found = list(world, &about).await;
    }
    assert_eq!(found.len(), count, "{found:?}");
    found
}

async fn notes(world: &World) -> Vec<Value> {
    let basics = list(world, "fhir/R4/Basic").await;
    basics
        .into_iter()
        .map(|basic| basic["note"].clone())
        .collect()
}

#[tokio::test]
async fn each_new_version_of_a_resource_runs_the_bot_once() {
    let world = World::forgetful().await;
    let bot = deployed(&world, NOTE).await;
    subscribe(&world, &format!("Bot/{bot}"), "ServiceRequest", json!([])).await;
    let first = order(&world, "active").await;
    runs(&world, &first, 1).await;
    let second = update(&world, &first, "revoked").await;
    runs(&world, &first, 2).await;
    // Nothing new is no new version, and triggers nothing.
    assert_eq!(update(&world, &second, "revoked").await, second);
    let path = format!("fhir/R4/ServiceRequest/{}", first["id"].as_str().unwrap());
    world.send(Method::DELETE, &path, &[], Vec::new()).await;
    let records = runs(&world, &first, 3).await;
    assert!(
        records.iter().all(|record| record["outcome"] == "0"),
        "{records:?}"
    );
    let note = |version: &Value, status: &str, interaction: &str| {
        json!({ "id": first["id"], "version": version["meta"]["versionId"], "status": status, "deleted": interaction == "delete",
            "interaction": interaction, "type": "application/fhir+json", "by": "ClientApplication/c1" })
    };
    assert_eq!(
        notes(&world).await,
        [
            note(&first, "active", "create"),
            note(&second, "revoked", "update"),
            note(&second, "revoked", "delete"),
        ]
    );
}

#[tokio::test]
async fn only_what_the_criteria_find_and_the_interactions_name_runs_the_bot() {
    let world = World::forgetful().await;
    let bot = format!("Bot/{}", deployed(&world, NOTE).await);
    let updates = json!([{ "url": INTERACTION, "valueCode": "update" }]);
    subscribe(&world, &bot, "ServiceRequest?status=active", updates).await;
    let draft = order(&world, "draft").await;
    let active = update(&world, &draft, "active").await;
    update(&world, &active, "completed").await;
    order(&world, "active").await;
    runs(&world, &draft, 1).await;
    let notes = notes(&world).await;
    assert_eq!(notes.len(), 1);
    assert_eq!(notes[0]["version"], active["meta"]["versionId"]);
}

#[tokio::test]
async fn a_bot_that_fails_is_not_run_again() {
    let world = World::forgetful().await;
    let failing = "exports.handler = async (medplum, { input }) => {
        await medplum.createResource({ resourceType: 'Basic', note: input.id });
        throw new Error('not today');
    };";
    let failing = format!("Bot/{}", deployed(&world, failing).await);
    let working = format!(
        "Bot/{}",
        deployed(&world, "exports.handler = async () => {};").await
    );
    subscribe(&world, &failing, "ServiceRequest", json!([])).await;
    let first = order(&world, "active").await;
    let record = &runs(&world, &first, 1).await[0];
    assert_eq!(record["outcome"], "4");
    let log = record["outcomeDesc"].as_str().unwrap();
    assert!(
        log.starts_with("Error: not today\nat <anonymous> (lab-order.js:3:"),
        "{log}"
    );
    // Later events go on, and by the time of their end the first would have come again.
    subscribe(&world, &working, "Task", json!([])).await;
    let task = world
        .post("fhir/R4/Task", &json!({ "resourceType": "Task" }))
        .await
        .json();
    runs(&world, &task, 1).await;
    runs(&world, &first, 1).await;
    assert_eq!(notes(&world).await, [first["id"].clone()]);
}

#[tokio::test]
async fn a_subscription_that_cannot_work_is_taken_and_runs_nothing() {
    let world = World::forgetful().await;
    let bot = format!("Bot/{}", deployed(&world, NOTE).await);
    let alone = json!({ "resourceType": "Bot", "runtimeVersion": "vmcontext" });
    let alone = world.post("fhir/R4/Bot", &alone).await.json();
    let alone = format!("Bot/{}", alone["id"].as_str().unwrap());
    for (bot, criteria) in [
        (bot.as_str(), "ServiceRequest?subject.name=x"),
        (bot.as_str(), "no criteria"),
        ("Bot/none", "ServiceRequest"),
        ("https://example.org/hook", "ServiceRequest"),
        (alone.as_str(), "ServiceRequest"),
    ] {
        subscribe(&world, bot, criteria, json!([])).await;
    }
    let first = order(&world, "active").await;
    subscribe(&world, &bot, "ServiceRequest", json!([])).await;
    let second = order(&world, "active").await;
    runs(&world, &second, 1).await;
    assert_eq!(notes(&world).await.len(), 1);
    runs(&world, &first, 0).await;
}

#[tokio::test]
async fn a_subscription_that_is_off_or_deleted_runs_nothing() {
    let world = World::forgetful().await;
    let bot = format!("Bot/{}", deployed(&world, NOTE).await);
    let off = subscribe(&world, &bot, "ServiceRequest", json!([])).await;
    let deleted = subscribe(&world, &bot, "ServiceRequest", json!([])).await;
    let steps = json!([{ "op": "replace", "path": "/status", "value": "off" }]);
    let path = format!("fhir/R4/Subscription/{off}");
    world.json(Method::PATCH, &path, &[], &steps).await;
    let path = format!("fhir/R4/Subscription/{deleted}");
    world.send(Method::DELETE, &path, &[], Vec::new()).await;
    order(&world, "active").await;
    subscribe(&world, &bot, "ServiceRequest", json!([])).await;
    let second = order(&world, "active").await;
    runs(&world, &second, 1).await;
    assert_eq!(notes(&world).await.len(), 1);
}

#[tokio::test]
async fn what_a_bot_writes_can_run_the_next_bot() {
    let world = World::forgetful().await;
    let maker = "exports.handler = async (medplum, { input }) => {
        await medplum.createResource({ resourceType: 'Task', status: 'requested', focus: { reference: `ServiceRequest/${input.id}` } });
    };";
    let maker = format!("Bot/{}", deployed(&world, maker).await);
    let noting = format!("Bot/{}", deployed(&world, NOTE).await);
    subscribe(&world, &maker, "ServiceRequest", json!([])).await;
    subscribe(&world, &noting, "Task", json!([])).await;
    let orders: usize = 50;
    for _ in 0..orders {
        order(&world, "active").await;
    }
    let mut seen = notes(&world).await;
    for _ in 0..10_000 {
        if seen.len() == orders {
            break;
        }
        seen = list(&world, "fhir/R4/Basic?_count=1000").await;
    }
    assert_eq!(seen.len(), orders);
}
