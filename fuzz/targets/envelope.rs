//! What the cloud can send: envelopes either way, the options of a media type, the address of a push.
//!
//! Whatever is understood must say the same once more.

#![no_main]

use agent_core::route::Address;
use agent_wire::{ToAgent, ToServer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(envelope) = ToAgent::decode(text) {
        let again = ToAgent::decode(&envelope.encode());
        assert_eq!(again.ok(), Some(envelope));
    }
    if let Ok(envelope) = ToServer::decode(text) {
        let again = ToServer::decode(&envelope.encode());
        assert_eq!(again.ok(), Some(envelope));
    }
    let _ = agent_core::options::parse(text);
    if let Ok(address) = text.parse::<Address>() {
        assert_eq!(address.to_string().parse(), Ok(address));
    }
});
