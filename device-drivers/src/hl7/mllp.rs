//! MLLP, release 1: how a message is told apart from the next one on a connection.
//!
//! ```text
//! VT message FS CR        VT = 0B, FS = 1C, CR = 0D
//! ```
//!
//! [`encode`] writes exactly that. [`Deframer`] is pushed bytes and asked for what it found; real devices deviate:
//!
//! | what comes | what is found |
//! | --- | --- |
//! | CR, LF or blanks between frames | nothing |
//! | other bytes before VT | `Junk`, counted and dropped |
//! | bytes that begin with `MSH`, without VT | `NotFramed`, at FS, at the next VT or after 100 ms of quiet |
//! | VT inside a frame | `Half`; a new frame begins |
//! | FS LF; FS and then VT, 100 ms of quiet or the end of the connection | the end of the frame, unless [`FrameEnd::Strict`] |
//! | FS and then anything else | content |
//! | more than the limit | `TooLong` once; dropped up to FS or VT |
//! | a frame begun, then 30 s of quiet | `Stalled` |
//!
//! Every byte is looked at once, so byte by byte costs the same as all at once and finds the same.
//! It refuses to know what a message is.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use memchr::memchr2;

use crate::conversation::Mono;
use crate::phi::Phi;

/// Puts a frame around a message.
pub fn encode(message: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(message.len() + 3);
    frame.push(VT);
    frame.extend_from_slice(message);
    frame.extend_from_slice(&[FS, CR]);
    frame
}

/// What ends a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FrameEnd {
    /// FS CR, and what devices send instead.
    #[default]
    Lenient,
    /// FS CR only.
    Strict,
}

/// What was found in the bytes of a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// The content of a frame; may be empty.
    Frame(Phi<Vec<u8>>),
    /// Something that begins like a message and has no frame around it.
    NotFramed {
        bytes: usize,
    },
    Junk {
        bytes: usize,
    },
    Half {
        bytes: usize,
    },
    Stalled {
        bytes: usize,
    },
    TooLong {
        limit: usize,
    },
}

/// The stream ended within a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the connection ended {bytes} bytes into a frame")]
pub struct HalfFrame {
    pub bytes: usize,
}

/// Finds frames in what a device sends.
#[derive(Debug)]
pub struct Deframer {
    end: FrameEnd,
    limit: usize,
    reading: Reading,
    /// Content of the frame that is being read; outside a frame, what may become an unframed `MSH`.
    content: Phi<Vec<u8>>,
    found: VecDeque<Found>,
    /// When the last byte came.
    last: Mono,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reading {
    /// No frame, and so many bytes of junk.
    Outside {
        junk: usize,
    },
    /// No frame, and the bytes began with `MSH`.
    Unframed,
    Inside,
    /// In a frame, behind an FS that may be its end.
    AfterFs,
    /// In a frame that is too long.
    Skipping,
}

impl Deframer {
    pub fn new(end: FrameEnd, limit: usize) -> Self {
        Self {
            end,
            limit,
            reading: Reading::Outside { junk: 0 },
            content: Phi(Vec::new()),
            found: VecDeque::new(),
            last: Mono(0),
        }
    }

    /// Takes in what the device sent.
    pub fn push(&mut self, bytes: &[u8], now: Mono) {
        self.last = now;
        let mut bytes = bytes;
        loop {
            bytes = self.plain_content(bytes);
            let Some((byte, rest)) = bytes.split_first() else {
                return;
            };
            self.reading = match self.reading {
                Reading::Outside { junk } => self.outside(*byte, junk),
                Reading::Unframed => self.unframed(*byte),
                Reading::Inside => self.inside(*byte),
                Reading::AfterFs => self.after_fs(*byte),
                Reading::Skipping => skipping(*byte),
            };
            bytes = rest;
        }
    }

    /// Keeps what decides nothing all at once: content within the limit, up to a VT or FS. Returns what follows it.
    fn plain_content<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.reading != Reading::Inside {
            return bytes;
        }
        let room = self.limit.saturating_sub(self.content.0.len());
        let length = memchr2(VT, FS, bytes).unwrap_or(bytes.len()).min(room);
        let (content, rest) = bytes.split_at(length);
        self.content.0.extend_from_slice(content);
        rest
    }

    /// Hands out what was found, in the order of the bytes.
    pub fn next_found(&mut self) -> Option<Found> {
        self.found.pop_front()
    }

    /// When to call [`tick`](Self::tick) if nothing comes.
    pub fn deadline(&self) -> Option<Mono> {
        self.patience().map(|wait| self.last.plus(wait))
    }

    /// Draws the conclusions of a quiet line.
    pub fn tick(&mut self, now: Mono) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        self.finish_what_may_end();
        if let Some(bytes) = self.bytes_of_half() {
            self.drop_frame();
            self.found.push_back(Found::Stalled { bytes });
        }
    }

    /// Draws the conclusions of the end of the stream.
    pub fn end(&mut self) -> Result<(), HalfFrame> {
        self.finish_what_may_end();
        let half = self.bytes_of_half();
        self.drop_frame();
        half.map_or(Ok(()), |bytes| Err(HalfFrame { bytes }))
    }

    /// Says how much there is of a frame that has begun and not ended.
    pub fn bytes_of_half(&self) -> Option<usize> {
        match self.reading {
            Reading::Outside { .. } | Reading::Unframed => None,
            Reading::Inside | Reading::AfterFs | Reading::Skipping => Some(self.content.0.len()),
        }
    }

    fn outside(&mut self, byte: u8, junk: usize) -> Reading {
        if byte == VT {
            self.report_junk(junk);
            return Reading::Inside;
        }
        if junk > 0 {
            return Reading::Outside {
                junk: junk.saturating_add(1),
            };
        }
        if self.content.0.is_empty() && matches!(byte, CR | LF | b' ') {
            return Reading::Outside { junk: 0 };
        }
        self.content.0.push(byte);
        if !MSH.starts_with(&self.content.0) {
            let junk = mem::take(&mut self.content.0).len();
            return Reading::Outside { junk };
        }
        if self.content.0 == MSH {
            Reading::Unframed
        } else {
            Reading::Outside { junk: 0 }
        }
    }

    fn unframed(&mut self, byte: u8) -> Reading {
        match byte {
            VT => {
                self.report_unframed();
                Reading::Inside
            }
            FS => {
                self.report_unframed();
                Reading::Outside { junk: 0 }
            }
            _ => self.keep(byte, Reading::Unframed),
        }
    }

    fn inside(&mut self, byte: u8) -> Reading {
        match byte {
            VT => {
                self.report_half();
                Reading::Inside
            }
            FS => Reading::AfterFs,
            _ => self.keep(byte, Reading::Inside),
        }
    }

    fn after_fs(&mut self, byte: u8) -> Reading {
        match (byte, self.end) {
            (CR, FrameEnd::Strict | FrameEnd::Lenient) | (LF, FrameEnd::Lenient) => {
                self.report_frame();
                Reading::Outside { junk: 0 }
            }
            (VT, FrameEnd::Lenient) => {
                self.report_frame();
                Reading::Inside
            }
            (FS, FrameEnd::Strict | FrameEnd::Lenient) => self.keep(FS, Reading::AfterFs),
            _ if self.keep(FS, Reading::Inside) == Reading::Skipping => skipping(byte),
            _ => self.inside(byte),
        }
    }

    /// Keeps one byte of content, if the limit allows.
    fn keep(&mut self, byte: u8, next: Reading) -> Reading {
        if self.content.0.len() >= self.limit {
            self.content.0 = Vec::new();
            self.found.push_back(Found::TooLong { limit: self.limit });
            return Reading::Skipping;
        }
        self.content.0.push(byte);
        next
    }

    /// How long the line may be quiet before that means something.
    fn patience(&self) -> Option<Duration> {
        match (self.reading, self.end) {
            (Reading::Outside { junk: 0 }, _) if self.content.0.is_empty() => None,
            (Reading::Outside { .. } | Reading::Unframed, _)
            | (Reading::AfterFs, FrameEnd::Lenient) => Some(QUIET),
            (Reading::Inside | Reading::Skipping, _) | (Reading::AfterFs, FrameEnd::Strict) => {
                Some(STALLED)
            }
        }
    }

    /// Ends what needs no further byte to be complete.
    fn finish_what_may_end(&mut self) {
        match (self.reading, self.end) {
            (Reading::Outside { junk }, _) => self.report_junk(junk),
            (Reading::Unframed, _) => self.report_unframed(),
            (Reading::AfterFs, FrameEnd::Lenient) => self.report_frame(),
            (Reading::Inside | Reading::Skipping, _) | (Reading::AfterFs, FrameEnd::Strict) => {
                return;
            }
        }
        self.reading = Reading::Outside { junk: 0 };
    }

    fn drop_frame(&mut self) {
        self.content.0 = Vec::new();
        self.reading = Reading::Outside { junk: 0 };
    }

    fn report_frame(&mut self) {
        let content = mem::take(&mut self.content);
        self.found.push_back(Found::Frame(content));
    }

    fn report_junk(&mut self, junk: usize) {
        let bytes = junk.saturating_add(mem::take(&mut self.content.0).len());
        if bytes > 0 {
            self.found.push_back(Found::Junk { bytes });
        }
    }

    fn report_unframed(&mut self) {
        let bytes = mem::take(&mut self.content.0).len();
        self.found.push_back(Found::NotFramed { bytes });
    }

    fn report_half(&mut self) {
        let bytes = mem::take(&mut self.content.0).len();
        if bytes > 0 {
            self.found.push_back(Found::Half { bytes });
        }
    }
}

fn skipping(byte: u8) -> Reading {
    match byte {
        VT => Reading::Inside,
        FS => Reading::Outside { junk: 0 },
        _ => Reading::Skipping,
    }
}

pub(super) const VT: u8 = 0x0b;
pub(super) const FS: u8 = 0x1c;
const CR: u8 = b'\r';
const LF: u8 = b'\n';
const MSH: &[u8] = b"MSH";
/// What follows an FS, or belongs to an unframed reply, comes within this time.
const QUIET: Duration = Duration::from_millis(100);
/// A frame that gets no byte for so long will not be completed.
const STALLED: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn frame(content: &[u8]) -> Found {
        Found::Frame(Phi(content.to_vec()))
    }

    /// Compares without printing through [`Phi`]: these bytes are ours.
    #[track_caller]
    fn assert_found(deframer: &mut Deframer, expected: &[Found]) {
        let found: Vec<Found> = std::iter::from_fn(|| deframer.next_found()).collect();
        assert!(found == expected, "{found:?} is not {expected:?}");
    }

    #[track_caller]
    fn check(end: FrameEnd, bytes: &[u8], expected: &[Found]) {
        let mut deframer = Deframer::new(end, 1000);
        deframer.push(bytes, Mono(0));
        assert_found(&mut deframer, expected);
    }

    #[test]
    fn what_was_encoded_is_found_again() {
        check(FrameEnd::Strict, &encode(b"MSH|1\r"), &[frame(b"MSH|1\r")]);
        check(FrameEnd::Lenient, &encode(b""), &[frame(b"")]);
    }

    #[test]
    fn bytes_before_the_start_are_counted_and_dropped() {
        check(
            FrameEnd::Strict,
            b"\x06junk\x0bA\x1c\r",
            &[Found::Junk { bytes: 5 }, frame(b"A")],
        );
        check(
            FrameEnd::Strict,
            b"\r\n  \x0bA\x1c\r\n\x0bB\x1c\r",
            &[frame(b"A"), frame(b"B")],
        );
        check(
            FrameEnd::Strict,
            b"MS\x0bA\x1c\r",
            &[Found::Junk { bytes: 2 }, frame(b"A")],
        );
    }

    #[test]
    fn a_start_inside_a_frame_begins_a_new_one() {
        check(
            FrameEnd::Strict,
            b"\x0bMSH|x\x0bB\x1c\r",
            &[Found::Half { bytes: 5 }, frame(b"B")],
        );
        check(FrameEnd::Strict, b"\x0b\x0bB\x1c\r", &[frame(b"B")]);
    }

    #[test]
    fn the_end_of_a_frame_may_be_written_badly_unless_strict() {
        check(
            FrameEnd::Lenient,
            b"\x0bA\x1c\n\x0bB\x1c\r\n",
            &[frame(b"A"), frame(b"B")],
        );
        check(
            FrameEnd::Lenient,
            b"\x0bA\x1c\x0bB\x1c\r",
            &[frame(b"A"), frame(b"B")],
        );
        check(
            FrameEnd::Strict,
            b"\x0bA\x1c\x0bB\x1c\r",
            &[Found::Half { bytes: 2 }, frame(b"B")],
        );
        check(
            FrameEnd::Strict,
            b"\x0bA\x1c\nB\x1c\r",
            &[frame(b"A\x1c\nB")],
        );
    }

    #[test]
    fn an_fs_within_the_text_is_text() {
        check(
            FrameEnd::Lenient,
            b"\x0bA\x1cB\x1c\x1c\r",
            &[frame(b"A\x1cB\x1c")],
        );
    }

    #[test]
    fn an_end_without_cr_counts_after_a_tenth_of_a_second_of_quiet() {
        let mut deframer = Deframer::new(FrameEnd::Lenient, 1000);
        deframer.push(b"\x0bA\x1c", Mono(50));
        assert_eq!(deframer.deadline(), Some(Mono(150)));
        deframer.tick(Mono(149));
        assert_found(&mut deframer, &[]);
        deframer.tick(Mono(150));
        assert_found(&mut deframer, &[frame(b"A")]);
        deframer.push(b"\r", Mono(151));
        assert_eq!(
            deframer.deadline(),
            None,
            "the CR that came late is no junk"
        );
    }

    #[test]
    fn a_reply_without_a_frame_is_named_as_such() {
        check(
            FrameEnd::Lenient,
            b"\rMSH|1\x1c\r",
            &[Found::NotFramed { bytes: 5 }],
        );
        check(
            FrameEnd::Lenient,
            b"MSH|1\x0bA\x1c\r",
            &[Found::NotFramed { bytes: 5 }, frame(b"A")],
        );
        let mut deframer = Deframer::new(FrameEnd::Strict, 1000);
        deframer.push(b"MSH|1\rMSA|AA|2\r", Mono(0));
        deframer.tick(Mono(100));
        assert_found(&mut deframer, &[Found::NotFramed { bytes: 15 }]);
    }

    #[test]
    fn what_is_too_long_is_dropped_and_the_next_frame_is_read() {
        let mut deframer = Deframer::new(FrameEnd::Lenient, 4);
        deframer.push(
            b"\x0bABCDE\x1c\r\x0bABCD\x1c\r\x0bABCDEF\x0bA\x1c\r",
            Mono(0),
        );
        let long = Found::TooLong { limit: 4 };
        assert_found(
            &mut deframer,
            &[long.clone(), frame(b"ABCD"), long, frame(b"A")],
        );
    }

    #[test]
    fn a_frame_that_stops_is_dropped_after_half_a_minute() {
        let mut deframer = Deframer::new(FrameEnd::Lenient, 1000);
        deframer.push(b"\x0bMSH|", Mono(10));
        assert_eq!(deframer.deadline(), Some(Mono(30_010)));
        deframer.tick(Mono(30_010));
        assert_found(&mut deframer, &[Found::Stalled { bytes: 4 }]);
        assert_eq!(deframer.deadline(), None);
    }

    #[track_caller]
    fn check_end(end: FrameEnd, bytes: &[u8], result: Result<(), HalfFrame>, expected: &[Found]) {
        let mut deframer = Deframer::new(end, 1000);
        deframer.push(bytes, Mono(0));
        assert_eq!(deframer.end(), result);
        assert_found(&mut deframer, expected);
    }

    #[test]
    fn the_end_of_the_stream_is_an_error_only_within_a_frame() {
        check_end(FrameEnd::Lenient, b"", Ok(()), &[]);
        check_end(FrameEnd::Lenient, b"\x0bA\x1c\r", Ok(()), &[frame(b"A")]);
        check_end(
            FrameEnd::Lenient,
            b"\x0bA",
            Err(HalfFrame { bytes: 1 }),
            &[],
        );
        check_end(FrameEnd::Lenient, b"\x0bA\x1c", Ok(()), &[frame(b"A")]);
        check_end(
            FrameEnd::Strict,
            b"\x0bA\x1c",
            Err(HalfFrame { bytes: 1 }),
            &[],
        );
        check_end(
            FrameEnd::Lenient,
            b"MS",
            Ok(()),
            &[Found::Junk { bytes: 2 }],
        );
        check_end(
            FrameEnd::Lenient,
            b"MSH|",
            Ok(()),
            &[Found::NotFramed { bytes: 4 }],
        );
    }

    /// Bytes with many framing characters among them.
    fn line_bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(VT), Just(FS), Just(CR), Just(LF), any::<u8>()];
        let piece = prop_oneof![
            vec(byte, 0..8),
            Just(b"MSH|".to_vec()),
            Just(encode(b"MSH|A"))
        ];
        vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    fn all_found(end: FrameEnd, chunks: &[&[u8]]) -> (Vec<Found>, Result<(), HalfFrame>) {
        let mut deframer = Deframer::new(end, 16);
        for chunk in chunks {
            deframer.push(chunk, Mono(0));
        }
        let result = deframer.end();
        (
            std::iter::from_fn(|| deframer.next_found()).collect(),
            result,
        )
    }

    fn ends() -> impl Strategy<Value = FrameEnd> {
        prop_oneof![Just(FrameEnd::Lenient), Just(FrameEnd::Strict)]
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_makes_no_difference(
            bytes in line_bytes(), cuts in vec(1_usize..9, 1..40), end in ends(),
        ) {
            let mut chunks = Vec::new();
            let mut rest = bytes.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (chunk, tail) = rest.split_at((*cut).min(rest.len()));
                chunks.push(chunk);
                rest = tail;
            }
            prop_assert_eq!(all_found(end, &chunks), all_found(end, &[&bytes]));
        }

        #[test]
        fn any_message_without_framing_characters_comes_through(
            messages in vec(vec(any::<u8>().prop_filter("framing", |b| *b != VT && *b != FS), 0..16), 1..5),
            end in ends(),
        ) {
            let line: Vec<u8> = messages.iter().flat_map(|message| encode(message)).collect();
            let expected = messages.iter().map(|message| frame(message)).collect();
            prop_assert_eq!(all_found(end, &[&line]), (expected, Ok(())));
        }

        #[test]
        fn quiet_spells_never_break_it(steps in vec((line_bytes(), 0_u64..40_000), 0..10), end in ends()) {
            let mut deframer = Deframer::new(end, 16);
            let mut now = Mono(0);
            for (bytes, pause) in steps {
                deframer.push(&bytes, now);
                now = now.plus(Duration::from_millis(pause));
                deframer.tick(now);
                prop_assert!(deframer.deadline().is_none_or(|deadline| deadline > now));
            }
        }
    }
}
