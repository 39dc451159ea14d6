//! The cloud stub as a program.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;
use wardpost_cloud::{Cloud, Database, Options, Seed, Tls};

/// A minimal Medplum server for tests, demos and development. Not for patients' data.
#[derive(Parser)]
#[command(name = "wardpost-cloud", version)]
struct Flags {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8103")]
    listen: SocketAddr,
    /// The database file that holds the state. Without it the state ends with the process.
    #[arg(long)]
    db: Option<PathBuf>,
    /// JSON with clients and resources, written on the first start of a database.
    #[arg(long)]
    seed: Option<PathBuf>,
    /// Keep every push until it is answered, instead of forgetting it as a real server does.
    #[arg(long)]
    keep_pushes: bool,
    /// Milliseconds between heartbeats.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    heartbeat_ms: u64,
    /// PEM file with the certificate to show; with it the stub speaks https and wss.
    #[arg(long, requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the certificate's private key.
    #[arg(long, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// PEM file; every client must show a certificate that one of these authorities has signed.
    #[arg(long, requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let filter = EnvFilter::try_from_env("WARDPOST_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let cloud = Cloud::start(flags.options()?).await?;
    let ready = format!(
        "wardpost-cloud listening on {}",
        cloud.base_url().trim_end_matches('/')
    );
    writeln!(std::io::stdout(), "{ready}").context("say that the stub is ready")?;
    tokio::select! {
        _ = terminate.recv() => info!("stopping on SIGTERM"),
        _ = interrupt.recv() => info!("stopping on SIGINT"),
    }
    cloud.shutdown().await;
    Ok(())
}

impl Flags {
    fn options(self) -> anyhow::Result<Options> {
        if !self.listen.ip().is_loopback() {
            warn!(address = %self.listen, "the stub has no access control");
        }
        let tls = self
            .tls_cert
            .zip(self.tls_key)
            .map(|(certificate, key)| Tls {
                certificate,
                key,
                client_ca: self.tls_client_ca,
            });
        Ok(Options {
            listen: self.listen,
            database: self.db.map_or(Database::Memory, Database::File),
            seed: self
                .seed
                .map(|path| Seed::read(&path))
                .transpose()?
                .unwrap_or_default(),
            keep_pushes: self.keep_pushes,
            heartbeat: Duration::from_millis(self.heartbeat_ms),
            tls,
            ..Options::default()
        })
    }
}
