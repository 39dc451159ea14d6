//! One configured way to talk to a device: a transport, a driver, and the task that brings them together.

mod session;
mod task;
mod translate;

use agent_core::push::DeviceNo;
use agent_core::queue::Connection;
use device_drivers::hl7;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::{DeviceConfig, Lifetime};
use crate::store::Attempt;
use crate::transport::{Tls, Transport};
pub use task::LineTask;
pub(crate) use translate::charset;

/// What a line knows of its device. Equal ones need no other line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LineConfig {
    pub no: DeviceNo,
    pub name: String,
    pub transport: Transport,
    pub lifetime: Lifetime,
    pub hl7: hl7::Settings,
    /// The file leaves the character set to the query of the pushed url.
    pub charset_by_push: bool,
}

/// What comes to a line's task.
#[derive(Debug)]
pub struct LineInbox {
    pub(crate) attempts: mpsc::Receiver<Attempt>,
    pub(crate) wanted: watch::Receiver<bool>,
}

/// When a line ends: with the agent, or alone, because its settings are others now or its device is off.
#[derive(Clone, Debug)]
pub struct LineStop {
    agent: CancellationToken,
    own: CancellationToken,
}

impl LineStop {
    /// `agent` ends every line.
    pub fn new(agent: &CancellationToken) -> Self {
        Self {
            own: agent.child_token(),
            agent: agent.clone(),
        }
    }

    /// Ends this line: it finishes what is on the wire and takes nothing new.
    pub fn drain(&self) {
        self.own.cancel();
    }

    pub fn is_told(&self) -> bool {
        self.own.is_cancelled()
    }

    pub fn is_for_all(&self) -> bool {
        self.agent.is_cancelled()
    }

    pub(crate) async fn told(&self) {
        self.own.cancelled().await;
    }

    /// What the line leaves behind. A device whose line is exchanged is not away: its pushes wait for the next line.
    pub(crate) fn leaves(&self) -> Connection {
        if self.is_for_all() {
            Connection::Gone("the agent stops".into())
        } else {
            Connection::Resting
        }
    }
}

impl LineConfig {
    pub fn of(no: DeviceNo, device: &DeviceConfig) -> Self {
        Self {
            no,
            name: device.name.clone(),
            transport: Transport::Dial {
                to: device.dial.clone(),
                timing: device.timing.clone(),
                tls: device.tls.as_ref().map(|tls| Tls::new(&device.name, tls)),
            },
            lifetime: device.lifetime,
            hl7: translate::settings(device),
            charset_by_push: device.hl7.charset.is_none(),
        }
    }
}
