//! The simulated devices for a person at a terminal.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};
use scenarios::certs::Pair;
use scenarios::sim::{Answer, Device, Journal, Kind, Received, field};
use tokio::signal::unix::{SignalKind, signal};

/// Simulated devices for Wardpost: nothing they say is meant for a patient.
#[derive(Parser)]
#[command(name = "wardpost-sim")]
struct Flags {
    #[command(subcommand)]
    device: Which,
}

#[derive(Subcommand)]
enum Which {
    /// An HL7 device that listens for MLLP connections.
    Hl7(Hl7),
}

#[derive(clap::Args)]
struct Hl7 {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:2575")]
    listen: SocketAddr,
    /// Appends every message to this file, one JSON object a line, bodies included.
    #[arg(long)]
    record: Option<PathBuf>,
    /// What it says to each message.
    #[arg(long, value_enum, default_value = "aa")]
    answer: Kind,
    /// How long it thinks first.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    #[arg(long, default_value = "hl7")]
    name: String,
    /// PEM file with its certificate; with it the device speaks mllps and nothing else.
    #[arg(long, requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the certificate's private key.
    #[arg(long, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// PEM file; every client must show a certificate that one of these authorities has signed.
    #[arg(long, requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
}

impl Hl7 {
    fn pair(&self) -> anyhow::Result<Option<Pair>> {
        let Some((certificate, key)) = self.tls_cert.as_ref().zip(self.tls_key.as_ref()) else {
            return Ok(None);
        };
        Ok(Some(Pair {
            certificate: read(certificate)?,
            key: read(key)?,
        }))
    }

    fn clients(&self) -> anyhow::Result<Option<String>> {
        self.tls_client_ca.as_deref().map(read).transpose()
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Which::Hl7(flags) = Flags::parse().device;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let journal = match &flags.record {
        Some(path) => {
            Journal::to_file(path).with_context(|| format!("cannot open {}", path.display()))?
        }
        None => Journal::default(),
    };
    let answer = flags.answer.after(Duration::from_millis(flags.delay_ms));
    let script = Arc::new(move |received: &Received| told(received, answer));
    let device = Device::start_at(flags.listen, &flags.name, &journal, script)
        .await
        .with_context(|| format!("cannot listen on {}", flags.listen))?;
    if let Some(pair) = flags.pair()? {
        device.speak_tls(pair.acceptor(flags.clients()?.as_deref())?);
    }
    say(&format!(
        "wardpost-sim {} listening on {}",
        flags.name,
        device.address()
    ));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Says what came, without a word of its content, and answers it.
fn told(received: &Received, answer: Answer) -> Answer {
    let kind = field(&received.body, "MSH", 9).unwrap_or_else(|| "without a type".into());
    let kind: Vec<&str> = kind.split('^').take(2).collect();
    say(&format!(
        "message {} {} {} bytes -> {}",
        received.control_id,
        kind.join("^"),
        received.body.len(),
        answer
            .kind
            .to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_uppercase()),
    ));
    answer
}

/// A terminal that went away does not stop a device.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
