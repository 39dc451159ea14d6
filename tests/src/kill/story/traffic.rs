//! The clinicians of a story: they order, change their minds and withdraw, by a seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::super::traffic::Flow;
use super::DEVICES;
use crate::bench::Http;
use crate::lab_order::{create, request, update};

/// What becomes of one order after it is made, each after a while.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Fate {
    device: &'static str,
    then: Vec<(Duration, Value)>,
}

/// An endless sequence of orders; equal seeds give equal sequences.
#[derive(Debug)]
pub(super) struct Traffic(StdRng);

impl Traffic {
    pub(super) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    fn fate(&mut self) -> Fate {
        let random = &mut self.0;
        let mut then = Vec::new();
        let mut later = |random: &mut StdRng, change| {
            let pause = Duration::from_millis(random.random_range(0..CHANGES_WITHIN_MS));
            then.push((pause, change));
        };
        if random.random_ratio(1, 3) {
            later(random, json!({ "priority": "stat" }));
        }
        if random.random_ratio(1, 4) {
            later(random, json!({ "status": "revoked" }));
        }
        let device = DEVICES.choose(random).copied().unwrap_or_default();
        Fate { device, then }
    }
}

/// Orders until told to stop. Returns how many orders there were.
pub(super) async fn run(
    http: Http,
    mut traffic: Traffic,
    mut flow: watch::Receiver<Flow>,
) -> anyhow::Result<u32> {
    let mut orders = 0;
    let mut lives = JoinSet::new();
    loop {
        tokio::time::sleep(PAUSE).await;
        if *flow.wait_for(|flow| *flow != Flow::Pause).await? == Flow::Stop {
            break;
        }
        if lives.len() >= LIVES {
            let done: Option<Result<anyhow::Result<()>, _>> = lives.join_next().await;
            done.transpose()?.transpose()?;
        }
        let (http, fate) = (http.clone(), traffic.fate());
        lives.spawn(async move { live(&http, fate).await });
        orders += 1;
    }
    while let Some(done) = lives.join_next().await {
        done??;
    }
    Ok(orders)
}

async fn live(http: &Http, fate: Fate) -> anyhow::Result<()> {
    let mut order = create(http, &request(http, fate.device).await?).await?;
    for (pause, change) in fate.then {
        tokio::time::sleep(pause).await;
        for (member, value) in change.as_object().into_iter().flatten() {
            order[member] = value.clone();
        }
        order = update(http, &order).await?;
    }
    Ok(())
}

/// Three resources and a run of the Bot each: more would be a test of how fast the stub is.
const PAUSE: Duration = Duration::from_millis(25);
/// Orders whose life goes on at a time.
const LIVES: usize = 32;
const CHANGES_WITHIN_MS: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_orders_again_and_some_are_changed_and_revoked() {
        let fates = |seed| {
            let mut traffic = Traffic::new(seed);
            (0..200).map(|_| traffic.fate()).collect::<Vec<_>>()
        };
        assert_eq!(fates(7), fates(7));
        assert_ne!(fates(7), fates(8));
        let is = |change: &str| {
            let fates = fates(7).into_iter();
            let fates = fates.filter(|fate| format!("{fate:?}").contains(change));
            fates.count()
        };
        assert!(is("stat") > 20 && is("revoked") > 20);
    }
}
