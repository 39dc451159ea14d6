//! Simulated devices for tests, harnesses and integration engineers.
//!
//! They have their own small codec on purpose: a simulator that shared the agent's would share its mistakes.

mod hl7;
mod journal;
mod message;
mod mllp;

pub use hl7::{Answer, Device, Kind, Script, always};
pub use journal::{Journal, Received, sha256};
pub use message::{Order, ack, field};
pub use mllp::{Deframer, frame};
