//! MLLP framing: VT, the message, FS, CR. What stands between frames is skipped.

const VT: u8 = 0x0b;
const FS: u8 = 0x1c;
const CR: u8 = 0x0d;

/// Wraps one message.
pub fn frame(message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(message.len() + 3);
    bytes.push(VT);
    bytes.extend_from_slice(message);
    bytes.extend_from_slice(&[FS, CR]);
    bytes
}

/// Is pushed bytes and asked for the next whole message.
#[derive(Debug, Default)]
pub struct Deframer {
    buffer: Vec<u8>,
    /// No FS CR ends before this offset, so that a large message is not searched again and again.
    searched: usize,
}

impl Deframer {
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    pub fn next_message(&mut self) -> Option<Vec<u8>> {
        let start = self.buffer.iter().position(|byte| *byte == VT)? + 1;
        let from = self.searched.max(start);
        let Some(end) = find_end(self.buffer.get(from..)?) else {
            self.searched = self.buffer.len().saturating_sub(1);
            return None;
        };
        let message = self.buffer.get(start..from + end)?.to_vec();
        self.buffer.drain(..from + end + 2);
        self.searched = 0;
        Some(message)
    }

    /// Whether bytes wait for the rest of their message.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }
}

fn find_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).position(|pair| pair == [FS, CR])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_out_as_it_went_in() {
        let mut deframer = Deframer::default();
        deframer.push(&frame(b"MSH|1"));
        assert_eq!(deframer.next_message().as_deref(), Some(&b"MSH|1"[..]));
        assert_eq!(deframer.next_message(), None);
        assert!(deframer.is_empty());
    }

    #[test]
    fn bytes_may_come_one_by_one_and_two_messages_at_once() {
        let mut deframer = Deframer::default();
        let mut bytes = frame(b"first");
        bytes.extend(frame(b"second"));
        let (last, most) = bytes.split_last().unwrap();
        for byte in most {
            deframer.push(&[*byte]);
        }
        assert_eq!(deframer.next_message().as_deref(), Some(&b"first"[..]));
        assert_eq!(deframer.next_message(), None);
        deframer.push(&[*last]);
        assert_eq!(deframer.next_message().as_deref(), Some(&b"second"[..]));
    }

    #[test]
    fn noise_between_frames_is_skipped() {
        let mut deframer = Deframer::default();
        deframer.push(b"\r\nnoise");
        deframer.push(&frame(b"message"));
        assert_eq!(deframer.next_message().as_deref(), Some(&b"message"[..]));
    }
}
