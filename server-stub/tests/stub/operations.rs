//! The operations on Agent besides `$push`, at instance and type level.

use serde_json::{Value, json};

use crate::client::{Peer, World};

/// Answers one question with this, under its callback.
async fn answer(agent: &mut Peer, mut answer: Value) -> Value {
    let question = agent.next().await;
    answer["callback"] = question["callback"].clone();
    agent.send(&answer).await;
    question
}

async fn check(path: &str, reply: Value, expected: Value) -> Value {
    let world = World::forgetful().await;
    let mut agent = world.agent().await;
    let (result, question) = tokio::join!(world.get(path), answer(&mut agent, reply));
    assert_eq!((result.status, result.json()), (200, expected), "{path}");
    question
}

fn all_ok() -> Value {
    json!({ "resourceType": "OperationOutcome", "id": "ok", "issue": [
        { "severity": "information", "code": "informational", "details": { "text": "All OK" } }] })
}

fn parameter(name: &str, value: &str) -> Value {
    json!({ "resourceType": "Parameters", "parameter": [{ "name": name, "valueString": value }] })
}

#[tokio::test]
async fn an_agent_is_asked_about_itself_and_its_answer_becomes_fhir() {
    let reload = json!({ "type": "agent:reloadconfig:response", "statusCode": 200 });
    let asked = check("fhir/R4/Agent/a1/$reload-config", reload, all_ok()).await;
    assert_eq!(asked["type"], "agent:reloadconfig:request");

    let stats =
        json!({ "type": "agent:stats:response", "statusCode": 200, "stats": { "live": true } });
    let asked = check(
        "fhir/R4/Agent/a1/$stats",
        stats,
        parameter("stats", r#"{"live":true}"#),
    )
    .await;
    assert_eq!(asked["type"], "agent:stats:request");

    let logs = json!({ "type": "agent:logs:response", "statusCode": 200, "logs": [{ "msg": "b" }, { "msg": "a" }] });
    let lines = parameter("logs", "{\"msg\":\"b\"}\n{\"msg\":\"a\"}");
    let asked = check("fhir/R4/Agent/a1/$fetch-logs?limit=2", logs, lines).await;
    assert_eq!(
        (&asked["type"], &asked["limit"]),
        (&json!("agent:logs:request"), &json!(2))
    );

    let upgrade = json!({ "type": "agent:upgrade:response", "statusCode": 200 });
    let path = "fhir/R4/Agent/a1/$upgrade?version=1.2.3&force=true";
    let asked = check(path, upgrade, all_ok()).await;
    assert_eq!(
        (&asked["version"], &asked["force"]),
        (&json!("1.2.3"), &json!(true))
    );
}

#[tokio::test]
async fn an_agents_error_is_a_bad_request_and_a_wrong_answer_a_failure() {
    let world = World::forgetful().await;
    let mut agent = world.agent().await;
    let path = "fhir/R4/Agent/a1/$reload-config";
    let error = json!({ "type": "agent:error", "body": "no changes applied" });
    let (reply, _) = tokio::join!(world.get(path), answer(&mut agent, error));
    reply.refuses(400, "no changes applied");
    let stats = json!({ "type": "agent:stats:response", "statusCode": 200, "stats": {} });
    let (reply, _) = tokio::join!(world.get(path), answer(&mut agent, stats));
    reply.refuses(500, "Internal server error");
    world
        .get("fhir/R4/Agent/none/$stats")
        .await
        .refuses(404, "Not found");
}

#[tokio::test]
async fn an_absent_agent_times_out() {
    let world = World::forgetful().await;
    world
        .get("fhir/R4/Agent/a1/$upgrade?timeout=10")
        .await
        .refuses(400, "Timeout");
}

#[tokio::test]
async fn a_bulk_operation_gives_each_agent_its_own_entry() {
    let world = World::forgetful().await;
    let mut agent = world.agent().await;
    let upgrade = json!({ "type": "agent:upgrade:response", "statusCode": 200 });
    let path = "fhir/R4/Agent/$upgrade?_id=a1,a2&timeout=1000";
    let (reply, _) = tokio::join!(world.get(path), answer(&mut agent, upgrade));
    let bundle = reply.json();
    assert_eq!(bundle["type"], "collection");
    let entry = |place: usize| bundle["entry"][place]["resource"]["parameter"].clone();
    assert_eq!(
        (&entry(0)[0]["name"], &entry(0)[0]["resource"]["id"]),
        (&json!("agent"), &json!("a1"))
    );
    assert_eq!(
        entry(0)[1],
        json!({ "name": "result", "resource": all_ok() })
    );
    assert_eq!(entry(1)[0]["resource"]["name"], "Ward 4");
    assert_eq!(
        entry(1)[1]["resource"]["issue"][0]["details"]["text"],
        "Timeout"
    );
}

#[tokio::test]
async fn bulk_status_asks_nobody_and_knows_no_limit() {
    let world = World::forgetful().await;
    let bundle = world
        .get("fhir/R4/Agent/$bulk-status?_count=101")
        .await
        .json();
    assert_eq!(bundle["entry"].as_array().unwrap().len(), 2);
    let result = &bundle["entry"][0]["resource"]["parameter"][1]["resource"];
    assert_eq!(
        result["parameter"],
        json!([
        { "name": "status", "valueCode": "unknown" }, { "name": "version", "valueString": "unknown" }])
    );
    let refused = world.get("fhir/R4/Agent/$stats?_count=101").await;
    refused.refuses(400, "'_count' of 101 is greater than max of 100");
}

#[tokio::test]
async fn nobody_to_ask_is_said() {
    let world = World::forgetful().await;
    for operation in [
        "$bulk-status",
        "$stats",
        "$reload-config",
        "$fetch-logs",
        "$upgrade",
    ] {
        let reply = world
            .get(&format!("fhir/R4/Agent/{operation}?_id=none"))
            .await;
        reply.refuses(400, "No agent(s) for given query");
    }
    world
        .get("fhir/R4/Agent/$status")
        .await
        .refuses(400, "Must specify agent ID or identifier");
    let by_identifier = world.get("fhir/R4/Agent/$status?identifier=A1").await;
    assert_eq!(by_identifier.status, 200);
}

#[tokio::test]
async fn only_get_is_routed_for_questions_and_only_post_for_pushes() {
    let world = World::forgetful().await;
    world
        .post("fhir/R4/Agent/a1/$status", &json!({}))
        .await
        .refuses(404, "Not found");
    world
        .get("fhir/R4/Agent/a1/$push")
        .await
        .refuses(404, "Not found");
}
