//! Faults of the network, by a seed: which wire, which fault, when.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::devices::DEVICES;
use crate::bench::Bench;
use crate::wire::{Corruption, Cut, Fault, Way, Wire};

/// A source of faults.
#[derive(Debug)]
pub(super) struct Storm {
    random: StdRng,
    /// How often each kind struck, on lines and on the uplink.
    pub(super) struck: Struck,
}

/// Counts of faults by where and what.
pub(super) type Struck = BTreeMap<(Place, Kind), u32>;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Place {
    Line,
    Uplink,
}

/// What a storm can do to a wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    Reset,
    Fin,
    CutInMessage,
    Silence,
    HalfSilence,
    Corrupt,
    Delay,
    Split,
    Refuse,
}

const KINDS: [Kind; 9] = [
    Kind::Reset,
    Kind::Fin,
    Kind::CutInMessage,
    Kind::Silence,
    Kind::HalfSilence,
    Kind::Corrupt,
    Kind::Delay,
    Kind::Split,
    Kind::Refuse,
];

impl Storm {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed.rotate_left(32)),
            struck: Struck::new(),
        }
    }

    /// Until the next fault of a line.
    pub(super) fn gap(&mut self) -> Duration {
        Duration::from_millis(self.random.random_range(5..GAP_MS))
    }

    /// One fault of one line. What was wrong with it before is over.
    pub(super) fn strike_line(&mut self, bench: &Bench) {
        let Ok(spec) = DEVICES.choose_weighted(&mut self.random, |spec| spec.share) else {
            return;
        };
        let wire = bench.wire(spec.name);
        wire.calm();
        self.strike(wire, Place::Line);
    }

    pub(super) fn strike_uplink(&mut self, bench: &Bench) {
        let wire = bench.cloud_wire();
        wire.calm();
        self.strike(wire, Place::Uplink);
    }

    fn strike(&mut self, wire: &Wire, place: Place) {
        let Some(&kind) = KINDS.choose(&mut self.random) else {
            return;
        };
        *self.struck.entry((place, kind)).or_default() += 1;
        let way = self.one_of([Way::ToPeer, Way::FromPeer]);
        let how = self.one_of([Cut::Reset, Cut::Fin]);
        match kind {
            Kind::Reset => drop(wire.cut(Cut::Reset)),
            Kind::Fin => drop(wire.cut(Cut::Fin)),
            Kind::CutInMessage => {
                let bytes = self.random.random_range(0..CUT_WITHIN);
                wire.next(way, Fault::CutAfter(bytes, how));
            }
            Kind::Silence => {
                wire.next(Way::ToPeer, Fault::Silence);
                wire.next(Way::FromPeer, Fault::Silence);
            }
            Kind::HalfSilence => wire.next(way, Fault::Silence),
            Kind::Corrupt => wire.next(way, Fault::Corrupt(self.corruption(place, way))),
            Kind::Delay => {
                wire.delay(Duration::from_millis(self.random.random_range(1..DELAY_MS)));
            }
            Kind::Split => wire.split(),
            Kind::Refuse => {
                wire.refuse();
                wire.cut(how);
            }
        }
    }

    fn corruption(&mut self, place: Place, way: Way) -> Corruption {
        match (place, way) {
            (Place::Uplink, _) => Corruption::Garbage,
            (Place::Line, Way::ToPeer) => Corruption::Framing,
            (Place::Line, Way::FromPeer) => {
                self.one_of([Corruption::Framing, Corruption::ControlId])
            }
        }
    }

    fn one_of<T: Copy>(&mut self, two: [T; 2]) -> T {
        let [first, second] = two;
        if self.random.random() { first } else { second }
    }
}

/// The network is good again.
pub(super) fn calm(bench: &Bench) {
    for spec in &DEVICES {
        bench.wire(spec.name).calm();
    }
    bench.cloud_wire().calm();
}

const GAP_MS: u64 = 60;
/// Most messages are shorter; a few are 20,000 bytes long.
const CUT_WITHIN: usize = 500;
/// Far below the time that a device has for its answer.
const DELAY_MS: u64 = 40;
