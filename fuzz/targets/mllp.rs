//! What a device can send: any bytes, in any pieces.
//!
//! The pieces make no difference, and nothing found is above the limit.

#![no_main]

use device_drivers::Mono;
use device_drivers::hl7::{Deframer, Found, FrameEnd};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (strict, piece, bytes) = input;
    let end = if strict {
        FrameEnd::Strict
    } else {
        FrameEnd::Lenient
    };
    let whole = found(end, bytes, usize::MAX);
    let pieces = found(end, bytes, usize::from(piece).max(1));
    assert_eq!(whole, pieces);
    for one in &whole {
        if let Found::Frame(content) = one {
            assert!(content.0.len() <= LIMIT);
        }
    }
});

fn found(end: FrameEnd, bytes: &[u8], piece: usize) -> Vec<Found> {
    let mut deframer = Deframer::new(end, LIMIT);
    for piece in bytes.chunks(piece.min(bytes.len().max(1))) {
        deframer.push(piece, Mono(1));
    }
    let mut found: Vec<Found> = std::iter::from_fn(|| deframer.next_found()).collect();
    // A minute of quiet decides what was open.
    deframer.tick(Mono(60_001));
    found.extend(std::iter::from_fn(|| deframer.next_found()));
    let _ = deframer.end();
    found
}

const LIMIT: usize = 256;
