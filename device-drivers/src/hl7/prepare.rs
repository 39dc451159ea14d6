//! The border: a pushed text becomes a message that can be sent, or a sentence that says why not.

use super::charset::{Charset, EncodeError};
use super::message::{Message, ParseError};
use super::settings::ReturnAck;
use crate::phi::Phi;

/// Checks a pushed text and encodes it for the device. The same text gives the same bytes, always.
pub fn prepare(
    text: &str,
    charset: &Charset,
    limits: Limits,
) -> Result<CheckedMessage, PrepareError> {
    let message = Message::parse(text)?;
    let order_keys = message.order_keys();
    if order_keys.len() > MAX_ORDER_KEYS {
        return Err(PrepareError::TooManyOrders {
            orders: order_keys.len(),
        });
    }
    let bytes = charset.encode(message.text())?;
    if bytes.len() > limits.max_message {
        return Err(PrepareError::TooLong {
            bytes: bytes.len(),
            limit: limits.max_message,
        });
    }
    Ok(CheckedMessage {
        message,
        order_keys,
        charset: *charset,
        bytes: Phi(bytes),
    })
}

/// What a message may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes on the line, without the frame.
    pub max_message: usize,
}

/// A message that can be sent as it is. Only [`prepare`] makes one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckedMessage {
    message: Message,
    order_keys: Vec<String>,
    /// What `bytes` are in.
    charset: Charset,
    bytes: Phi<Vec<u8>>,
}

/// One message for the line. Only a [`CheckedMessage`] becomes one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    pub(super) control_id: String,
    /// What `bytes` are in, and so the device's answer: a push may bring its own.
    pub(super) charset: Charset,
    pub(super) bytes: Phi<Vec<u8>>,
    pub(super) return_ack: Option<ReturnAck>,
}

/// Why a text cannot be sent. Each says what to do about it, and none holds any of the text.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PrepareError {
    #[error(transparent)]
    Parse(#[from] ParseError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error(
        "the message has {bytes} bytes and the device takes {limit}: send less, or raise max_message"
    )]
    TooLong { bytes: usize, limit: usize },
    #[error("the message names {orders} orders, and {MAX_ORDER_KEYS} is the limit: split it")]
    TooManyOrders { orders: usize },
}

impl CheckedMessage {
    /// MSH-10.
    pub fn control_id(&self) -> &str {
        self.message.control_id()
    }

    /// MSH-9; may be empty.
    pub fn message_type(&self) -> &str {
        self.message.message_type()
    }

    /// What must stay in order with other messages about the same. Never empty.
    pub fn order_keys(&self) -> &[String] {
        &self.order_keys
    }

    /// What two copies of one order have in common: the message without its time (MSH-7).
    pub fn join_form(&self) -> Phi<String> {
        Phi(self.message.without_time())
    }

    /// The message as the device gets it, without the frame.
    pub fn bytes(&self) -> Phi<&[u8]> {
        Phi(&self.bytes.0)
    }

    /// Makes it ready for the line. `return_ack`: what the push asked for; `None` leaves it to the device's settings.
    pub fn into_order(self, return_ack: Option<ReturnAck>) -> Order {
        Order {
            control_id: self.message.control_id().to_owned(),
            charset: self.charset,
            bytes: self.bytes,
            return_ack,
        }
    }
}

/// Each key is kept in memory and in the store for as long as the push lives.
const MAX_ORDER_KEYS: usize = 1000;

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    const HEADER: &str = "MSH|^~\\&|EHR|H1|LAB|H1|20260301||OML^O21^OML_O21|4711|P|2.5.1";
    const LIMITS: Limits = Limits { max_message: 100 };

    #[test]
    fn a_checked_message_knows_what_the_store_asks() {
        let text = format!("{HEADER}\nORC|NW|A1\n");
        let checked = prepare(&text, &Charset::UTF_8, LIMITS).unwrap();
        assert_eq!(
            (checked.control_id(), checked.message_type()),
            ("4711", "OML^O21^OML_O21")
        );
        assert_eq!(checked.order_keys(), ["A1"]);
        let expected = format!("{HEADER}\rORC|NW|A1\r");
        assert!(checked.join_form().0 == expected.replace("20260301", ""));
        assert!(checked.bytes().0 == expected.as_bytes());
        assert!(checked.into_order(None).bytes.0 == expected.as_bytes());
    }

    #[track_caller]
    fn refused(text: &str, charset: &Charset, sentence: &str) {
        assert_eq!(
            prepare(text, charset, LIMITS).unwrap_err().to_string(),
            sentence
        );
    }

    #[test]
    fn what_cannot_be_sent_is_refused_with_a_sentence() {
        refused(
            "PID|1",
            &Charset::UTF_8,
            "the message does not start with MSH: push one HL7 v2 message, beginning with MSH|^~\\&|",
        );
        refused(
            &format!("{HEADER}\rPID|1||{}", "8".repeat(100)),
            &Charset::UTF_8,
            "the message has 170 bytes and the device takes 100: send less, or raise max_message",
        );
        refused(
            &format!("{HEADER}\rPID|1||||D\u{d6}E"),
            &Charset::by_name("us-ascii").unwrap(),
            "PID-5 (segment 2) holds a character that US-ASCII does not have: change the text, or the device's charset",
        );
    }

    #[test]
    fn a_message_with_too_many_orders_is_refused() {
        let mut text = HEADER.to_owned();
        for number in 0..=MAX_ORDER_KEYS {
            write!(text, "\rORC|NW|{number}").unwrap();
        }
        let error = prepare(
            &text,
            &Charset::UTF_8,
            Limits {
                max_message: usize::MAX,
            },
        );
        assert_eq!(error, Err(PrepareError::TooManyOrders { orders: 1001 }));
    }
}
