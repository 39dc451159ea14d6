//! `$push`: waiting and not, every refusal, asynchronously, by identifier.

use hyper::Method;
use serde_json::{Value, json};

use crate::client::{HL7, Peer, World, connect, order, response};

async fn check_refusal(world: &World, body: &Value, text: &str) {
    world.push(body).await.refuses(400, text);
}

#[tokio::test]
async fn who_does_not_wait_hears_all_ok_whoever_is_there() {
    let world = World::forgetful().await;
    let reply = world.push(&order(&json!({}))).await;
    assert_eq!((reply.status, &reply.json()["id"]), (200, &json!("ok")));
    let mut agent = world.agent().await;
    world
        .push(&order(&json!({ "returnAck": "application" })))
        .await;
    let expected = json!({ "type": "agent:transmit:request", "remote": "mllp://127.0.0.1:2575",
        "contentType": HL7, "body": "MSH|^~\\&|EHR||LAB", "returnAck": "application" });
    // The first push is forgotten, and the second has no callback.
    assert_eq!(agent.next().await, expected);
}

#[tokio::test]
async fn who_waits_gets_the_devices_words() {
    let world = World::forgetful().await;
    let mut agent = world.agent().await;
    let (reply, callback) = tokio::join!(world.push_and_wait(), agent.acknowledge());
    assert!(callback.starts_with("Agent/a1-"), "{callback}");
    assert_eq!((reply.status, reply.body.as_str()), (200, "MSA|AA|1"));
    assert_eq!(
        reply.header("content-type"),
        format!("{HL7}; charset=utf-8")
    );
    assert_eq!(world.cloud.answers(&callback).await.len(), 1);
}

#[tokio::test]
async fn an_agent_is_found_by_identifier_and_with_an_escaped_dollar() {
    let world = World::forgetful().await;
    for path in [
        "fhir/R4/Agent/$push?identifier=urn:site%7CA1",
        "fhir/R4/Agent/%24push?identifier=A1",
    ] {
        assert_eq!(
            world.post(path, &order(&json!({}))).await.status,
            200,
            "{path}"
        );
    }
    for path in ["fhir/R4/Agent/$push", "fhir/R4/Agent/$push?identifier=none"] {
        let reply = world.post(path, &order(&json!({}))).await;
        reply.refuses(400, "Must specify agent ID or identifier");
    }
    world
        .post("fhir/R4/Agent/none/$push", &order(&json!({})))
        .await
        .refuses(404, "Not found");
    world
        .send(Method::DELETE, "fhir/R4/Agent/a2", &[], Vec::new())
        .await;
    world
        .post("fhir/R4/Agent/a2/$push", &order(&json!({})))
        .await
        .refuses(410, "Gone");
}

#[tokio::test]
async fn each_mistake_in_a_push_has_its_own_words_in_the_servers_order() {
    let world = World::forgetful().await;
    let off = world.post("fhir/R4/Agent/a2/$push", &json!({})).await;
    off.refuses(400, "Agent is currently disabled. Agent.status is 'off'");
    check_refusal(&world, &json!({}), "Missing body parameter").await;
    check_refusal(
        &world,
        &order(&json!({ "body": "" })),
        "Missing body parameter",
    )
    .await;
    check_refusal(
        &world,
        &json!({ "body": "x" }),
        "Missing contentType parameter",
    )
    .await;
    let no_destination = json!({ "body": "x", "contentType": HL7 });
    check_refusal(&world, &no_destination, "Missing destination parameter").await;
    let late = order(&json!({ "waitTimeout": 55_001, "destination": "Device/none" }));
    check_refusal(&world, &late, "Invalid wait timeout").await;
    for destination in [
        "Device/none",
        "Device?identifier=none",
        "10.0.0.7",
        "mllp://10.0.0.7:1",
    ] {
        let nowhere = order(&json!({ "destination": destination }));
        check_refusal(&world, &nowhere, "Destination device not found").await;
    }
    let no_url = order(&json!({ "destination": "Device/d2" }));
    check_refusal(&world, &no_url, "Destination device missing url").await;
}

#[tokio::test]
async fn an_unreadable_or_too_large_body_is_refused() {
    let world = World::forgetful().await;
    let json = [("content-type", "application/fhir+json")];
    let path = "fhir/R4/Agent/a1/$push";
    let reply = world
        .send(Method::POST, path, &json, b"{\"body\":".to_vec())
        .await;
    reply.refuses(400, "Content could not be parsed");
    let large = order(&json!({ "body": "x".repeat(1024 * 1024) }));
    world
        .push(&large)
        .await
        .refuses(413, "Request body too large");
}

#[tokio::test]
async fn a_device_is_found_by_a_search() {
    let world = World::forgetful().await;
    let mut agent = world.agent().await;
    let by_search = order(&json!({ "destination": "Device?status=active" }));
    assert_eq!(world.push(&by_search).await.status, 200);
    assert_eq!(agent.next().await["remote"], "mllp://127.0.0.1:2575");
}

#[tokio::test]
async fn a_ping_goes_to_a_bare_host_even_of_an_agent_that_is_off() {
    let world = World::forgetful().await;
    let ping = json!({ "destination": "10.0.0.7", "contentType": "x-application/ping", "body": "PING 1",
        "waitForResponse": true });
    let mut agent = world.agent().await;
    let answer = async {
        let push = agent.next().await;
        assert_eq!(push["remote"], "10.0.0.7");
        agent
            .send(&response(
                push["callback"].as_str().unwrap(),
                200,
                "1 received",
            ))
            .await;
    };
    let (reply, ()) = tokio::join!(world.push(&ping), answer);
    assert_eq!(reply.body, "1 received");
    let no_wait =
        json!({ "destination": "10.0.0.7", "contentType": "x-application/ping", "body": "PING" });
    assert_eq!(
        world.post("fhir/R4/Agent/a2/$push", &no_wait).await.status,
        200
    );
}

#[tokio::test]
async fn no_answer_in_time_is_a_timeout() {
    let world = World::forgetful().await;
    let hasty = order(&json!({ "waitForResponse": true, "waitTimeout": 20 }));
    check_refusal(&world, &hasty, "Timeout").await;
    let mut agent = world.agent().await;
    check_refusal(&world, &hasty, "Timeout").await;
    // An answer that comes too late is taken, and nobody hears it.
    agent.acknowledge().await;
    agent.settle().await;
    assert_eq!(
        (
            world.cloud.refused_answers(),
            world.cloud.conflicting_answers()
        ),
        (0, 0)
    );
}

#[tokio::test]
async fn what_an_agent_refuses_is_a_bad_request_in_its_words() {
    let world = World::forgetful().await;
    let mut agent = world.agent().await;
    let refuse = async |agent: &mut Peer, mut answer: Value| {
        answer["callback"] = agent.next().await["callback"].clone();
        agent.send(&answer).await;
    };
    let no_route = response("", 400, "connect ECONNREFUSED");
    let (reply, ()) = tokio::join!(world.push_and_wait(), refuse(&mut agent, no_route));
    reply.refuses(400, "connect ECONNREFUSED");
    let error = json!({ "type": "agent:error", "body": "Agent.status is currently set to off" });
    let (reply, ()) = tokio::join!(world.push_and_wait(), refuse(&mut agent, error));
    reply.refuses(400, "Agent.status is currently set to off");
    let stray = json!({ "type": "agent:stats:response", "statusCode": 200, "stats": {} });
    let (reply, ()) = tokio::join!(world.push_and_wait(), refuse(&mut agent, stray));
    reply.refuses(500, "Internal server error");
}

#[tokio::test]
async fn a_status_below_400_passes_through_and_a_missing_one_is_success() {
    let world = World::forgetful().await;
    let mut agent = world.agent().await;
    let answer = async |agent: &mut Peer, status: Value| {
        let callback = agent.next().await["callback"].clone();
        let mut answer = response(callback.as_str().unwrap(), 0, "queued");
        answer["contentType"] = json!("text/plain");
        answer["statusCode"] = status;
        if answer["statusCode"].is_null() {
            answer.as_object_mut().unwrap().remove("statusCode");
        }
        agent.send(&answer).await;
    };
    let (reply, ()) = tokio::join!(world.push_and_wait(), answer(&mut agent, json!(202)));
    assert_eq!((reply.status, reply.body.as_str()), (202, "queued"));
    assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8");
    let (reply, ()) = tokio::join!(world.push_and_wait(), answer(&mut agent, Value::Null));
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn parameters_are_a_push_too() {
    let world = World::forgetful().await;
    let mut agent = world.agent().await;
    let parameter = |name: &str, value: &str| json!({ "name": name, "valueString": value });
    let body = json!({ "resourceType": "Parameters", "parameter": [
        parameter("destination", "Device/d1"), parameter("contentType", HL7), parameter("body", "MSH|"),
        parameter("waitForResponse", "yes"), parameter("waitTimeout", "20000"),
    ] });
    let (reply, _) = tokio::join!(world.push(&body), agent.acknowledge());
    assert_eq!(reply.body, "MSA|AA|1");
}

#[tokio::test]
async fn two_sockets_of_one_agent_both_get_a_push_and_the_first_answer_wins() {
    let world = World::forgetful().await;
    let mut one = world.agent().await;
    let mut other = world.agent().await;
    world
        .until("connected twice", || world.cloud.connected("a1") == 2)
        .await;
    let (reply, callback) = tokio::join!(world.push_and_wait(), one.acknowledge());
    assert_eq!(reply.status, 200);
    assert_eq!(other.next().await["callback"], callback.as_str());
    other.send(&response(&callback, 200, "MSA|AE|1")).await;
    other.settle().await;
    assert_eq!(world.cloud.conflicting_answers(), 1);
    let answers = world.cloud.answers(&callback).await;
    assert_eq!(
        answers.iter().map(|a| a.body.as_str()).collect::<Vec<_>>(),
        ["MSA|AA|1", "MSA|AE|1"]
    );
}

#[tokio::test]
async fn a_repeated_answer_that_is_equal_does_no_harm() {
    let world = World::forgetful().await;
    let mut agent = world.agent().await;
    let (_, callback) = tokio::join!(world.push_and_wait(), agent.acknowledge());
    agent.send(&response(&callback, 200, "MSA|AA|1")).await;
    agent.settle().await;
    assert_eq!(
        (
            world.cloud.conflicting_answers(),
            world.cloud.refused_answers()
        ),
        (0, 0)
    );
}

#[tokio::test]
async fn an_answer_counts_only_from_the_agent_that_was_asked() {
    let world = World::forgetful().await;
    let mut agent = world.agent().await;
    let mut stranger = world.open().await;
    let mut other = world.open().await;
    let mut as_other = connect(&world.token);
    as_other["agentId"] = json!("a2");
    other.send(&as_other).await;
    assert_eq!(other.next().await["type"], "agent:connect:response");
    let intrude = async {
        let callback = agent.next().await["callback"].as_str().unwrap().to_owned();
        stranger.send(&response(&callback, 200, "stranger")).await;
        stranger.settle().await;
        other.send(&response(&callback, 200, "other")).await;
        other
            .send(&response("Agent/a2-invented", 200, "other"))
            .await;
        other.settle().await;
        agent.send(&response(&callback, 200, "agent")).await;
    };
    let (reply, ()) = tokio::join!(world.push_and_wait(), intrude);
    assert_eq!(reply.body, "agent");
    assert_eq!(world.cloud.refused_answers(), 3);
}

#[tokio::test]
async fn respond_async_gives_a_job_that_tells_how_it_ended() {
    let world = World::forgetful().await;
    let mut agent = world.agent().await;
    let body = order(&json!({ "waitForResponse": true }));
    let job = start_job(&world, &body).await;
    assert_eq!(world.get(&job).await.status, 202);
    assert_eq!(world.get(&job).await.json()["status"], "accepted");
    agent.acknowledge().await;
    let ended = ended_job(&world, &job).await;
    assert_eq!(ended["status"], "completed");
    assert!(
        ended["request"]
            .as_str()
            .unwrap()
            .ends_with("fhir/R4/Agent/a1/$push")
    );
    assert_eq!(ended["output"]["parameter"][0]["resource"]["id"], "ok");
    assert_eq!(ended["output"]["parameter"][1]["valueString"], "MSA|AA|1");
}

#[tokio::test]
async fn a_refused_job_is_completed_and_a_timed_out_one_is_in_error() {
    let world = World::forgetful().await;
    let check = async |more: Value, status: &str, text: &str| {
        let job = start_job(&world, &order(&more)).await;
        let ended = ended_job(&world, &job).await;
        assert_eq!(ended["status"], status);
        let outcome = &ended["output"]["parameter"][0]["resource"];
        assert_eq!(outcome["issue"][0]["details"]["text"], text);
    };
    check(json!({ "body": "" }), "completed", "Missing body parameter").await;
    check(json!({}), "completed", "All OK").await;
    check(
        json!({ "waitForResponse": true, "waitTimeout": 10 }),
        "error",
        "Timeout",
    )
    .await;
}

#[tokio::test]
async fn a_cancelled_job_stays_cancelled() {
    let world = World::forgetful().await;
    let mut agent = world.agent().await;
    let job = start_job(&world, &order(&json!({ "waitForResponse": true }))).await;
    let callback = agent.next().await["callback"].as_str().unwrap().to_owned();
    assert_eq!(
        world
            .send(Method::DELETE, &job, &[], Vec::new())
            .await
            .status,
        202
    );
    agent.send(&response(&callback, 200, "late")).await;
    agent.settle().await;
    assert_eq!(world.get(&job).await.json()["status"], "cancelled");
}

async fn start_job(world: &World, body: &Value) -> String {
    let prefer = [("prefer", "respond-async")];
    let reply = world
        .json(Method::POST, "fhir/R4/Agent/a1/$push", &prefer, body)
        .await;
    assert_eq!(
        (reply.status, &reply.json()["id"]),
        (202, &json!("accepted"))
    );
    let url = reply.header("content-location");
    assert_eq!(reply.json()["issue"][0]["diagnostics"], url);
    url.strip_prefix(world.cloud.base_url()).unwrap().to_owned()
}

async fn ended_job(world: &World, job: &str) -> Value {
    loop {
        let reply = world.get(job).await;
        if reply.status == 200 {
            return reply.json();
        }
    }
}
