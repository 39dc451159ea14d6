//! One short life of the agent: pushes to devices of every temper, a late answer, a hold, a command, a clean stop.
//!
//! The cloud here is the fake one. What the real one would send again, because it heard no answer, is sent again here.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use super::judge::{Evidence, ended_well};
use super::report::{Ending, Lived};
use super::{Start, Sweep};
use crate::bench::{Bench, DeviceSetup, Setup};
use crate::kill::evidence::now;
use crate::oracle::{OnUncertain, Snapshot, State, Wish, unfinished};
use crate::shim::{Plan, Shim};
use crate::sim::{Kind, Order, always};

/// The pushes: callback, device, order, and a note that makes copies differ or not.
const FIRST: [(&str, &str, &str); 4] = [
    ("cb-1", CHEM, "1"),
    ("cb-2", COAG, "2"),
    ("cb-3", SLOW, "3"),
    ("cb-4", MUTE, "4"),
];
const SECOND: [(&str, &str, &str); 4] = [
    ("cb-5", AWAY, "5"),
    ("cb-6", CHEM, "6"),
    // The same order again: it joins.
    ("cb-7", CHEM, "6"),
    ("cb-8", COAG, "8"),
];
const LAST: (&str, &str, &str) = ("cb-9", CHEM, "9");
/// What a killed agent has left behind for [`Start::Used`].
const EARLIER: [(&str, &str, &str); 3] = [
    ("cb-a", AWAY, "a"),
    ("cb-b", AWAY, "b"),
    ("cb-c", MUTE, "c"),
];

/// Answers at once.
const CHEM: &str = "chem";
/// Answers at once, and recognises repetitions.
const COAG: &str = "coag";
/// Answers when its caller was told 202 already.
const SLOW: &str = "slow";
/// Takes everything and never answers: its pushes are held.
pub(super) const MUTE: &str = "mute";
/// The agent waits so long for its answers, in milliseconds.
pub(super) const MUTE_FOR: u32 = 150;
/// Is off for a while.
pub(super) const AWAY: &str = "away";

pub(super) const POLICIES: [(&str, OnUncertain); 5] = [
    (CHEM, OnUncertain::Hold),
    (COAG, OnUncertain::Resend),
    (SLOW, OnUncertain::Hold),
    (MUTE, OnUncertain::Hold),
    (AWAY, OnUncertain::Hold),
];

fn setup() -> Setup {
    let device = |name| {
        DeviceSetup::new(name)
            .text("delivery.answer_within", "60ms")
            .text("transport.reconnect_max", "20ms")
    };
    Setup::new()
        .fake_cloud()
        .device(device(CHEM).text("delivery.answer_within", "8s"))
        .device(
            device(COAG)
                .text("delivery.answer_within", "8s")
                .text("delivery.on_uncertain", "resend"),
        )
        .device(device(SLOW).doing(always(Kind::Aa.after(Duration::from_millis(120)))))
        .device(
            device(MUTE)
                .text("hl7.ack_timeout", &format!("{MUTE_FOR}ms"))
                .doing(always(Kind::None)),
        )
        .device(device(AWAY))
}

/// How many calls a life without a fault has.
pub(super) fn count(sweep: &Sweep) -> anyhow::Result<usize> {
    let mut life = Life::new(sweep)?;
    life.shim
        .follow(&sweep.plan(Plan::on(&life.bench.path("state"))))?;
    life.first()?;
    ensure!(
        life.ending == Ending::WentOn,
        "without a fault the agent has to live: {}",
        life.bench.agent_log()
    );
    Ok(life.shim.calls().len())
}

/// A life with a fault, what comes after it, and what the judge says.
pub(super) fn live(sweep: &Sweep, nth: usize) -> anyhow::Result<Lived> {
    let mut life = Life::new(sweep)?;
    let plan = sweep.plan(Plan::on(&life.bench.path("state")));
    life.shim.follow(&plan.failing(sweep.fault(nth)))?;
    let lived = life.whole(sweep);
    if lived.as_ref().is_ok_and(|lived| !lived.wrongs.is_empty()) || lived.is_err() {
        let kept = life.bench.keep_folder().display().to_string();
        return lived
            .map(|mut lived| {
                lived.wrongs.push(format!("kept for a look: {kept}"));
                lived
            })
            .with_context(|| format!("kept for a look: {kept}"));
    }
    lived
}

struct Life {
    bench: Bench,
    shim: Shim,
    evidence: Evidence,
    ending: Ending,
}

/// Whether a condition came true while the agent lived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Came {
    True,
    Ended,
}

impl Life {
    fn new(sweep: &Sweep) -> anyhow::Result<Self> {
        let shim = Shim::new()?;
        let bench = shim.around(setup()).start_without_agent();
        bench.switch_off(AWAY);
        let mut life = Self {
            bench,
            shim,
            evidence: Evidence::default(),
            ending: Ending::WentOn,
        };
        if sweep.start == Start::Used {
            life.before()?;
        }
        Ok(life)
    }

    /// A life that is cut off in the middle.
    fn before(&mut self) -> anyhow::Result<()> {
        self.bench.start_agent();
        self.push(&EARLIER);
        self.wait("the earlier pushes to be answered", |life| {
            EARLIER.iter().all(|(callback, ..)| life.answered(callback))
        })?;
        self.bench.kill_agent();
        self.evidence.take(&self.bench)
    }

    fn whole(&mut self, sweep: &Sweep) -> anyhow::Result<Lived> {
        self.first()?;
        let hit = self.shim.calls().into_iter().find(|call| call.failed);
        let mut wrongs = ended_well(&mut self.bench, (sweep, hit.as_ref()), self.ending);
        let taken = match self.ending {
            Ending::EndedItself => self.evidence.take(&self.bench),
            Ending::WentOn | Ending::Refused => self.evidence.take_end(&self.bench),
        };
        taken.context("reading what is left after the fault")?;
        wrongs.extend(self.evidence.so_far());
        self.second()?;
        self.evidence
            .take_end(&self.bench)
            .context("reading what is left in the end")?;
        wrongs.extend(self.evidence.at_end());
        let ending = match self.ending {
            Ending::WentOn if self.evidence.refused() => Ending::Refused,
            ending => ending,
        };
        Ok(Lived {
            hit,
            ending,
            wrongs,
        })
    }

    /// The life with the fault, until the agent has ended.
    fn first(&mut self) -> anyhow::Result<()> {
        let sessions = self.bench.fake().sessions();
        self.bench.start_agent_alone();
        if self.story(sessions)? == Came::True && self.stop()? == Came::True {
            return Ok(());
        }
        self.ending = Ending::EndedItself;
        Ok(())
    }

    /// Begins when the cloud has seen one session more than so many.
    fn story(&mut self, sessions: usize) -> anyhow::Result<Came> {
        let connected = move |life: &mut Self| life.bench.fake().sessions() > sessions;
        if self.wait_alone("the agent to connect", connected)? == Came::Ended {
            return Ok(Came::Ended);
        }
        self.push(&FIRST);
        if self.wait_for_answers(&FIRST)? == Came::Ended {
            return Ok(Came::Ended);
        }
        self.push(&SECOND);
        if self.wait_for_answers(&SECOND)? == Came::Ended {
            return Ok(Came::Ended);
        }
        self.decide("cb-hold", "hold", "cb-5");
        self.decide("cb-release", "release", "cb-5");
        self.away_comes_back()?;
        if self.settle()? == Came::Ended {
            return Ok(Came::Ended);
        }
        self.shim.lift()?;
        self.push(&[LAST]);
        self.wait_for_answers(&[LAST])
    }

    /// When the push to the mute device is held, somebody looks at the device and says so.
    fn settle(&mut self) -> anyhow::Result<Came> {
        let Some(push) = self.number("cb-4") else {
            return Ok(Came::True);
        };
        let held = |life: &mut Self| {
            let states = Snapshot::read(&life.bench.database()).map(|found| found.states());
            let state = states.ok().and_then(|states| states.get(&push).copied());
            state.is_some_and(|state| state != State::Sending && state != State::Queued)
        };
        if self.wait_alone("the push to the mute device to be held", held)? == Came::Ended {
            return Ok(Came::Ended);
        }
        let command =
            json!({ "verb": "settle", "push": push, "outcome": "delivered", "reason": "seen" });
        self.command("cb-settle", &command);
        self.wait_alone("the commands to be answered", |life| {
            ["cb-settle", "cb-hold", "cb-release"]
                .iter()
                .all(|callback| !life.evidence.said(callback) || life.answered(callback))
        })
    }

    /// The agent is started without a fault, hears again what it did not answer, and finishes.
    fn second(&mut self) -> anyhow::Result<()> {
        self.shim.follow(&Plan::on(&self.bench.path("state")))?;
        self.away_comes_back()?;
        let sessions = self.bench.fake().sessions();
        self.bench.start_agent_alone();
        self.wait("the agent to connect again", |life| {
            life.bench.fake().sessions() > sessions
        })?;
        let unanswered: Vec<_> = [&FIRST[..], &SECOND[..], &[LAST]]
            .concat()
            .into_iter()
            .filter(|(callback, ..)| !self.answered(callback))
            .collect();
        self.push(&unanswered);
        let released = self.evidence.held_by_a_person();
        if let Some(push) = released {
            let command = json!({ "verb": "release", "push": push });
            self.command("cb-release-again", &command);
        }
        self.wait("everything to be finished", |life| {
            let snapshot = Snapshot::read(&life.bench.database());
            let finished = snapshot.is_ok_and(|snapshot| {
                unfinished(&snapshot).is_empty()
                    && released
                        .is_none_or(|push| snapshot.states().get(&push) != Some(&State::Held))
            });
            finished
                && life
                    .evidence
                    .callbacks()
                    .all(|callback| life.answered(callback))
        })?;
        let status = self.bench.stop_agent();
        ensure!(status.success(), "it ended with {status} without a fault");
        Ok(())
    }

    fn away_comes_back(&self) -> anyhow::Result<()> {
        Ok(self.bench.wait_on(self.bench.device(AWAY).on())?)
    }

    /// SIGTERM, and whether it was the agent's own wish to end.
    fn stop(&mut self) -> anyhow::Result<Came> {
        self.bench.agent().terminate()?;
        self.wait_alone("the agent to stop", |_| false)?;
        let status = self.bench.agent().ended().context("it has ended")?;
        Ok(if status.success() {
            Came::True
        } else {
            Came::Ended
        })
    }
}

/// Talking to the agent.
impl Life {
    fn push(&mut self, pushes: &[(&str, &str, &str)]) {
        for (callback, device, order) in pushes {
            let text = Order::new(order).text();
            self.evidence.pushed(callback, device, &text);
            let to = crate::bench::url(self.bench.device(device).address());
            self.send(&crate::cloud::push(callback, &to, &text));
        }
    }

    fn command(&mut self, callback: &str, command: &Value) {
        self.evidence.commanded(callback, wish(command));
        let message = json!({
            "type": "agent:transmit:request", "remote": "device://self", "callback": callback,
            "contentType": agent_wire::COMMAND, "body": command.to_string(),
        });
        self.send(&message.to_string());
    }

    /// A verb about the push with this callback, if its number is known.
    fn decide(&mut self, callback: &str, verb: &str, about: &str) {
        if let Some(push) = self.number(about) {
            self.command(callback, &json!({ "verb": verb, "push": push }));
        }
    }

    /// What nobody hears is lost, as on the real wire.
    fn send(&self, text: &str) {
        let _ = self.bench.wait_on(self.bench.fake().send(text));
    }

    fn answered(&self, callback: &str) -> bool {
        !self.bench.fake().answers(callback).is_empty()
    }

    /// The number of a push, from its 202.
    fn number(&self, callback: &str) -> Option<i64> {
        let answer = self.bench.fake().answers(callback).into_iter().next()?;
        let text = answer["body"].as_str()?.split("push ").nth(1)?.to_owned();
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok().filter(|_| answer["statusCode"] == 202)
    }

    /// An answer that cannot be recorded is not given: if none comes on a disk that stays full, somebody makes room.
    fn wait_for_answers(&mut self, pushes: &[(&str, &str, &str)]) -> anyhow::Result<Came> {
        let began = Instant::now();
        let mut room = Ok(());
        let came = self.wait_alone("the pushes to be answered", |life| {
            if began.elapsed() > ROOM_AFTER && room.is_ok() {
                room = life.shim.lift();
            }
            pushes.iter().all(|(callback, ..)| life.answered(callback))
        });
        room?;
        came
    }

    /// Waits for a condition of an agent that must not end.
    fn wait(&mut self, what: &str, condition: impl FnMut(&mut Self) -> bool) -> anyhow::Result<()> {
        match self.wait_alone(what, condition)? {
            Came::True => Ok(()),
            Came::Ended => bail!(
                "the agent ended while we waited for {what}: {}",
                self.bench.agent().last_words()
            ),
        }
    }

    /// Waits for a condition, or for the agent's end.
    fn wait_alone(
        &mut self,
        what: &str,
        mut condition: impl FnMut(&mut Self) -> bool,
    ) -> anyhow::Result<Came> {
        let began = Instant::now();
        loop {
            if condition(self) {
                return Ok(Came::True);
            }
            if self.bench.agent().ended().is_some() {
                return Ok(Came::Ended);
            }
            if began.elapsed() > PATIENCE {
                bail!(
                    "waited in vain for {what}: {}",
                    self.bench.agent().last_words()
                );
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// What the agent is about to be asked for.
fn wish(command: &Value) -> Wish {
    let word = |name: &str| command[name].as_str().unwrap_or_default().to_owned();
    let verb = match word("outcome") {
        outcome if outcome.is_empty() => word("verb"),
        outcome => format!("{} {outcome}", word("verb")),
    };
    Wish {
        push: command["push"].as_i64().unwrap_or_default(),
        verb,
        at: now(),
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
const ROOM_AFTER: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(4);
