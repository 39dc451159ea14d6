//! The example `docs/examples/lab-order` on a [`Bench`]: its files, and an order with all that belongs to it in the cloud.

#![expect(
    clippy::missing_panics_doc,
    reason = "a story that cannot go on fails its test"
)]

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::bench::{Bench, Http};
use crate::cloud::AGENT;

/// The example's folder.
pub fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/lab-order")
}

/// One of the example's resources.
pub fn resource(name: &str) -> Value {
    let path = example().join("resources").join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path).expect("the example has this resource");
    serde_json::from_str(&text).expect("a resource is JSON")
}

/// `TYPE/ID`.
pub fn name_of(resource: &Value) -> String {
    let text = |member: &str| {
        let text = resource[member].as_str();
        text.expect("a stored resource has a type and an id")
    };
    format!("{}/{}", text("resourceType"), text("id"))
}

/// Gives the bench's Agent the identifier by which the example's Bots look for it.
pub fn name_agent(bench: &Bench) {
    let mut agent = resource("agent");
    agent["id"] = AGENT.into();
    let named = bench.wait_on(update(bench.http(), &agent));
    named.expect("the cloud takes the Agent");
}

/// The example's order for one of the bench's devices, not yet stored; its Patient and Specimen are.
pub async fn request(http: &Http, device: &str) -> anyhow::Result<Value> {
    let patient = create(http, &resource("patient")).await?;
    let specimen = resource("specimen").to_string();
    let specimen = specimen.replace("Patient/PATIENT", &name_of(&patient));
    let specimen = create(http, &serde_json::from_str(&specimen)?).await?;
    let request = resource("service-request").to_string();
    let request = request
        .replace("Patient/PATIENT", &name_of(&patient))
        .replace("Specimen/SPECIMEN", &name_of(&specimen))
        .replace("Device/DEVICE", &crate::bench::destination(device));
    Ok(serde_json::from_str(&request)?)
}

/// Stores a new resource.
pub async fn create(http: &Http, resource: &Value) -> anyhow::Result<Value> {
    let kind = resource["resourceType"].as_str().unwrap_or_default();
    let reply = http.post(&format!("/fhir/R4/{kind}"), resource).await?;
    anyhow::ensure!(reply.status == 201, "{kind}: {}", reply.text());
    Ok(reply.json())
}

/// Stores a new version of a resource.
pub async fn update(http: &Http, resource: &Value) -> anyhow::Result<Value> {
    let name = name_of(resource);
    let reply = http.put(&format!("/fhir/R4/{name}"), resource).await?;
    anyhow::ensure!(reply.status == 200, "{name}: {}", reply.text());
    Ok(reply.json())
}

/// Creates and deploys one of the example's Bots, and subscribes it to `ServiceRequest`s.
pub async fn deploy(http: &Http, bot: &str) -> anyhow::Result<Value> {
    let file = example().join("dist").join(format!("{bot}.js"));
    let created = deploy_code(http, bot, &std::fs::read_to_string(file)?).await?;
    subscribe(http, &name_of(&created)).await?;
    Ok(created)
}

/// Creates a Bot as `medplum bot create` does, and deploys this code.
pub async fn deploy_code(http: &Http, bot: &str, code: &str) -> anyhow::Result<Value> {
    let asked = json!({ "name": bot, "description": "", "runtimeVersion": "vmcontext" });
    let path = format!("/admin/projects/{PROJECT}/bot");
    let reply = http.post(&path, &asked).await?;
    anyhow::ensure!(reply.status == 201, "Bot: {}", reply.text());
    let created = reply.json();
    let path = format!("/fhir/R4/{}/$deploy", name_of(&created));
    let code = json!({ "code": code, "filename": format!("{bot}.js") });
    let reply = http.post(&path, &code).await?;
    anyhow::ensure!(reply.status == 200, "$deploy: {}", reply.text());
    Ok(created)
}

/// The example's Subscription, for `Bot/ID`.
pub async fn subscribe(http: &Http, bot: &str) -> anyhow::Result<Value> {
    let subscription = resource("subscription").to_string();
    let subscription = subscription.replace("Bot/BOT", bot);
    create(http, &serde_json::from_str(&subscription)?).await
}

/// The stub's one project, where its seed does not say otherwise.
pub const PROJECT: &str = "wardpost";
