//! The stub through real sockets, with a raw client and a raw agent of their own.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod bots;
mod client;
mod faults;
mod fhir;
mod keeping;
mod login;
mod mailbox;
mod operations;
mod policy;
mod program;
mod push;
mod subscriptions;
mod tls;
mod websocket;
