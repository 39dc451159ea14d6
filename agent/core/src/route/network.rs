//! Networks that unmapped pushes may go to, and addresses they never may.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

/// A range of addresses, as `10.0.0.0/8`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    base: IpAddr,
    prefix: u8,
}

/// Why a text is no network, as the end of a sentence.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum NetworkError {
    #[error("it is not a network; write an address and a prefix length, for example 10.0.0.0/8")]
    Shape,
    #[error("its prefix length is out of range; IPv4 has 0 to 32, IPv6 0 to 128")]
    Prefix,
    #[error("it has bits set after its prefix; write {0}")]
    HostBits(Network),
}

impl Network {
    pub fn contains(self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_ipv4() == self.base.is_ipv4() && masked(ip, self.prefix) == self.base
    }

    /// Whether every address of this network is a private one (RFC 1918, RFC 4193).
    pub fn is_private(self) -> bool {
        let ranges = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];
        let within = |range: Self| range.prefix <= self.prefix && range.contains(self.base);
        ranges
            .into_iter()
            .filter_map(|range| range.parse().ok())
            .any(within)
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (ip, prefix) = text.split_once('/').ok_or(NetworkError::Shape)?;
        let ip: IpAddr = ip.parse().map_err(|_| NetworkError::Shape)?;
        let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = digits
            .then(|| prefix.parse().ok())
            .flatten()
            .ok_or(NetworkError::Prefix)?;
        if prefix > width(ip) {
            return Err(NetworkError::Prefix);
        }
        let network = Self {
            base: masked(ip, prefix),
            prefix,
        };
        if network.base == ip {
            Ok(network)
        } else {
            Err(NetworkError::HostBits(network))
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

/// Why no unmapped push may go to this address, whatever the configuration allows.
pub(super) fn forbidden(ip: IpAddr) -> Option<&'static str> {
    let ip = ip.to_canonical();
    if ip.is_loopback() {
        return Some("a loopback address");
    }
    if ip.is_multicast() {
        return Some("a multicast address");
    }
    match ip {
        // Linux reads 0.0.0.0 as the machine itself; no device has an address of 0.0.0.0/8.
        IpAddr::V4(v4) if v4.octets().starts_with(&[0]) => Some("an unspecified address"),
        IpAddr::V4(v4) if v4.is_link_local() => Some("a link-local address"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("a broadcast address"),
        IpAddr::V6(v6) if v6.is_unspecified() => Some("an unspecified address"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("a link-local address"),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn masked(ip: IpAddr, prefix: u8) -> IpAddr {
    let kept = u32::from(prefix);
    match ip {
        IpAddr::V4(v4) => {
            let mask = u32::MAX
                .checked_shl(32_u32.saturating_sub(kept))
                .unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX
                .checked_shl(128_u32.saturating_sub(kept))
                .unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_and_a_prefix_without_host_bits() {
        for (text, expected) in [
            ("10.0.0.0/8", Ok("10.0.0.0/8")),
            ("10.0.0.7/32", Ok("10.0.0.7/32")),
            ("0.0.0.0/0", Ok("0.0.0.0/0")),
            ("FD00::/8", Ok("fd00::/8")),
            ("::/0", Ok("::/0")),
            ("10.0.0.0", Err(NetworkError::Shape)),
            ("lab/8", Err(NetworkError::Shape)),
            ("10.0.0/8", Err(NetworkError::Shape)),
            ("", Err(NetworkError::Shape)),
            ("10.0.0.0/33", Err(NetworkError::Prefix)),
            ("10.0.0.0/", Err(NetworkError::Prefix)),
            ("10.0.0.0/+8", Err(NetworkError::Prefix)),
            ("fd00::/129", Err(NetworkError::Prefix)),
            ("fd00::/300", Err(NetworkError::Prefix)),
            (
                "10.0.0.7/8",
                Err(NetworkError::HostBits("10.0.0.0/8".parse().unwrap())),
            ),
            (
                "fd00::7/8",
                Err(NetworkError::HostBits("fd00::/8".parse().unwrap())),
            ),
        ] {
            let got = text.parse::<Network>().map(|network| network.to_string());
            assert_eq!(got, expected.map(str::to_owned), "{text}");
        }
    }

    #[test]
    fn a_network_contains_its_own_addresses_only() {
        for (network, ip, expected) in [
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("172.16.0.0/12", "172.31.0.1", true),
            ("172.16.0.0/12", "172.32.0.1", false),
            ("10.0.0.7/32", "10.0.0.7", true),
            ("10.0.0.7/32", "10.0.0.6", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "fd00::1", false),
            ("::/0", "10.0.0.7", false),
            ("10.0.0.0/8", "::ffff:10.0.0.7", true),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
        ] {
            let network: Network = network.parse().unwrap();
            assert_eq!(
                network.contains(ip.parse().unwrap()),
                expected,
                "{network} {ip}"
            );
        }
    }

    #[test]
    fn only_a_network_that_is_private_throughout_counts_as_private() {
        for (network, expected) in [
            ("10.0.0.0/8", true),
            ("10.1.0.0/16", true),
            ("192.168.7.0/24", true),
            ("fd00::/8", true),
            ("8.0.0.0/7", false),
            ("172.0.0.0/8", false),
            ("0.0.0.0/0", false),
            ("::/0", false),
        ] {
            assert_eq!(
                network.parse::<Network>().unwrap().is_private(),
                expected,
                "{network}"
            );
        }
    }
}
