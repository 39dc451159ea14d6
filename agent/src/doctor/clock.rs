//! Whether the time of this box can be believed, and how far it is from the cloud's.

use agent_core::clock::{Clock, ClockJudge, CloudTime};

use super::Finding;
use crate::clock;

/// By what the agent knows, and by what the cloud says where it was reached.
pub(super) fn look(agent: Option<Clock>, cloud: Option<CloudTime>) -> Vec<Finding> {
    let by_cloud = match cloud {
        Some(time) => by_cloud(time),
        None => Finding::not_tried(SKEW, "the cloud did not tell its time"),
    };
    agent.map(by_agent).into_iter().chain([by_cloud]).collect()
}

pub(super) fn by_agent(verdict: Clock) -> Finding {
    match verdict {
        Clock::Sound => Finding::good(AGENT, "the agent believes it"),
        Clock::Doubtful(doubt) => {
            let next = "set it, or let systemd-timesyncd do so; until then nothing expires";
            Finding::wrong(AGENT, [doubt.to_string(), next.into()])
        }
    }
}

/// With the rule by which the agent judges, and without what it remembers.
fn by_cloud(time: CloudTime) -> Finding {
    let now = clock::reading();
    let seconds = (now.utc.0 - time.date.0).abs() / 1000;
    let mut judge = ClockJudge::new(None);
    judge.heard(time);
    match judge.look(now).clock {
        Clock::Sound => Finding::good(
            SKEW,
            format!("{seconds} s from the cloud's, give or take a second"),
        ),
        Clock::Doubtful(doubt) => {
            let next = "set it: `timedatectl` shows how it is kept";
            Finding::wrong(SKEW, [doubt.to_string(), next.into()])
        }
    }
}

const AGENT: (&str, &str) = ("clock", "sound");
const SKEW: (&str, &str) = ("clock", "skew");
