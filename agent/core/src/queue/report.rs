//! What the queue can say of itself.

use super::cold::ColdFacts;
use super::device::{Device, Line, Reason};
use super::{AgentSwitch, Phase, Queue};
use crate::push::{DeviceNo, Now, PushId, State, Timestamp};

#[derive(Clone, Debug, Default)]
pub struct QueueReport {
    pub devices: Vec<DeviceReport>,
    pub live: usize,
    pub agent: AgentSwitch,
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
    /// Of those, the ones of which nobody knows whether the device has them.
    pub uncertain: usize,
    /// Attempts that the device has answered, yes or no, since this process began.
    pub answered: u64,
    pub sending: Option<PushId>,
}

/// Which pushes are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    pub device: Option<DeviceNo>,
    pub state: Option<State>,
}

impl Filter {
    fn fits(self, state: State) -> bool {
        self.state.is_none_or(|wanted| wanted == state)
    }
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
                    condition: device.condition().or_else(|| self.clock_holds(device)),
                    waiting: device.live.saturating_sub(held + sending),
                    held,
                    uncertain: device.uncertain,
                    answered: device.answered,
                    sending: device.sending,
                }
            })
            .collect();
        QueueReport {
            devices,
            live: self.total,
            agent: self.agent,
        }
    }

    /// Pushes that are not final, oldest first, at most `limit`, of one device or of all, in one state or in any.
    pub fn list(&self, filter: Filter, limit: usize) -> Vec<PushId> {
        let devices = self
            .devices
            .iter()
            .filter(|(no, _)| filter.device.is_none_or(|wanted| wanted == **no));
        let cold = devices.flat_map(|(_, device)| {
            let fits = move |id: &PushId| filter.fits(self.waits_as(*id, device));
            device.cold.iter().filter(fits).take(limit)
        });
        let hot = self
            .live
            .iter()
            .filter(|(_, live)| filter.device.is_none_or(|no| live.device == no))
            .map(|(id, _)| *id)
            .filter(|id| self.state(*id).is_some_and(|state| filter.fits(state)));
        let mut ids: Vec<PushId> = hot.chain(cold).collect();
        ids.sort_unstable();
        ids.truncate(limit);
        ids
    }

    /// `None` for a push that is final, or cold: of that one, see [`Queue::waiting_cold`].
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

    /// A cold push, with what its row says.
    pub fn waiting_cold(&self, row: &ColdFacts, now: Now) -> Option<WaitingPush> {
        let device = self.devices.get(&row.device)?;
        device.cold.contains(row.id).then(|| WaitingPush {
            id: row.id,
            device: device.config.name.clone(),
            at: row.at,
            expires: row.expires,
            explained: Explained {
                state: self.waits_as(row.id, device),
                reason: self.reason_to_wait(row.id, device, now),
            },
        })
    }

    fn state(&self, id: PushId) -> Option<State> {
        let live = self.live.get(&id)?;
        Some(match live.phase {
            Phase::Waiting => self.waits_as(id, self.devices.get(&live.device)?),
            Phase::Parked | Phase::Follows(_) => State::Queued,
            Phase::Sending(_) => State::Sending,
            Phase::Uncertain(_) | Phase::Operator(_) | Phase::Claim => State::Held,
        })
    }

    /// The state of a push that only waits its turn.
    fn waits_as(&self, id: PushId, device: &Device) -> State {
        match (self.agent, device.config.enabled, self.age.holds(id)) {
            (AgentSwitch::On, true, None) => State::Queued,
            (AgentSwitch::Off, _, _) | (_, false, _) | (_, _, Some(_)) => State::Held,
        }
    }

    /// That the next push of a device is kept for the clock's sake.
    fn clock_holds(&self, device: &Device) -> Option<Reason> {
        self.age.holds(device.first()?).map(Reason::Clock)
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
            Phase::Claim => Reason::Claim,
            Phase::Follows(leader) => Reason::Joined(*leader),
        })
    }

    fn reason_to_wait(&self, id: PushId, device: &Device, now: Now) -> Reason {
        if self.agent == AgentSwitch::Off {
            return Reason::AgentOff;
        }
        if let Some(condition) = device.condition() {
            return condition;
        }
        if let Some(doubt) = self.age.holds(id) {
            return Reason::Clock(doubt);
        }
        if let Line::Away(why) = &device.line {
            return Reason::DeviceAway(why.clone());
        }
        let ahead = device.sending.or_else(|| device.first());
        match (ahead, &device.retry) {
            (Some(ahead), _) if ahead != id => Reason::Behind(ahead),
            (_, Some(retry)) if retry.at > now.mono => Reason::Retry(retry.why.clone()),
            _ => Reason::Next,
        }
    }
}
