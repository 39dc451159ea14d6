//! Addresses of devices as the cloud writes them in `Device.url`, reduced to what identifies a device.
//!
//! | scheme | identified by |
//! | --- | --- |
//! | `mllp` `mllps` `astm+tcp` `astm+tls` | host and port; the port must be written |
//! | `dicom` `dicoms` | host, port (104 and 2762 if not written) and AE title, in the path or before the `@` |
//! | `astm+serial` | path of the serial line |
//! | `mwl` | name of the worklist |
//! | `device` | name of the device |
//!
//! Everything else (user info, query, fragment, the path of an HL7 address) is dropped. Nothing is
//! resolved: two names of one machine are two hosts.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

use super::query::{percent_decoded, percent_encoded};

/// What is known of a protocol from its url scheme.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scheme {
    Mllp,
    Mllps,
    AstmTcp,
    AstmTls,
    AstmSerial,
    Dicom,
    Dicoms,
    Mwl,
    Device,
}

impl Scheme {
    pub const ALL: [Self; 9] = [
        Self::Mllp,
        Self::Mllps,
        Self::AstmTcp,
        Self::AstmTls,
        Self::AstmSerial,
        Self::Dicom,
        Self::Dicoms,
        Self::Mwl,
        Self::Device,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::Mllp => "mllp",
            Self::Mllps => "mllps",
            Self::AstmTcp => "astm+tcp",
            Self::AstmTls => "astm+tls",
            Self::AstmSerial => "astm+serial",
            Self::Dicom => "dicom",
            Self::Dicoms => "dicoms",
            Self::Mwl => "mwl",
            Self::Device => "device",
        }
    }

    /// Whether this version has a driver that speaks it.
    pub fn is_spoken(self) -> bool {
        match self {
            Self::Mllp | Self::Mllps => true,
            Self::AstmTcp
            | Self::AstmTls
            | Self::AstmSerial
            | Self::Dicom
            | Self::Dicoms
            | Self::Mwl
            | Self::Device => false,
        }
    }

    /// Whether its bytes travel in TLS.
    pub fn is_secure(self) -> bool {
        match self {
            Self::Mllps | Self::AstmTls | Self::Dicoms => true,
            Self::Mllp
            | Self::AstmTcp
            | Self::AstmSerial
            | Self::Dicom
            | Self::Mwl
            | Self::Device => false,
        }
    }

    fn named(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|scheme| scheme.word().eq_ignore_ascii_case(word))
    }
}

/// A host as it identifies a machine: an address in its one form, or a name in lower case.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Host {
    Ip(IpAddr),
    Name(String),
}

impl FromStr for Host {
    type Err = AddressError;

    /// Reads a host, an IPv6 address with or without brackets.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::NoHost);
        }
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        if let Ok(ip) = bare.unwrap_or(text).parse::<Ipv6Addr>() {
            return Ok(Self::Ip(IpAddr::V6(ip).to_canonical()));
        }
        if let Ok(ip) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Ip(IpAddr::V4(ip)));
        }
        parse_name(text).map(Self::Name)
    }
}

impl fmt::Display for Host {
    /// Without brackets, as a resolver wants it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A place to dial: `host:port`, an IPv6 host in brackets.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HostPort {
    pub host: Host,
    pub port: u16,
}

impl FromStr for HostPort {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (host, port) = split_port(text)?;
        Ok(Self {
            host: host.parse()?,
            port: port.ok_or(AddressError::NoPort)?,
        })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            host @ (Host::Ip(IpAddr::V4(_)) | Host::Name(_)) => write!(f, "{host}:{}", self.port),
        }
    }
}

/// What identifies a device in a url. Equal addresses are the same device.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Address {
    scheme: Scheme,
    place: Place,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Place {
    Net { at: HostPort, title: Option<String> },
    SerialLine(String),
    Named(String),
}

/// Why a text is no address, as the end of a sentence.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum AddressError {
    #[error("it has no scheme; write it like mllp://10.0.0.7:2575")]
    NoScheme,
    #[error("its scheme is unknown; known are {}", known_schemes())]
    UnknownScheme,
    #[error("it names no host")]
    NoHost,
    #[error(
        "its host is neither a name nor an address; letters, digits, dots and hyphens are allowed"
    )]
    BadHost,
    #[error("its host looks like an IPv4 address but is none; write four numbers from 0 to 255")]
    NumericHost,
    #[error("it names no port; write it like mllp://10.0.0.7:2575")]
    NoPort,
    #[error("its port is not a number from 1 to 65535")]
    BadPort,
    #[error("it names no serial line; write it like astm+serial:///dev/serial/by-id/NAME")]
    NoLine,
    #[error("it must hold a name and nothing else; write it like device://chem-1")]
    BadName,
    #[error("its AE title is longer than 16 characters or not printable ASCII")]
    BadTitle,
}

impl Address {
    /// The address `device://NAME`.
    pub fn of_device(name: &str) -> Self {
        Self {
            scheme: Scheme::Device,
            place: Place::Named(name.to_ascii_lowercase()),
        }
    }

    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Where on the network it is, if it is on the network.
    pub fn host_port(&self) -> Option<&HostPort> {
        match &self.place {
            Place::Net { at, title: _ } => Some(at),
            Place::SerialLine(_) | Place::Named(_) => None,
        }
    }

    /// The name in a `device` or `mwl` address.
    pub fn name(&self) -> Option<&str> {
        match &self.place {
            Place::Named(name) => Some(name),
            Place::Net { .. } | Place::SerialLine(_) => None,
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = text
            .trim_ascii()
            .split_once("://")
            .ok_or(AddressError::NoScheme)?;
        let scheme = Scheme::named(scheme).ok_or(AddressError::UnknownScheme)?;
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, path),
            None => (rest, ""),
        };
        let place = match scheme {
            Scheme::Mllp | Scheme::Mllps | Scheme::AstmTcp | Scheme::AstmTls => {
                parse_net(authority, None)?
            }
            Scheme::Dicom => parse_dicom(authority, path, 104)?,
            Scheme::Dicoms => parse_dicom(authority, path, 2762)?,
            Scheme::AstmSerial => parse_serial(authority, path)?,
            Scheme::Mwl => parse_named(authority, "")?,
            Scheme::Device => parse_named(authority, path)?,
        };
        Ok(Self { scheme, place })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.word())?;
        match &self.place {
            Place::Net { at, title: None } => at.fmt(f),
            Place::Net {
                at,
                title: Some(title),
            } => {
                write!(f, "{at}/{}", percent_encoded(title, &['/', '?', '#']))
            }
            Place::SerialLine(path) => write!(f, "/{}", percent_encoded(path, &['?', '#'])),
            Place::Named(name) => f.write_str(name),
        }
    }
}

fn parse_net(authority: &str, default_port: Option<u16>) -> Result<Place, AddressError> {
    let (_, host_port) = split_user(authority);
    let (host, port) = split_port(host_port)?;
    let port = port.or(default_port).ok_or(AddressError::NoPort)?;
    Ok(Place::Net {
        at: HostPort {
            host: host.parse()?,
            port,
        },
        title: None,
    })
}

fn parse_dicom(authority: &str, path: &str, port: u16) -> Result<Place, AddressError> {
    let (user, _) = split_user(authority);
    let Place::Net { at, .. } = parse_net(authority, Some(port))? else {
        return Err(AddressError::NoHost);
    };
    let written = path
        .split('/')
        .find(|part| !part.is_empty())
        .or(user)
        .unwrap_or_default();
    Ok(Place::Net {
        at,
        title: parse_title(written)?,
    })
}

/// An AE title is up to 16 characters; blanks around it do not count (DICOM PS3.5, 6.2).
fn parse_title(written: &str) -> Result<Option<String>, AddressError> {
    let decoded = percent_decoded(written);
    let title = decoded.trim_matches(' ');
    let printable = title
        .bytes()
        .all(|byte| (b' '..=b'~').contains(&byte) && byte != b'\\');
    if title.len() > 16 || !printable {
        return Err(AddressError::BadTitle);
    }
    Ok((!title.is_empty()).then(|| title.to_owned()))
}

fn parse_serial(authority: &str, path: &str) -> Result<Place, AddressError> {
    if !authority.is_empty() || path.is_empty() {
        return Err(AddressError::NoLine);
    }
    Ok(Place::SerialLine(percent_decoded(path)))
}

fn parse_named(authority: &str, path: &str) -> Result<Place, AddressError> {
    if !path.is_empty() || !is_name(&authority.to_ascii_lowercase()) {
        return Err(AddressError::BadName);
    }
    Ok(Place::Named(authority.to_ascii_lowercase()))
}

/// Whether a device may have this name: lower-case letters, digits and inner hyphens, at most 63.
pub fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(allowed)
}

fn split_user(authority: &str) -> (Option<&str>, &str) {
    match authority.rsplit_once('@') {
        Some((user, rest)) => (user.split(':').next(), rest),
        None => (None, authority),
    }
}

/// Host and port of `host`, `host:port`, `[v6]` or `[v6]:port`.
fn split_port(text: &str) -> Result<(&str, Option<u16>), AddressError> {
    let after_host = match text.rfind(']') {
        Some(bracket) => bracket.saturating_add(1),
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, port) = text
        .split_at_checked(after_host)
        .ok_or(AddressError::BadHost)?;
    if port.is_empty() {
        return Ok((host, None));
    }
    let port = port.strip_prefix(':').ok_or(AddressError::BadHost)?;
    // `u16::from_str` would take a plus sign.
    let number = port
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| port.parse().ok())
        .flatten();
    match number {
        Some(number) if number > 0 => Ok((host, Some(number))),
        _ if port.contains(':') => Err(AddressError::BadHost),
        _ => Err(AddressError::BadPort),
    }
}

fn parse_name(text: &str) -> Result<String, AddressError> {
    let name = text.to_ascii_lowercase();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(allowed);
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(AddressError::BadHost);
    }
    // A resolver would read `10.1`, `0x7f000001` or `010.0.0.1` as some other address.
    let last = name.rsplit('.').next().unwrap_or_default();
    let digits = last.strip_prefix("0x").unwrap_or(last);
    let hexadecimal = digits.len() < last.len();
    if digits.bytes().all(|b| {
        if hexadecimal {
            b.is_ascii_hexdigit()
        } else {
            b.is_ascii_digit()
        }
    }) {
        return Err(AddressError::NumericHost);
    }
    Ok(name)
}

fn known_schemes() -> String {
    Scheme::ALL.map(Scheme::word).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, AddressError> {
        text.parse::<Address>().map(|address| address.to_string())
    }

    #[test]
    fn an_address_keeps_what_identifies_a_device_and_drops_the_rest() {
        for (text, expected) in [
            ("mllp://10.0.0.7:2575", "mllp://10.0.0.7:2575"),
            (" MLLP://10.0.0.7:2575/ \n", "mllp://10.0.0.7:2575"),
            (
                "mllp://user:secret@10.0.0.7:2575/path?encoding=x#y",
                "mllp://10.0.0.7:2575",
            ),
            ("mllp://a@b@10.0.0.7:2575", "mllp://10.0.0.7:2575"),
            ("mllp://10.0.0.7:2575?a=/b@c:1", "mllp://10.0.0.7:2575"),
            ("mllp://10.0.0.7:02575", "mllp://10.0.0.7:2575"),
            ("mllp://LAB.Example.org:1", "mllp://lab.example.org:1"),
            ("mllp://chem_1:65535", "mllp://chem_1:65535"),
            ("mllp://[FD00::0:7]:2575", "mllp://[fd00::7]:2575"),
            ("mllp://[::ffff:10.0.0.7]:2575", "mllp://10.0.0.7:2575"),
            ("mllps://10.0.0.7:2575", "mllps://10.0.0.7:2575"),
            ("astm+tcp://10.0.0.7:4000", "astm+tcp://10.0.0.7:4000"),
            ("astm+tls://10.0.0.7:4000/x", "astm+tls://10.0.0.7:4000"),
            (
                "astm+serial:///dev/ttyS0?baud=9600",
                "astm+serial:///dev/ttyS0",
            ),
            ("dicom://10.0.0.7/CT1", "dicom://10.0.0.7:104/CT1"),
            ("dicom://CT1@10.0.0.7:11112", "dicom://10.0.0.7:11112/CT1"),
            (
                "dicom://x:y@10.0.0.7/ct%201%20/more?a=b",
                "dicom://10.0.0.7:104/ct 1",
            ),
            ("dicoms://10.0.0.7", "dicoms://10.0.0.7:2762"),
            ("mwl://CT-Room/STATION", "mwl://ct-room"),
            ("device://Chem-1", "device://chem-1"),
            ("device://chem-1/?x", "device://chem-1"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_says_what_is_wrong_with_it() {
        use AddressError as E;
        for (text, error) in [
            ("", E::NoScheme),
            ("10.0.0.7:2575", E::NoScheme),
            ("mllp:10.0.0.7:2575", E::NoScheme),
            ("mllp:/10.0.0.7:2575", E::NoScheme),
            ("tcp://10.0.0.7:2575", E::UnknownScheme),
            ("://10.0.0.7:2575", E::UnknownScheme),
            ("mllp ://10.0.0.7:2575", E::UnknownScheme),
            ("mllp://", E::NoPort),
            ("mllp://:2575", E::NoHost),
            ("mllp://user@:2575", E::NoHost),
            ("mllp://10.0.0.7", E::NoPort),
            ("mllp://10.0.0.7/2575", E::NoPort),
            ("mllp://10.0.0.7:", E::BadPort),
            ("mllp://10.0.0.7:0", E::BadPort),
            ("mllp://10.0.0.7:65536", E::BadPort),
            ("mllp://10.0.0.7:+1", E::BadPort),
            ("mllp://10.0.0.7:25x", E::BadPort),
            ("mllp://10.0.0.7: 25", E::BadPort),
            ("mllp://fd00::7:2575", E::BadHost),
            ("mllp://[fd00::7]2575", E::BadHost),
            ("mllp://[fd00::7", E::BadHost),
            ("mllp://[10.0.0.7]:2575", E::BadHost),
            ("mllp://[fe80::1%25eth0]:2575", E::BadHost),
            ("mllp://la b:2575", E::BadHost),
            ("mllp://la\tb:2575", E::BadHost),
            ("mllp://la%62:2575", E::BadHost),
            ("mllp://läb:2575", E::BadHost),
            ("mllp://lab..org:2575", E::BadHost),
            ("mllp://10.0.0.7\\x:2575", E::BadHost),
            ("mllp://10.0.0:2575", E::NumericHost),
            ("mllp://010.0.0.1:2575", E::NumericHost),
            ("mllp://10.0.0.256:2575", E::NumericHost),
            ("mllp://2130706433:2575", E::NumericHost),
            ("mllp://0x7f000001:2575", E::NumericHost),
            ("mllp://127.0x1:2575", E::NumericHost),
            ("mllp://x.0x:2575", E::NumericHost),
            ("astm+serial://host/dev/ttyS0", E::NoLine),
            ("astm+serial://", E::NoLine),
            ("device://", E::BadName),
            ("device://chem:1", E::BadName),
            ("device://a@chem", E::BadName),
            ("device://chem/x", E::BadName),
            ("device://-chem", E::BadName),
            ("mwl:///x", E::BadName),
            ("dicom://10.0.0.7/SEVENTEEN_LETTERS", E::BadTitle),
            ("dicom://10.0.0.7/A%0AB", E::BadTitle),
        ] {
            assert_eq!(shown(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_place_to_dial_is_read_and_written_the_same_way() {
        for (text, expected) in [
            ("10.0.0.7:2575", Some("10.0.0.7:2575")),
            ("[::1]:2575", Some("[::1]:2575")),
            ("LAB:1", Some("lab:1")),
            ("lab", None),
            ("::1:2575", None),
            ("", None),
        ] {
            let got = text.parse::<HostPort>().map(|at| at.to_string());
            assert_eq!(got.ok().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn an_address_that_was_shown_reads_as_itself() {
        for text in [
            "mllp://[fd00::7]:1",
            "dicom://lab:104/CT 1",
            "dicom://lab/%25%2F%3F%23@",
            "astm+serial:///dev/%0A%3F%C2%85ä/",
            "astm+serial:///dev/x",
            "mwl://a",
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string().parse::<Address>(), Ok(address));
        }
    }

    #[test]
    fn names_are_short_lower_case_words() {
        for (name, fine) in [
            ("chem-1", true),
            ("1", true),
            ("-a", false),
            ("", false),
            ("Chem", false),
            ("chem_1", false),
            ("chem.1", false),
        ] {
            assert_eq!(is_name(name), fine, "{name}");
        }
        assert!(is_name(&"a".repeat(63)) && !is_name(&"a".repeat(64)));
    }
}
