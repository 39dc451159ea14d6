//! Judges a story: pure functions over what the cloud wanted, what it says became of it, and what reached the devices.
//!
//! | rule | promise |
//! | --- | --- |
//! | ordered | the newest version of every `ServiceRequest` became a message |
//! | once | each message reached its device exactly once, or its push is held or waits behind a held one, and it did at most once |
//! | known | nothing else reached a device |
//! | order | of one order, the device heard of an older version before a newer one |
//! | true | what the cloud was told of a message is so |
//! | few | at most as many are held as kills found attempts `completing` |

use std::collections::{HashMap, HashSet};

use crate::oracle::State;

/// All there is to know when the agent has nothing left to do.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// The versions of each `ServiceRequest` by their MSH-10, oldest first.
    pub(super) orders: Vec<Vec<String>>,
    pub(super) messages: Vec<Message>,
    /// Sums of what reached the devices, oldest first.
    pub(super) received: Vec<String>,
    /// Where each push stands, by the sum of its body.
    pub(super) pushes: HashMap<String, Standing>,
    /// Attempts that kills found open, whose end may have left.
    pub(super) completing: usize,
}

/// One message that a Bot made.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// MSH-10.
    pub(super) name: String,
    pub(super) sum: String,
    pub(super) told: Told,
}

/// What the cloud was told of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Told {
    Delivered,
    /// It goes on, and the news comes later, if at all: a caller that got 202.
    Queued,
    Uncertain,
    /// The agent has it, and says nothing more yet.
    Waiting,
    Nothing,
    Else,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    State(State),
    /// Behind a held push of the same order.
    Parked,
}

/// A promise that was not kept, and of which message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    NotOrdered(String),
    Lost(String),
    Doubled(String),
    Unfinished(String),
    Untrue(String),
    OutOfOrder(String),
    /// The sum of it.
    Unknown(String),
    TooManyHeld {
        held: usize,
        completing: usize,
    },
}

/// What was counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Tally {
    pub(super) delivered: usize,
    pub(super) held: usize,
    pub(super) parked: usize,
}

pub(super) fn judge(facts: &Facts) -> (Vec<Fault>, Tally) {
    let mut faults = ordered(facts);
    let mut tally = Tally::default();
    for message in &facts.messages {
        faults.extend(once(facts, message, &mut tally));
    }
    faults.extend(known(facts));
    faults.extend(in_order(facts));
    if tally.held > facts.completing {
        let (held, completing) = (tally.held, facts.completing);
        faults.push(Fault::TooManyHeld { held, completing });
    }
    (faults, tally)
}

fn ordered(facts: &Facts) -> Vec<Fault> {
    let there: HashSet<&str> = facts.messages.iter().map(|one| one.name.as_str()).collect();
    let newest = facts.orders.iter().filter_map(|versions| versions.last());
    let missing = newest.filter(|name| !there.contains(name.as_str()));
    missing.cloned().map(Fault::NotOrdered).collect()
}

/// Where one message got to, and whether the cloud knows.
fn once(facts: &Facts, message: &Message, tally: &mut Tally) -> Option<Fault> {
    let name = message.name.clone();
    let times = facts.received.iter().filter(|sum| **sum == message.sum);
    let times = times.count();
    if times > 1 {
        return Some(Fault::Doubled(name));
    }
    let standing = facts.pushes.get(&message.sum);
    let wanted = match standing {
        Some(Standing::State(State::Delivered)) => {
            tally.delivered += 1;
            [Told::Delivered, Told::Queued]
        }
        Some(Standing::State(State::Held)) => {
            tally.held += 1;
            [Told::Uncertain, Told::Queued]
        }
        Some(Standing::Parked) => {
            tally.parked += 1;
            [Told::Waiting, Told::Queued]
        }
        Some(Standing::State(_)) => return Some(Fault::Unfinished(name)),
        None => return Some(Fault::Lost(name)),
    };
    let arrived = match standing {
        Some(Standing::State(State::Delivered)) => times == 1,
        Some(Standing::Parked) => times == 0,
        _ => true,
    };
    if !arrived {
        return Some(Fault::Lost(name));
    }
    (!wanted.contains(&message.told)).then_some(Fault::Untrue(name))
}

fn known(facts: &Facts) -> Vec<Fault> {
    let known: HashSet<&str> = facts.messages.iter().map(|one| one.sum.as_str()).collect();
    let unknown = facts
        .received
        .iter()
        .filter(|sum| !known.contains(sum.as_str()));
    unknown.cloned().map(Fault::Unknown).collect()
}

fn in_order(facts: &Facts) -> Vec<Fault> {
    let sums = facts.messages.iter();
    let names: HashMap<&str, &str> = sums
        .map(|one| (one.sum.as_str(), one.name.as_str()))
        .collect();
    let heard = facts
        .received
        .iter()
        .filter_map(|sum| names.get(sum.as_str()));
    let place: HashMap<&str, usize> = heard.enumerate().map(|(at, name)| (*name, at)).collect();
    let mut faults = Vec::new();
    for versions in &facts.orders {
        let heard: Vec<(usize, &String)> = versions
            .iter()
            .filter_map(|name| Some((*place.get(name.as_str())?, name)))
            .collect();
        let late = heard.windows(2).find_map(|pair| match pair {
            [(first, _), (second, name)] if second < first => Some((*name).clone()),
            _ => None,
        });
        faults.extend(late.map(Fault::OutOfOrder));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two versions of one order, both delivered.
    fn good() -> Facts {
        let message = |name: &str| Message {
            name: name.into(),
            sum: format!("sum-{name}"),
            told: Told::Delivered,
        };
        let delivered = Standing::State(State::Delivered);
        Facts {
            orders: vec![vec!["v1".into(), "v2".into()]],
            messages: vec![message("v1"), message("v2")],
            received: vec!["sum-v1".into(), "sum-v2".into()],
            pushes: HashMap::from([("sum-v1".into(), delivered), ("sum-v2".into(), delivered)]),
            completing: 0,
        }
    }

    fn check(spoil: impl FnOnce(&mut Facts), expected: &[Fault]) {
        let mut facts = good();
        spoil(&mut facts);
        assert_eq!(judge(&facts).0, expected);
    }

    #[test]
    fn a_story_that_went_well_has_no_faults() {
        check(|_| {}, &[]);
        let tally = judge(&good()).1;
        assert_eq!((tally.delivered, tally.held, tally.parked), (2, 0, 0));
    }

    #[test]
    fn what_is_lost_doubled_or_unknown_is_found() {
        check(
            |facts| drop(facts.received.pop()),
            &[Fault::Lost("v2".into())],
        );
        check(
            |facts| facts.pushes.retain(|sum, _| sum == "sum-v2"),
            &[Fault::Lost("v1".into())],
        );
        check(
            |facts| facts.received.push("sum-v2".into()),
            &[Fault::Doubled("v2".into())],
        );
        check(
            |facts| facts.received.push("other".into()),
            &[Fault::Unknown("other".into())],
        );
    }

    #[test]
    fn an_order_of_which_no_message_was_made_is_found_and_an_old_version_may_be_left_out() {
        let order = |name: &str| vec![name.to_owned()];
        check(
            |facts| facts.orders.push(order("v9")),
            &[Fault::NotOrdered("v9".into())],
        );
        check(
            |facts| facts.orders.push(vec!["v8".into(), "v2".into()]),
            &[],
        );
    }

    #[test]
    fn a_newer_version_before_an_older_one_is_found() {
        check(
            |facts| facts.received.reverse(),
            &[Fault::OutOfOrder("v2".into())],
        );
    }

    #[test]
    fn what_is_held_needs_a_kill_and_the_cloud_has_to_know() {
        let hold = |facts: &mut Facts, completing, told| {
            let held = Standing::State(State::Held);
            facts.pushes.insert("sum-v2".into(), held);
            facts.completing = completing;
            facts.messages[1].told = told;
        };
        check(|facts| hold(facts, 1, Told::Uncertain), &[]);
        check(|facts| hold(facts, 1, Told::Queued), &[]);
        let untrue = [Fault::Untrue("v2".into())];
        check(|facts| hold(facts, 1, Told::Delivered), &untrue);
        let many = Fault::TooManyHeld {
            held: 1,
            completing: 0,
        };
        check(|facts| hold(facts, 0, Told::Uncertain), &[many]);
    }

    #[test]
    fn what_is_not_over_is_found() {
        let queued = Standing::State(State::Queued);
        let spoil = |facts: &mut Facts| facts.pushes.extend([("sum-v1".into(), queued)]);
        check(spoil, &[Fault::Unfinished("v1".into())]);
        let silent = |facts: &mut Facts| facts.messages[0].told = Told::Nothing;
        check(silent, &[Fault::Untrue("v1".into())]);
    }
}
