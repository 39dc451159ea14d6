//! WebSocket frames (RFC 6455), as few as a fake cloud and a load generator need: whole text frames, ping, close.
//!
//! ```text
//! byte 0  FIN RSV1-3 opcode      byte 1  MASK length(7)      then  length(16 or 64)  masking key(4)  payload
//! ```

use std::io;
use std::ops::Range;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes both ways, with or without TLS.
pub trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opcode {
    Text,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn number(self) -> u8 {
        match self {
            Self::Text => 1,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    fn of(number: u8) -> io::Result<Self> {
        [Self::Text, Self::Close, Self::Ping, Self::Pong]
            .into_iter()
            .find(|opcode| opcode.number() == number)
            .ok_or_else(|| io::Error::other(format!("a websocket frame with opcode {number}")))
    }
}

/// Who writes decides about masking: clients must, servers must not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Server,
    Client,
}

/// Appends one whole frame.
pub fn write_frame(out: &mut Vec<u8>, side: Side, opcode: Opcode, payload: &[u8]) {
    let masked = if side == Side::Client { 0x80 } else { 0 };
    out.push(0x80 | opcode.number());
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ 0..=125), _) => out.push(masked | short),
        (_, Ok(middle)) => {
            out.push(masked | LENGTH_16);
            out.extend_from_slice(&middle.to_be_bytes());
        }
        _ => {
            out.push(masked | LENGTH_64);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    if side == Side::Client {
        // A key of zeros is a legal mask that costs nothing. No real client may do this; a null agent may.
        out.extend_from_slice(&[0; 4]);
    }
    out.extend_from_slice(payload);
}

/// Is filled with bytes and asked for the next frame.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: Vec<u8>,
    start: usize,
}

impl Frames {
    /// The next whole frame, unmasked in place.
    pub fn next_frame(&mut self) -> io::Result<Option<(Opcode, &[u8])>> {
        let Some(Head {
            opcode,
            key,
            payload,
        }) = Head::read(self.buffer.get(self.start..).unwrap_or_default())
        else {
            return Ok(None);
        };
        let payload = self.start + payload.start..self.start + payload.end;
        if payload.end > self.buffer.len() {
            return Ok(None);
        }
        self.start = payload.end;
        let bytes = self.buffer.get_mut(payload).unwrap_or_default();
        if let Some(key) = key {
            unmask(bytes, key);
        }
        Ok(Some((Opcode::of(opcode)?, bytes)))
    }

    /// The buffer to read into; what was handed out is dropped first.
    fn room(&mut self) -> &mut Vec<u8> {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.reserve(READ);
        &mut self.buffer
    }
}

struct Head {
    opcode: u8,
    key: Option<[u8; 4]>,
    payload: Range<usize>,
}

impl Head {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        let (length, mut at) = match second & 0x7f {
            LENGTH_16 => (
                u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
                4,
            ),
            LENGTH_64 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
            short => (u64::from(short), 2),
        };
        let mut key = None;
        if second & 0x80 != 0 {
            key = Some(bytes.get(at..at + 4)?.try_into().ok()?);
            at += 4;
        }
        let end = at.checked_add(usize::try_from(length).ok()?)?;
        Some(Self {
            opcode: first & 0x0f,
            key,
            payload: at..end,
        })
    }
}

fn unmask(payload: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut words = payload.chunks_exact_mut(8);
    for word in &mut words {
        let mut value = [0; 8];
        value.copy_from_slice(word);
        word.copy_from_slice(&(u64::from_ne_bytes(value) ^ wide).to_ne_bytes());
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// One open websocket.
pub struct Socket {
    stream: Box<dyn Bytes>,
    frames: Frames,
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket").finish_non_exhaustive()
    }
}

impl Socket {
    /// Takes over after the upgrade; `early` is what was read beyond it.
    pub(super) fn new(stream: impl Bytes + 'static, early: &[u8]) -> Self {
        Self {
            stream: Box::new(stream),
            frames: Frames {
                buffer: early.to_vec(),
                start: 0,
            },
        }
    }

    pub fn frames(&mut self) -> &mut Frames {
        &mut self.frames
    }

    /// Reads what is there. Nothing is lost if it is dropped while it waits. False at the end of the stream.
    pub async fn fill(&mut self) -> io::Result<bool> {
        Ok(self.stream.read_buf(self.frames.room()).await? > 0)
    }

    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        // TLS keeps what was written until it is told to let go of it.
        self.stream.flush().await
    }
}

/// In place of a length: the real one follows in so many bits.
const LENGTH_16: u8 = 0x7e;
const LENGTH_64: u8 = 0x7f;
const READ: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(side: Side, length: usize) {
        let payload: Vec<u8> = (0..length)
            .map(|at| u8::try_from(at % 251).unwrap())
            .collect();
        let mut bytes = Vec::new();
        write_frame(&mut bytes, side, Opcode::Text, &payload);
        write_frame(&mut bytes, side, Opcode::Ping, b"");
        let mut frames = Frames::default();
        let (last, most) = bytes.split_last().unwrap();
        frames.room().extend_from_slice(most);
        assert_eq!(
            frames.next_frame().unwrap(),
            Some((Opcode::Text, &payload[..]))
        );
        assert_eq!(frames.next_frame().unwrap(), None);
        frames.room().push(*last);
        assert_eq!(frames.next_frame().unwrap(), Some((Opcode::Ping, &b""[..])));
    }

    #[test]
    fn a_frame_of_any_length_comes_out_as_it_went_in() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            check(Side::Server, length);
            check(Side::Client, length);
        }
    }

    #[test]
    fn a_mask_is_taken_off_whatever_the_length() {
        for length in 0..20 {
            let mut payload = vec![0; length];
            unmask(&mut payload, [1, 2, 3, 4]);
            let expected: Vec<u8> = [1, 2, 3, 4].into_iter().cycle().take(length).collect();
            assert_eq!(payload, expected);
        }
    }
}
