//! The pushes of a kill run: which device, which order key, which body, all from one seed.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::ensure;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::devices::{DEVICES, Spec};
use crate::bench::{Http, destination, not_waiting, push_path, waiting};
use crate::sim::Order;

/// An endless sequence of pushes; equal seeds give equal sequences.
#[derive(Debug)]
pub(super) struct Traffic {
    random: StdRng,
    seed: u64,
    number: u32,
    /// The last few texts of each device, for pushing one of them again.
    recent: Vec<VecDeque<String>>,
}

/// One push to make.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Push {
    pub(super) device: &'static str,
    pub(super) text: String,
    pub(super) caller: Caller,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Caller {
    Waits,
    Goes,
}

impl Traffic {
    pub(super) fn new(seed: u64) -> Self {
        let recent = DEVICES.iter().map(|_| VecDeque::new()).collect();
        Self {
            random: StdRng::seed_from_u64(seed),
            seed,
            number: 0,
            recent,
        }
    }

    /// The order that is pushed next.
    fn order(&mut self, spec: &Spec) -> String {
        self.number += 1;
        let Self { number, seed, .. } = self;
        let mut order = Order::new(format_args!("{seed}-{number}"));
        if self.random.random_ratio(1, 2) {
            // A few keys at a time, and new ones as time goes by: a held push parks its key for the rest of the run.
            let key = self.random.random_range(0..KEYS);
            order = order.of(format_args!(
                "{}-{}-{key}",
                spec.name,
                self.number / KEYS_LIVE
            ));
        }
        let length = if self.random.random_ratio(1, 20) {
            20_000
        } else {
            self.random.random_range(0..200)
        };
        order.noting("x".repeat(length)).text()
    }
}

impl Iterator for Traffic {
    type Item = Push;

    fn next(&mut self) -> Option<Push> {
        let places: Vec<usize> = (0..DEVICES.len()).collect();
        let place = *places
            .choose_weighted(&mut self.random, |place| {
                DEVICES.get(*place).map_or(0, |spec| spec.share)
            })
            .ok()?;
        let spec = DEVICES.get(place)?;
        let again = self.random.random_ratio(1, 16);
        let earlier: Vec<String> = self.recent.get(place)?.iter().cloned().collect();
        let text = match earlier.choose(&mut self.random) {
            Some(text) if again => text.clone(),
            _ => self.order(spec),
        };
        let recent = self.recent.get_mut(place)?;
        recent.push_back(text.clone());
        if recent.len() > RECENT {
            recent.pop_front();
        }
        let caller = if self.random.random_ratio(1, 8) {
            Caller::Waits
        } else {
            Caller::Goes
        };
        Some(Push {
            device: spec.name,
            text,
            caller,
        })
    }
}

/// What the pusher is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flow {
    Push,
    Pause,
    Stop,
}

/// Pushes until told to stop. Returns how many pushes the cloud took.
pub(super) async fn run(
    http: Http,
    traffic: Traffic,
    mut flow: watch::Receiver<Flow>,
) -> anyhow::Result<u32> {
    let mut pushed = 0;
    let mut calls = JoinSet::new();
    for push in traffic {
        tokio::time::sleep(PAUSE).await;
        if *flow.wait_for(|flow| *flow != Flow::Pause).await? == Flow::Stop {
            break;
        }
        if calls.len() >= CALLS {
            let done: Option<Result<anyhow::Result<()>, _>> = calls.join_next().await;
            done.transpose()?.transpose()?;
        }
        let http = http.clone();
        calls.spawn(async move { send(&http, &push).await });
        pushed += 1;
    }
    while let Some(done) = calls.join_next().await {
        done??;
    }
    Ok(pushed)
}

async fn send(http: &Http, push: &Push) -> anyhow::Result<()> {
    let reply = http.post(&push_path(), &parameters(push)).await?;
    // Whoever waits hears of cancelled, expired and refused pushes, too: 400.
    let worst = match push.caller {
        Caller::Waits => 400,
        Caller::Goes => 202,
    };
    ensure!(
        reply.status <= worst,
        "the cloud refused a push with {}: {}",
        reply.status,
        reply.text()
    );
    Ok(())
}

fn parameters(push: &Push) -> Value {
    let (to, kind, text) = (
        destination(push.device),
        agent_wire::HL7,
        push.text.as_str(),
    );
    match push.caller {
        Caller::Goes => not_waiting(&to, kind, text),
        Caller::Waits => {
            let mut parameters = waiting(&to, kind, text);
            parameters["waitTimeout"] = WAIT_MS.into();
            parameters
        }
    }
}

const KEYS: u32 = 8;
/// So many pushes share one set of keys.
const KEYS_LIVE: u32 = 64;
const RECENT: usize = 6;
/// On a machine that is busy with something else all slows down alike.
const PAUSE: Duration = Duration::from_millis(2);
/// Callers at a time; most of them are those that wait.
const CALLS: usize = 64;
const WAIT_MS: u32 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_pushes_again() {
        let pushes = |seed| Traffic::new(seed).take(500).collect::<Vec<_>>();
        assert_eq!(pushes(7), pushes(7));
        assert_ne!(pushes(7), pushes(8));
    }

    #[test]
    fn every_device_gets_something_and_some_pushes_come_twice() {
        let pushes: Vec<Push> = Traffic::new(7).take(2_000).collect();
        for spec in &DEVICES {
            assert!(
                pushes.iter().any(|push| push.device == spec.name),
                "{}",
                spec.name
            );
        }
        let mut texts: Vec<&str> = pushes.iter().map(|push| push.text.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert!(texts.len() < pushes.len());
        assert!(
            pushes.iter().all(|push| !push.text.contains('\n')),
            "bodies go byte by byte, so they have CR only"
        );
    }
}
