//! The words of the core and the words of the drivers, one into the other. The only place that knows both.

use agent_core::delivery::{Left, Outcome};
use agent_core::phi::Phi;
use agent_core::push::{Level, ReturnAck};
use agent_core::queue::LateNews;
use agent_core::route::UrlOptions;
use device_drivers as drivers;
use device_drivers::hl7;

use super::LineConfig;
use crate::config::{DeviceConfig, Lifetime};
use crate::store::Parcel;

/// The driver's settings of a device: its file, then the query of its url, then the standard.
pub(super) fn settings(device: &DeviceConfig) -> hl7::Settings {
    let url = UrlOptions::of(&device.url);
    let of_url = || {
        url.encoding
            .as_deref()
            .and_then(|name| hl7::Charset::by_name(name).ok())
    };
    hl7::Settings {
        return_ack: device
            .hl7
            .return_ack
            .or(url.return_ack)
            .map_or(hl7::ReturnAck::First, return_ack),
        charset: device
            .hl7
            .charset
            .or_else(of_url)
            .unwrap_or(hl7::Charset::UTF_8),
        ack_timeout: device.hl7.ack_timeout,
        app_ack_timeout: device.hl7.app_ack_timeout,
        frame_end: if device.hl7.strict_end {
            hl7::FrameEnd::Strict
        } else {
            hl7::FrameEnd::Lenient
        },
        max_message: device.hl7.max_message,
        lifetime: match device.lifetime {
            Lifetime::Persistent => hl7::Lifetime::Persistent,
            Lifetime::PerMessage => hl7::Lifetime::PerMessage,
        },
    }
}

/// The character set of one push: the device's file, then the query of the pushed url, then the device's settings.
pub(crate) fn charset(
    settings: &hl7::Settings,
    by_push: bool,
    remote: Option<&str>,
) -> hl7::Charset {
    let named = remote
        .filter(|_| by_push)
        .and_then(|remote| UrlOptions::of(remote).encoding);
    named
        .and_then(|name| hl7::Charset::by_name(&name).ok())
        .unwrap_or(settings.charset)
}

/// A stored push as the driver takes it.
pub(super) fn submission(
    config: &LineConfig,
    parcel: &Parcel,
) -> Result<drivers::Submission, hl7::PrepareError> {
    let charset = charset(
        &config.hl7,
        config.charset_by_push,
        parcel.remote.as_deref(),
    );
    let checked = hl7::prepare(&parcel.body.0, &charset, config.hl7.limits())?;
    Ok(drivers::Submission::Hl7(
        checked.into_order(parcel.return_ack.map(return_ack)),
    ))
}

pub(super) fn outcome(outcome: drivers::Outcome) -> Outcome {
    match outcome {
        drivers::Outcome::Acknowledged {
            level: reached,
            reply,
        } => Outcome::Acknowledged {
            level: level(reached),
            reply: words(reply),
        },
        drivers::Outcome::Refused { reply } => Outcome::Refused {
            reply: words(reply),
        },
        drivers::Outcome::NotDelivered { why, bytes_left } => Outcome::NotDelivered {
            why: why.to_string(),
            left: match bytes_left {
                drivers::BytesLeft::None => Left::Nothing,
                drivers::BytesLeft::Some => Left::Part,
            },
        },
        drivers::Outcome::Unknown { why } => Outcome::Unknown {
            why: why.to_string(),
        },
    }
}

pub(super) fn news(news: drivers::News) -> LateNews {
    match news {
        drivers::News::Level { level: reached, .. } => LateNews::Level(level(reached)),
        drivers::News::Refused { reply } => LateNews::Refused(words(reply)),
    }
}

fn return_ack(ack: ReturnAck) -> hl7::ReturnAck {
    match ack {
        ReturnAck::First => hl7::ReturnAck::First,
        ReturnAck::Application => hl7::ReturnAck::Application,
    }
}

fn level(level: drivers::Level) -> Level {
    match level {
        drivers::Level::Framed => Level::Framed,
        drivers::Level::Accepted => Level::Accepted,
    }
}

/// The device's words as they are recorded and told: whole, or cut to what the cloud can take.
fn words(reply: drivers::Phi<String>) -> Phi<std::sync::Arc<str>> {
    let text = reply.0;
    if escaped_len(&text) <= LONGEST_ANSWER {
        return Phi(text.into());
    }
    let head: Vec<&str> = text
        .split('\r')
        .filter(|segment| {
            ["MSH", "MSA", "ERR"]
                .iter()
                .any(|name| segment.starts_with(name))
        })
        .collect();
    let mut head = head.join("\r");
    while escaped_len(&head) > LONGEST_ANSWER {
        head.truncate(head.floor_char_boundary(head.len() / 2));
    }
    Phi(head.into())
}

/// Bytes of the text as a JSON string, at most.
fn escaped_len(text: &str) -> usize {
    text.bytes()
        .map(|byte| {
            if byte < 0x20 {
                6
            } else {
                1 + usize::from(matches!(byte, b'"' | b'\\'))
            }
        })
        .sum()
}

/// An answer must fit into one envelope of 1 MiB, with everything around it.
const LONGEST_ANSWER: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_too_long_for_the_cloud_keeps_its_acknowledgement() {
        let long = format!(
            "MSH|^~\\&|LAB\rMSA|AA|1\rNTE|{}\rERR|x",
            "a".repeat(LONGEST_ANSWER)
        );
        assert_eq!(
            &*words(drivers::Phi(long)).0,
            "MSH|^~\\&|LAB\rMSA|AA|1\rERR|x"
        );
        let short = "MSH|^~\\&|LAB\rMSA|AA|1\rNTE|b\r";
        assert_eq!(&*words(drivers::Phi(short.into())).0, short);
    }

    #[test]
    fn even_an_endless_acknowledgement_is_cut_to_fit() {
        let endless = format!("MSH|^~\\&|{}", "\u{e9}".repeat(LONGEST_ANSWER));
        assert!(escaped_len(&words(drivers::Phi(endless)).0) <= LONGEST_ANSWER);
    }
}
