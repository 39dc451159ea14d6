//! The decisions of the agent, with no socket, clock or disk in sight.

pub mod alarm;
pub mod clock;
pub mod delivery;
mod join;
pub mod mailbox;
pub mod mutant;
pub mod options;
pub mod phi;
pub mod push;
pub mod queue;
pub mod retry;
pub mod route;
pub mod uplink;
pub mod upload;
