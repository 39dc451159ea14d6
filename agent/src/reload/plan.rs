//! What a new configuration changes: two configurations in, a list of differences out. Touches nothing.

use agent_core::push::{DeviceNo, Policy};
use agent_core::route::Unmapped;
use serde::Serialize;

use super::Applied;
use crate::alarms::AlarmTimes;
use crate::cloud::dial::WayOut;
use crate::cloud::settings::{CERTIFICATE, Content, PROXY_PASSWORD, SECRET, Settings, TRUST};
use crate::config::{Cloud, Config, DeviceConfig, Hl7, Limits, Retention, Timing};
use crate::line::LineConfig;

/// The differences, by the names that people gave.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Plan {
    pub added: Vec<String>,
    pub removed: Vec<String>,
    pub renamed: Vec<Renamed>,
    pub changed: Vec<DeviceChange>,
    /// Keys of `wardpost.toml`, and files that it names.
    pub settings: Vec<&'static str>,
    pub uplink: UplinkChange,
}

/// A device that is gone and one that is new have the same address: the same device, by all appearance.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Renamed {
    pub from: String,
    pub to: String,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DeviceChange {
    pub device: String,
    /// Keys of its file; those of `[delivery]` may have come from `wardpost.toml`.
    pub keys: Vec<&'static str>,
    pub line: LineChange,
}

/// What becomes of the line of a device that stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineChange {
    /// Its connection and its attempt go on.
    Stays,
    /// It finishes its attempt; then another line connects.
    Exchanged,
    Starts,
    /// It finishes its attempt; then there is none.
    Ends,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UplinkChange {
    #[default]
    Stays,
    /// The session ends, and another begins with the new settings.
    Reconnects,
}

impl Plan {
    pub(super) fn between(old: &Applied, new: &Applied) -> Self {
        let (before, after) = (&old.config.devices, &new.config.devices);
        let mut plan = Self {
            settings: settings(old, new),
            uplink: if new.uplink.is_other_session(&old.uplink) {
                UplinkChange::Reconnects
            } else {
                UplinkChange::Stays
            },
            ..Self::default()
        };
        for device in after {
            match before.iter().find(|earlier| earlier.name == device.name) {
                None => plan.added.push(device.name.clone()),
                Some(earlier) => plan.changed.extend(DeviceChange::between(earlier, device)),
            }
        }
        for gone in before {
            if after.iter().any(|device| device.name == gone.name) {
                continue;
            }
            plan.removed.push(gone.name.clone());
            let heir = after
                .iter()
                .find(|device| device.address == gone.address && plan.added.contains(&device.name));
            plan.renamed.extend(heir.map(|heir| Renamed {
                from: gone.name.clone(),
                to: heir.name.clone(),
            }));
        }
        plan
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl DeviceChange {
    fn between(old: &DeviceConfig, new: &DeviceConfig) -> Option<Self> {
        let mut keys = Keys::default();
        device(old, new, &mut keys);
        if keys.0.is_empty() {
            return None;
        }
        let same = line(old) == line(new);
        Some(Self {
            device: new.name.clone(),
            keys: keys.0,
            line: match (old.enabled, new.enabled) {
                (false, true) => LineChange::Starts,
                (true, false) => LineChange::Ends,
                (true, true) if !same => LineChange::Exchanged,
                (true, true) | (false, false) => LineChange::Stays,
            },
        })
    }
}

/// Keys whose values differ.
#[derive(Default)]
struct Keys(Vec<&'static str>);

impl Keys {
    fn note<T: PartialEq>(&mut self, key: &'static str, old: &T, new: &T) {
        if old != new {
            self.0.push(key);
        }
    }
}

/// The line that this device would have, whatever its number.
fn line(device: &DeviceConfig) -> LineConfig {
    LineConfig::of(DeviceNo::SELF, device)
}

// The structs are taken apart as a whole, so that a new key cannot be forgotten here.

fn device(old: &DeviceConfig, new: &DeviceConfig, keys: &mut Keys) {
    let DeviceConfig {
        file: _,
        name: _,
        label,
        url,
        address: _,
        aliases,
        enabled,
        channel,
        dial,
        timing: _,
        tls,
        lifetime,
        hl7: _,
        policy: _,
    } = old;
    keys.note("label", label, &new.label);
    keys.note("url", url, &new.url);
    keys.note("aliases", aliases, &new.aliases);
    keys.note("enabled", enabled, &new.enabled);
    keys.note("channel", channel, &new.channel);
    let by_url = |device: &DeviceConfig| device.address.host_port() == Some(&device.dial);
    if !(by_url(old) && by_url(new)) {
        keys.note("transport.connect", dial, &new.dial);
    }
    keys.note("tls", tls, &new.tls);
    timing(&old.timing, &new.timing, keys);
    keys.note("transport.connection", lifetime, &new.lifetime);
    hl7(&old.hl7, &new.hl7, keys);
    policy(&old.policy, &new.policy, keys);
}

fn timing(old: &Timing, new: &Timing, keys: &mut Keys) {
    let Timing {
        reconnect_min,
        reconnect_max,
        keepalive,
        connect_timeout,
    } = old;
    keys.note("transport.reconnect_min", reconnect_min, &new.reconnect_min);
    keys.note("transport.reconnect_max", reconnect_max, &new.reconnect_max);
    keys.note("transport.keepalive", keepalive, &new.keepalive);
    let new = &new.connect_timeout;
    keys.note("transport.connect_timeout", connect_timeout, new);
}

fn hl7(old: &Hl7, new: &Hl7, keys: &mut Keys) {
    let Hl7 {
        return_ack,
        charset,
        ack_timeout,
        app_ack_timeout,
        strict_end,
        max_message,
    } = old;
    keys.note("hl7.return_ack", return_ack, &new.return_ack);
    keys.note("hl7.charset", charset, &new.charset);
    keys.note("hl7.ack_timeout", ack_timeout, &new.ack_timeout);
    keys.note("hl7.app_ack_timeout", app_ack_timeout, &new.app_ack_timeout);
    keys.note("hl7.strict_end", strict_end, &new.strict_end);
    keys.note("hl7.max_message", max_message, &new.max_message);
}

fn policy(old: &Policy, new: &Policy, keys: &mut Keys) {
    let Policy {
        answer_within,
        when_unreachable,
        rejoin_window,
        on_uncertain,
        hold_scope,
        expires,
        paused,
        max_queued,
        completing: _,
    } = old;
    keys.note("delivery.answer_within", answer_within, &new.answer_within);
    let unreachable = &new.when_unreachable;
    keys.note("delivery.when_unreachable", when_unreachable, unreachable);
    keys.note("delivery.rejoin_window", rejoin_window, &new.rejoin_window);
    keys.note("delivery.on_uncertain", on_uncertain, &new.on_uncertain);
    keys.note("delivery.hold_scope", hold_scope, &new.hold_scope);
    keys.note("delivery.expires", expires, &new.expires);
    keys.note("delivery.paused", paused, &new.paused);
    keys.note("delivery.max_queued", max_queued, &new.max_queued);
}

fn settings(old: &Applied, new: &Applied) -> Vec<&'static str> {
    let mut keys = Keys::default();
    let Config {
        cloud: _,
        unmapped,
        limits: _,
        alarms: _,
        retention: _,
        level,
        unmapped_policy,
        devices: _,
        broken: _,
    } = &old.config;
    cloud(&old.config.cloud, &new.config.cloud, &mut keys);
    contents(&old.uplink, &new.uplink, &mut keys);
    map(unmapped, &new.config.unmapped, &mut keys);
    keys.note("delivery", unmapped_policy, &new.config.unmapped_policy);
    limits(&old.config.limits, &new.config.limits, &mut keys);
    alarms(&old.config.alarms, &new.config.alarms, &mut keys);
    retention(&old.config.retention, &new.config.retention, &mut keys);
    keys.note("log.level", level, &new.config.level);
    keys.0
}

fn cloud(old: &Cloud, new: &Cloud, keys: &mut Keys) {
    let Cloud {
        url,
        agent,
        client,
        client_secret_file,
        way: _,
        receipts,
        commands,
        mailbox,
    } = old;
    keys.note("cloud.url", url, &new.url);
    keys.note("cloud.agent", agent, &new.agent);
    keys.note("cloud.client", client, &new.client);
    let secret = &new.client_secret_file;
    keys.note("cloud.client_secret_file", client_secret_file, secret);
    way(&old.way, &new.way, keys);
    keys.note("cloud.receipts", receipts, &new.receipts);
    keys.note("cloud.commands", commands, &new.commands);
    keys.note("cloud.mailbox", mailbox, &new.mailbox);
}

fn way(old: &WayOut, new: &WayOut, keys: &mut Keys) {
    let WayOut {
        trust,
        identity,
        proxy,
        proxy_password,
    } = old;
    keys.note("cloud.trust", trust, &new.trust);
    keys.note("cloud.client_certificate", identity, &new.identity);
    keys.note("cloud.proxy", proxy, &new.proxy);
    let password = &new.proxy_password;
    keys.note("cloud.proxy_password_file", proxy_password, password);
}

/// Files that are named as before and hold something else.
fn contents(old: &Settings, new: &Settings, keys: &mut Keys) {
    for what in [SECRET, TRUST, CERTIFICATE, PROXY_PASSWORD] {
        let found = |settings: &Settings| -> Option<Content> {
            let mut contents = settings.contents.iter();
            contents.find(|content| content.what == what).cloned()
        };
        keys.note(what, &found(old), &found(new));
    }
}

fn map(old: &Unmapped, new: &Unmapped, keys: &mut Keys) {
    match (old, new) {
        (Unmapped::Allow(old), Unmapped::Allow(new)) => {
            keys.note("map.allow_networks", old, new);
        }
        (old, new) => keys.note("map.unmapped", old, new),
    }
}

fn limits(old: &Limits, new: &Limits, keys: &mut Keys) {
    let Limits {
        max_push_bytes,
        max_queued: _,
        max_queued_total,
        max_devices,
        max_uploads,
        max_disk,
        min_free,
        reserve,
    } = old;
    keys.note("limits.max_push_bytes", max_push_bytes, &new.max_push_bytes);
    let total = &new.max_queued_total;
    keys.note("limits.max_queued_total", max_queued_total, total);
    keys.note("limits.max_devices", max_devices, &new.max_devices);
    keys.note("limits.max_uploads", max_uploads, &new.max_uploads);
    keys.note("limits.max_disk", max_disk, &new.max_disk);
    keys.note("limits.min_free", min_free, &new.min_free);
    keys.note("limits.reserve", reserve, &new.reserve);
}

fn alarms(old: &AlarmTimes, new: &AlarmTimes, keys: &mut Keys) {
    let AlarmTimes {
        held,
        device_away,
        device_silent,
        cloud_away,
        certificate,
        calm,
    } = old;
    keys.note("alarms.held", held, &new.held);
    keys.note("alarms.device_away", device_away, &new.device_away);
    keys.note("alarms.device_silent", device_silent, &new.device_silent);
    keys.note("alarms.cloud_away", cloud_away, &new.cloud_away);
    keys.note("alarms.certificate", certificate, &new.certificate);
    keys.note("alarms.calm", calm, &new.calm);
}

fn retention(old: &Retention, new: &Retention, keys: &mut Keys) {
    let Retention { bodies, rows } = old;
    keys.note("retention.bodies", bodies, &new.bodies);
    keys.note("retention.rows", rows, &new.rows);
}
