//! A file of `devices.d`: one device.

use std::path::Path;

use agent_core::push::Policy;
use agent_core::route::{Address, HostPort, SELF_NAME, Scheme, UrlOptions, is_name};
use device_drivers::hl7::Charset;

use super::delivery::Delivery;
use super::hl7::CHARSETS;
use super::notes::Notes;
use super::raw::{Document, Section};
use super::tls::{self, DeviceTls};
use super::values::Found;
use super::{DeviceConfig, Hl7, Lifetime, Limits, Timing, hl7, transport};

/// What a device file claims for its device alone, as far as it could be read.
#[derive(Default)]
pub(super) struct Claims {
    pub(super) name: Option<Found<String>>,
    pub(super) url: Option<Found<String>>,
    /// What the url identifies; `None` if it cannot be read.
    pub(super) address: Option<Address>,
    pub(super) aliases: Vec<Found<String>>,
    pub(super) dial: Option<Found<HostPort>>,
}

/// A device file: what it claims, and the device if nothing it needs is missing.
pub(super) struct Sheet {
    pub(super) claims: Claims,
    pub(super) device: Option<DeviceConfig>,
}

/// What `wardpost.toml` says to every device.
#[derive(Clone, Copy)]
pub(super) struct Defaults<'a> {
    pub(super) delivery: &'a Delivery,
    pub(super) limits: &'a Limits,
}

/// What a device file says besides its claims.
struct Settings {
    label: Option<String>,
    enabled: bool,
    channel: Option<String>,
    tls: Option<DeviceTls>,
    timing: Timing,
    lifetime: Lifetime,
    hl7: Hl7,
    policy: Policy,
}

/// Reads a device file.
pub(super) fn read(file: &Path, text: &str, defaults: Defaults<'_>) -> (Sheet, Notes) {
    Document::new(file, text).read(|top| read_device(top, file, defaults))
}

fn read_device(top: &mut Section<'_>, file: &Path, defaults: Defaults<'_>) -> Sheet {
    let name = read_name(top, file);
    let label = read_words(top, "label");
    let url = top.required("url", "mllp://10.0.0.7:2575");
    let address = url.as_ref().and_then(|found| check_url(top, found));
    let aliases = read_aliases(top);
    let enabled = top.flag("enabled").unwrap_or(true);
    let channel = read_words(top, "channel");
    let reached = top.table("transport", transport::read);
    let tls = tls::read(top, file, address.as_ref());
    let hl7 = top.table("hl7", hl7::read);
    let delivery = top.table("delivery", Delivery::read);
    let dial = reached
        .connect
        .or_else(|| dial_of(address.as_ref(), url.as_ref()));
    let claims = Claims {
        name,
        url,
        address,
        aliases,
        dial,
    };
    let settings = Settings {
        label,
        enabled,
        channel,
        tls,
        timing: reached.timing,
        lifetime: reached.lifetime,
        hl7,
        policy: delivery.policy(defaults.delivery, defaults.limits.max_queued),
    };
    Sheet {
        device: claims.device(file, settings),
        claims,
    }
}

impl Claims {
    /// The device, if its file says all that identifies one.
    fn device(&self, file: &Path, settings: Settings) -> Option<DeviceConfig> {
        let name = self.name.as_ref()?.value.clone();
        Some(DeviceConfig {
            file: file.to_owned(),
            label: settings.label.unwrap_or_else(|| name.clone()),
            name,
            url: self.url.as_ref()?.value.clone(),
            address: self.address.clone()?,
            aliases: self
                .aliases
                .iter()
                .map(|found| found.value.clone())
                .collect(),
            enabled: settings.enabled,
            channel: settings.channel,
            dial: self.dial.as_ref()?.value.clone(),
            tls: settings.tls,
            timing: settings.timing,
            lifetime: settings.lifetime,
            hl7: settings.hl7,
            policy: settings.policy,
        })
    }
}

/// A device is dialled at its url where `[transport]` does not say otherwise.
fn dial_of(address: Option<&Address>, url: Option<&Found<String>>) -> Option<Found<HostPort>> {
    Some(Found {
        value: address?.host_port()?.clone(),
        place: url?.place,
    })
}

fn read_name(top: &mut Section<'_>, file: &Path) -> Option<Found<String>> {
    let stem = file
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    let example = if is_name(stem) { stem } else { "chem-1" };
    let found = top.required("name", example)?;
    if found.value == SELF_NAME {
        let words = [
            "self is the name of the agent",
            "give the device another name",
        ];
        top.refuse("name", found.place, words);
        return None;
    }
    if !is_name(&found.value) {
        let fix = "use lower-case letters, digits and hyphens, at most 63, the first no hyphen";
        top.refuse("name", found.place, ["is not a name for a device", fix]);
        return None;
    }
    if found.value != stem {
        let fix = format!("name the file {}.toml", found.value);
        top.warn("name", found.place, ["is not the name of the file", &fix]);
    }
    Some(found)
}

/// A short text for people or for the cloud.
fn read_words(section: &mut Section<'_>, key: &'static str) -> Option<String> {
    let found = section.text(key)?;
    if found.value.chars().count() > LONGEST_WORDS || found.value.contains(char::is_control) {
        let message = format!("takes at most {LONGEST_WORDS} characters on one line");
        section.refuse(key, found.place, [&message, ""]);
        return None;
    }
    Some(found.value)
}

fn check_url(top: &mut Section<'_>, found: &Found<String>) -> Option<Address> {
    let address = match found.value.parse::<Address>() {
        Ok(address) => address,
        Err(error) => {
            top.refuse(
                "url",
                found.place,
                ["is not the address of a device", &error.to_string()],
            );
            return None;
        }
    };
    if address.scheme() == Scheme::Device {
        let fix = "write the device's address, for example mllp://10.0.0.7:2575";
        top.refuse(
            "url",
            found.place,
            [
                "device:// is how a push names a device, not where it is",
                fix,
            ],
        );
        return Some(address);
    }
    if !address.scheme().is_spoken() {
        let message = format!("this version cannot speak {} yet", address.scheme().word());
        top.refuse(
            "url",
            found.place,
            [&message, "write an mllp:// or mllps:// address"],
        );
        return Some(address);
    }
    check_url_options(top, found);
    Some(address)
}

fn check_url_options(top: &mut Section<'_>, found: &Found<String>) {
    let options = UrlOptions::of(&found.value);
    if options
        .encoding
        .is_some_and(|name| Charset::by_name(&name).is_err())
    {
        top.refuse(
            "url",
            found.place,
            ["its encoding is not a character set for HL7", CHARSETS],
        );
    }
    if options.warning.is_some() {
        let words = [
            "its defaultReturnAck is unknown, first is used",
            "write first or application",
        ];
        top.warn("url", found.place, words);
    }
}

fn read_aliases(top: &mut Section<'_>) -> Vec<Found<String>> {
    let mut aliases = top.texts("aliases").unwrap_or_default();
    if let Some(place) = aliases.get(MOST_ALIASES).map(|found| found.place) {
        let message = format!("takes at most {MOST_ALIASES} texts");
        top.refuse("aliases", place, [&message, ""]);
        aliases.truncate(MOST_ALIASES);
    }
    let myself = Address::of_device(SELF_NAME);
    for alias in &aliases {
        if alias.value.len() > LONGEST_ALIAS {
            let message = format!("takes texts of at most {LONGEST_ALIAS} bytes");
            top.refuse("aliases", alias.place, [&message, ""]);
        }
        if alias
            .value
            .parse()
            .is_ok_and(|address: Address| address == myself)
        {
            let words = ["device://self is the agent itself", "remove it"];
            top.refuse("aliases", alias.place, words);
        }
    }
    aliases
}

const LONGEST_WORDS: usize = 200;
const LONGEST_ALIAS: usize = 1024;
const MOST_ALIASES: usize = 32;
