//! What left the agent: the messages to devices and to the cloud, put together from the bytes of their connections.

use std::collections::BTreeMap;

/// One message, and when its first byte may have left, in whatever the caller counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub at: usize,
    pub connection: String,
    pub bytes: Vec<u8>,
}

/// What was sent on each connection so far.
#[derive(Clone, Debug, Default)]
pub struct Streams(BTreeMap<String, Stream>);

#[derive(Clone, Debug, Default)]
struct Stream {
    bytes: Vec<u8>,
    /// For each byte when it may have left.
    at: Vec<usize>,
}

impl Streams {
    pub fn push(&mut self, connection: &str, at: usize, bytes: &[u8]) {
        let stream = self.0.entry(connection.to_owned()).or_default();
        stream.bytes.extend(bytes);
        stream.at.resize(stream.bytes.len(), at);
    }

    /// The MLLP frames without their ends, in order for each connection.
    pub fn to_devices(&self) -> Vec<Said> {
        let mut frames = Vec::new();
        for (connection, stream) in &self.0 {
            if stream.bytes.first() != Some(&BEGIN) {
                continue;
            }
            let starts = stream.bytes.iter().enumerate();
            for (start, _) in starts.filter(|(_, byte)| **byte == BEGIN) {
                let rest = stream.bytes.get(start + 1..).unwrap_or_default();
                let end = rest.iter().position(|byte| *byte == END);
                frames.push(Said {
                    at: stream.at.get(start).copied().unwrap_or_default(),
                    connection: connection.clone(),
                    bytes: rest
                        .get(..end.unwrap_or(rest.len()))
                        .unwrap_or_default()
                        .to_vec(),
                });
            }
        }
        frames
    }

    /// The websocket frames, unmasked.
    pub fn to_cloud(&self) -> Vec<Said> {
        let mut frames = Vec::new();
        for (connection, stream) in &self.0 {
            if !stream.bytes.starts_with(b"GET /ws/") {
                continue;
            }
            let head = stream.bytes.windows(4).position(|four| four == b"\r\n\r\n");
            let Some(mut start) = head.map(|head| head + 4) else {
                continue;
            };
            while let Some((bytes, length)) = stream.bytes.get(start..).and_then(unmask) {
                frames.push(Said {
                    at: stream.at.get(start).copied().unwrap_or_default(),
                    connection: connection.clone(),
                    bytes,
                });
                start += length;
            }
        }
        frames
    }
}

/// The content of the websocket frame these bytes begin with, and the frame's length. A client masks every frame.
fn unmask(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (length, key) = match bytes.get(1)? & 0x7f {
        126 => (
            u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?).into(),
            4,
        ),
        127 => (u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?), 10),
        short => (short.into(), 2),
    };
    let content = key + 4;
    let end = content + usize::try_from(length).ok()?;
    let masked = bytes.get(content..end)?;
    let key = bytes.get(key..content)?.iter().cycle();
    let plain = masked.iter().zip(key).map(|(byte, key)| byte ^ key);
    Some((plain.collect(), end))
}

const BEGIN: u8 = 0x0b;
const END: u8 = 0x1c;
