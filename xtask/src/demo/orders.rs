//! What the demo's cloud has beside devices: the example's Bots, their Subscriptions, and what a clinician does to orders.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::http::{Answer, Server};
use super::world::{AGENT, Device};
use crate::run::root;

/// Bots and the patient of whom everything is about.
pub(super) struct Clinic {
    /// `Bot/ID` of the Bot that pushes.
    pusher: String,
    patient: String,
    specimen: String,
}

impl Clinic {
    /// Each device is ordered from by a Bot of its own.
    pub(super) fn open(cloud: &Server, chem: &Device, hema: &Device) -> Result<Self> {
        let mut agent = resource("agent")?;
        agent["id"] = json!(AGENT);
        stored(&cloud.put(&format!("/fhir/R4/Agent/{AGENT}"), &agent)?)?;
        let pusher = deploy(cloud, "push-order", chem)?;
        deploy(cloud, "task-order", hema)?;
        let patient = name_of(&create(cloud, &resource("patient")?)?)?;
        let specimen = filled("specimen", &[("Patient/PATIENT", &patient)])?;
        let specimen = name_of(&create(cloud, &specimen)?)?;
        Ok(Self {
            pusher,
            patient,
            specimen,
        })
    }

    /// A `ServiceRequest` for this device, not yet made.
    pub(super) fn order(&self, device: &Device) -> Result<Value> {
        let device = format!("Device/{}", device.name);
        let names = [
            ("Patient/PATIENT", &self.patient),
            ("Specimen/SPECIMEN", &self.specimen),
            ("Device/DEVICE", &device),
        ];
        filled("service-request", &names)
    }

    /// Runs the Bot that pushes once more, and hands back what it says.
    pub(super) fn run_again(&self, cloud: &Server, order: &Value) -> Result<String> {
        let answer = cloud.post(&format!("/fhir/R4/{}/$execute", self.pusher), order)?;
        ensure!(answer.status == 200, "the Bot failed: {}", answer.body);
        let said: Value = serde_json::from_str(&answer.body)?;
        Ok(said["said"].as_str().unwrap_or(&answer.body).to_owned())
    }
}

/// Stores a new resource.
pub(super) fn create(cloud: &Server, resource: &Value) -> Result<Value> {
    let kind = resource["resourceType"].as_str().unwrap_or_default();
    stored(&cloud.post(&format!("/fhir/R4/{kind}"), resource)?)
}

/// Stores a new version in which one member is another.
pub(super) fn change(cloud: &Server, resource: &Value, member: &str, value: &str) -> Result<Value> {
    let mut resource = resource.clone();
    resource[member] = json!(value);
    stored(&cloud.put(&format!("/fhir/R4/{}", name_of(&resource)?), &resource)?)
}

/// The Task of an order.
pub(super) fn task_of(cloud: &Server, order: &Value) -> Result<Option<Value>> {
    let path = format!("/fhir/R4/Task?focus={}", name_of(order)?);
    let found: Value = serde_json::from_str(&cloud.get(&path)?.body)?;
    Ok(found.pointer("/entry/0/resource").cloned())
}

/// `TYPE/ID`.
pub(super) fn name_of(resource: &Value) -> Result<String> {
    let text = |member: &str| resource[member].as_str();
    let name = text("resourceType").zip(text("id"));
    let (kind, id) = name.context("a stored resource has a type and an id")?;
    Ok(format!("{kind}/{id}"))
}

fn deploy(cloud: &Server, bot: &str, device: &Device) -> Result<String> {
    let asked = json!({ "name": bot, "description": "", "runtimeVersion": "vmcontext" });
    let created = stored(&cloud.post("/admin/projects/wardpost/bot", &asked)?)?;
    let name = name_of(&created)?;
    let file = format!("{bot}.js");
    let code = fs::read_to_string(root().join(EXAMPLE).join("dist").join(&file))?;
    let code = json!({ "code": code, "filename": file });
    let deployed = cloud.post(&format!("/fhir/R4/{name}/$deploy"), &code)?;
    ensure!(deployed.status == 200, "no {bot}: {}", deployed.body);
    let mut subscription = filled("subscription", &[("Bot/BOT", &name)])?;
    let criteria = format!("ServiceRequest?performer=Device/{}", device.name);
    subscription["criteria"] = json!(criteria);
    create(cloud, &subscription)?;
    Ok(name)
}

/// One of the example's resources with these names in place of others.
fn filled(name: &str, names: &[(&str, &String)]) -> Result<Value> {
    let text = resource(name)?.to_string();
    let put = |text: String, (from, to): &(&str, &String)| text.replace(from, to);
    Ok(serde_json::from_str(&names.iter().fold(text, put))?)
}

fn resource(name: &str) -> Result<Value> {
    let path = root().join(EXAMPLE).join("resources");
    let path = path.join(format!("{name}.json"));
    let text = fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))?;
    Ok(serde_json::from_str(&text)?)
}

fn stored(answer: &Answer) -> Result<Value> {
    ensure!(answer.status < 300, "the cloud refused: {}", answer.body);
    Ok(serde_json::from_str(&answer.body)?)
}

const EXAMPLE: &str = "docs/examples/lab-order";
