//! What a device sent, on its way to a Bot.
//!
//! There are no Bots yet. Until then the stub checks everything that a real server checks and then answers for the
//! Bot: an HL7 message gets a built AA, anything else what a Bot gets that returns nothing.

use agent_wire::{DeviceMessage, HL7, ToAgent, TransmitResponse};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::faults::Faults;
use crate::oauth::Caller;
use crate::server::Server;

/// The answer's frame, or the text of a refusal.
pub(super) fn answer(
    server: &Server,
    agent: Option<&str>,
    message: DeviceMessage,
) -> Result<String, String> {
    check(server, agent, &message)?;
    let content_type = message.content_type.unwrap_or_default();
    let body = message.body.unwrap_or_default();
    let body = if content_type == HL7 {
        accept(&body)?
    } else {
        NO_RESULT.to_owned()
    };
    let response = TransmitResponse {
        channel: message.channel,
        remote: message.remote.unwrap_or_default(),
        callback: message.callback,
        content_type,
        status_code: Some(200),
        body,
    };
    Ok(with_faults(
        ToAgent::TransmitResponse(response).encode(),
        &server.faults(),
    ))
}

/// Every check of a real server, in its order.
fn check(server: &Server, agent: Option<&str>, message: &DeviceMessage) -> Result<(), String> {
    let agent = agent.ok_or("Not connected")?;
    let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let token = some(&message.access_token).ok_or("Missing access token")?;
    let channel = some(&message.channel).ok_or("Missing channel")?;
    some(&message.body).ok_or("Missing body")?;
    Caller::by_token(server, &token).ok_or("Invalid access token")?;
    let agent = server
        .read("Agent", agent)
        .map_err(|outcome| outcome.text().to_owned())?;
    let bot = bot_of(&agent, &channel).ok_or("Channel not found")?;
    let id = bot.strip_prefix("Bot/").unwrap_or_default();
    server
        .read("Bot", id)
        .map(drop)
        .map_err(|outcome| outcome.text().to_owned())
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

/// An acknowledgement that says AA to this message.
fn accept(message: &str) -> Result<String, String> {
    let header = message.split(['\r', '\n']).next().unwrap_or_default();
    if !header.starts_with("MSH") {
        return Err("Invalid HL7 message".to_owned());
    }
    let separator = header.chars().nth(3).unwrap_or('|');
    let fields: Vec<&str> = header.split(separator).collect();
    // The separator itself is MSH-1, so MSH-2 stands at place 1.
    let field = |number: usize| fields.get(number - 1).copied().unwrap_or_default();
    let version = if field(12).is_empty() {
        "2.5.1"
    } else {
        field(12)
    };
    let now = Timestamp::now();
    let time = now.to_zoned(TimeZone::UTC).strftime("%Y%m%d%H%M%S");
    let id = now.as_millisecond();
    let parties = [field(5), field(6), field(3), field(4)].join("|");
    let control = field(10);
    Ok(format!(
        "MSH|^~\\&|{parties}|{time}||ACK|{id}|P|{version}\rMSA|AA|{control}|OK"
    ))
}

/// The answer as a faulty server would send it.
fn with_faults(text: String, faults: &Faults) -> String {
    if !faults.omit_status_code && !faults.object_body {
        return text;
    }
    let mut message: Value = serde_json::from_str(&text).unwrap_or_default();
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

const NO_RESULT: &str = "Bot execution logs:\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_turns_the_parties_round_and_names_the_message() {
        let message = "MSH|^~\\&|LAB|L1|EHR|H1|20260301||ORU^R01|4711|P|2.3\rPID|1";
        let ack = accept(message).unwrap();
        assert!(ack.starts_with("MSH|^~\\&|EHR|H1|LAB|L1|"), "{ack}");
        assert!(ack.ends_with("|P|2.3\rMSA|AA|4711|OK"), "{ack}");
        assert_eq!(accept("PID|1"), Err("Invalid HL7 message".into()));
    }
}
