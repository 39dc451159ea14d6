//! Certificates for tests, made on the spot, and servers that show them.

#![expect(
    clippy::missing_panics_doc,
    reason = "a test that cannot make its certificates has failed"
)]

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use rcgen::{CertificateParams, DnType, Issuer, KeyPair, date_time_ymd};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use crate::sim::sha256;

/// Somebody who signs.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

/// A certificate and its key, both PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        let name = format!("Authority {}", rand::random::<u32>());
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Signs a certificate for a name or an address, until the end of a year.
    pub fn sign(&self, name: &str, last_year: i32) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let signed = params(name, last_year).signed_by(&key, &self.issuer);
        Pair {
            certificate: signed.expect("a certificate").pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Pair {
    /// As devices make it for themselves.
    pub fn self_signed(name: &str, last_year: i32) -> Self {
        let key = KeyPair::generate().expect("a key");
        let signed = params(name, last_year).self_signed(&key);
        Self {
            certificate: signed.expect("a certificate").pem(),
            key: key.serialize_pem(),
        }
    }

    /// The fingerprint in hexadecimal digits.
    pub fn print(&self) -> String {
        let der = CertificateDer::from_pem_slice(self.certificate.as_bytes());
        sha256(&der.expect("our own certificate"))
    }

    /// A server's side of TLS that shows this, and demands certificates by `clients` (PEM) if there are any.
    pub fn acceptor(&self, clients: Option<&str>) -> anyhow::Result<TlsAcceptor> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                for authority in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                    roots.add(authority.context("the clients' authority is no PEM")?)?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build()?)
            }
        };
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(self.certificate.as_bytes()).collect();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).context("no key")?;
        let config = builder.with_single_cert(chain.context("no certificate")?, key)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn params(name: &str, last_year: i32) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name or address");
    // A certificate that is named like its signer looks to some as if it had signed itself.
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_after = date_time_ymd(last_year, 12, 31);
    params
}

/// TLS in front of a server that speaks none.
#[derive(Debug)]
pub struct Door {
    address: SocketAddr,
    task: AbortHandle,
}

impl Door {
    pub async fn open(to: SocketAddr, acceptor: TlsAcceptor) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            while let Ok((outside, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // Whoever is not let in ends here, and is told by TLS itself.
                    let mut outside = acceptor.accept(outside).await?;
                    let mut inside = TcpStream::connect(to).await?;
                    tokio::io::copy_bidirectional(&mut outside, &mut inside).await
                });
            }
        });
        Ok(Self {
            address,
            task: task.abort_handle(),
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}
