//! Looks at the whole agent now and then, and has written down what is news of it: alarms, raised and over.
//!
//! What is wrong is found here (`Facts::sightings`, pure); how long it must last is `agent_core::alarm`'s; the store
//! writes it down and sends it up. Without a channel for receipts an alarm shows in the status only.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use agent_core::alarm::{Alarms, Edge, Kind, Name, Rule, Rules, Sighting};
use agent_core::clock::Clock;
use agent_core::push::{DeviceNo, Timestamp};
use agent_core::queue::{AgentSwitch, DeviceReport, Line, QueueReport, Reason};
use serde::Serialize;
use tracing::{info, warn};

use crate::clock;
use crate::pulse::Tether;
use crate::site::Site;
use crate::snapshot::Board;
use crate::store::{LastDead, Room, Store, StoreError};
use crate::tls::Ending;

/// Where the unit looks.
#[derive(Clone, Debug)]
pub struct Sources {
    pub store: Store,
    pub site: Site,
    pub board: Board,
}

/// What the configuration says of alarms.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AlarmTimes {
    pub held: Duration,
    pub device_away: Duration,
    pub device_silent: Duration,
    pub cloud_away: Duration,
    /// Before the end of a certificate.
    pub certificate: Duration,
    /// For so long something must be gone to be over.
    pub calm: Duration,
}

impl Default for AlarmTimes {
    fn default() -> Self {
        Self {
            held: Duration::from_mins(1),
            device_away: Duration::from_mins(15),
            device_silent: Duration::from_mins(15),
            cloud_away: Duration::from_mins(15),
            certificate: Duration::from_hours(14 * 24),
            calm: Duration::from_mins(2),
        }
    }
}

impl AlarmTimes {
    fn rules(&self) -> Rules {
        let rule = |after, calm| Rule { after, calm };
        let at_once = Duration::ZERO;
        Rules(BTreeMap::from([
            (Kind::Held, rule(self.held, at_once)),
            (Kind::DeviceAway, rule(self.device_away, self.calm)),
            (Kind::DeviceSilent, rule(self.device_silent, at_once)),
            (Kind::CloudAway, rule(self.cloud_away, self.calm)),
            (Kind::Disk, rule(at_once, self.calm)),
            (Kind::Reserve, rule(at_once, self.calm)),
            (Kind::Clock, rule(self.calm, self.calm)),
            (Kind::Certificate, rule(at_once, self.calm)),
        ]))
    }

    /// Often enough for the shortest of them, and seldom enough to cost nothing.
    fn look_every(&self) -> Duration {
        let shortest = [
            self.held,
            self.device_away,
            self.device_silent,
            self.cloud_away,
        ];
        let shortest = shortest
            .into_iter()
            .chain([self.calm])
            .min()
            .unwrap_or_default();
        (shortest / 4).clamp(SHORTEST_LOOK, LONGEST_LOOK)
    }
}

/// One that is raised and not over, as people see it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AlarmView {
    pub kind: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subject: String,
    pub text: String,
}

/// Looks until told to stop.
pub async fn run(sources: Sources, tether: Tether) -> Result<(), StoreError> {
    let mut watch = Watch::recall(sources).await?;
    loop {
        tether.pulse.beat();
        let every = watch.look().await?;
        let next = clock::mono().plus(every);
        loop {
            tokio::select! {
                () = tether.stop.cancelled() => return Ok(()),
                () = tether.pulse.due() => tether.pulse.beat(),
                () = clock::sleep_until(next) => break,
            }
        }
    }
}

struct Watch {
    sources: Sources,
    alarms: Alarms,
    answered: HashMap<DeviceNo, u64>,
}

impl Watch {
    async fn recall(sources: Sources) -> Result<Self, StoreError> {
        let mut alarms = Alarms::default();
        for open in sources.store.open_alarms().await? {
            alarms.recall(open.name, open.episode, open.text);
        }
        Ok(Self {
            sources,
            alarms,
            answered: HashMap::new(),
        })
    }

    /// One look; gives the time until the next.
    async fn look(&mut self) -> Result<Duration, StoreError> {
        let Sources { store, site, board } = &self.sources;
        let times = site.devices().rules().alarms.clone();
        let facts = Facts {
            report: store.report().await?,
            answered: std::mem::take(&mut self.answered),
            dead: store.last_dead().await?,
            room: store.room_on_disk(),
            clock: store.clock(),
            uplink: board.uplink_trouble(),
            endings: board.endings(),
            certificate: times.certificate,
            now: clock::utc(),
        };
        let seen = facts.sightings();
        let devices = facts.report.devices.iter();
        self.answered = devices.map(|device| (device.no, device.answered)).collect();
        let edges = self.alarms.look(seen, &times.rules(), clock::mono());
        if !edges.is_empty() {
            self.record(edges).await;
        }
        let open = self.alarms.open().map(|(name, _, text)| AlarmView {
            kind: name.kind.word(),
            subject: name.subject.clone(),
            text: text.to_owned(),
        });
        self.sources.board.alarms(open.collect());
        Ok(times.look_every())
    }

    async fn record(&mut self, edges: Vec<Edge>) {
        let recorded = match self.sources.store.alarms(edges).await {
            Ok(recorded) => recorded,
            Err(error) => {
                // A disk that is full, for example. They are news again at the next look.
                warn!(%error, "alarms could not be written down");
                return;
            }
        };
        for (edge, episode) in recorded {
            match edge {
                Edge::Raise { name, text } => {
                    warn!(
                        kind = name.kind.word(),
                        subject = name.subject,
                        text,
                        "alarm"
                    );
                    self.alarms.raised(&name, episode);
                }
                Edge::Recover { name, .. } => {
                    info!(
                        kind = name.kind.word(),
                        subject = name.subject,
                        "alarm is over"
                    );
                    self.alarms.recovered(&name);
                }
            }
        }
    }
}

/// All that one look takes in.
struct Facts {
    report: QueueReport,
    /// How much each device had answered at the look before.
    answered: HashMap<DeviceNo, u64>,
    dead: Vec<LastDead>,
    room: Room,
    clock: Clock,
    /// Why the cloud is not reached, if it is not.
    uplink: Option<String>,
    endings: Vec<Ending>,
    certificate: Duration,
    now: Timestamp,
}

impl Facts {
    /// Everything that is wrong at this moment.
    fn sightings(&self) -> Vec<Sighting> {
        let mut seen = Vec::new();
        for device in &self.report.devices {
            seen.extend(self.of_device(device));
        }
        seen.extend(self.dead.iter().filter_map(|dead| self.of_dead(dead)));
        seen.extend(self.of_disk());
        let ends = |ending: &&Ending| ending.end <= self.now.plus(self.certificate);
        let endings = self.endings.iter().filter(ends);
        seen.extend(
            endings.map(|ending| sighting(Kind::Certificate, &ending.which, ending.words.clone())),
        );
        if let Clock::Doubtful(doubt) = self.clock {
            let text =
                format!("{doubt}; nothing expires and nothing old is removed until it is set");
            seen.push(sighting(Kind::Clock, "", text));
        }
        if let Some(why) = &self.uplink {
            seen.push(sighting(
                Kind::CloudAway,
                "",
                format!("the cloud is not reached: {why}"),
            ));
        }
        seen
    }

    fn of_device(&self, device: &DeviceReport) -> Vec<Sighting> {
        let mut seen = Vec::new();
        let name = &device.name;
        if device.uncertain > 0 {
            let text = format!(
                "{} of {name} wait for a person, because nobody knows whether the device has them; see \
                 `wardpost queue --state held`",
                pushes(device.uncertain)
            );
            seen.push(sighting(Kind::Held, name, text));
        }
        match &device.line {
            Line::Away(why) if device.condition != Some(Reason::DeviceOff) => {
                let text = format!("{name} is not reached: {why}");
                seen.push(sighting(Kind::DeviceAway, name, text));
            }
            Line::Ready | Line::Busy | Line::Resting if self.is_silent(device) => {
                let waiting = device.waiting + usize::from(device.sending.is_some());
                let text = format!("{} wait for {name}, and it answers none", pushes(waiting));
                seen.push(sighting(Kind::DeviceSilent, name, text));
            }
            Line::Away(_) | Line::Ready | Line::Busy | Line::Resting => {}
        }
        seen
    }

    /// There is something to do, nothing forbids it, and nothing was done since the last look.
    fn is_silent(&self, device: &DeviceReport) -> bool {
        let may = self.report.agent == AgentSwitch::On && device.condition.is_none();
        let works = device.waiting > 0 || device.sending.is_some();
        // What is parked behind a held push waits for a person, and there is an alarm for that.
        let before = self.answered.get(&device.no);
        may && works && device.held == 0 && before == Some(&device.answered)
    }

    fn of_dead(&self, dead: &LastDead) -> Option<Sighting> {
        if self.now.since(dead.at) >= DEAD_SHOWN {
            return None;
        }
        let mut devices = self.report.devices.iter();
        let device = devices.find(|device| device.no == dead.device)?;
        let (name, push) = (&device.name, dead.push);
        let text = format!(
            "push {push} for {name}, and perhaps others before it, was given up or became too old; see `wardpost why \
             {push}`"
        );
        Some(sighting(Kind::Dead, name, text))
    }

    fn of_disk(&self) -> Vec<Sighting> {
        // Nobody has looked at the disk yet.
        if self.room.file == 0 {
            return Vec::new();
        }
        let refusing = self.room.refusing.clone();
        let refusing =
            refusing.map(|why| sighting(Kind::Disk, "", format!("new pushes are refused: {why}")));
        let used = (self.room.reserve == 0).then(|| sighting(Kind::Reserve, "", NO_RESERVE.into()));
        refusing.into_iter().chain(used).collect()
    }
}

fn sighting(kind: Kind, subject: &str, text: String) -> Sighting {
    let subject = subject.to_owned();
    Sighting {
        name: Name { kind, subject },
        text,
    }
}

fn pushes(count: usize) -> String {
    match count {
        1 => "1 push".into(),
        _ => format!("{count} pushes"),
    }
}

const NO_RESERVE: &str =
    "the reserve on the disk is given up or could not be made; it is made when there is room";
/// After the last dead push of a device for so long without another the alarm is over.
const DEAD_SHOWN: Duration = Duration::from_hours(1);
const SHORTEST_LOOK: Duration = Duration::from_millis(50);
const LONGEST_LOOK: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
