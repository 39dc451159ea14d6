//! `NO_PROXY`: what is reached without the proxy of the environment. There is no standard. Where curl, Python and Go
//! differ, as over a leading dot, this does as curl and Python do: then what a person tried by hand tells what the agent does.
//!
//! | entry | covers |
//! | --- | --- |
//! | `*` | everything |
//! | `site.example`, `.site.example` | this host and all beneath it |
//! | `*.site.example` | all beneath it |
//! | `10.0.0.7`, `[fd00::7]` | this address |
//! | `10.0.0.0/8` | addresses in this network |
//! | any of these with `:PORT` | the same, at this port only |

use std::net::IpAddr;

use agent_core::route::Network;
use url::Host;

/// The entries of one `NO_PROXY`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Bypass(Vec<Entry>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Entry {
    who: Who,
    port: Option<u16>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Who {
    Everybody,
    /// This name and those that end in a dot and it.
    Domain(String),
    /// Only those that end in a dot and it.
    Beneath(String),
    Address(IpAddr),
    Network(Network),
}

impl Bypass {
    /// An entry that cannot be read covers nothing, as everywhere else.
    pub(super) fn parse(text: &str) -> Self {
        let entries = text.split([',', ' ', '\t']).map(str::trim);
        Self(entries.filter_map(Entry::parse).collect())
    }

    pub(super) fn covers(&self, host: &Host, port: u16) -> bool {
        self.0.iter().any(|entry| entry.covers(host, port))
    }
}

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        let (name, port) = split_port(text);
        let bare = name.trim_matches(['[', ']']);
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let who = match name.as_str() {
            "" => return None,
            "*" => Who::Everybody,
            _ if bare.parse::<IpAddr>().is_ok() => {
                Who::Address(bare.parse::<IpAddr>().ok()?.to_canonical())
            }
            _ if bare.contains('/') => Who::Network(bare.parse().ok()?),
            _ => match name.strip_prefix("*.") {
                Some(suffix) => Who::Beneath(suffix.to_owned()),
                None => Who::Domain(name.trim_start_matches('.').to_owned()),
            },
        };
        Some(Self { who, port })
    }

    fn covers(&self, host: &Host, port: u16) -> bool {
        self.port.is_none_or(|only| only == port) && self.who.is(host)
    }
}

impl Who {
    fn is(&self, host: &Host) -> bool {
        let address = match host {
            Host::Ipv4(address) => Some(IpAddr::V4(*address)),
            Host::Ipv6(address) => Some(IpAddr::V6(*address).to_canonical()),
            Host::Domain(_) => None,
        };
        let name = match host {
            Host::Domain(name) => name.trim_end_matches('.').to_ascii_lowercase(),
            Host::Ipv4(_) | Host::Ipv6(_) => String::new(),
        };
        let beneath = |suffix: &String| {
            name.strip_suffix(suffix.as_str())
                .is_some_and(|rest| rest.ends_with('.'))
        };
        match self {
            Self::Everybody => true,
            Self::Domain(domain) => name == *domain || beneath(domain),
            Self::Beneath(suffix) => beneath(suffix),
            Self::Address(only) => address == Some(*only),
            Self::Network(network) => address.is_some_and(|address| network.contains(address)),
        }
    }
}

/// An IPv6 address without brackets has no port.
fn split_port(text: &str) -> (&str, Option<u16>) {
    let host_and_port = text
        .rsplit_once(':')
        .filter(|(host, _)| !host.contains(':') || (host.starts_with('[') && host.ends_with(']')));
    match host_and_port.and_then(|(host, port)| Some((host, port.parse().ok()?))) {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rules: &str, covered: &[&str], not: &[&str]) {
        let bypass = Bypass::parse(rules);
        let covers = |place: &&str| {
            let (host, port) = split_port(place);
            bypass.covers(&Host::parse(host).unwrap(), port.unwrap_or(443))
        };
        for place in covered {
            assert!(covers(place), "{rules} should cover {place}");
        }
        for place in not {
            assert!(!covers(place), "{rules} should not cover {place}");
        }
    }

    #[test]
    fn names_cover_themselves_and_what_is_beneath() {
        check(
            "site.example, other.example.",
            &[
                "site.example",
                "api.site.example",
                "SITE.EXAMPLE",
                "other.example",
            ],
            &["website.example", "site.example.org", "example"],
        );
        check(
            ".site.example,*.lab.example",
            &["site.example", "api.site.example", "a.b.lab.example"],
            &["xsite.example", "lab.example", "xlab.example"],
        );
    }

    #[test]
    fn addresses_and_networks_cover_addresses() {
        check(
            "10.0.0.7 192.168.0.0/16,[fd00::7],fd01::/16",
            &[
                "10.0.0.7",
                "192.168.9.9",
                "[fd00::7]",
                "[fd01::1]",
                "[::ffff:10.0.0.7]",
            ],
            &["10.0.0.8", "192.169.0.1", "[fd00::8]", "ten.example"],
        );
    }

    #[test]
    fn a_port_narrows_an_entry() {
        check(
            "site.example:8443,[fd00::7]:443",
            &["site.example:8443", "[fd00::7]:443"],
            &["site.example", "[fd00::7]:8443"],
        );
    }

    #[test]
    fn a_star_covers_everything_and_nonsense_nothing() {
        check("*", &["a.example", "10.0.0.1"], &[]);
        check(",, ,10.0.0.0/99,", &[], &["a.example", "10.0.0.1"]);
    }
}
