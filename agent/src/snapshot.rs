//! What the agent knows of itself: one struct that the status command, the cloud and the service manager are shown.

use std::sync::{Arc, Mutex, PoisonError};

use agent_core::push::Timestamp;
use agent_core::queue::{DeviceReport, Line, QueueReport};
use agent_core::uplink::{Phase, Status};
use serde::Serialize;
use tokio::sync::Notify;

use crate::alarms::AlarmView;
use crate::clock;
use crate::cloud::mailbox::MailboxView;
use crate::cloud::{AgentStatus, agent_version};
use crate::site::Devices;
use crate::store::{Room, UploadsView};
use crate::tls::Ending;

/// What changes outside of the store, kept where everyone can put it.
#[derive(Clone, Debug)]
pub struct Board {
    now: Arc<Mutex<Posted>>,
    news: Arc<Notify>,
}

#[derive(Debug)]
struct Posted {
    since: Timestamp,
    uplink: UplinkView,
    mailbox: MailboxView,
    agent_status: Option<AgentStatus>,
    /// When the configuration in force was applied.
    applied: Timestamp,
    /// What is wrong with it.
    problems: Vec<String>,
    certificates: Vec<Ending>,
    alarms: Vec<AlarmView>,
    /// What was wrong with a newer one that was refused.
    refused: Vec<String>,
}

/// One look at the whole agent.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    pub version: String,
    pub since: String,
    pub uplink: UplinkView,
    pub mailbox: MailboxView,
    /// `Agent.status` in the cloud, once it has been read.
    pub agent_status: Option<&'static str>,
    pub queued: usize,
    pub held: usize,
    pub devices: Vec<DeviceView>,
    pub disk: DiskView,
    pub uploads: UploadsView,
    /// What a person must know, raised and not over.
    pub alarms: Vec<AlarmView>,
    /// When the configuration in force was applied.
    pub applied: String,
    /// What is wrong with the configuration or the disk, and with a newer one that was refused; which certificates end.
    pub problems: Vec<String>,
}

/// The disk under the database, in bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct DiskView {
    pub database: u64,
    /// What of the database is in use; the rest is used again.
    pub used: u64,
    pub free: u64,
    pub reserve: u64,
    pub takes_pushes: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct UplinkView {
    pub live: bool,
    pub words: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct DeviceView {
    pub name: String,
    pub label: String,
    pub url: String,
    /// connected, sending, resting, away.
    pub line: &'static str,
    /// Why the line is away, or what keeps the device from being sent to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub queued: usize,
    pub held: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sending: Option<u64>,
}

impl Board {
    pub fn new(applied: Timestamp, problems: Vec<String>) -> Self {
        let uplink = UplinkView {
            live: false,
            words: "starting".into(),
        };
        let since = clock::utc();
        let posted = Posted {
            since,
            uplink,
            mailbox: MailboxView::default(),
            agent_status: None,
            applied,
            problems,
            certificates: Vec::new(),
            alarms: Vec::new(),
            refused: Vec::new(),
        };
        Self {
            now: Arc::new(Mutex::new(posted)),
            news: Arc::default(),
        }
    }

    pub fn uplink(&self, status: &Status) {
        let view = UplinkView {
            live: status.phase == Phase::Live,
            words: status.words.clone(),
        };
        self.change(|posted| posted.uplink = view);
        self.news.notify_one();
    }

    pub fn agent_status(&self, status: AgentStatus) {
        self.change(|posted| posted.agent_status = Some(status));
    }

    pub fn mailbox(&self, view: MailboxView) {
        self.change(|posted| posted.mailbox = view);
    }

    pub fn mailbox_is_on(&self) -> bool {
        self.change(|posted| posted.mailbox.on)
    }

    /// All that there is to say about certificates that end.
    pub fn certificates(&self, endings: Vec<Ending>) {
        self.change(|posted| posted.certificates = endings);
    }

    /// The same, for whoever raises alarms.
    pub fn endings(&self) -> Vec<Ending> {
        self.change(|posted| posted.certificates.clone())
    }

    /// Why the cloud is not reached, if it is not.
    pub fn uplink_trouble(&self) -> Option<String> {
        self.change(|posted| (!posted.uplink.live).then(|| posted.uplink.words.clone()))
    }

    /// All alarms that are raised and not over.
    pub fn alarms(&self, alarms: Vec<AlarmView>) {
        self.change(|posted| posted.alarms = alarms);
    }

    /// Waits until [`line`](Self::line) may say something else. For one who waits.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Another configuration is in force.
    pub fn applied(&self, at: Timestamp, problems: Vec<String>) {
        self.change(|posted| {
            posted.applied = at;
            posted.problems = problems;
            posted.refused.clear();
        });
    }

    /// A newer configuration was refused.
    pub fn refused(&self, at: Timestamp, problems: &[String]) {
        let first = format!(
            "the reload at {} was refused, and the agent goes on as before:",
            clock::rfc3339(at)
        );
        self.change(|posted| {
            posted.refused = [first]
                .into_iter()
                .chain(problems.iter().cloned())
                .collect();
        });
    }

    /// The one line that the service manager shows.
    pub fn line(&self) -> String {
        self.change(|posted| posted.uplink.words.clone())
    }

    /// Puts the board, the queue, the configuration and the disk into one picture.
    pub fn snapshot(
        &self,
        queue: &QueueReport,
        devices: &Devices,
        (room, uploads): (&Room, UploadsView),
    ) -> Snapshot {
        let views: Vec<DeviceView> = queue
            .devices
            .iter()
            .map(|report| device_view(report, devices))
            .collect();
        self.change(|posted| Snapshot {
            version: agent_version(),
            since: clock::rfc3339(posted.since),
            uplink: posted.uplink.clone(),
            mailbox: posted.mailbox.clone(),
            agent_status: posted.agent_status.map(word),
            queued: queue.devices.iter().map(|device| device.waiting).sum(),
            held: queue.devices.iter().map(|device| device.held).sum(),
            devices: views,
            disk: disk_view(room),
            uploads,
            alarms: posted.alarms.clone(),
            applied: clock::rfc3339(posted.applied),
            problems: [
                &posted.problems[..],
                &posted.refused[..],
                &words(&posted.certificates)[..],
                &lacks(room)[..],
                &unheard(uploads)[..],
            ]
            .concat(),
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Posted) -> T) -> T {
        change(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Snapshot {
    /// The members of Medplum's stats object that mean something here, and the whole picture beside them.
    pub fn stats(&self) -> serde_json::Value {
        let connected = self
            .devices
            .iter()
            .filter(|d| matches!(d.line, "connected" | "sending"))
            .count();
        serde_json::json!({
            "hl7ConnectionsOpen": connected,
            "hl7ClientCount": self.devices.len(),
            "hl7QueueDepth": self.queued,
            "webSocketQueueDepth": 0,
            "ping": -1,
            "live": self.uplink.live,
            "outstandingHeartbeats": 0,
            "channelStats": {},
            "clientStats": {},
            "wardpost": self,
        })
    }
}

fn disk_view(room: &Room) -> DiskView {
    DiskView {
        database: room.file,
        used: room.used,
        free: room.free,
        reserve: room.reserve,
        takes_pushes: room.refusing.is_none(),
    }
}

fn lacks(room: &Room) -> Vec<String> {
    let refusing = room.refusing.as_ref();
    let refusing = refusing.map(|why| format!("new pushes are refused: {why}"));
    let missing = (room.reserve == 0).then(|| NO_RESERVE.to_owned());
    refusing.into_iter().chain(missing).collect()
}

fn words(endings: &[Ending]) -> Vec<String> {
    endings.iter().map(|ending| ending.words.clone()).collect()
}

fn unheard(uploads: UploadsView) -> Vec<String> {
    let UploadsView { given_up, lost, .. } = uploads;
    let given_up = (given_up > 0).then(|| format!(
        "{given_up} receipts or alarms were given up since the start, because the cloud refused them for days; look at \
         the Bot of the channel"
    ));
    let lost = (lost > 0).then(|| format!(
        "{lost} receipts or alarms were left out since the start, because too many wait for the cloud \
         (limits.max_uploads); look at [cloud] receipts, at the channel and at its Bot"
    ));
    given_up.into_iter().chain(lost).collect()
}

const NO_RESERVE: &str =
    "the reserve on the disk is given up or could not be made; it is made when there is room";

fn device_view(report: &DeviceReport, devices: &Devices) -> DeviceView {
    let config = devices.get(report.no).map(|device| &device.config);
    let (line, away) = match &report.line {
        Line::Ready => ("connected", None),
        Line::Busy => ("sending", None),
        Line::Resting => ("resting", None),
        Line::Away(why) => ("away", Some(why.clone())),
    };
    DeviceView {
        name: report.name.clone(),
        label: config.map_or_else(String::new, |config| config.label.clone()),
        url: config.map_or_else(String::new, |config| config.url.clone()),
        line,
        reason: report.condition.as_ref().map(ToString::to_string).or(away),
        queued: report.waiting,
        held: report.held,
        sending: report.sending.map(|push| push.0),
    }
}

fn word(status: AgentStatus) -> &'static str {
    match status {
        AgentStatus::Active => "active",
        AgentStatus::Off => "off",
        AgentStatus::Error => "error",
    }
}
