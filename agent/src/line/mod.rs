//! One configured way to talk to a device: a transport, a driver, and the task that brings them together.

mod session;
mod task;
mod translate;

use agent_core::push::DeviceNo;
use device_drivers::hl7;
use tokio::sync::{mpsc, watch};

use crate::config::{DeviceConfig, Lifetime};
use crate::store::Attempt;
use crate::transport::{Tls, Transport};
pub use task::LineTask;
pub(crate) use translate::charset;

/// What a line knows of its device.
#[derive(Debug)]
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
