//! `wardpost run`: the service.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use tokio::runtime::{Builder, Runtime};

use super::files::FileArgs;
use crate::agent::{Agent, Places};

/// Flags of `wardpost run`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub files: FileArgs,
    /// Where the database is; `$STATE_DIRECTORY` or `/var/lib/wardpost` if not given.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

pub fn run(args: &RunArgs, control: PathBuf) -> Result<()> {
    let places = Places {
        config: args.files.paths(),
        state: args.state.clone().unwrap_or_else(state_directory),
        control,
    };
    let runtime = Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(READERS)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    finish(runtime, async { Agent::build(&places)?.run().await })
}

/// Runs to the end and waits for nobody after it: a name lookup, which nothing can interrupt, may last for minutes.
pub(super) fn finish<T>(runtime: Runtime, work: impl Future<Output = T>) -> T {
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}

pub(super) fn state_directory() -> PathBuf {
    std::env::var_os("STATE_DIRECTORY").map_or_else(|| "/var/lib/wardpost".into(), PathBuf::from)
}

/// Sockets are light work; the database has a thread of its own.
const WORKERS: usize = 2;
/// Threads that read the database and look up names. The unit file's `TasksMax` has room for them.
const READERS: usize = 32;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_call_that_nothing_can_interrupt_does_not_hold_up_the_end() {
        let (stay, told) = mpsc::channel::<()>();
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let done = finish(runtime, async move {
            let (hint, begun) = tokio::sync::oneshot::channel();
            tokio::task::spawn_blocking(move || {
                let _ = hint.send(());
                let _ = told.recv();
            });
            begun.await.is_ok()
        });
        assert!(done);
        drop(stay);
    }
}
