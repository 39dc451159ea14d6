//! Whom we trust in TLS, and what a TLS failure means in words.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tracing::warn;

use crate::cloud::told;

/// Which authorities may sign a server's certificate.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Trust {
    /// Those of the operating system.
    #[default]
    System,
    /// Those, and the ones in a file: a hospital's inspecting proxy, a private cloud.
    SystemAnd(PathBuf),
    /// The ones in a file and nobody else.
    Only(PathBuf),
}

impl Trust {
    /// Reads the setting `[cloud] trust`: `system`, `system+FILE` or `FILE`.
    pub fn parse(setting: &str) -> Self {
        match setting.strip_prefix("system") {
            Some("") => Self::System,
            Some(rest) if rest.starts_with('+') => Self::SystemAnd(rest[1..].into()),
            _ if setting.is_empty() => Self::System,
            _ => Self::Only(setting.into()),
        }
    }
}

/// Why nobody can be trusted now.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error(
        "the system has no trusted certificates: install ca-certificates, or name a file in [cloud] trust"
    )]
    NoneInSystem,
    #[error("cannot read the trusted certificates in {path}")]
    Unreadable { path: PathBuf, source: pem::Error },
    #[error(
        "{path} holds no certificate that can be trusted: it must be PEM, with BEGIN CERTIFICATE"
    )]
    NoneInFile { path: PathBuf },
    #[error("TLS cannot be set up")]
    Setup { source: rustls::Error },
    #[error("stopped while reading the trusted certificates")]
    Stopped,
}

/// Builds the client side of TLS. A client certificate goes here, in place of `with_no_client_auth`.
pub(super) fn client_config(trust: &Trust) -> Result<ClientConfig, TrustError> {
    let roots = roots(trust)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| TrustError::Setup { source })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Whoever terminates TLS on the way must not talk us into HTTP/2.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn roots(trust: &Trust) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    match trust {
        Trust::System => add_system(&mut roots)?,
        Trust::SystemAnd(path) => add_both(&mut roots, path)?,
        Trust::Only(path) => add_file(&mut roots, path)?,
    }
    Ok(roots)
}

/// One of the two is enough to begin with: the box stays reachable, and a broken file can be mended from afar.
fn add_both(roots: &mut RootCertStore, path: &Path) -> Result<(), TrustError> {
    let system = add_system(roots);
    let Err(fault) = add_file(roots, path) else {
        return Ok(());
    };
    if system.is_ok() {
        warn!(
            error = told(&fault),
            "trusting the system's certificates only"
        );
        return Ok(());
    }
    Err(fault)
}

fn add_system(roots: &mut RootCertStore) -> Result<(), TrustError> {
    let found = rustls_native_certs::load_native_certs();
    let (added, _unparsable) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        Err(TrustError::NoneInSystem)
    } else {
        Ok(())
    }
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), TrustError> {
    let unreadable = |source| TrustError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(unreadable)?;
    let (added, _unparsable) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        Err(TrustError::NoneInFile {
            path: path.to_owned(),
        })
    } else {
        Ok(())
    }
}

/// What an operator can do about a handshake that failed; the cause itself follows it.
pub(super) fn tls_fault(error: &io::Error) -> &'static str {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(fault)) => certificate_fault(fault),
        Some(rustls::Error::InvalidMessage(_)) => {
            "what answers there does not speak TLS; is the port right, or is a captive portal in the way?"
        }
        Some(rustls::Error::AlertReceived(_)) => "the server turned the handshake down",
        Some(_) => "the handshake failed",
        None => "the connection broke in the handshake",
    }
}

fn certificate_fault(fault: &CertificateError) -> &'static str {
    match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired, or the clock of this box is wrong"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet, or the clock of this box is wrong"
        }
        // A bad signature: an authority that we trust by name, with another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is signed by nobody we trust; name the authority of the site's cloud or \
             inspecting proxy in [cloud] trust, or look for a captive portal"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another name; is [cloud] url right?"
        }
        CertificateError::Revoked => "its certificate is revoked",
        _ => "its certificate is not valid",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_names_the_system_or_a_file_or_both() {
        assert_eq!(Trust::parse("system"), Trust::System);
        assert_eq!(Trust::parse(""), Trust::System);
        assert_eq!(
            Trust::parse("system+/etc/site.pem"),
            Trust::SystemAnd("/etc/site.pem".into())
        );
        assert_eq!(
            Trust::parse("/etc/site.pem"),
            Trust::Only("/etc/site.pem".into())
        );
        assert_eq!(
            Trust::parse("systemic.pem"),
            Trust::Only("systemic.pem".into())
        );
    }
}
