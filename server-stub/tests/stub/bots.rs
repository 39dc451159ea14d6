//! Bots: made and deployed as the command line does it, run by `$execute`, and what becomes of bad ones.

use serde_json::{Value, json};

use crate::client::{HL7, Reply, World};

/// Makes a Bot with its membership and deploys code; gives its id.
pub(crate) async fn deployed(world: &World, code: &str) -> String {
    let wanted = json!({ "name": "lab-order", "description": "", "runtimeVersion": "vmcontext" });
    let made = world.post("admin/projects/wardpost/bot", &wanted).await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.json()["id"].as_str().unwrap().to_owned();
    deploy(world, &id, code).await;
    id
}

pub(crate) async fn deploy(world: &World, id: &str, code: &str) {
    let code = json!({ "code": code, "filename": "lab-order.js" });
    let reply = world
        .post(&format!("fhir/R4/Bot/{id}/$deploy"), &code)
        .await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "All OK"));
}

async fn execute(world: &World, id: &str, input: &Value) -> Reply {
    world
        .post(&format!("fhir/R4/Bot/{id}/$execute"), input)
        .await
}

async fn execute_raw(world: &World, id: &str, kind: &str, body: &str) -> Reply {
    let path = format!("fhir/R4/Bot/{id}/$execute");
    let headers = [("content-type", kind)];
    let body = body.as_bytes().to_vec();
    world.send(hyper::Method::POST, &path, &headers, body).await
}

/// Runs a handler's body once.
async fn once(world: &World, body: &str) -> Reply {
    let code = format!("exports.handler = async (medplum, event) => {{\n{body}\n}};");
    let id = deployed(world, &code).await;
    execute(
        world,
        &id,
        &json!({ "resourceType": "Patient", "id": "p1" }),
    )
    .await
}

fn diagnostics(reply: &Reply) -> String {
    let diagnostics = reply.json()["issue"][0]["diagnostics"].clone();
    diagnostics.as_str().unwrap_or_default().to_owned()
}

async fn records(world: &World, bot: &str) -> Vec<Value> {
    let path = format!("fhir/R4/AuditEvent?entity=Bot/{bot}");
    let found = world.get(&path).await.json();
    let entries = found["entry"].as_array().unwrap().iter();
    entries.map(|entry| entry["resource"].clone()).collect()
}

#[tokio::test]
async fn a_bot_gets_its_event_and_its_value_is_the_answer() {
    let world = World::forgetful().await;
    let reply = once(
        &world,
        "return { bot: event.bot.reference, id: event.input.id, type: event.contentType, by: event.requester.reference };",
    )
    .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let value = reply.json();
    assert!(value["bot"].as_str().unwrap().starts_with("Bot/"));
    assert_eq!(value["id"], "p1");
    assert_eq!(value["type"], "application/fhir+json");
    assert_eq!(value["by"], "ClientApplication/c1");
}

#[tokio::test]
async fn a_bot_that_returns_nothing_is_all_ok() {
    let world = World::forgetful().await;
    let reply = once(&world, "console.log('seen', event.input.id);").await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "All OK"));
    assert_eq!(reply.json()["id"], "ok");
}

#[tokio::test]
async fn hl7_and_text_are_answered_as_what_they_came() {
    let world = World::forgetful().await;
    let code = "exports.handler = async (medplum, { input }) =>
        typeof input === 'string' ? `${input}!` : input.buildAck();";
    let id = deployed(&world, code).await;
    let message = "MSH|^~\\&|LAB|L1|EHR|H1|20260301||ORU^R01|4711|P|2.3\rPID|1\r";
    let ack = execute_raw(&world, &id, HL7, message).await;
    assert_eq!(ack.status, 200, "{ack:?}");
    assert!(ack.body.starts_with("MSH|^~\\&|EHR|H1|LAB|L1|"), "{ack:?}");
    assert!(ack.body.ends_with("|P|2.3\rMSA|AA|4711|OK"), "{ack:?}");
    assert_eq!(ack.header("content-type"), format!("{HL7}; charset=utf-8"));
    let text = execute_raw(&world, &id, "text/plain", "hello").await;
    assert_eq!((text.status, text.body.as_str()), (200, "hello!"));
    // A refusal comes under the content type of the question, too.
    let broken = execute_raw(&world, &id, HL7, "PID|1").await;
    broken.refuses(400, "Invalid HL7 message");
}

#[tokio::test]
async fn an_exception_is_shown_with_its_file_and_line() {
    let world = World::forgetful().await;
    let code = "exports.handler = async (medplum, event) => {
  console.log('before');
  await medplum.readResource('Device', 'd1');
  convert(event.input);
};
function convert(request) {
  throw new TypeError('no specimen');
}";
    let id = deployed(&world, code).await;
    let reply = execute(&world, &id, &json!({ "resourceType": "ServiceRequest" })).await;
    reply.refuses(400, "no specimen");
    let shown = diagnostics(&reply);
    let frames: Vec<_> = shown.lines().collect();
    assert!(
        frames[0].starts_with("at convert (lab-order.js:7:"),
        "{shown}"
    );
    assert!(
        frames[1].starts_with("at <anonymous> (lab-order.js:4:"),
        "{shown}"
    );
    assert_eq!(frames.len(), 2, "{shown}");
    let record = &records(&world, &id).await[0];
    assert_eq!(record["outcome"], "4");
    let log = record["outcomeDesc"].as_str().unwrap();
    assert!(
        log.starts_with("before\nTypeError: no specimen\nat convert (lab-order.js:7:"),
        "{log}"
    );
}

#[tokio::test]
async fn a_refused_call_of_the_client_is_an_error_with_the_outcome() {
    let world = World::forgetful().await;
    let reply = once(&world, "await medplum.readResource('Device', 'none');").await;
    reply.refuses(400, "Not found");
    assert_eq!(reply.json()["id"], "not-found");
    assert!(
        diagnostics(&reply).contains("(lab-order.js:2:"),
        "{reply:?}"
    );
    let caught = once(
        &world,
        "const { normalizeErrorString } = require('@medplum/core');
         try { await medplum.updateResource({ resourceType: 'Device', id: 'none' }); }
         catch (error) { return { said: normalizeErrorString(error) }; }",
    )
    .await;
    assert_eq!(caught.json(), json!({ "said": "Not found" }));
}

#[tokio::test]
async fn code_that_cannot_be_loaded_says_why() {
    let world = World::forgetful().await;
    for (code, text) in [
        ("exports.run = 1;", "lab-order.js has no exports.handler"),
        (
            "export async function handler() {}",
            "lab-order.js is an ES module; compile the Bot to CommonJS",
        ),
        (
            "require('pg');",
            "Cannot find module 'pg': the stub offers @medplum/core only; bundle what else the Bot needs",
        ),
        (
            "require('@medplum/core').createPdf();",
            "The stub's @medplum/core has no createPdf",
        ),
    ] {
        let id = deployed(&world, code).await;
        execute(&world, &id, &json!({})).await.refuses(400, text);
    }
    let id = deployed(&world, "exports.handler = async () => {\n  return 1 +;\n};").await;
    let reply = execute(&world, &id, &json!({})).await;
    assert_eq!(reply.status, 400);
    assert!(diagnostics(&reply).contains("lab-order.js:2"), "{reply:?}");
}

#[tokio::test]
async fn a_bot_without_code_or_runtime_does_not_run() {
    let world = World::forgetful().await;
    let wanted = json!({ "name": "empty" });
    let made = world.post("admin/projects/wardpost/bot", &wanted).await;
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(made.json()["runtimeVersion"], "awslambda");
    execute(&world, &id, &json!({}))
        .await
        .refuses(400, "No executable code");
    let deployed = world
        .post(&format!("fhir/R4/Bot/{id}/$deploy"), &json!({}))
        .await;
    deployed.refuses(400, "Bot missing executable code");
    let plain = json!({ "resourceType": "Bot", "name": "plain" });
    let plain = world.post("fhir/R4/Bot", &plain).await.json();
    execute(&world, plain["id"].as_str().unwrap(), &json!({}))
        .await
        .refuses(400, "Unsupported bot runtime");
    execute(&world, "none", &json!({}))
        .await
        .refuses(404, "Not found");
    let other = world.post("admin/projects/other/bot", &wanted).await;
    other.refuses(404, "Not found");
}

#[tokio::test]
async fn a_bot_that_loops_for_ever_is_stopped_and_the_stub_lives_on() {
    let world = World::forgetful().await;
    for body in [
        "for (;;) {}",
        "try { for (;;) {} } catch {} for (;;) {}",
        "for (;;) { await medplum.readResource('Device', 'd1'); }",
        "await new Promise((resolve) => setTimeout(resolve, 100000));",
    ] {
        let code = format!("exports.handler = async (medplum) => {{ {body} }};");
        let id = deployed(&world, &code).await;
        let steps = json!([{ "op": "add", "path": "/timeout", "value": 0.2 }]);
        let path = format!("fhir/R4/Bot/{id}");
        world.json(hyper::Method::PATCH, &path, &[], &steps).await;
        let reply = execute(&world, &id, &json!({})).await;
        reply.refuses(400, "The Bot did not end within 200ms");
    }
    assert_eq!(once(&world, "return 1;").await.body, "1");
}

#[tokio::test]
async fn the_time_of_a_lambda_counts_waiting_and_that_of_a_vm_context_does_not() {
    let world = World::forgetful().await;
    let code = "exports.handler = async (medplum) => {
        const options = { waitTimeout: 1500 };
        await medplum.pushToAgent({ reference: 'Agent/a1' }, 'Device/d1', 'MSH|1', 'text/plain', true, options);
    };";
    let id = deployed(&world, code).await;
    for (runtime, text) in [
        ("vmcontext", "Timeout"),
        ("awslambda", "The Bot did not end within 1s"),
    ] {
        let steps = json!([
            { "op": "add", "path": "/timeout", "value": 1 },
            { "op": "replace", "path": "/runtimeVersion", "value": runtime },
        ]);
        let path = format!("fhir/R4/Bot/{id}");
        world.json(hyper::Method::PATCH, &path, &[], &steps).await;
        execute(&world, &id, &json!({})).await.refuses(400, text);
    }
}

#[tokio::test]
async fn a_bot_that_eats_memory_or_the_stack_is_stopped_and_the_stub_lives_on() {
    let world = World::forgetful().await;
    let hungry = "const all = []; for (;;) { all.push(new Array(100000).fill(1)); }";
    let reply = once(&world, hungry).await;
    reply.refuses(400, "The Bot needs more than 128 MiB of memory");
    let deep = once(&world, "const f = (n) => f(n + 1) + 1; return f(0);").await;
    assert_eq!(deep.status, 400);
    assert!(deep.text().contains("call stack"), "{deep:?}");
    assert_eq!(once(&world, "return true;").await.body, "true");
}

#[tokio::test]
async fn a_promise_that_cannot_settle_is_an_error_at_once() {
    let world = World::forgetful().await;
    let reply = once(&world, "await new Promise(() => {});").await;
    let text = "The handler's promise never settles: it waits for something that cannot happen";
    reply.refuses(400, text);
}

#[tokio::test]
async fn a_timer_delays_a_bot_and_no_more() {
    let world = World::forgetful().await;
    let reply = once(
        &world,
        "const { sleep } = require('@medplum/core');
         const order = [];
         const later = sleep(30).then(() => order.push('b'));
         await sleep(5).then(() => order.push('a'));
         await later;
         return order;",
    )
    .await;
    assert_eq!(reply.json(), json!(["a", "b"]));
}

#[tokio::test]
async fn a_bot_reads_searches_and_writes_as_its_membership() {
    let world = World::forgetful().await;
    let reply = once(
        &world,
        "const task = await medplum.createResource({ resourceType: 'Task', status: 'requested', owner: { reference: 'Device/d1' } });
         const [found] = await medplum.searchResources('Task', { owner: 'Device/d1', status: 'requested' });
         const none = await medplum.searchOne('Task', 'status=completed');
         const patched = await medplum.patchResource('Task', task.id, [{ op: 'replace', path: '/status', value: 'accepted' }]);
         const headers = { 'If-Match': `W/\"${task.meta.versionId}\"` };
         const stale = await medplum.updateResource({ ...task, status: 'failed' }, { headers }).catch((error) => error.outcome.id);
         const device = await medplum.readReference(task.owner);
         const bundle = await medplum.search('Task', [['_count', '1']]);
         const binary = await medplum.createBinary({ data: 'MSH|', contentType: 'x-application/hl7-v2+er7' });
         const bytes = await medplum.createBinary(new TextEncoder().encode('M\\u00e4rz'), 'a.txt', 'text/plain');
         const past = await medplum.readHistory('Task', task.id);
         return { same: found.id === task.id, none: none === undefined, status: patched.status, stale, url: device.url,
                  total: bundle.total, binary: binary.id, bytes: bytes.id, past: past.entry.length, author: task.meta.author.reference };",
    )
    .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let value = reply.json();
    assert!(
        value["author"].as_str().unwrap().starts_with("Bot/"),
        "{value}"
    );
    for (name, wanted) in [
        ("same", json!(true)),
        ("none", json!(true)),
        ("status", json!("accepted")),
        ("stale", json!("precondition-failed")),
        ("url", json!("mllp://127.0.0.1:2575")),
        ("total", json!(1)),
        ("past", json!(2)),
    ] {
        assert_eq!(value[name], wanted, "{name}");
    }
    let text = |name: &str| format!("fhir/R4/Binary/{}", value[name].as_str().unwrap());
    assert_eq!(world.get(&text("binary")).await.body, "MSH|");
    assert_eq!(world.get(&text("bytes")).await.body, "M\u{e4}rz");
}

#[tokio::test]
async fn what_a_bot_pushed_before_it_failed_stays_pushed() {
    let world = World::keeping().await;
    let reply = once(
        &world,
        "const agent = { reference: 'Agent/a1' };
         await medplum.pushToAgent(agent, { reference: 'Device/d1' }, 'MSH|1', 'x-application/hl7-v2+er7', false);
         throw new Error('after the push');",
    )
    .await;
    reply.refuses(400, "after the push");
    assert_eq!(world.cloud.unanswered("a1"), 1);
    let no_url = once(
        &world,
        "await medplum.pushToAgent({ reference: 'Agent/a1' }, { reference: 'Device/d2' }, 'MSH|2', 'text/plain');",
    )
    .await;
    no_url.refuses(400, "Destination device missing url");
    assert!(
        diagnostics(&no_url).contains("(lab-order.js:2:"),
        "{no_url:?}"
    );
    let many = once(
        &world,
        "for (let n = 0; n < 1000; n++) {
           await medplum.pushToAgent({ reference: 'Agent/a1' }, 'Device/d1', `MSH|${n}`, 'text/plain', false);
         }
         return 'done';",
    )
    .await;
    assert_eq!((many.status, many.body.as_str()), (200, "done"));
    assert_eq!(world.cloud.unanswered("a1"), 1001);
}

#[tokio::test]
async fn a_bot_that_waits_gets_the_words_of_the_device() {
    let world = World::forgetful().await;
    let mut agent = world.agent().await;
    let run = once(
        &world,
        "const agent = await medplum.readResource('Agent', 'a1');
         return { said: await medplum.pushToAgent(agent, 'Device/d1', 'MSH|1', 'x-application/hl7-v2+er7', true) };",
    );
    let (reply, _) = tokio::join!(run, agent.acknowledge());
    assert_eq!(reply.json(), json!({ "said": "MSA|AA|1" }));
}

#[tokio::test]
async fn an_outcome_of_refusal_is_a_failure_whether_thrown_or_returned() {
    let world = World::forgetful().await;
    let body =
        "const { badRequest } = require('@medplum/core'); return badRequest('no such test');";
    once(&world, body).await.refuses(400, "no such test");
    let thrown = "const { OperationOutcomeError, badRequest } = require('@medplum/core');
        throw new OperationOutcomeError(badRequest('no such test'));";
    once(&world, thrown).await.refuses(400, "no such test");
}

#[tokio::test]
async fn a_run_is_recorded_unless_the_bot_wants_no_record() {
    let world = World::forgetful().await;
    let id = deployed(
        &world,
        "exports.handler = async () => { console.log('one', { n: 2 }); };",
    )
    .await;
    execute(&world, &id, &json!({})).await;
    let record = &records(&world, &id).await[0];
    assert_eq!(
        (&record["outcome"], &record["outcomeDesc"]),
        (&json!("0"), &json!("one {\"n\":2}"))
    );
    assert_eq!(
        record["source"]["observer"]["reference"],
        format!("Bot/{id}")
    );
    let steps = json!([{ "op": "add", "path": "/auditEventTrigger", "value": "on-error" }]);
    let path = format!("fhir/R4/Bot/{id}");
    world.json(hyper::Method::PATCH, &path, &[], &steps).await;
    execute(&world, &id, &json!({})).await;
    assert_eq!(records(&world, &id).await.len(), 1);
}

#[tokio::test]
async fn a_bot_is_bound_by_the_policy_of_its_membership() {
    let world = World::forgetful().await;
    let policy = json!({ "resourceType": "AccessPolicy", "resource": [{ "resourceType": "Device", "readonly": true }] });
    let policy = world.post("fhir/R4/AccessPolicy", &policy).await.json();
    let reference = format!("AccessPolicy/{}", policy["id"].as_str().unwrap());
    let wanted = json!({ "name": "least", "runtimeVersion": "vmcontext", "accessPolicy": { "reference": reference } });
    let made = world
        .post("admin/projects/wardpost/bot", &wanted)
        .await
        .json();
    let id = made["id"].as_str().unwrap();
    deploy(
        &world,
        id,
        "exports.handler = async (medplum) => {
           const device = await medplum.readResource('Device', 'd1');
           await medplum.createResource({ resourceType: 'Patient', name: device.url });
         };",
    )
    .await;
    let reply = execute(&world, id, &json!({})).await;
    reply.refuses(400, "Forbidden");
    assert_eq!(reply.json()["id"], "forbidden");
}

#[tokio::test]
async fn messages_are_read_changed_and_printed() {
    let world = World::forgetful().await;
    let reply = once(
        &world,
        "const { Hl7Message, Hl7Segment, Hl7Field, formatHl7DateTime, parseHl7DateTime, createReference, getReferenceString } = require('@medplum/core');
         const m = Hl7Message.parse('MSH|^~\\\\&|A|B\\nPID|1||88~99^X||DOE^JANE&Q');
         const untouched = m.toString();
         const got = [m.header.getField(3).toString(), m.getSegment('PID').getComponent(3, 1, undefined, 1), m.getSegment('PID').getComponent(5, 2, 1)];
         m.getSegment('PID').setComponent(5, 1, 'ROE');
         m.header.setField(10, 'C1');
         const built = new Hl7Message([new Hl7Segment(['MSH', '^~\\\\&', 'X']), new Hl7Segment(['ORC', 'NW', Hl7Field.parse('1^2')])]);
         return { untouched, got, changed: m.toString(), built: built.toString(), ack: built.getAckType() ?? null,
           time: formatHl7DateTime('2026-03-01T08:15:00.250Z'), back: parseHl7DateTime('20260301081500+0100'),
           reference: createReference({ resourceType: 'Patient', id: 'p', name: [{ given: ['Jane'], family: 'Doe' }] }),
           same: getReferenceString({ reference: 'Patient/p' }) };",
    )
    .await;
    let value = reply.json();
    assert_eq!(
        value["untouched"],
        "MSH|^~\\&|A|B\nPID|1||88~99^X||DOE^JANE&Q"
    );
    assert_eq!(value["got"], json!(["A", "99", "Q"]));
    assert_eq!(
        value["changed"],
        "MSH|^~\\&|A|B||||||C1\rPID|1||88~99^X||ROE^JANE&Q"
    );
    assert_eq!(value["built"], "MSH|^~\\&|X\rORC|NW|1^2");
    assert_eq!(value["ack"], Value::Null);
    assert_eq!(value["time"], "20260301081500.250");
    assert_eq!(value["back"], "2026-03-01T07:15:00.000Z");
    assert_eq!(
        value["reference"],
        json!({ "reference": "Patient/p", "display": "Jane Doe" })
    );
    assert_eq!(value["same"], "Patient/p");
}
