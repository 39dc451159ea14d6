//! The other end of the control socket, for the commands.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::verbs::Verb;

/// Why a running agent could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error(
        "no wardpost listens on {path}; is the service running, and are you in the \
         group wardpost? Another socket is named with --control"
    )]
    Connect {
        path: String,
        source: std::io::Error,
    },
    #[error("the agent did not answer ({0}); look at its log")]
    Silent(std::io::Error),
    #[error("the agent has no room for another caller now; ask again in some seconds")]
    Busy,
    #[error("the agent's answer cannot be read; are command and service of the same version?")]
    Unreadable,
}

/// Asks the agent behind `path`.
pub fn ask(path: &Path, verb: &Verb) -> Result<Value, AskError> {
    let mut stream = UnixStream::connect(path).map_err(|source| AskError::Connect {
        path: path.display().to_string(),
        source,
    })?;
    let request = serde_json::to_string(verb).map_err(|_| AskError::Unreadable)?;
    let mut answer = String::new();
    let mut converse = || {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        writeln!(stream, "{request}")?;
        BufReader::new(&stream).read_line(&mut answer)
    };
    match converse() {
        Ok(0) => Err(AskError::Busy),
        Ok(_) => serde_json::from_str(&answer).map_err(|_| AskError::Unreadable),
        Err(error) if is_shut(&error) => Err(AskError::Busy),
        Err(error) => Err(AskError::Silent(error)),
    }
}

/// An agent without a seat for us closes before it has read anything.
fn is_shut(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
    )
}

const PATIENCE: Duration = Duration::from_secs(15);
