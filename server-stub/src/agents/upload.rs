//! What a device sent: it goes to the Bot of its channel, and what the Bot returns goes back.

use std::sync::Arc;

use agent_wire::{DeviceMessage, HL7, ToAgent, TransmitResponse};
use serde_json::{Value, json};

use crate::bots::{Ended, Run, Success};
use crate::faults::Faults;
use crate::oauth::Caller;
use crate::server::Server;

/// The answer's frame, or the text of a refusal.
pub(super) async fn answer(
    server: &Arc<Server>,
    agent: Option<&str>,
    message: DeviceMessage,
) -> Result<String, String> {
    let run = run(server, agent, &message)?;
    let ended = server.bots.run(server, run).await;
    let ended = ended.map_err(|outcome| outcome.text().to_owned())?;
    Ok(with_faults(frame(message, ended), &server.faults()))
}

/// Every check of a real server, in its order; then the run that the message leads to, as the agent itself.
fn run(server: &Arc<Server>, agent: Option<&str>, message: &DeviceMessage) -> Result<Run, String> {
    let agent_id = agent.ok_or("Not connected")?;
    let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let token = some(&message.access_token).ok_or("Missing access token")?;
    let channel = some(&message.channel).ok_or("Missing channel")?;
    let body = some(&message.body).ok_or("Missing body")?;
    let caller = Caller::by_token(server, &token).ok_or("Invalid access token")?;
    let agent = caller
        .read(server, "Agent", agent_id)
        .map_err(|outcome| outcome.text().to_owned())?;
    let bot = bot_of(&agent, &channel).ok_or("Channel not found")?;
    let bot = caller
        .read(server, "Bot", bot.strip_prefix("Bot/").unwrap_or_default())
        .map_err(|outcome| outcome.text().to_owned())?;
    let content_type = message.content_type.clone().unwrap_or_default();
    Ok(Run {
        bot,
        requester: Some(caller.reference()),
        caller: Arc::new(caller),
        input: input(&content_type, body)?,
        content_type,
        headers: None,
        about: vec![format!("Agent/{agent_id}")],
    })
}

/// JSON as what it says, all else as text; what is said to be HL7 must begin like it.
fn input(content_type: &str, body: String) -> Result<Value, String> {
    match content_type {
        "application/json" | "application/fhir+json" => {
            serde_json::from_str(&body).map_err(|error| error.to_string())
        }
        HL7 if !body.starts_with("MSH") => Err("Invalid HL7 message".to_owned()),
        _ => Ok(Value::String(body)),
    }
}

/// The reference to a channel's Bot; empty where the channel has another target.
fn bot_of(agent: &Value, channel: &str) -> Option<String> {
    let channels = agent.get("channel")?.as_array()?;
    let channel = channels
        .iter()
        .find(|one| one.get("name").and_then(Value::as_str) == Some(channel))?;
    let target = channel
        .pointer("/targetReference/reference")
        .and_then(Value::as_str);
    Some(target.unwrap_or_default().to_owned())
}

/// The answer to the agent. A value that is no text goes into it as it is, as on a real server.
fn frame(message: DeviceMessage, ended: Ended) -> Value {
    let value = ended.value.filter(counts);
    let (status, content_type, body) = match (ended.success, value) {
        (Success::Yes, Some(value)) => (200, message.content_type, value),
        (Success::Yes, None) => (200, message.content_type, logs(&ended.log)),
        (Success::No, Some(value)) => (400, Some(JSON.to_owned()), json!(value.to_string())),
        (Success::No, None) => (400, Some(JSON.to_owned()), logs(&ended.log)),
    };
    let response = TransmitResponse {
        channel: message.channel,
        remote: message.remote.unwrap_or_default(),
        callback: message.callback,
        content_type: content_type.unwrap_or_default(),
        status_code: Some(status),
        body: String::new(),
    };
    let text = ToAgent::TransmitResponse(response).encode();
    let mut frame: Value = serde_json::from_str(&text).unwrap_or_default();
    frame["body"] = body;
    frame
}

/// What JavaScript takes for true.
fn counts(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Bool(true) | Value::Array(_) | Value::Object(_) => true,
    }
}

fn logs(log: &str) -> Value {
    json!(format!("Bot execution logs:\n{log}"))
}

/// The answer as a faulty server would send it.
fn with_faults(mut message: Value, faults: &Faults) -> String {
    if faults.object_body {
        message["body"] = json!({ "text": message["body"] });
    }
    if faults.omit_status_code
        && let Some(members) = message.as_object_mut()
    {
        members.remove("statusCode");
    }
    message.to_string()
}

const JSON: &str = "application/json";
