//! The socket on which a booting machine says how far it is.
//!
//! It has to be read for as long as the machine runs: everything its process 1 is told goes on to here, and it blocks for
//! good when nobody reads.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// The listening end.
#[derive(Debug)]
pub(super) struct Notify {
    messages: mpsc::Receiver<String>,
}

impl Notify {
    /// Reads until this is dropped.
    pub(super) fn listen(path: &Path) -> Result<Self> {
        let socket =
            UnixDatagram::bind(path).with_context(|| format!("cannot bind {}", path.display()))?;
        socket.set_read_timeout(Some(LOOK_UP))?;
        let (sender, messages) = mpsc::channel();
        std::thread::spawn(move || read(&socket, &sender));
        Ok(Self { messages })
    }

    /// Waits until it is booted, and says which process is its process 1.
    pub(super) fn booted(&self) -> Result<u32> {
        let mut leader = None;
        loop {
            let Ok(message) = self.messages.recv_timeout(PATIENCE) else {
                bail!("the machine does not boot");
            };
            for line in message.lines() {
                match (line.split_once('='), leader) {
                    (Some(("X_NSPAWN_LEADER_PID", pid)), _) => leader = Some(pid.parse()?),
                    (Some(("READY", "1")), Some(leader)) => return Ok(leader),
                    _ => {}
                }
            }
        }
    }
}

fn read(socket: &UnixDatagram, sender: &mpsc::Sender<String>) {
    let mut buffer = [0; 4096];
    loop {
        let text = match socket.recv(&mut buffer) {
            Ok(length) => {
                String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned()
            }
            // Nothing came for a while: an empty word finds out whether anybody still listens.
            Err(_) => String::new(),
        };
        if sender.send(text).is_err() {
            return;
        }
    }
}

const LOOK_UP: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_mins(1);
