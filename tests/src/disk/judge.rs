//! What must hold after every fault.
//!
//! | promise | asked |
//! | --- | --- |
//! | no false yes | what the cloud was told with 200 or 202 is on disk as it was told |
//! | record, then send | what a device has got is on disk as an attempt |
//! | refused is refused | what was refused with 400 never reaches a device |
//! | an end with a sentence | an agent that ends itself ends non-zero, not by a panic, and says why |
//! | no sync is tried again | a failed sync of the database or its log ends the agent |
//! | all is well again | without the fault everything is delivered, or held for a true reason, and answered |

use std::collections::BTreeMap;

use anyhow::Context;

use super::Sweep;
use super::life::{AWAY, MUTE, MUTE_FOR, POLICIES};
use super::report::Ending;
use crate::bench::Bench;
use crate::kill::evidence;
use crate::oracle::{
    Answers, CloudAnswer, HeldBy, History, HoldScope, Kept, Line, OnUncertain, Policy, Receipt,
    Snapshot, Story, WhenUnreachable, Wish, at_end, at_kill,
};
use crate::shim::{Call, Errno};
use crate::sim::{field, sha256};

/// What is known from outside the agent.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    story: Story,
    /// Device and sum of what was pushed, by callback.
    pushed: BTreeMap<String, (String, String)>,
    /// MSH-10 of what was pushed, by callback.
    control_ids: BTreeMap<String, String>,
    commanded: Vec<String>,
    wishes: Vec<Wish>,
    answers: Vec<CloudAnswer>,
}

impl Evidence {
    pub(super) fn pushed(&mut self, callback: &str, device: &str, text: &str) {
        let facts = (device.to_owned(), sha256(text.as_bytes()));
        self.pushed.insert(callback.to_owned(), facts);
        let control_id = field(text.as_bytes(), "MSH", 10).unwrap_or_default();
        self.control_ids.insert(callback.to_owned(), control_id);
    }

    pub(super) fn commanded(&mut self, callback: &str, wish: Wish) {
        self.commanded.push(callback.to_owned());
        self.wishes.push(wish);
    }

    /// Whether this command was given.
    pub(super) fn said(&self, callback: &str) -> bool {
        self.commanded.iter().any(|said| said == callback)
    }

    pub(super) fn callbacks(&self) -> impl Iterator<Item = &String> {
        self.pushed.keys()
    }

    /// Takes what is there after an agent was killed or has ended itself.
    pub(super) fn take(&mut self, bench: &Bench) -> anyhow::Result<()> {
        let copy = self.look(bench)?;
        self.story.add_kill(copy);
        Ok(())
    }

    /// Takes what is there after an agent has ended in peace: whatever it shows as open is no excuse.
    pub(super) fn take_end(&mut self, bench: &Bench) -> anyhow::Result<()> {
        let copy = self.look(bench)?;
        self.story.add(copy);
        Ok(())
    }

    fn look(&mut self, bench: &Bench) -> anyhow::Result<Snapshot> {
        self.story.policies = POLICIES
            .map(|(device, on_uncertain)| (device.to_owned(), policy(on_uncertain)))
            .into();
        // The mute device's pushes are held since no answer comes; nothing else is wrong with any line.
        let mute = Line {
            patience: i64::from(MUTE_FOR),
            answers: Answers::Never,
            ..Line::default()
        };
        self.story.lines = [(MUTE.to_owned(), mute)].into();
        self.story.wishes.clone_from(&self.wishes);
        let copy = evidence::copy(bench).context("copying the database")?;
        self.story.received = evidence::received(bench);
        self.answers = self.heard(bench);
        self.story.kept = self
            .pushed
            .iter()
            .map(|(callback, facts)| self.kept(callback, facts))
            .collect();
        Ok(copy)
    }

    fn heard(&self, bench: &Bench) -> Vec<CloudAnswer> {
        let callbacks = self.pushed.keys().chain(&self.commanded);
        let answers = callbacks.flat_map(|callback| bench.fake().answers(callback));
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        answers
            .map(|answer| CloudAnswer {
                callback: text(&answer["callback"]),
                status: answer["statusCode"].as_i64().unwrap_or_default(),
                body: text(&answer["body"]),
            })
            .collect()
    }

    fn kept(&self, callback: &str, (device, sum): &(String, String)) -> Kept {
        let mine = |answer: &&CloudAnswer| answer.callback == *callback;
        let all: Vec<&CloudAnswer> = self.answers.iter().filter(mine).collect();
        let differing = all.iter().filter(|answer| Some(*answer) != all.first());
        Kept {
            callback: callback.to_owned(),
            device: device.clone(),
            sha256: sum.clone(),
            control_id: self.control_ids.get(callback).cloned().unwrap_or_default(),
            at: 0,
            sent: 0,
            answers: all.len() as u64,
            conflicting: differing.count() as u64,
        }
    }

    /// What was said with a yes; what was refused is judged apart.
    fn yeses(&self) -> Vec<CloudAnswer> {
        let yes = |answer: &&CloudAnswer| answer.status < 300;
        self.answers.iter().filter(yes).cloned().collect()
    }

    pub(super) fn refused(&self) -> bool {
        self.answers.iter().any(|answer| answer.status == 400)
    }

    /// What is wrong at the moment that was taken last.
    pub(super) fn so_far(&self) -> Vec<String> {
        let breaks = at_kill(&self.story, &self.yeses());
        let mut wrongs: Vec<String> = breaks.iter().map(|wrong| format!("{wrong:?}")).collect();
        wrongs.extend(self.refused_and_kept());
        wrongs
    }

    /// What is wrong when everything is over.
    pub(super) fn at_end(&self) -> Vec<String> {
        let verdict = at_end(&self.story, &self.yeses());
        let breaks = verdict.breaks.iter();
        let mut wrongs: Vec<String> = breaks.map(|wrong| format!("{wrong:?}")).collect();
        wrongs.extend(self.refused_and_kept());
        wrongs
    }

    fn device(&self, push: i64) -> Option<&str> {
        let row = self.story.end.pushes.get(&push)?;
        Some(self.story.end.device_of(row))
    }

    fn refused_and_kept(&self) -> Vec<String> {
        let refused = self.answers.iter().filter(|answer| {
            // A command that is refused is kept, with its answer.
            answer.status == 400 && self.pushed.contains_key(&answer.callback)
        });
        let kept = |callback: &str| {
            let mut rows = self.story.end.pushes.values();
            rows.any(|row| row.callback.as_deref() == Some(callback))
        };
        refused
            .filter(|answer| kept(&answer.callback) || self.reached_its_device(&answer.callback))
            .map(|answer| format!("kept or sent, though refused: {answer:?}"))
            .collect()
    }

    /// Whether a device has what only this push can have brought.
    fn reached_its_device(&self, callback: &str) -> bool {
        let Some((device, sum)) = self.pushed.get(callback) else {
            return false;
        };
        let twins = self.pushed.values().filter(|(_, other)| other == sum);
        let received = |receipt: &Receipt| receipt.device == *device && receipt.sha256 == *sum;
        twins.count() == 1 && self.story.received.iter().any(received)
    }

    /// A push that a person still holds.
    pub(super) fn held_by_a_person(&self) -> Option<i64> {
        let history = History::of(&self.story.end);
        let mut holds = history.holds.iter();
        let held = holds.find(|hold| hold.by == HeldBy::Person && hold.until.is_none());
        held.map(|hold| hold.push)
            .filter(|push| self.device(*push) == Some(AWAY))
    }
}

fn policy(on_uncertain: OnUncertain) -> Policy {
    Policy {
        on_uncertain,
        hold_scope: HoldScope::Order,
        when_unreachable: WhenUnreachable::Queue,
        expires: None,
    }
}

/// What is wrong with how the life with the fault ended.
pub(super) fn ended_well(
    bench: &mut Bench,
    (sweep, hit): (&Sweep, Option<&Call>),
    ending: Ending,
) -> Vec<String> {
    let mut wrongs = Vec::new();
    let log = bench.agent_log();
    if log.contains("panicked at") {
        wrongs.push("it panicked".to_owned());
    }
    if ending == Ending::EndedItself {
        let code = bench.agent().ended().and_then(|status| status.code());
        if code.is_none_or(|code| code == 0) {
            wrongs.push(format!("it ended with {code:?}"));
        }
        if !log
            .lines()
            .last()
            .is_some_and(|line| line.starts_with("wardpost: "))
        {
            wrongs.push(format!(
                "it ended without a sentence: {:?}",
                log.lines().last()
            ));
        }
    }
    let lost = hit.is_some_and(|call| call.kind == "sync" && call.file.starts_with("wardpost.db"));
    if lost && sweep.errno == Errno::IO && ending != Ending::EndedItself {
        wrongs.push("a sync failed, and it went on".to_owned());
    }
    wrongs
}
