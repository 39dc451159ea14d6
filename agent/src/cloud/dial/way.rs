//! How the way to the cloud looks: whom we trust, who we are, and which proxy is in between. Plain data, that two
//! readings of a configuration can be compared by.

use std::fmt;

use secrecy::SecretString;
use url::{Host, Url};

use super::Security;
use super::bypass::Bypass;
use crate::secret::Secret;
use crate::tls::{Identity, Trust};

/// What the configuration says about the way out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WayOut {
    pub trust: Trust,
    pub identity: Option<Identity>,
    pub proxy: ProxyRule,
    /// Asked for where the proxy has a user.
    pub proxy_password: Secret,
}

impl Default for WayOut {
    /// The system's trust, and the environment's proxy.
    fn default() -> Self {
        Self {
            trust: Trust::System,
            identity: None,
            proxy: ProxyRule::Environment,
            proxy_password: Secret::Credential(CREDENTIAL.into()),
        }
    }
}

/// Which proxy is used.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum ProxyRule {
    /// The one that the environment names, as other programs do it: `https_proxy`, `all_proxy`, `no_proxy`.
    #[default]
    Environment,
    /// None, whatever the environment says.
    None,
    /// This one, for everything.
    Through(Proxy),
}

/// Where a proxy is and how it is spoken to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proxy {
    pub kind: Kind,
    pub host: Host,
    pub port: u16,
    pub user: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// HTTP CONNECT.
    Http,
    /// HTTP CONNECT, inside of TLS with the proxy.
    Https,
    Socks5,
}

/// Where the password for a proxy comes from.
#[derive(Clone, Debug)]
pub(super) enum Password {
    Kept(Secret),
    /// It stood in an environment variable.
    Given(SecretString),
}

/// Why a text names no proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadProxy {
    #[error("is not the url of a proxy")]
    Unreadable,
    #[error("names a kind of proxy that the agent does not speak")]
    Kind,
    #[error("has a path or a query, which the url of a proxy has not")]
    Path,
}

impl Proxy {
    /// Reads a url; also gives the password in it, which a configuration must not have.
    pub fn parse(text: &str) -> Result<(Self, Option<SecretString>), BadProxy> {
        let text = text.trim();
        let text = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let url = Url::parse(&text).map_err(|_| BadProxy::Unreadable)?;
        let (kind, port) = match url.scheme() {
            "http" => (Kind::Http, 80),
            "https" => (Kind::Https, 443),
            "socks5" | "socks5h" | "socks" => (Kind::Socks5, 1080),
            _ => return Err(BadProxy::Kind),
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(BadProxy::Path);
        }
        let host = url.host_str().and_then(|host| Host::parse(host).ok());
        let user = Some(decoded(url.username())).filter(|user| !user.is_empty());
        let proxy = Self {
            kind,
            host: host.ok_or(BadProxy::Unreadable)?,
            port: url.port().unwrap_or(port),
            user,
        };
        let password = url.password().map(decoded).map(SecretString::from);
        Ok((proxy, password))
    }
}

impl fmt::Display for Proxy {
    /// Without the user.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

fn decoded(text: &str) -> String {
    let form = text.replace('+', "%2B");
    let pair = format!("={form}");
    url::form_urlencoded::parse(pair.as_bytes())
        .next()
        .map_or_else(String::new, |(_, value)| value.into_owned())
}

/// What the environment of the process says about proxies.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment {
    https: Option<(String, &'static str)>,
    http: Option<(String, &'static str)>,
    bypass: Bypass,
}

/// The environment names something that is no proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the environment variable {variable} {why}; write it like http://proxy.example:3128, or set [cloud] proxy, which comes first"
)]
pub struct BadEnvironment {
    pub variable: &'static str,
    pub why: BadProxy,
}

impl Environment {
    pub(super) fn of_process() -> Self {
        Self::of(|name| std::env::var(name).ok())
    }

    /// Small letters come first, as in curl.
    pub(super) fn of(variable: impl Fn(&'static str) -> Option<String>) -> Self {
        let first = |names: &[&'static str]| {
            names.iter().find_map(|name| {
                let value = variable(name).filter(|value| !value.trim().is_empty())?;
                Some((value, *name))
            })
        };
        let bypass = first(&["no_proxy", "NO_PROXY"]);
        Self {
            https: first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            http: first(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
            bypass: bypass.map_or_else(Bypass::default, |(rules, _)| Bypass::parse(&rules)),
        }
    }

    /// The proxy for a server; `None` if it is to be reached without.
    pub(super) fn proxy(
        &self,
        security: Security,
        host: &Host,
        port: u16,
    ) -> Result<Option<(Proxy, Option<SecretString>)>, BadEnvironment> {
        let named = match security {
            Security::Tls => &self.https,
            Security::Plain => &self.http,
        };
        let Some((text, variable)) = named else {
            return Ok(None);
        };
        if self.bypass.covers(host, port) {
            return Ok(None);
        }
        let variable = *variable;
        Proxy::parse(text)
            .map(Some)
            .map_err(|why| BadEnvironment { variable, why })
    }
}

/// Name of the systemd credential with the proxy's password.
pub const CREDENTIAL: &str = "proxy-password";

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn environment(variables: &'static [(&str, &str)]) -> Environment {
        Environment::of(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn route(environment: &Environment, security: Security) -> Option<String> {
        let host = Host::parse("cloud.example").unwrap();
        let found = environment.proxy(security, &host, 443).unwrap();
        found.map(|(proxy, _)| proxy.to_string())
    }

    #[test]
    fn a_proxy_is_read_with_its_user_and_shown_without() {
        let (proxy, password) = Proxy::parse("http://ward%203:p%40ss+1@proxy.site:3128").unwrap();
        assert_eq!(proxy.user.as_deref(), Some("ward 3"));
        assert_eq!(password.unwrap().expose_secret(), "p@ss+1");
        assert_eq!(proxy.to_string(), "proxy.site:3128");
        let (proxy, _) = Proxy::parse("socks5h://[fd00::1]").unwrap();
        assert_eq!(proxy.to_string(), "[fd00::1]:1080");
        let (proxy, _) = Proxy::parse("proxy.site:8080").unwrap();
        assert_eq!((proxy.kind, proxy.port), (Kind::Http, 8080));
    }

    #[test]
    fn what_is_no_proxy_is_told_apart() {
        let why = |text: &str| Proxy::parse(text).unwrap_err();
        assert_eq!(why("http://"), BadProxy::Unreadable);
        assert_eq!(why("socks4://proxy:1080"), BadProxy::Kind);
        assert_eq!(why("http://proxy:3128/proxy.pac"), BadProxy::Path);
    }

    #[test]
    fn small_letters_come_before_capitals_and_the_special_before_the_general() {
        let all = environment(&[
            ("ALL_PROXY", "socks5://c"),
            ("HTTPS_PROXY", "http://b"),
            ("https_proxy", "http://a"),
        ]);
        assert_eq!(route(&all, Security::Tls).as_deref(), Some("a:80"));
        assert_eq!(route(&all, Security::Plain).as_deref(), Some("c:1080"));
        assert_eq!(
            route(&environment(&[("https_proxy", " ")]), Security::Tls),
            None
        );
    }

    #[test]
    fn what_no_proxy_names_is_reached_without_one() {
        let spared = environment(&[("https_proxy", "http://a"), ("NO_PROXY", ".example")]);
        assert_eq!(route(&spared, Security::Tls), None);
    }

    #[test]
    fn a_variable_that_names_no_proxy_is_named_without_its_value() {
        let wrong = environment(&[("HTTPS_PROXY", "ftp://user:geheim@proxy")]);
        let host = Host::parse("cloud.example").unwrap();
        let told = wrong
            .proxy(Security::Tls, &host, 443)
            .unwrap_err()
            .to_string();
        assert!(
            told.contains("HTTPS_PROXY") && !told.contains("geheim"),
            "{told}"
        );
    }
}
