//! TLS for the cloud side of the benchmark, with a certificate of its own.

use std::sync::Arc;

use anyhow::Context;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::TlsAcceptor;

/// Who the cloud is, and what an agent must trust to believe it.
pub(super) struct Identity {
    pub(super) acceptor: TlsAcceptor,
    pub(super) certificate_pem: String,
}

impl Identity {
    /// For 127.0.0.1, signed by itself.
    pub(super) fn new() -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()])
            .context("making a certificate")?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            certificate_pem: made.cert.pem(),
        })
    }
}
