//! `wardpost run`: the service.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

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
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(READERS)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async { Agent::build(&places)?.run().await })
}

fn state_directory() -> PathBuf {
    std::env::var_os("STATE_DIRECTORY").map_or_else(|| "/var/lib/wardpost".into(), PathBuf::from)
}

/// Sockets are light work; the database has a thread of its own.
const WORKERS: usize = 2;
/// Threads that read the database and look up names. The unit file's `TasksMax` has room for them.
const READERS: usize = 32;
