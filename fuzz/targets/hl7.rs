//! A message as a Bot pushes it: checked, taken apart, and made ready for a device.
//!
//! What may be sent fits its limit, begins with MSH and cannot break its frame.

#![no_main]

use device_drivers::hl7::{Charset, Limits, Message, prepare};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &str)| {
    let (choice, text) = input;
    if let Ok(message) = Message::parse(text) {
        let _ = (message.control_id(), message.message_type());
        let _ = (message.without_time(), message.order_keys());
        for segment in message.segments() {
            let _ = (segment.name(), segment.field(2), segment.component(3, 2));
        }
    }
    let names = ["utf-8", "iso-8859-1", "us-ascii", "windows-1252"];
    let name = names[usize::from(choice) % names.len()];
    let Ok(charset) = Charset::by_name(name) else {
        return;
    };
    let limits = Limits { max_message: LIMIT };
    let Ok(checked) = prepare(text, &charset, limits) else {
        return;
    };
    let bytes = checked.bytes().0.to_vec();
    assert!(bytes.starts_with(b"MSH") && bytes.len() <= LIMIT);
    assert!(!bytes.iter().any(|byte| matches!(byte, 0x0b | 0x1c)));
    assert!(!checked.control_id().is_empty());
    assert!(!checked.order_keys().is_empty());
});

const LIMIT: usize = 4096;
