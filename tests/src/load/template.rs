//! Texts that are built once and have a number patched in: what makes the generator lean.

use crate::cloud::{AGENT, Opcode, Side, write_frame};
use crate::sim::frame;

/// Bytes with the same ten-digit number in some places.
#[derive(Clone, Debug)]
pub(super) struct Template {
    bytes: Vec<u8>,
    places: Vec<usize>,
}

impl Template {
    fn new(bytes: Vec<u8>) -> Self {
        let places = bytes
            .windows(DIGITS)
            .enumerate()
            .filter(|(_, window)| *window == HOLE)
            .map(|(at, _)| at)
            .collect();
        Self { bytes, places }
    }

    /// A push to this remote as a whole websocket frame from a server.
    pub(super) fn push(remote: &str) -> Self {
        Self::push_for(Some(&format!("Agent/{AGENT}-{HOLE_TEXT}")), remote)
    }

    /// The same without a callback: nobody waits for its answer.
    pub(super) fn silent_push(remote: &str) -> Self {
        Self::push_for(None, remote)
    }

    fn push_for(callback: Option<&str>, remote: &str) -> Self {
        let mut bytes = Vec::new();
        let text = crate::cloud::push_for(callback, remote, &order());
        write_frame(&mut bytes, Side::Server, Opcode::Text, text.as_bytes());
        Self::new(bytes)
    }

    /// The acknowledgement of such a push, framed for MLLP.
    pub(super) fn ack() -> Self {
        Self::new(frame(acknowledgement().as_bytes()))
    }

    /// The answer to such a push as a whole websocket frame from an agent.
    pub(super) fn answer() -> Self {
        let response = agent_wire::ToServer::TransmitResponse(agent_wire::TransmitResponse {
            channel: None,
            remote: "mllp://127.0.0.1:40000".into(),
            callback: Some(format!("Agent/{AGENT}-{HOLE_TEXT}")),
            content_type: agent_wire::HL7.into(),
            status_code: Some(200),
            body: acknowledgement(),
        });
        let mut bytes = Vec::new();
        write_frame(
            &mut bytes,
            Side::Client,
            Opcode::Text,
            response.encode().as_bytes(),
        );
        Self::new(bytes)
    }

    pub(super) fn write(&self, number: u32, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let digits = digits(number);
        for place in &self.places {
            let at = start + place;
            if let Some(hole) = out.get_mut(at..at + DIGITS) {
                hole.copy_from_slice(&digits);
            }
        }
    }
}

/// The number in ten digits at the start of these bytes.
pub(super) fn number(bytes: &[u8]) -> Option<u32> {
    std::str::from_utf8(bytes.get(..DIGITS)?).ok()?.parse().ok()
}

/// Where the needle begins.
pub(super) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    loop {
        let at = from + bytes.get(from..)?.iter().position(|byte| *byte == first)?;
        if bytes.get(at..)?.starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
}

fn digits(mut number: u32) -> [u8; DIGITS] {
    let mut digits = [b'0'; DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
    digits
}

/// An order of 600 bytes, the size that the figures we compare with were measured with.
fn order() -> String {
    let head = format!(
        "MSH|^~\\&|EHR|WARD3|LAB|WARD3|20260301081500||ORM^O01|{HOLE_TEXT}|P|2.3.1\r\
         PID|1||880001^^^WARD3^MR||DOE^JANE||19700101|F\r\
         ORC|NW|{HOLE_TEXT}|||||^^^20260301081500^^R\r\
         OBR|1|{HOLE_TEXT}||GLU^Glucose^L|||20260301081500\r\
         NTE|1||"
    );
    let filling = ORDER_BYTES.saturating_sub(head.len() + 1);
    format!("{head}{}\r", "x".repeat(filling))
}

fn acknowledgement() -> String {
    format!(
        "MSH|^~\\&|LAB|WARD3|EHR|WARD3|20260301081501||ACK^O01|{HOLE_TEXT}|P|2.3.1\rMSA|AA|{HOLE_TEXT}\r"
    )
}

const DIGITS: usize = 10;
const HOLE: &[u8] = HOLE_TEXT.as_bytes();
const HOLE_TEXT: &str = "@@@@@@@@@@";
const ORDER_BYTES: usize = 600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_into_every_hole_and_read_again() {
        let mut out = Vec::new();
        Template::ack().write(4711, &mut out);
        let at = find(&out, b"MSA|AA|").unwrap() + b"MSA|AA|".len();
        assert_eq!(number(&out[at..]), Some(4711));
        assert!(find(&out, HOLE).is_none());
    }

    #[test]
    fn an_order_has_the_size_of_the_figures_we_compare_with() {
        assert_eq!(order().len(), ORDER_BYTES);
    }

    #[test]
    fn a_needle_is_found_where_it_begins() {
        assert_eq!(find(b"ababc", b"abc"), Some(2));
        assert_eq!(find(b"ababc", b"abd"), None);
        assert_eq!(find(b"", b"a"), None);
    }
}
