//! Resources: create, read, update, patch, delete and search, and every refusal as an `OperationOutcome`.

use hyper::Method;
use serde_json::{Value, json};

use crate::client::World;

fn patient() -> Value {
    json!({ "resourceType": "Patient", "name": [{ "family": "DOE", "given": ["JANE"] }] })
}

async fn created(world: &World, resource: &Value) -> Value {
    let kind = resource["resourceType"].as_str().unwrap();
    let reply = world.post(&format!("fhir/R4/{kind}"), resource).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.json()
}

fn path(resource: &Value) -> String {
    let text = |name: &str| resource[name].as_str().unwrap().to_owned();
    format!("fhir/R4/{}/{}", text("resourceType"), text("id"))
}

#[tokio::test]
async fn a_created_resource_has_an_id_and_a_version_and_can_be_read() {
    let world = World::forgetful().await;
    let reply = world.post("fhir/R4/Patient", &patient()).await;
    let resource = reply.json();
    assert!(
        resource["meta"]["lastUpdated"]
            .as_str()
            .unwrap()
            .ends_with('Z')
    );
    let version = resource["meta"]["versionId"].as_str().unwrap();
    assert_eq!(reply.header("etag"), format!("W/\"{version}\""));
    assert!(reply.header("location").ends_with(&path(&resource)));
    assert_eq!(world.get(&path(&resource)).await.json(), resource);
    let old = format!("{}/_history/{version}", path(&resource));
    assert_eq!(world.get(&old).await.json(), resource);
}

#[tokio::test]
async fn an_update_makes_a_new_version_and_if_match_guards_it() {
    let world = World::forgetful().await;
    let first = created(&world, &patient()).await;
    let mut changed = first.clone();
    changed["active"] = json!(true);
    let tag = format!("W/\"{}\"", first["meta"]["versionId"].as_str().unwrap());
    let guard = [("if-match", tag.as_str())];
    let second = world
        .json(Method::PUT, &path(&first), &guard, &changed)
        .await;
    assert_eq!(second.status, 200);
    assert_ne!(
        second.json()["meta"]["versionId"],
        first["meta"]["versionId"]
    );
    changed["active"] = json!(false);
    let third = world
        .json(Method::PUT, &path(&first), &guard, &changed)
        .await;
    third.refuses(412, "Precondition Failed");
    assert_eq!(third.json()["id"], "precondition-failed");
}

#[tokio::test]
async fn a_patch_changes_what_it_names() {
    let world = World::forgetful().await;
    let steps = json!([{ "op": "replace", "path": "/status", "value": "off" }]);
    let patched = world
        .json(Method::PATCH, "fhir/R4/Agent/a1", &[], &steps)
        .await;
    assert_eq!(
        (patched.status, &patched.json()["status"]),
        (200, &json!("off"))
    );
    let wrong = json!([{ "op": "test", "path": "/status", "value": "active" }]);
    let refused = world
        .json(Method::PATCH, "fhir/R4/Agent/a1", &[], &wrong)
        .await;
    refused.refuses(400, "Patch does not fit at /status");
}

#[tokio::test]
async fn a_deleted_resource_is_gone() {
    let world = World::forgetful().await;
    let resource = created(&world, &patient()).await;
    let deleted = world
        .send(Method::DELETE, &path(&resource), &[], Vec::new())
        .await;
    assert_eq!((deleted.status, &deleted.json()["id"]), (200, &json!("ok")));
    let reply = world.get(&path(&resource)).await;
    reply.refuses(410, "Gone");
    assert_eq!(reply.json()["id"], "gone");
    assert_eq!(world.get("fhir/R4/Patient").await.json()["total"], 0);
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let world = World::forgetful().await;
    for path in [
        "fhir/R4/Patient/none",
        "fhir/R4/patient",
        "fhir/R4/Agent/a1/$none",
        "fhir/R4/a/b/c/d",
    ] {
        let reply = world.get(path).await;
        reply.refuses(404, "Not found");
        assert_eq!(reply.json()["id"], "not-found");
    }
    world.get("nowhere").await.refuses(404, "Not found");
}

#[tokio::test]
async fn a_body_that_is_not_what_the_path_says_is_refused() {
    let world = World::forgetful().await;
    let wrong = world
        .post("fhir/R4/Patient", &json!({ "resourceType": "Device" }))
        .await;
    wrong.refuses(
        400,
        "Incorrect resource type: expected Patient, but found Device",
    );
    let other = json!({ "resourceType": "Agent", "id": "a2" });
    let reply = world
        .json(Method::PUT, "fhir/R4/Agent/a1", &[], &other)
        .await;
    reply.refuses(400, "Incorrect ID");
    let json = [("content-type", "application/fhir+json")];
    let reply = world
        .send(Method::POST, "fhir/R4/Patient", &json, b"{".to_vec())
        .await;
    reply.refuses(400, "Content could not be parsed");
}

#[tokio::test]
async fn a_search_finds_pages_of_what_fits() {
    let world = World::forgetful().await;
    for number in 0..5 {
        let request = json!({ "resourceType": "ServiceRequest", "status": "active",
            "identifier": [{ "system": "urn:orders", "value": number.to_string() }] });
        created(&world, &request).await;
    }
    let first = world
        .get("fhir/R4/ServiceRequest?status=active&_count=2")
        .await
        .json();
    assert_eq!(
        (&first["type"], &first["total"]),
        (&json!("searchset"), &json!(5))
    );
    assert_eq!(first["entry"].as_array().unwrap().len(), 2);
    let next = first["link"][1]["url"].as_str().unwrap();
    let next = next.strip_prefix(world.cloud.base_url()).unwrap();
    let second = world.get(next).await.json();
    assert_eq!(
        second["entry"][0]["resource"]["identifier"][0]["value"],
        "2"
    );
    let one = world
        .get("fhir/R4/ServiceRequest?identifier=urn:orders%7C4")
        .await
        .json();
    assert_eq!(one["total"], 1);
    let two = world.get("fhir/R4/Device?_id=d1,d2").await.json();
    assert_eq!(two["total"], 2);
}

#[tokio::test]
async fn a_conditional_create_creates_once() {
    let world = World::forgetful().await;
    let identified =
        json!({ "resourceType": "Patient", "identifier": [{ "system": "urn:x", "value": "1" }] });
    let condition = [("if-none-exist", "identifier=urn:x|1")];
    let create = || world.json(Method::POST, "fhir/R4/Patient", &condition, &identified);
    let (first, second) = tokio::join!(create(), create());
    assert_eq!(first.status + second.status, 201 + 200);
    assert_eq!(first.json()["id"], second.json()["id"]);
    world.post("fhir/R4/Patient", &identified).await;
    create()
        .await
        .refuses(412, "Multiple resources found matching condition");
}

#[tokio::test]
async fn a_binary_comes_back_as_it_went_in() {
    let world = World::forgetful().await;
    let headers = [("content-type", "text/typescript")];
    let body = b"export const x = 1;".to_vec();
    let reply = world
        .send(
            Method::POST,
            "fhir/R4/Binary?_filename=x.ts",
            &headers,
            body,
        )
        .await;
    assert_eq!(reply.status, 201);
    let binary = reply.json();
    assert_eq!(binary.get("data"), None);
    let url = binary["url"]
        .as_str()
        .unwrap()
        .strip_prefix(world.cloud.base_url())
        .unwrap();
    let read = world.get(url).await;
    assert_eq!(read.body, "export const x = 1;");
    assert_eq!(read.header("content-type"), "text/typescript");
}

#[tokio::test]
async fn the_history_of_a_resource_begins_with_its_newest_version() {
    let world = World::forgetful().await;
    let first = created(&world, &patient()).await;
    let history = format!("{}/_history", path(&first));
    let mut changed = first.clone();
    changed["active"] = json!(true);
    let second = world
        .json(Method::PUT, &path(&first), &[], &changed)
        .await
        .json();
    let bundle = world.get(&history).await.json();
    assert_eq!(bundle["type"], "history");
    let resources = |bundle: &Value| {
        let entries = bundle["entry"].as_array().unwrap().clone();
        entries.into_iter().map(|entry| entry["resource"].clone())
    };
    assert!(resources(&bundle).eq([second.clone(), first.clone()]));
    let page = world.get(&format!("{history}?_count=1&_offset=1")).await;
    assert!(resources(&page.json()).eq([first.clone()]));

    world
        .json(Method::DELETE, &path(&first), &[], &json!({}))
        .await;
    let bundle = world.get(&history).await.json();
    assert_eq!(bundle["entry"][0]["response"]["status"], "410");
    assert!(resources(&bundle).eq([Value::Null, second, first]));
    assert_eq!(world.get("fhir/R4/Patient/none/_history").await.status, 404);
}
