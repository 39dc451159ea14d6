//! Where the configuration is: the same two flags for every command that reads it.

use std::path::PathBuf;

use clap::Args;

use crate::config::Paths;

/// Flags that name the configuration.
#[derive(Clone, Debug, Args)]
pub struct FileArgs {
    /// The agent's own file.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/wardpost/wardpost.toml"
    )]
    pub config: PathBuf,
    /// The folder of the device files; devices.d beside the configuration if not given.
    #[arg(long, value_name = "DIR")]
    pub devices: Option<PathBuf>,
}

impl FileArgs {
    pub fn paths(&self) -> Paths {
        Paths::new(self.config.clone(), self.devices.clone())
    }
}
