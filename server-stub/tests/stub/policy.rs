//! Access policies: a client with one can do what an entry allows, and nothing else.

use hyper::Method;
use serde_json::{Value, json};
use wardpost_cloud::{Options, Seed};

use crate::client::{Reply, World, connect, login, options, order, seed};

/// A world whose token is that of a client with these entries.
async fn limited(entries: &Value) -> World {
    let mut seed: Seed = seed();
    let client = json!({ "id": "c2", "secret": "s", "accessPolicy": "AccessPolicy/least" });
    seed.clients.push(serde_json::from_value(client).unwrap());
    let task = |id: &str, owner: &str| json!({ "resourceType": "Task", "id": id, "status": "requested", "owner": { "reference": owner } });
    seed.resources.extend([
        json!({ "resourceType": "AccessPolicy", "id": "least", "resource": entries }),
        task("t1", "Device/d1"),
        task("t2", "Device/d2"),
    ]);
    let mut world = World::with(Options { seed, ..options() }).await;
    let form = "grant_type=client_credentials&client_id=c2&client_secret=s";
    let reply = login(world.cloud.base_url(), &[], form).await;
    world.token = reply.json()["access_token"].as_str().unwrap().into();
    world
}

async fn patch(world: &World, id: &str, path: &str, value: &Value) -> Reply {
    let steps = json!([{ "op": "replace", "path": path, "value": value }]);
    let path = format!("fhir/R4/Task/{id}");
    world.json(Method::PATCH, &path, &[], &steps).await
}

fn forbids(reply: &Reply) {
    reply.refuses(403, "Forbidden");
    assert_eq!(reply.json()["id"], "forbidden");
    assert_eq!(reply.json()["issue"][0]["code"], "forbidden");
}

#[tokio::test]
async fn what_no_entry_names_is_forbidden() {
    let world = limited(&json!([{ "resourceType": "Task" }])).await;
    forbids(&world.get("fhir/R4/Device/d1").await);
    forbids(&world.get("fhir/R4/Device").await);
    forbids(&world.get("fhir/R4/Agent/a1/$status").await);
    forbids(&world.get("fhir/R4/Agent/$bulk-status").await);
    forbids(&world.get("fhir/R4/AccessPolicy/least").await);
    let patient = json!({ "resourceType": "Patient" });
    forbids(&world.post("fhir/R4/Patient", &patient).await);
    let device = json!({ "resourceType": "Device", "id": "d1" });
    let put = world.json(Method::PUT, "fhir/R4/Device/d1", &[], &device);
    forbids(&put.await);
    let binary = [("content-type", "text/plain")];
    let posted = world
        .send(Method::POST, "fhir/R4/Binary", &binary, b"x".to_vec())
        .await;
    forbids(&posted);
    forbids(&world.push(&order(&json!({}))).await);
    assert_eq!(world.get("fhir/R4/Task/t1").await.status, 200);
}

#[tokio::test]
async fn an_entry_that_is_readonly_or_lists_interactions_allows_these_only() {
    let world = limited(&json!([
        { "resourceType": "Device", "readonly": true },
        { "resourceType": "Task", "interaction": ["search", "read", "update"] },
    ]))
    .await;
    assert_eq!(world.get("fhir/R4/Device/d1").await.status, 200);
    assert_eq!(world.get("fhir/R4/Device").await.json()["total"], 2);
    let delete = |path| world.send(Method::DELETE, path, &[], Vec::new());
    forbids(&delete("fhir/R4/Device/d1").await);
    let patched = patch(&world, "t1", "/status", &json!("accepted")).await;
    assert_eq!(patched.status, 200);
    forbids(
        &world
            .post("fhir/R4/Task", &json!({ "resourceType": "Task" }))
            .await,
    );
    forbids(&delete("fhir/R4/Task/t1").await);
    let version = patched.json()["meta"]["versionId"].clone();
    let version = version.as_str().unwrap();
    forbids(
        &world
            .get(&format!("fhir/R4/Task/t1/_history/{version}"))
            .await,
    );
    forbids(&world.get("fhir/R4/Task/t1/_history").await);
}

#[tokio::test]
async fn criteria_hide_other_resources_and_hold_for_what_a_change_makes() {
    let world = limited(&json!([
        { "resourceType": "Task", "criteria": "Task?owner=Device/d1" },
    ]))
    .await;
    assert_eq!(world.get("fhir/R4/Task").await.json()["total"], 1);
    world.get("fhir/R4/Task/t2").await.refuses(404, "Not found");
    let hidden = patch(&world, "t2", "/status", &json!("accepted")).await;
    hidden.refuses(404, "Not found");
    let given_away = patch(&world, "t1", "/owner/reference", &json!("Device/d2")).await;
    forbids(&given_away);
    let own = json!({ "resourceType": "Task", "owner": { "reference": "Device/d1" } });
    let created = world.post("fhir/R4/Task", &own).await;
    assert_eq!(created.status, 201);
    assert_eq!(
        created.json()["meta"]["author"]["reference"],
        "ClientApplication/c2"
    );
    let other = json!({ "resourceType": "Task", "owner": { "reference": "Device/d2" } });
    forbids(&world.post("fhir/R4/Task", &other).await);
}

#[tokio::test]
async fn a_search_of_another_type_with_the_same_words_finds_nothing_more() {
    let world = limited(&json!([
        { "resourceType": "*", "criteria": "Task?owner=Device/d1" },
    ]))
    .await;
    assert_eq!(world.get("fhir/R4/Device").await.json()["total"], 0);
    world
        .get("fhir/R4/Device/d1")
        .await
        .refuses(404, "Not found");
}

#[tokio::test]
async fn an_agent_connects_only_if_it_may_read_its_own_resource() {
    let world = limited(&json!([{ "resourceType": "Task" }])).await;
    let mut peer = world.open().await;
    peer.send(&connect(&world.token)).await;
    assert_eq!(peer.next_refusal().await, "Forbidden");
    let world = limited(&json!([{ "resourceType": "Agent", "readonly": true }])).await;
    world.agent().await;
}

#[tokio::test]
async fn a_push_to_a_device_that_its_caller_may_not_see_finds_no_device() {
    let world = limited(&json!([
        { "resourceType": "Agent", "readonly": true },
        { "resourceType": "Device", "readonly": true, "criteria": "Device?_id=d1" },
    ]))
    .await;
    assert_eq!(world.push(&order(&json!({}))).await.status, 200);
    let hidden = order(&json!({ "destination": "Device/d2" }));
    let refused = world.push(&hidden).await;
    refused.refuses(400, "Destination device not found");
}

#[tokio::test]
async fn a_client_sees_that_a_policy_limits_it() {
    let world = limited(&json!([{ "resourceType": "Task" }])).await;
    let me = world.get("auth/me").await.json();
    assert_eq!(me["accessPolicy"]["resource"][0]["resourceType"], "Task");
    assert_eq!(me["accessPolicy"]["resource"].as_array().unwrap().len(), 1);
}
