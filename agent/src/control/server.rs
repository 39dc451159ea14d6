//! The control socket: one request a connection, from whom the socket's rights let in.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::verbs::Verb;
use super::{Control, error};
use crate::pulse::Tether;
use crate::supervisor::Spawner;

/// The listening socket, with its rights set.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Binds `path`, in place of a socket that a dead process has left.
    pub fn bind(path: &Path) -> std::io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Serves until told to stop.
    pub async fn serve(self, control: Control, spawner: Spawner, tether: Tether) {
        let seats = Arc::new(Semaphore::new(SEATS));
        loop {
            tether.pulse.beat();
            let accepted = tokio::select! {
                () = tether.stop.cancelled() => break,
                () = tether.pulse.due() => continue,
                accepted = self.listener.accept() => accepted,
            };
            match (accepted, Arc::clone(&seats).try_acquire_owned()) {
                (Ok((stream, _)), Ok(seat)) => {
                    let control = control.clone();
                    spawner.spawn(async move {
                        answer(stream, &control).await;
                        drop(seat);
                    });
                }
                (Ok(_), Err(_)) => warn!(SEATS, "control socket: too many at once"),
                (Err(error), _) => {
                    warn!(%error, "control socket: cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            debug!(%error, "control socket: cannot remove");
        }
    }
}

/// One request, one answer. A caller who is slow, or gone, costs nothing but its seat.
async fn answer(stream: UnixStream, control: &Control) {
    if let Err(error) = converse(stream, control).await {
        debug!(%error, "control socket: caller lost, or too slow");
    }
}

async fn converse(stream: UnixStream, control: &Control) -> std::io::Result<()> {
    let who = who(&stream)?;
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(LONGEST_REQUEST));
    timeout(PATIENCE, reader.read_line(&mut line)).await??;
    let value = match Verb::read(line.trim()) {
        Ok(verb) => perform(verb, control, &who).await,
        Err(sentence) => error(sentence),
    };
    timeout(PATIENCE, tell(&mut writer, &value)).await?
}

/// What was begun goes on, also when nobody waits for it any more. So who has waited for too long is told that, and not
/// nothing, after which it would ask again.
async fn perform(verb: Verb, control: &Control, who: &str) -> Value {
    let unanswered = verb.unanswered();
    match timeout(verb.patience(), control.perform(verb, who)).await {
        Ok(done) => done.unwrap_or_else(|failed| error(failed.sentence())),
        Err(_) => error(unanswered),
    }
}

async fn tell(writer: &mut OwnedWriteHalf, value: &Value) -> std::io::Result<()> {
    writer.write_all(format!("{value}\n").as_bytes()).await?;
    writer.shutdown().await
}

fn who(stream: &UnixStream) -> std::io::Result<String> {
    let peer = stream.peer_cred()?;
    Ok(match peer.pid() {
        Some(pid) => format!("uid {} (process {pid})", peer.uid()),
        None => format!("uid {}", peer.uid()),
    })
}

/// Callers at once; each is a person or a script.
const SEATS: usize = 16;
/// For asking, and for hearing what came of it, each.
const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST_REQUEST: u64 = 64 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
