//! Which device a push is for.
//!
//! A [`Table`] knows the devices that a site has mapped. It finds one by its url, by
//! `device://NAME` or by an alias, and refuses anything else with a sentence that says what to do;
//! on a site that allows unmapped devices it lets HL7 addresses through that lie in the allowed
//! networks. It resolves no names and remembers nothing.

mod address;
mod network;
mod query;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use thiserror::Error;

use crate::push::DeviceNo;

pub use address::{Address, AddressError, Host, HostPort, Scheme, is_name};
pub use network::{Network, NetworkError};
pub use query::{UrlOptions, has_query};

/// The name by which the cloud reaches the agent itself: `device://self`.
pub const SELF_NAME: &str = "self";

/// One mapped device, as the table needs it.
#[derive(Clone, Debug)]
pub struct Entry {
    pub no: DeviceNo,
    pub name: String,
    pub address: Address,
    pub aliases: Vec<String>,
    /// Where its line dials; a ping goes there.
    pub dial: Option<HostPort>,
}

/// What happens to a push for a device that nobody has mapped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unmapped {
    Refuse,
    /// HL7 only, to addresses in these networks.
    Allow(Vec<Network>),
}

/// Where a push goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Route {
    Found(DeviceNo),
    /// `device://self`.
    Myself,
    /// Not mapped, and the site allows it.
    Allowed(Remote),
    Refused(Refusal),
}

/// A device that is reached without being mapped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Remote {
    pub scheme: Scheme,
    pub host: IpAddr,
    pub port: u16,
}

impl Remote {
    pub fn host_port(self) -> HostPort {
        HostPort {
            host: Host::Ip(self.host),
            port: self.port,
        }
    }
}

impl fmt::Display for Remote {
    /// As a device url.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.word(), self.host_port())
    }
}

/// Why a push has no device, as the sentence its caller gets.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Refusal {
    #[error("the push names no device; set Device.url, for example to mllp://10.0.0.7:2575")]
    Empty,
    #[error(
        "no device is mapped to {shown}, and it cannot be read as an address: {why}; correct Device.url, or add {shown} to the aliases of a file in devices.d"
    )]
    Unreadable { shown: String, why: AddressError },
    #[error(
        "no device is mapped to {0}; add a file to devices.d with this url, or correct Device.url"
    )]
    Unmapped(Address),
    #[error(
        "no device is named {0}; add a file to devices.d with this name, or correct Device.url"
    )]
    NoSuchName(String),
    #[error(
        "{0} is not mapped, and only mllp and mllps addresses may be used without a file; add a file to devices.d with this url"
    )]
    SchemeNeedsFile(Address),
    #[error(
        "{0} is not mapped, and a host name cannot be checked against allow_networks; use the IP address in Device.url, or add a file to devices.d with this url"
    )]
    NameNeedsFile(Address),
    #[error("{address} is not mapped, and {what} is never used without a file; correct Device.url")]
    Forbidden {
        address: Address,
        what: &'static str,
    },
    #[error(
        "{0} is not mapped, and it is in none of the allow_networks; add a file to devices.d with this url, or correct Device.url"
    )]
    OutsideNetworks(Address),
}

/// Two devices that claim the same thing.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{claim} belongs to device {first} and to device {second}", first = .first.0, second = .second.0)]
pub struct Clash {
    pub claim: String,
    pub first: DeviceNo,
    pub second: DeviceNo,
}

/// The devices of a site, found by what a push calls them.
#[derive(Clone, Debug)]
pub struct Table {
    unmapped: Unmapped,
    by_address: HashMap<Address, DeviceNo>,
    by_alias: HashMap<String, DeviceNo>,
    hosts: Vec<(Host, Target)>,
}

/// Where a ping to a mapped host goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    pub device: DeviceNo,
    pub dial: HostPort,
}

impl Table {
    /// Builds the table; two devices must not claim the same name, url or alias.
    pub fn new(entries: Vec<Entry>, unmapped: Unmapped) -> Result<Self, Clash> {
        let mut table = Self {
            unmapped,
            by_address: HashMap::from([(Address::of_device(SELF_NAME), DeviceNo::SELF)]),
            by_alias: HashMap::new(),
            hosts: Vec::new(),
        };
        for entry in entries {
            table.add(entry)?;
        }
        table.hosts.sort_by_key(|(_, target)| target.device);
        Ok(table)
    }

    /// Finds out where a push for `remote` goes.
    pub fn resolve(&self, remote: &str) -> Route {
        if let Some(device) = self.by_alias.get(remote) {
            return found(*device);
        }
        if remote.trim_ascii().is_empty() {
            return Route::Refused(Refusal::Empty);
        }
        match remote.parse::<Address>() {
            Err(why) => Route::Refused(Refusal::Unreadable {
                shown: shown(remote),
                why,
            }),
            Ok(address) => match self.by_address.get(&address) {
                Some(device) => found(*device),
                None => self.resolve_unmapped(address),
            },
        }
    }

    /// Finds where to ping for a host, or a device url: only what is mapped is ever dialled.
    ///
    /// If several devices are on one host, the first of them is meant.
    pub fn host(&self, host: &str) -> Option<Target> {
        let host = host.trim_ascii();
        if let Some(target) = host
            .parse()
            .ok()
            .and_then(|host| self.target(|known, _| *known == host))
        {
            return Some(target);
        }
        let Route::Found(device) = self.resolve(host) else {
            return None;
        };
        self.target(|_, to| to.device == device)
    }

    fn target(&self, fits: impl Fn(&Host, &Target) -> bool) -> Option<Target> {
        self.hosts
            .iter()
            .find(|(host, to)| fits(host, to))
            .map(|(_, to)| to.clone())
    }

    fn add(&mut self, entry: Entry) -> Result<(), Clash> {
        if let Some(dial) = entry.dial {
            let target = Target {
                device: entry.no,
                dial,
            };
            self.hosts.extend(
                entry
                    .address
                    .host_port()
                    .map(|at| (at.host.clone(), target.clone())),
            );
            self.hosts.push((target.dial.host.clone(), target));
        }
        self.claim(entry.no, Address::of_device(&entry.name))?;
        self.claim(entry.no, entry.address)?;
        entry
            .aliases
            .into_iter()
            .try_for_each(|alias| self.claim_alias(entry.no, alias))
    }

    fn claim(&mut self, no: DeviceNo, address: Address) -> Result<(), Clash> {
        let claim = address.to_string();
        match self.by_address.insert(address, no) {
            Some(first) if first != no => Err(Clash {
                claim,
                first,
                second: no,
            }),
            Some(_) | None => Ok(()),
        }
    }

    fn claim_alias(&mut self, no: DeviceNo, alias: String) -> Result<(), Clash> {
        if let Ok(address) = alias.parse() {
            self.claim(no, address)?;
        }
        match self.by_alias.insert(alias.clone(), no) {
            Some(first) if first != no => Err(Clash {
                claim: alias,
                first,
                second: no,
            }),
            Some(_) | None => Ok(()),
        }
    }

    fn resolve_unmapped(&self, address: Address) -> Route {
        if let (Scheme::Device, Some(name)) = (address.scheme(), address.name()) {
            return Route::Refused(Refusal::NoSuchName(name.to_owned()));
        }
        let Unmapped::Allow(networks) = &self.unmapped else {
            return Route::Refused(Refusal::Unmapped(address));
        };
        allowed(networks, address).map_or_else(Route::Refused, Route::Allowed)
    }
}

fn found(device: DeviceNo) -> Route {
    if device == DeviceNo::SELF {
        Route::Myself
    } else {
        Route::Found(device)
    }
}

fn allowed(networks: &[Network], address: Address) -> Result<Remote, Refusal> {
    let at = match (address.scheme(), address.host_port()) {
        (scheme @ (Scheme::Mllp | Scheme::Mllps), Some(at)) if scheme.is_spoken() => at,
        _ => return Err(Refusal::SchemeNeedsFile(address)),
    };
    let Host::Ip(host) = at.host else {
        return Err(Refusal::NameNeedsFile(address));
    };
    if let Some(what) = network::forbidden(host) {
        return Err(Refusal::Forbidden { address, what });
    }
    if !networks.iter().any(|network| network.contains(host)) {
        return Err(Refusal::OutsideNetworks(address));
    }
    Ok(Remote {
        scheme: address.scheme(),
        host,
        port: at.port,
    })
}

/// What may be repeated of a destination nobody could read: no user info, no query, not long.
fn shown(remote: &str) -> String {
    let plain = remote.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = plain
        .split_once("://")
        .map_or(("", plain), |(scheme, rest)| (scheme, rest));
    let rest = rest.rsplit('@').next().unwrap_or_default();
    let separator = if scheme.is_empty() { "" } else { "://" };
    let mut text: String = format!("{scheme}{separator}{rest}")
        .escape_debug()
        .take(LONGEST_SHOWN)
        .collect();
    if text.is_empty() {
        text.push_str("this destination");
    }
    text
}

const LONGEST_SHOWN: usize = 100;

#[cfg(test)]
mod tests;
