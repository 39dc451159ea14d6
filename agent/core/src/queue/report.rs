//! What the queue can say of itself.

use super::{AgentSwitch, Phase, Queue};
use crate::push::{DeviceNo, Now, PushId, State, Timestamp};
use crate::queue::device::{Line, Reason};

#[derive(Clone, Debug, Default)]
pub struct QueueReport {
    pub devices: Vec<DeviceReport>,
    pub live: usize,
}

#[derive(Clone, Debug)]
pub struct DeviceReport {
    pub no: DeviceNo,
    pub name: String,
    pub line: Line,
    pub condition: Option<Reason>,
    /// Queued: in line, parked, or joined to another.
    pub waiting: usize,
    pub held: usize,
    pub sending: Option<PushId>,
}

/// Which pushes are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    pub device: Option<DeviceNo>,
    pub state: Option<State>,
}

/// One push that is not final, and why it is where it is.
#[derive(Clone, Debug)]
pub struct WaitingPush {
    pub id: PushId,
    pub device: String,
    pub at: Timestamp,
    pub expires: Option<Timestamp>,
    pub explained: Explained,
}

#[derive(Clone, Debug)]
pub struct Explained {
    pub state: State,
    pub reason: Reason,
}

impl Queue {
    pub fn report(&self) -> QueueReport {
        let devices = self
            .devices
            .iter()
            .map(|(no, device)| {
                let held = device.uncertain + device.kept_back;
                let sending = usize::from(device.sending.is_some());
                DeviceReport {
                    no: *no,
                    name: device.config.name.clone(),
                    line: device.line.clone(),
                    condition: device.condition(),
                    waiting: device.live.saturating_sub(held + sending),
                    held,
                    sending: device.sending,
                }
            })
            .collect();
        QueueReport {
            devices,
            live: self.live.len(),
        }
    }

    /// Pushes that are not final, oldest first, at most `limit`, of one device or of all, in one state or in any.
    pub fn list(&self, filter: Filter, limit: usize, now: Now) -> Vec<WaitingPush> {
        let mut ids: Vec<PushId> = self
            .live
            .iter()
            .filter(|(_, live)| filter.device.is_none_or(|no| live.device == no))
            .map(|(id, _)| *id)
            .collect();
        ids.sort_unstable();
        ids.into_iter()
            .filter(|id| {
                filter
                    .state
                    .is_none_or(|state| self.state(*id) == Some(state))
            })
            .take(limit)
            .filter_map(|id| self.waiting_push(id, now))
            .collect()
    }

    pub fn waiting_push(&self, id: PushId, now: Now) -> Option<WaitingPush> {
        let live = self.live.get(&id)?;
        let explained = Explained {
            state: self.state(id)?,
            reason: self.reason(id, now)?,
        };
        let device = self.devices.get(&live.device)?.config.name.clone();
        Some(WaitingPush {
            id,
            device,
            at: live.at,
            expires: live.expires,
            explained,
        })
    }

    fn state(&self, id: PushId) -> Option<State> {
        let live = self.live.get(&id)?;
        Some(match live.phase {
            Phase::Waiting if self.agent == AgentSwitch::Off => State::Held,
            Phase::Waiting if !self.devices.get(&live.device)?.config.enabled => State::Held,
            Phase::Waiting | Phase::Parked | Phase::Follows(_) => State::Queued,
            Phase::Sending(_) => State::Sending,
            Phase::Uncertain(_) | Phase::Operator(_) => State::Held,
        })
    }

    pub(super) fn reason(&self, id: PushId, now: Now) -> Option<Reason> {
        let live = self.live.get(&id)?;
        let device = self.devices.get(&live.device)?;
        Some(match &live.phase {
            Phase::Waiting => self.reason_to_wait(id, device, now),
            Phase::Sending(_) => Reason::Sending,
            Phase::Parked => Reason::Parked(device.blocker(id, &live.keys).unwrap_or(id)),
            Phase::Uncertain(why) => Reason::Uncertain(why.clone()),
            Phase::Operator(why) => Reason::Operator(why.clone()),
            Phase::Follows(leader) => Reason::Joined(*leader),
        })
    }

    fn reason_to_wait(&self, id: PushId, device: &super::Device, now: Now) -> Reason {
        if self.agent == AgentSwitch::Off {
            return Reason::AgentOff;
        }
        if let Some(condition) = device.condition() {
            return condition;
        }
        if let Line::Away(why) = &device.line {
            return Reason::DeviceAway(why.clone());
        }
        let ahead = device.sending.or_else(|| device.waiting.first().copied());
        match (ahead, &device.retry) {
            (Some(ahead), _) if ahead != id => Reason::Behind(ahead),
            (_, Some(retry)) if retry.at > now.mono => Reason::Retry(retry.why.clone()),
            _ => Reason::Next,
        }
    }
}
