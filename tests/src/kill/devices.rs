//! The devices of a kill run: different policies, different speeds.

use std::sync::Arc;
use std::time::Duration;

use super::Network;
use crate::bench::{DeviceSetup, Setup};
use crate::oracle::{HoldScope, OnUncertain, Policy, WhenUnreachable};
use crate::sim::{Kind, Received, Script};

/// One device. What it does with a message follows from the message's bytes, so that a seed decides it.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) name: &'static str,
    pub(super) policy: Policy,
    connection: &'static str,
    answer_within: &'static str,
    /// Thinks up to so long about a message.
    delay_ms: u32,
    /// How long the agent waits for its answer where the network is faulty.
    patience: Duration,
    /// Refuses one of so many; none if 0.
    refuses_one_in: u8,
    /// Says something about another message before its answer, one time of so many; never if 0.
    rambles_one_in: u8,
    /// Its part of the pushes.
    pub(super) share: u32,
    pub(super) presence: Presence,
}

/// Whether a device is switched off for a while, now and then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Presence {
    Always,
    NowAndThen,
}

const ORDINARY: Spec = Spec {
    name: "chem",
    policy: Policy {
        on_uncertain: OnUncertain::Hold,
        hold_scope: HoldScope::Order,
        when_unreachable: WhenUnreachable::Queue,
        expires: None,
    },
    connection: "persistent",
    answer_within: "400ms",
    delay_ms: 3,
    patience: SHORT,
    refuses_one_in: 0,
    rambles_one_in: 0,
    share: 26,
    presence: Presence::Always,
};

const RESEND: Policy = Policy {
    on_uncertain: OnUncertain::Resend,
    ..ORDINARY.policy
};

pub(super) const DEVICES: [Spec; 9] = [
    ORDINARY,
    Spec {
        name: "coag",
        policy: RESEND,
        patience: LONG,
        rambles_one_in: 4,
        ..ORDINARY
    },
    Spec {
        name: "haem",
        answer_within: "60ms",
        delay_ms: 40,
        patience: LONG,
        share: 4,
        ..ORDINARY
    },
    Spec {
        name: "urine",
        policy: RESEND,
        connection: "per-message",
        delay_ms: 10,
        share: 12,
        ..ORDINARY
    },
    Spec {
        name: "immuno",
        patience: LONG,
        delay_ms: 8,
        refuses_one_in: 4,
        share: 12,
        ..ORDINARY
    },
    Spec {
        name: "micro",
        patience: LONG,
        share: 6,
        presence: Presence::NowAndThen,
        ..ORDINARY
    },
    // Waits with everything while one push is uncertain, until the operator has looked.
    Spec {
        name: "gas",
        patience: LONG,
        policy: Policy {
            hold_scope: HoldScope::Device,
            ..ORDINARY.policy
        },
        share: 5,
        ..ORDINARY
    },
    Spec {
        name: "poct",
        patience: LONG,
        policy: Policy {
            when_unreachable: WhenUnreachable::Fail,
            ..ORDINARY.policy
        },
        answer_within: "1s",
        share: 4,
        presence: Presence::NowAndThen,
        ..ORDINARY
    },
    Spec {
        name: "serum",
        patience: LONG,
        policy: Policy {
            expires: Some(1_000),
            ..RESEND
        },
        share: 5,
        presence: Presence::NowAndThen,
        ..ORDINARY
    },
];

impl Spec {
    fn setup(&self, network: Network) -> DeviceSetup {
        let policy = match self.policy.on_uncertain {
            OnUncertain::Hold => "hold",
            OnUncertain::Resend => "resend",
        };
        let scope = match self.policy.hold_scope {
            HoldScope::Order => "order",
            HoldScope::Device => "device",
        };
        let unreachable = match self.policy.when_unreachable {
            WhenUnreachable::Queue => "queue",
            WhenUnreachable::Fail => "fail",
        };
        let expires = match self.policy.expires {
            Some(within) => format!("{within}ms"),
            None => "never".to_owned(),
        };
        let patience = format!("{}ms", self.patience(network).as_millis());
        DeviceSetup::new(self.name)
            .text("transport.connection", self.connection)
            .text("hl7.ack_timeout", &patience)
            .text("delivery.on_uncertain", policy)
            .text("delivery.hold_scope", scope)
            .text("delivery.when_unreachable", unreachable)
            .text("delivery.answer_within", self.answer_within)
            .text("delivery.expires", &expires)
            .doing(self.script(network))
    }

    pub(super) fn patience(&self, network: Network) -> Duration {
        match network {
            Network::Good => Duration::from_secs(30),
            Network::Faulty => self.patience,
        }
    }

    fn script(&self, network: Network) -> Script {
        let delay = u64::from(self.delay_ms);
        let refuses = self.refuses_one_in;
        // On a faulty network it must be clear which answer came in time.
        let rambles = match network {
            Network::Good => self.rambles_one_in,
            Network::Faulty => 0,
        };
        Arc::new(move |received: &Received| {
            let [first, second] = dice(received);
            let one_in = |number: u8| number > 0 && first % number == 0;
            let after = Duration::from_micros(delay * 1000 * u64::from(second) / 255);
            let kind = match (one_in(refuses), one_in(rambles)) {
                (true, _) => Kind::Ae,
                (_, true) => Kind::ForeignAa,
                _ => Kind::Aa,
            };
            kind.after(after)
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
pub(super) fn setup(network: Network) -> Setup {
    let setup = match network {
        Network::Good => Setup::new(),
        Network::Faulty => Setup::new().wired(),
    };
    // No Bot takes them: they wait, and what is judged is that they are there.
    let setup = setup.set("cloud.receipts", "\"news\"");
    DEVICES
        .iter()
        .fold(setup, |setup, spec| setup.device(spec.setup(network)))
}

/// So short that several timeouts fit into one life of the agent.
const SHORT: Duration = Duration::from_millis(250);
/// So long that no answer is too late, however busy the machine is.
const LONG: Duration = Duration::from_secs(5);
