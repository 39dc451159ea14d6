//! The steps of the way out, one after the other, so that whoever asks can be told how far it goes.

use url::Url;

use super::{DialError, Dialler, Security, Target};

/// One step of dialling.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The address of the cloud's host, or of the proxy's.
    Name,
    /// TCP to it.
    Connection,
    /// What the proxy says to where we want to go.
    Proxy,
    Tls,
}

impl DialError {
    /// The step that failed.
    pub fn step(&self) -> Step {
        match self {
            // After the first two nobody knows which name it would be.
            Self::BadUrl { .. }
            | Self::Environment(_)
            | Self::Resolve { .. }
            | Self::NoAddress { .. } => Step::Name,
            Self::Connect { .. } => Step::Connection,
            Self::TimedOut { step, .. } => *step,
            Self::Tls(_) => Step::Tls,
            Self::Proxy { .. } => Step::Proxy,
            Self::ProxyAway { source, .. } => match source.step() {
                // TLS with the proxy comes before what is asked of it.
                Step::Tls | Step::Proxy => Step::Proxy,
                step @ (Step::Name | Step::Connection) => step,
            },
        }
    }
}

impl Dialler {
    /// The steps to a url, in their order; only the first where nobody knows what is to be dialled.
    pub fn steps(&self, url: &Url) -> Vec<Step> {
        let mut steps = vec![Step::Name];
        let Ok(target) = Target::of(url) else {
            return steps;
        };
        let Ok(proxy) = self.way.proxy(&target) else {
            return steps;
        };
        steps.push(Step::Connection);
        steps.extend(proxy.map(|_| Step::Proxy));
        if target.security == Security::Tls {
            steps.push(Step::Tls);
        }
        steps
    }
}
