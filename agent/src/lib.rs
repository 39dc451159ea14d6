//! Wardpost, the agent: from the cloud's websocket to the devices of a clinic and back, every push on disk first.
//!
//! Read `docs/architecture.md` for the path of a push by the names used here.

pub mod adopt;
pub mod agent;
pub mod alarms;
pub mod certificates;
pub mod clock;
pub mod cloud;
pub mod command;
pub mod config;
pub mod control;
pub mod dispatch;
pub mod doctor;
pub mod line;
pub mod lines;
pub mod pulse;
pub mod reload;
pub mod retention;
pub mod secret;
pub mod site;
pub mod snapshot;
pub mod store;
pub mod supervisor;
pub mod systemd;
pub mod telemetry;
pub mod tls;
pub mod transport;
pub mod watchdog;

pub use command::main;
