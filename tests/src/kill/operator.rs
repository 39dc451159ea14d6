//! A person at the control socket: looks into uncertain pushes, holds, releases and cancels others, by a seed.
//!
//! What a device has is looked up in its journal, as somebody would look at its screen.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::evidence::now;
use crate::bench::Bench;
use crate::oracle::{
    Commanded, HeldBy, History, HoldScope, Kept, Policy, PushRow, Receipt, Snapshot, State, Story,
    Wish as WishGiven,
};

#[derive(Debug)]
pub(super) struct Operator {
    random: StdRng,
    /// Commands that the agent refused, as for a push that is being sent.
    pub(super) refused: u32,
}

/// What to say about a push: the verb of the request, and the word for it in the audit.
struct Wish {
    push: i64,
    request: Value,
    verb: &'static str,
}

/// Which uncertain pushes are looked into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Zeal {
    /// What stops a device, and some of the others.
    Some,
    /// What stops a device, and whatever this person has put aside.
    Tidy,
}

impl Operator {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed.rotate_left(16)),
            refused: 0,
        }
    }

    /// Gives a few commands to a running agent, by what is known of its queue, and writes down what was done.
    pub(super) fn act(&mut self, bench: &Bench, story: &mut Story, now: &Snapshot, zeal: Zeal) {
        let mut wishes = self.look_into_uncertain(story, now, zeal);
        wishes.extend(self.change_something(now, zeal));
        for wish in wishes {
            self.say(&bench.path("control.sock"), &wish, story);
        }
    }

    fn look_into_uncertain(&mut self, story: &Story, now: &Snapshot, zeal: Zeal) -> Vec<Wish> {
        let history = History::of(now);
        let holds = history.holds.iter().filter(|hold| hold.until.is_none());
        let uncertain = holds.filter(|hold| hold.by == HeldBy::Agent);
        let mut wishes = Vec::new();
        for push in uncertain.filter_map(|hold| now.pushes.get(&hold.push)) {
            let stops = policy(story, now, push).is_some_and(stops_device);
            if stops || (zeal == Zeal::Some && self.random.random_ratio(1, 16)) {
                wishes.push(self.judge(push.id, has_it(story, now, push)));
            }
        }
        wishes
    }

    /// Somebody who knows whether the device has it says so; now and then he has it sent again all the same.
    fn judge(&mut self, push: i64, there: bool) -> Wish {
        let settle = |outcome: &str, verb| Wish {
            push,
            request: json!({ "verb": "settle", "push": push, "outcome": outcome, "reason": "looked" }),
            verb,
        };
        let again = if there { 1 } else { 2 };
        if self.random.random_ratio(again, 3) {
            plain("resend", push)
        } else if there {
            settle("delivered", "settle delivered")
        } else {
            settle("not-delivered", "settle not-delivered")
        }
    }

    fn change_something(&mut self, now: &Snapshot, zeal: Zeal) -> Vec<Wish> {
        let states = now.states();
        let own: Vec<i64> = put_aside(now).into_iter().collect();
        if zeal == Zeal::Tidy {
            return own.into_iter().map(|push| plain("release", push)).collect();
        }
        let queued: Vec<i64> = states
            .iter()
            .filter(|(_, state)| **state == State::Queued)
            .map(|(push, _)| *push)
            .collect();
        let mut wishes = Vec::new();
        if let Some(push) = own.choose(&mut self.random) {
            wishes.push(plain("release", *push));
        }
        if let Some(push) = queued.choose(&mut self.random) {
            let verb = if self.random.random_ratio(1, 2) {
                "hold"
            } else {
                "cancel"
            };
            wishes.push(plain(verb, *push));
        }
        wishes.retain(|_| self.random.random_ratio(1, 3));
        wishes
    }

    fn say(&mut self, socket: &Path, wish: &Wish, story: &mut Story) {
        let sent = now();
        story.wishes.push(WishGiven {
            push: wish.push,
            verb: wish.verb.to_owned(),
            at: sent,
        });
        // No answer says nothing: the agent may have been too young or too dead to give one.
        let Ok(answer) = ask(socket, &wish.request) else {
            return;
        };
        if answer["ok"] == true {
            story.commands.push(Commanded {
                push: wish.push,
                verb: wish.verb,
                sent,
                told: now(),
            });
        } else {
            self.refused += 1;
        }
    }
}

fn plain(verb: &'static str, push: i64) -> Wish {
    Wish {
        push,
        request: json!({ "verb": verb, "push": push }),
        verb,
    }
}

fn policy(story: &Story, now: &Snapshot, push: &PushRow) -> Option<Policy> {
    story.policies.get(now.device_of(push)).copied()
}

fn stops_device(policy: Policy) -> bool {
    policy.hold_scope == HoldScope::Device
}

/// Whether the device has got this push.
fn has_it(story: &Story, now: &Snapshot, push: &PushRow) -> bool {
    let is_it = |kept: &&Kept| push.callback.as_ref() == Some(&kept.callback);
    let sum = story.kept.iter().find(is_it).map(|kept| &kept.sha256);
    let device = now.device_of(push);
    let came = |receipt: &Receipt| receipt.device == device && Some(&receipt.sha256) == sum;
    story.received.iter().any(came)
}

/// What a person holds.
pub(super) fn put_aside(snapshot: &Snapshot) -> BTreeSet<i64> {
    let holds = History::of(snapshot).holds.into_iter();
    holds
        .filter(|hold| hold.until.is_none() && hold.by == HeldBy::Person)
        .map(|hold| hold.push)
        .collect()
}

/// One request to the agent's control socket.
fn ask(socket: &Path, request: &Value) -> std::io::Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    writeln!(stream, "{request}")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}

const PATIENCE: Duration = Duration::from_secs(5);
