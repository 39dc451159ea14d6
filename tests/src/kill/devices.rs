//! The devices of a kill run: different policies, different speeds.

use std::sync::Arc;
use std::time::Duration;

use crate::bench::{DeviceSetup, Setup};
use crate::oracle::OnUncertain;
use crate::sim::{Kind, Received, Script};

/// One device. What it does with a message follows from the message's bytes, so that a seed decides it.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) name: &'static str,
    pub(super) on_uncertain: OnUncertain,
    connection: &'static str,
    /// Thinks up to so long about a message.
    delay_ms: u32,
    /// Refuses one of so many; none if 0.
    refuses_one_in: u8,
    /// Its part of the pushes.
    pub(super) share: u32,
    /// Whether some pushes to it are made twice.
    pub(super) repeats: bool,
}

const ORDINARY: Spec = Spec {
    name: "chem",
    on_uncertain: OnUncertain::Hold,
    connection: "persistent",
    delay_ms: 3,
    refuses_one_in: 0,
    share: 30,
    repeats: true,
};

pub(super) const DEVICES: [Spec; 6] = [
    ORDINARY,
    Spec {
        name: "coag",
        on_uncertain: OnUncertain::Resend,
        share: 30,
        ..ORDINARY
    },
    Spec {
        name: "haem",
        delay_ms: 40,
        share: 4,
        ..ORDINARY
    },
    Spec {
        name: "urine",
        on_uncertain: OnUncertain::Resend,
        connection: "per-message",
        delay_ms: 10,
        share: 14,
        ..ORDINARY
    },
    // What it refuses absorbs no equal push, so that a second copy of one would be no duplicate.
    Spec {
        name: "immuno",
        delay_ms: 8,
        refuses_one_in: 4,
        share: 12,
        repeats: false,
        ..ORDINARY
    },
    Spec {
        name: AWAY,
        share: 8,
        ..ORDINARY
    },
];

/// The device that is switched off for a while.
pub(super) const AWAY: &str = "micro";

impl Spec {
    fn setup(&self) -> DeviceSetup {
        let policy = match self.on_uncertain {
            OnUncertain::Hold => "hold",
            OnUncertain::Resend => "resend",
        };
        DeviceSetup::new(self.name)
            .text("transport.connection", self.connection)
            .text("delivery.on_uncertain", policy)
            .text("delivery.answer_within", "400ms")
            .doing(self.script())
    }

    fn script(&self) -> Script {
        let (delay, one_in) = (u64::from(self.delay_ms), self.refuses_one_in);
        Arc::new(move |received: &Received| {
            let [first, second] = dice(received);
            let refuses = one_in > 0 && first % one_in == 0;
            let after = Duration::from_micros(delay * 1000 * u64::from(second) / 255);
            if refuses { Kind::Ae } else { Kind::Aa }.after(after)
        })
    }
}

/// Two numbers that follow from the message.
fn dice(received: &Received) -> [u8; 2] {
    let pair = |from| {
        received
            .sha256
            .get(from..from + 2)
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
    };
    [pair(0).unwrap_or_default(), pair(2).unwrap_or_default()]
}

/// A bench with these devices.
pub(super) fn setup() -> Setup {
    DEVICES
        .iter()
        .fold(Setup::new(), |setup, spec| setup.device(spec.setup()))
}
