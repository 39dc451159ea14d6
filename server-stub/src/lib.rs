//! A minimal Medplum server for tests, demos and development of the agent.
//!
//! It speaks what real Medplum clients and real agents need: tokens, FHIR REST with access policies, the operations on Agent,
//! the agents' websocket, Bots and Subscriptions.
//! By default it behaves as a real server does, which forgets a push for an agent that is away. With
//! [`Options::keep_pushes`] every push is kept until it is answered.
//!
//! It refuses to be more: no users, no validation of resources. It is for 127.0.0.1.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use wardpost_cloud::{Cloud, Options};
//!
//! let cloud = Cloud::start(Options { keep_pushes: true, ..Options::default() }).await?;
//! println!("{}", cloud.base_url());
//! cloud.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod access;
mod agents;
mod binary;
mod bots;
mod cloud;
mod delivery;
mod faults;
mod fhir;
mod history;
mod http;
mod hub;
mod jwt;
mod ledger;
mod oauth;
mod operations;
mod outcome;
mod patch;
mod policy;
mod search;
mod seed;
mod server;
mod store;
mod subscriptions;
mod tls;

pub use cloud::{Cloud, Options, StartError};
pub use faults::{CallbackForm, Ending, Faults, FhirFault, Instead, RefuseTokens, When};
pub use seed::{Seed, SeedClient, SeedError, SeedProject};
pub use store::{Answer, Database, Kept, OpenError};
pub use tls::{Tls, TlsError};
