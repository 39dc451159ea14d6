//! `wardpost doctor`: everything that the agent needs, tried one by one, each with what to do where it is not well.
//!
//! It uses the agent's own way out, token and files, and takes nothing from it: it may be asked beside a running agent, which
//! then looks itself, since only it has the credentials of the service. What depends on something that is not well is not
//! tried. No finding holds anything clinical.

mod clock;
mod cloud;
mod config;
mod disk;
mod finding;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

pub use cloud::Network;
pub use finding::{Finding, Verdict};

use crate::cloud::settings::Settings;
use crate::config::{Config, Paths};
use crate::store::Bounds;

/// What is looked at.
#[derive(Clone, Debug)]
pub struct Subject {
    pub paths: Paths,
    pub state: PathBuf,
    pub bounds: Bounds,
    /// What the agent thinks of the clock; `None` if no agent was asked.
    pub clock: Option<agent_core::clock::Clock>,
    pub settings: Arc<Settings>,
    /// Channels of the Agent that the files name.
    pub channels: Vec<String>,
}

/// Whether the cloud is asked, too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    Box,
    Cloud,
}

impl Subject {
    /// What a configuration says, for a look without an agent.
    pub fn of(config: &Config, paths: Paths, state: PathBuf) -> Self {
        let rules = crate::site::Rules::of(config);
        let named = config
            .devices
            .iter()
            .filter_map(|device| device.channel.clone());
        Self {
            paths,
            state,
            bounds: rules.bounds,
            clock: None,
            settings: Arc::new(Settings::read(config, &crate::tls::Watch::default())),
            channels: channels(named.chain(rules.upward.channel.clone())),
        }
    }

    /// Looks at everything, in the order in which a person would mend it.
    pub async fn examine(self, reach: Reach) -> Vec<Finding> {
        let mut findings = on_the_box(&self).await;
        match reach {
            Reach::Box => findings.extend(self.clock.map(clock::by_agent)),
            Reach::Cloud => {
                let network = Network::look(&self).await;
                findings.extend(clock::look(self.clock, network.time));
                findings.extend(network.findings);
            }
        }
        findings
    }
}

/// The findings for whoever asked, and whether nothing is wrong.
pub fn told(findings: &[Finding]) -> Value {
    let wrong = |finding: &Finding| finding.verdict == Verdict::Wrong;
    json!({ "well": !findings.iter().any(wrong), "findings": findings })
}

/// A name that several devices share counts once.
pub fn channels(named: impl Iterator<Item = String>) -> Vec<String> {
    let mut channels: Vec<String> = named.collect();
    channels.sort();
    channels.dedup();
    channels
}

/// What can be found out where there is not even a configuration.
pub async fn without_configuration(paths: Paths) -> Vec<Finding> {
    let look = tokio::task::spawn_blocking(move || config::look(&paths));
    look.await
        .map_or_else(|_| Vec::new(), |finding| vec![finding])
}

async fn on_the_box(subject: &Subject) -> Vec<Finding> {
    let Subject {
        paths,
        state,
        bounds,
        ..
    } = subject.clone();
    let look = move || {
        let mut findings = vec![config::look(&paths)];
        findings.extend(disk::look(&state, bounds));
        findings
    };
    tokio::task::spawn_blocking(look).await.unwrap_or_default()
}
