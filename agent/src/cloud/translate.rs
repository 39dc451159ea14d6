//! The wire's words into the core's, and back. A push passes the border here: parsed, routed, within its limits, or
//! refused with one sentence.

use agent_core::options;
use agent_core::phi::Phi;
use agent_core::push::{Callback, DeviceNo, NewPush, Options, ReturnAck, is_task};
use agent_core::queue::ReplyTo;
use agent_core::route::UrlOptions;
use agent_wire::{COMMAND, PushRequest, TEXT, ToServer, TransmitResponse};
use device_drivers::hl7;
use sha2::{Digest, Sha256};

use crate::line;
use crate::site::SiteDevice;
use crate::store::{Parcel, print_of, print_of_digest};

/// A request that has what every push needs.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) remote: String,
    pub(super) content_type: String,
    pub(super) body: String,
    pub(super) callback: Option<String>,
    pub(super) return_ack: Option<ReturnAck>,
}

/// Takes a request apart; the error is the sentence for its caller.
pub(super) fn request(push: PushRequest, max_bytes: usize) -> Result<Request, String> {
    let body = push.body.filter(|body| !body.is_empty()).ok_or(
        "the push has no body, or its body is not a text; send the message as a JSON string",
    )?;
    if body.len() > max_bytes {
        return Err(format!(
            "the push has {} bytes and {max_bytes} are allowed; send less, or raise max_push_bytes \
             in [limits] of wardpost.toml",
            body.len()
        ));
    }
    if push.callback.as_deref().is_some_and(is_task) {
        return Err("a callback that begins with Task/ belongs to the mailbox".into());
    }
    let return_ack = match push.return_ack.as_deref() {
        None => None,
        Some("first") => Some(ReturnAck::First),
        Some("application") => Some(ReturnAck::Application),
        Some(_) => return Err("returnAck takes first or application".into()),
    };
    Ok(Request {
        remote: push.remote.unwrap_or_default(),
        content_type: push.content_type.unwrap_or_default(),
        // An empty callback names nobody, and must not make two pushes one.
        callback: push.callback.filter(|callback| !callback.is_empty()),
        body,
        return_ack,
    })
}

/// A push to a device, checked against what the device can take.
pub(super) fn push(request: Request, no: DeviceNo, device: &SiteDevice) -> Result<NewPush, String> {
    let media = options::parse(&request.content_type).map_err(|error| error.to_string())?;
    if !SPOKEN.contains(&media.essence.as_str()) {
        return Err(format!(
            "{} speaks HL7 and cannot take {}; push the message as {}",
            device.config.name,
            media.essence,
            agent_wire::HL7
        ));
    }
    let by_push = device.line.charset_by_push;
    let charset = line::charset(&device.line.hl7, by_push, Some(&request.remote));
    let checked = hl7::prepare(&request.body, &charset, device.line.hl7.limits())
        .map_err(|error| error.to_string())?;
    let order_keys = checked.order_keys().to_vec();
    let return_ack = request
        .return_ack
        .or_else(|| return_ack_of_url(&request.remote, device));
    let digest = digest(
        &media.essence,
        &media.options,
        return_ack,
        &checked.join_form().0,
    );
    Ok(NewPush {
        device: no,
        callback: request.callback.map(callback),
        content_type: request.content_type,
        remote: request.remote,
        return_ack,
        key_prints: order_keys.iter().map(|key| print_of(key)).collect(),
        order_keys,
        content: Some(print_of_digest(&digest)),
        body_sha256: Sha256::digest(request.body.as_bytes()).into(),
        body: Phi(request.body),
        options: media.options,
    })
}

/// Whether a push to the agent itself can be a command. What cannot is not stored.
pub(super) fn check_command(request: &Request) -> Result<(), String> {
    if options::essence(&request.content_type).as_deref() != Ok(COMMAND) {
        return Err(format!(
            "a push to device://self is a command, of type {COMMAND}"
        ));
    }
    if request.body.len() > LONGEST_COMMAND {
        return Err(format!(
            "a command may have {LONGEST_COMMAND} bytes at most"
        ));
    }
    Ok(())
}

/// A push to the agent itself.
pub(super) fn own_push(request: Request) -> NewPush {
    NewPush {
        device: DeviceNo::SELF,
        callback: request.callback.map(callback),
        content_type: request.content_type,
        remote: request.remote,
        return_ack: None,
        order_keys: Vec::new(),
        key_prints: Vec::new(),
        content: None,
        body_sha256: Sha256::digest(request.body.as_bytes()).into(),
        body: Phi(request.body),
        options: Options::default(),
    }
}

/// The query of the pushed url counts where the device's file says nothing.
fn return_ack_of_url(remote: &str, device: &SiteDevice) -> Option<ReturnAck> {
    let silent = device.config.hl7.return_ack.is_none();
    silent.then(|| UrlOptions::of(remote).return_ack).flatten()
}

fn callback(text: String) -> Callback {
    Callback {
        print: print_of(&text),
        text,
    }
}

/// What two pushes must have in common to be one: content type and options, and the order less its time.
fn digest(
    essence: &str,
    options: &Options,
    return_ack: Option<ReturnAck>,
    join_form: &str,
) -> [u8; 32] {
    let mut hash = Sha256::new();
    let ack = return_ack.map_or(0, |ack| ack as u8);
    hash.update(essence.as_bytes());
    hash.update([0, ack]);
    for wait in [options.answer_within, options.expires] {
        hash.update(wait.map_or(u64::MAX, |wait| wait.as_secs()).to_be_bytes());
    }
    hash.update([options.priority as u8]);
    hash.update(join_form.as_bytes());
    hash.finalize().into()
}

/// The join digest of a push as it is stored.
pub fn join_digest(parcel: &Parcel) -> Option<[u8; 32]> {
    let media = options::parse(&parcel.content_type).ok()?;
    let message = hl7::Message::parse(&parcel.body.0).ok()?;
    Some(digest(
        &media.essence,
        &media.options,
        parcel.return_ack,
        &message.without_time(),
    ))
}

/// A refusal as the wire says it: 400 and one sentence.
pub fn refusal(to: ReplyTo, why: String) -> ToServer {
    ToServer::TransmitResponse(TransmitResponse {
        channel: None,
        remote: to.remote,
        callback: Some(to.callback),
        content_type: TEXT.into(),
        status_code: Some(400),
        body: why,
    })
}

/// Content types that are HL7 in ready text. The TypeScript agent does not look at the type; plain text is what
/// callers send who never had to name it.
const SPOKEN: [&str; 2] = [agent_wire::HL7, TEXT];
/// Bytes of a command, far above what a verb with the longest reason has.
const LONGEST_COMMAND: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use agent_core::push::Print;

    use super::*;

    const OML: &str = "MSH|^~\\&|EHR|H|LAB|H|20260301081500||OML^O21|7|P|2.5.1\rORC|NW|A1";

    fn parcel(content_type: &str, body: &str) -> Parcel {
        Parcel {
            content_type: content_type.into(),
            remote: None,
            return_ack: None,
            body: Phi(body.into()),
        }
    }

    #[test]
    fn the_time_of_a_message_does_not_make_it_another_order() {
        let later = OML.replace("20260301081500", "20260301081501");
        let of = |body: &str| join_digest(&parcel(agent_wire::HL7, body)).unwrap();
        assert_eq!(of(OML), of(&later));
        assert_ne!(of(OML), of(&OML.replace("|7|", "|8|")));
        assert_ne!(of(OML), of(&OML.replace("A1", "A2")));
    }

    #[test]
    fn other_options_make_it_another_push() {
        let of = |kind: &str| join_digest(&parcel(kind, OML)).unwrap();
        let plain = of("x-application/hl7-v2+er7");
        assert_eq!(plain, of("x-application/hl7-v2+er7; dedupe=on"));
        for other in ["; expires=PT1H", "; answer-within=3", "; priority=stat"] {
            assert_ne!(
                plain,
                of(&format!("x-application/hl7-v2+er7{other}")),
                "{other}"
            );
        }
    }

    #[test]
    fn what_every_push_needs_is_asked_for_in_a_sentence() {
        let push = |body: Option<&str>, ack: Option<&str>| PushRequest {
            remote: Some("mllp://h:1".into()),
            content_type: Some(agent_wire::HL7.into()),
            body: body.map(str::to_owned),
            callback: Some("c".into()),
            return_ack: ack.map(str::to_owned),
        };
        assert!(
            request(push(None, None), 10)
                .unwrap_err()
                .contains("no body")
        );
        assert!(
            request(push(Some("MSH|^~\\&|and more"), None), 10)
                .unwrap_err()
                .contains("10")
        );
        assert!(
            request(push(Some("MSH"), Some("last")), 10)
                .unwrap_err()
                .contains("returnAck")
        );
        let of_task = PushRequest {
            callback: Some("Task/t1/1".into()),
            ..push(Some("MSH"), None)
        };
        assert!(request(of_task, 10).unwrap_err().contains("mailbox"));
        let good = request(push(Some("MSH"), Some("application")), 10).unwrap();
        assert_eq!(good.return_ack, Some(ReturnAck::Application));
    }

    #[test]
    fn what_cannot_be_a_command_is_refused_before_it_is_stored() {
        let pushed = |content_type: &str, body: String| Request {
            remote: "device://self".into(),
            content_type: content_type.into(),
            body,
            callback: Some("c".into()),
            return_ack: None,
        };
        let why = |request: Request| check_command(&request).unwrap_err();
        assert!(why(pushed(TEXT, "{}".into())).contains(COMMAND));
        let long = " ".repeat(LONGEST_COMMAND + 1);
        assert!(why(pushed(COMMAND, long)).contains("8192 bytes"));
        let longest = " ".repeat(LONGEST_COMMAND);
        assert_eq!(check_command(&pushed(COMMAND, longest)), Ok(()));
    }

    #[test]
    fn every_print_is_of_its_text_and_never_zero() {
        assert_eq!(print_of("a"), print_of("a"));
        assert_ne!(print_of("a"), print_of("b"));
        assert_eq!(print_of_digest(&[0; 32]), Print(1));
    }
}
