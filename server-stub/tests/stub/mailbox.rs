//! What an agent needs to take work from Task resources: searches in order, claims that only one can win, payloads in
//! Binaries, and a server that answers with anything but that.

use hyper::Method;
use serde_json::{Value, json};
use wardpost_cloud::{FhirFault, Instead, When};

use crate::client::{Reply, World};

const SYSTEM: &str = "https://example.org/codes";

fn task(authored: &str, owner: &str) -> Value {
    json!({
        "resourceType": "Task", "status": "requested", "intent": "order", "authoredOn": authored,
        "code": { "coding": [{ "system": SYSTEM, "code": "wardpost-push" }] },
        "owner": { "reference": owner },
    })
}

async fn created(world: &World, task: &Value) -> Value {
    let reply = world.post("fhir/R4/Task", task).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.json()
}

fn path(task: &Value) -> String {
    format!("fhir/R4/Task/{}", task["id"].as_str().unwrap())
}

fn tag(task: &Value) -> String {
    format!("W/\"{}\"", task["meta"]["versionId"].as_str().unwrap())
}

fn found(bundle: &Value) -> Vec<&str> {
    let entries = bundle["entry"].as_array().unwrap();
    let ids = entries.iter().map(|entry| &entry["resource"]["id"]);
    ids.map(|id| id.as_str().unwrap()).collect()
}

async fn patch(world: &World, task: &Value, version: Option<&str>, status: &str) -> Reply {
    let steps = json!([{ "op": "replace", "path": "/status", "value": status }]);
    let mut headers = vec![("content-type", "application/json-patch+json")];
    headers.extend(version.map(|version| ("if-match", version)));
    let body = steps.to_string().into_bytes();
    world.send(Method::PATCH, &path(task), &headers, body).await
}

#[tokio::test]
async fn tasks_of_a_device_come_oldest_first_and_page_by_page() {
    let world = World::forgetful().await;
    let late = created(&world, &task("2026-03-01T10:00:00Z", "Device/d1")).await;
    let early = created(&world, &task("2026-03-01T10:30:00+01:00", "Device/d1")).await;
    let last = created(&world, &task("2026-03-01T11:00:00Z", "Device/d1")).await;
    created(&world, &task("2026-03-01T08:00:00Z", "Device/d2")).await;
    let other = json!({ "resourceType": "Task", "status": "requested", "owner": { "reference": "Device/d1" } });
    created(&world, &other).await;
    let query = format!(
        "fhir/R4/Task?owner=Device/d1,Device/d9&status=requested&code={SYSTEM}%7Cwardpost-push&_sort=authored-on&_count=2"
    );
    let page = world.get(&query).await.json();
    let ids: Vec<_> = [&early, &late, &last]
        .map(|task| task["id"].as_str().unwrap())
        .into();
    assert_eq!(found(&page), ids[..2]);
    let mut links = page["link"].as_array().unwrap().iter();
    let next = links.find(|link| link["relation"] == "next").unwrap();
    let next = next["url"].as_str().unwrap();
    let next = next.strip_prefix(world.cloud.base_url()).unwrap();
    let page = world.get(next).await.json();
    assert_eq!(found(&page), ids[2..]);
    let links: Vec<_> = page["link"].as_array().unwrap().iter().collect();
    assert!(links.iter().all(|link| link["relation"] != "next"));
}

#[tokio::test]
async fn a_search_by_the_time_of_the_last_change_finds_what_changed_since() {
    let world = World::forgetful().await;
    let first = created(&world, &task("2026-03-01T10:00:00Z", "Device/d1")).await;
    let second = created(&world, &task("2026-03-01T09:00:00Z", "Device/d1")).await;
    let since = first["meta"]["lastUpdated"].as_str().unwrap();
    let query = format!("fhir/R4/Task?_lastUpdated=ge{since}&_sort=-_lastUpdated,authored-on");
    let both = world.get(&query).await.json();
    assert_eq!(both["entry"].as_array().unwrap().len(), 2);
    let changed = patch(&world, &first, None, "accepted").await.json();
    let at = changed["meta"]["lastUpdated"].as_str().unwrap();
    let now = world
        .get(&format!("fhir/R4/Task?_lastUpdated=ge{at}"))
        .await
        .json();
    assert!(found(&now).contains(&first["id"].as_str().unwrap()));
    let before = world.get("fhir/R4/Task?_lastUpdated=lt2020").await.json();
    assert_eq!(found(&before), Vec::<&str>::new());
    assert_ne!(first["id"], second["id"]);
}

#[tokio::test]
async fn a_claim_by_version_is_won_by_one_only() {
    let world = World::forgetful().await;
    let task = created(&world, &task("2026-03-01T10:00:00Z", "Device/d1")).await;
    let version = tag(&task);
    let claim = || patch(&world, &task, Some(&version), "accepted");
    let (one, other) = tokio::join!(claim(), claim());
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
    let winner = if one.status == 200 { &one } else { &other };
    let loser = if one.status == 200 { &other } else { &one };
    loser.refuses(412, "Precondition Failed");
    let claimed = winner.json();
    assert_eq!(claimed["status"], "accepted");
    assert_eq!(winner.header("etag"), tag(&claimed));
    assert!(winner.header("last-modified").ends_with(" GMT"));
    let mut done = claimed.clone();
    done["status"] = json!("completed");
    let stale = [("if-match", version.as_str())];
    let refused = world.json(Method::PUT, &path(&task), &stale, &done).await;
    refused.refuses(412, "Precondition Failed");
    let fresh = tag(&claimed);
    let fresh = [("if-match", fresh.as_str())];
    let taken = world.json(Method::PUT, &path(&task), &fresh, &done).await;
    assert_eq!(
        (taken.status, &taken.json()["status"]),
        (200, &json!("completed"))
    );
}

#[tokio::test]
async fn every_version_of_a_task_stays_readable() {
    let world = World::forgetful().await;
    let task = created(&world, &task("2026-03-01T10:00:00Z", "Device/d1")).await;
    patch(&world, &task, None, "cancelled").await;
    let version = task["meta"]["versionId"].as_str().unwrap();
    let old = world
        .get(&format!("{}/_history/{version}", path(&task)))
        .await;
    assert_eq!(old.json(), task);
    assert_eq!(old.header("etag"), tag(&task));
    assert_eq!(world.get(&path(&task)).await.json()["status"], "cancelled");
}

#[tokio::test]
async fn a_payload_of_any_bytes_comes_back_under_its_content_type() {
    let world = World::forgetful().await;
    let hl7 = "x-application/hl7-v2+er7; answer-within=28";
    let body = b"MSH|^~\\&|EHR\rPID|1||M\xe4rz\r".to_vec();
    let headers = [("content-type", hl7)];
    let reply = world
        .send(Method::POST, "fhir/R4/Binary", &headers, body)
        .await;
    assert_eq!(reply.status, 201);
    let binary = reply.json();
    assert_eq!(binary["contentType"], hl7);
    let url = format!("fhir/R4/Binary/{}", binary["id"].as_str().unwrap());
    let read = world.get(&url).await;
    assert_eq!(read.header("content-type"), hl7);
    assert!(read.body.starts_with("MSH|^~\\&|EHR\rPID|1||M"));
    world
        .get("fhir/R4/Binary/none")
        .await
        .refuses(404, "Not found");
}

#[tokio::test]
async fn a_fault_comes_instead_of_an_answer_as_often_as_asked() {
    let world = World::forgetful().await;
    let task = created(&world, &task("2026-03-01T10:00:00Z", "Device/d1")).await;
    let page = "<html><body>Please accept our terms</body></html>";
    for (instead, status, text) in [
        (Instead::Status(412), 412, "Precondition Failed"),
        (Instead::Status(429), 429, "Too Many Requests"),
        (
            Instead::Later {
                status: 503,
                seconds: 7,
            },
            503,
            "Internal server error",
        ),
        (Instead::Page, 200, page),
    ] {
        let fault = FhirFault {
            method: "PATCH".into(),
            kind: "Task".into(),
            times: 1,
            when: When::Before,
            instead,
        };
        world
            .cloud
            .faults(|faults| faults.instead_of_fhir = vec![fault]);
        assert_eq!(world.get(&path(&task)).await.json()["status"], "requested");
        let met = patch(&world, &task, None, "accepted").await;
        assert_eq!(met.status, status);
        assert!(met.body.contains(text), "{met:?}");
        assert_eq!(world.get(&path(&task)).await.json()["status"], "requested");
    }
    assert_eq!(patch(&world, &task, None, "accepted").await.status, 200);
}

#[tokio::test]
async fn an_answer_can_be_lost_after_the_request_was_carried_out() {
    let world = World::forgetful().await;
    let task = created(&world, &task("2026-03-01T10:00:00Z", "Device/d1")).await;
    world.cloud.faults(|faults| {
        faults.instead_of_fhir = vec![FhirFault {
            method: "*".into(),
            kind: "*".into(),
            times: 1,
            when: When::After,
            instead: Instead::Status(503),
        }];
    });
    assert_eq!(
        patch(&world, &task, Some(&tag(&task)), "accepted")
            .await
            .status,
        503
    );
    let read = world.get(&path(&task)).await.json();
    assert_eq!(read["status"], "accepted");
    let again = patch(&world, &task, Some(&tag(&task)), "accepted").await;
    again.refuses(412, "Precondition Failed");
}
