//! Whom we trust in TLS: the authorities of the system, those in a file, or certificates that are named one by one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use tracing::warn;

use super::pin::{Pin, Pinned};
use super::told;

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
    /// The file that it names.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::System => None,
            Self::SystemAnd(file) | Self::Only(file) => Some(file),
        }
    }
}

impl Trust {
    /// Whether the file that it names, if it does, holds what it should.
    pub fn check(&self) -> Result<(), TrustError> {
        self.file()
            .map_or(Ok(()), |file| certificates(file).map(drop))
    }
}

/// How the other end must prove who it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Proof {
    /// A certificate for its name, signed by somebody we trust.
    Signed(Trust),
    /// One of these certificates, whatever name and dates are in it.
    Pinned(Vec<Pin>),
    /// Both.
    Both(Trust, Vec<Pin>),
}

impl Proof {
    pub fn trust(&self) -> Option<&Trust> {
        match self {
            Self::Signed(trust) | Self::Both(trust, _) => Some(trust),
            Self::Pinned(_) => None,
        }
    }

    /// Whether the files that it names hold what they should.
    pub fn check(&self) -> Result<(), TrustError> {
        self.trust().map_or(Ok(()), Trust::check)?;
        prints(self.pins()).map(drop)
    }

    pub fn pins(&self) -> &[Pin] {
        match self {
            Self::Signed(_) => &[],
            Self::Pinned(pins) | Self::Both(_, pins) => pins,
        }
    }
}

/// Why nobody can be trusted now.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error(
        "the system has no trusted certificates: install ca-certificates, or name a file as trust"
    )]
    NoneInSystem,
    #[error("cannot read the trusted certificates in {path}")]
    Unreadable { path: PathBuf, source: pem::Error },
    #[error(
        "{path} holds no certificate that can be trusted: it must be PEM, with BEGIN CERTIFICATE"
    )]
    NoneInFile { path: PathBuf },
    #[error("the trusted certificates cannot be used")]
    Verifier {
        source: rustls::client::VerifierBuilderError,
    },
}

/// Builds what judges the certificate of the other end.
pub(super) fn verifier(
    proof: &Proof,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TrustError> {
    let signed = match proof.trust() {
        None => None,
        Some(trust) => {
            let roots = Arc::new(roots(trust)?);
            let signed =
                WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider)).build();
            Some(signed.map_err(|source| TrustError::Verifier { source })?)
        }
    };
    let prints = prints(proof.pins())?;
    Ok(match signed {
        Some(signed) if prints.is_empty() => signed,
        signed => Arc::new(Pinned::new(prints, signed, provider)),
    })
}

fn prints(pins: &[Pin]) -> Result<Vec<super::pin::Print>, TrustError> {
    let mut prints = Vec::new();
    for pin in pins {
        match pin {
            Pin::Print(print) => prints.push(*print),
            Pin::File(path) => prints.extend(certificates(path)?.iter().map(super::pin::Print::of)),
        }
    }
    Ok(prints)
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
    let (added, _unparsable) = roots.add_parsable_certificates(certificates(path)?);
    if added == 0 {
        Err(TrustError::NoneInFile {
            path: path.to_owned(),
        })
    } else {
        Ok(())
    }
}

/// All certificates of a PEM file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let unreadable = |source| TrustError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let found = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(unreadable)?;
    if found.is_empty() {
        return Err(TrustError::NoneInFile {
            path: path.to_owned(),
        });
    }
    Ok(found)
}
