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
    #[error("{advice}")]
    Unanswered {
        advice: String,
        source: Option<std::io::Error>,
    },
    #[error("the agent has no room for another caller now; ask again in some seconds")]
    Busy,
    #[error("the agent's answer cannot be read; are command and service of the same version?")]
    Unreadable,
}

/// Asks the agent behind `path`.
///
/// An agent that has no seat for us closes before it has read anything, which the kernel tells apart from the end of a
/// conversation: only then it is certain that nothing was done.
pub fn ask(path: &Path, verb: &Verb) -> Result<Value, AskError> {
    let mut stream = UnixStream::connect(path).map_err(|source| AskError::Connect {
        path: path.display().to_string(),
        source,
    })?;
    let request = serde_json::to_string(verb).map_err(|_| AskError::Unreadable)?;
    let mut answer = String::new();
    let mut converse = || {
        stream.set_read_timeout(Some(verb.patience() + MORE))?;
        stream.set_write_timeout(Some(MORE))?;
        stream.write_all(format!("{request}\n").as_bytes())?;
        BufReader::new(&stream).read_line(&mut answer)
    };
    match converse() {
        Ok(0) => Err(unanswered(verb, None)),
        Ok(_) => serde_json::from_str(&answer).map_err(|_| AskError::Unreadable),
        Err(error) if is_shut(&error) => Err(AskError::Busy),
        Err(error) => Err(unanswered(verb, Some(error))),
    }
}

fn unanswered(verb: &Verb, source: Option<std::io::Error>) -> AskError {
    AskError::Unanswered {
        advice: verb.unanswered(),
        source,
    }
}

fn is_shut(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
    )
}

/// Longer than the agent takes, so that it can say what it did not see the end of.
const MORE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread::{self, JoinHandle};

    use super::*;

    const RESEND: Verb = Verb::Resend {
        push: 17,
        reason: None,
    };

    fn agent(behaves: fn(UnixStream)) -> (tempfile::TempDir, JoinHandle<()>) {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        let agent = thread::spawn(move || behaves(listener.accept().unwrap().0));
        (folder, agent)
    }

    #[test]
    fn an_agent_that_read_a_command_and_went_away_may_have_carried_it_out() {
        let (folder, agent) = agent(|stream| {
            BufReader::new(stream)
                .read_line(&mut String::new())
                .unwrap();
        });
        let error = ask(&folder.path().join("s"), &RESEND).unwrap_err();
        agent.join().unwrap();
        assert!(matches!(error, AskError::Unanswered { .. }), "{error:?}");
        assert!(error.to_string().contains("`wardpost why 17`"), "{error}");
    }

    #[test]
    fn an_agent_that_read_nothing_is_busy() {
        let (folder, agent) = agent(drop);
        let error = ask(&folder.path().join("s"), &RESEND).unwrap_err();
        agent.join().unwrap();
        assert!(matches!(error, AskError::Busy), "{error:?}");
    }
}
