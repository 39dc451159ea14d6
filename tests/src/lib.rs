//! Whole-system stories of Wardpost, and what they need.
//!
//! [`sim`] has the devices, [`mod@bench`] wires agent, cloud stub and devices in one line for the stories in `scenarios/`,
//! [`cloud`] is a fake cloud for what a well-behaved one never does, [`kill`] kills the agent at random and
//! [`oracle`] judges what came of it, [`load`] measures, [`nspawn`] installs the package under a real systemd, [`shim`]
//! stands between the agent and its disk, [`wire`] between the agent and its peers, [`proxy`] on the way to the cloud, with
//! the certificates of [`certs`]. [`mailbox`] writes and reads Tasks. [`lab_order`] brings the example of the documentation onto a bench.
//!
//! This crate knows the agent only by its sockets, files and commands: it uses neither `device-drivers` nor
//! `agent-core`, since a judge who shares the code shares the mistake.

pub mod bench;
pub mod certs;
pub mod cloud;
pub mod crash;
pub mod disk;
pub mod kill;
pub mod lab_order;
pub mod load;
pub mod mailbox;
pub mod nspawn;
pub mod oracle;
pub mod proxy;
pub mod shim;
pub mod sim;
pub mod wire;
