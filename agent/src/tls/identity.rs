//! Who we are in TLS: our certificate and its key, where the other end asks for them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, SignatureScheme};
use secrecy::ExposeSecret as _;

use super::trust::{TrustError, certificates};
use crate::secret::{Secret, SecretError};

/// Our certificate and the place of its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// PEM, our own certificate first.
    pub certificate: PathBuf,
    /// PEM.
    pub key: Secret,
}

/// Why we cannot say who we are.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("the client certificate cannot be used")]
    Certificate { source: TrustError },
    #[error("the key of the client certificate cannot be had")]
    Secret { source: SecretError },
    #[error(
        "{place} holds no private key: it must be PEM, with BEGIN PRIVATE KEY, and not encrypted"
    )]
    NoKey { place: String },
    #[error("{place} holds a private key that cannot be used: RSA, ECDSA and Ed25519 can")]
    BadKey {
        place: String,
        source: rustls::Error,
    },
    #[error(
        "the key in {place} does not belong to the certificate in {certificate}: put both of one pair in place"
    )]
    Mismatch { place: String, certificate: PathBuf },
    #[error("{certificate} begins with a certificate that cannot be read")]
    BadCertificate {
        certificate: PathBuf,
        source: rustls::Error,
    },
}

impl Identity {
    /// Whether its files hold a pair.
    pub fn check(&self) -> Result<(), IdentityError> {
        load(self, &rustls::crypto::aws_lc_rs::default_provider()).map(drop)
    }
}

/// Reads certificate and key, and sees that they are a pair.
pub(super) fn load(
    identity: &Identity,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, IdentityError> {
    let chain = certificates(&identity.certificate)
        .map_err(|source| IdentityError::Certificate { source })?;
    let place = || match &identity.key {
        Secret::File(path) => path.display().to_string(),
        Secret::Credential(name) => format!("the credential {name}"),
    };
    let pem = identity
        .key
        .read()
        .map_err(|source| IdentityError::Secret { source })?;
    // The error would be about the bytes of the key; that there is none says enough.
    let key = PrivateKeyDer::from_pem_slice(pem.expose_secret().as_bytes())
        .map_err(|_| IdentityError::NoKey { place: place() })?;
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|source| IdentityError::BadKey {
            place: place(),
            source,
        })?;
    let pair = CertifiedKey::new(chain, key);
    match pair.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
            Ok(Arc::new(pair))
        }
        Err(rustls::Error::InconsistentKeys(_)) => Err(IdentityError::Mismatch {
            place: place(),
            certificate: identity.certificate.clone(),
        }),
        Err(source) => Err(IdentityError::BadCertificate {
            certificate: identity.certificate.clone(),
            source,
        }),
    }
}

/// Shows our certificate where it is asked for, and remembers for one handshake that it was.
#[derive(Debug)]
pub(super) struct Showing {
    pub(super) pair: Option<Arc<CertifiedKey>>,
    pub(super) asked: Arc<AtomicBool>,
}

impl ResolvesClientCert for Showing {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _sigschemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.pair.clone()
    }

    fn has_certs(&self) -> bool {
        // Also without one: being asked is what we want to know.
        true
    }
}
