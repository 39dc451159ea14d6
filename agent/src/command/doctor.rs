//! `wardpost doctor`: asks the agent to look at everything, or looks itself where none runs.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;

use super::files::FileArgs;
use super::show;
use crate::config;
use crate::control::client::{self, AskError};
use crate::control::verbs::Verb;
use crate::doctor::{self, Finding, Reach, Subject};

/// Flags of `wardpost doctor`. They count where no agent runs; one that runs knows its own.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub files: FileArgs,
    /// Where the database is; `$STATE_DIRECTORY` or `/var/lib/wardpost` if not given.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    #[arg(skip)]
    pub json: bool,
    #[arg(skip)]
    pub control: PathBuf,
}

/// Prints a line for each finding. The exit code is 1 if one of them is wrong.
pub fn run(args: &DoctorArgs, out: &mut impl Write) -> Result<ExitCode> {
    let answer = match client::ask(&args.control, &Verb::Doctor) {
        Err(error @ AskError::Connect { .. }) => alone(args, &error)?,
        answered => answered?,
    };
    if let Some(sentence) = answer.get("error").and_then(Value::as_str) {
        anyhow::bail!("{sentence}");
    }
    if args.json {
        writeln!(out, "{answer:#}")?;
    } else {
        show::rows(&answer, "findings")
            .iter()
            .try_for_each(|finding| writeln!(out, "{}", show::finding(finding)))?;
    }
    let well = answer.get("well").and_then(Value::as_bool) == Some(true);
    Ok(if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn alone(args: &DoctorArgs, error: &AskError) -> Result<Value> {
    let next = "what follows was found without it; the service may see other credentials";
    let mut findings = vec![Finding::warning(
        ("agent", "running"),
        [crate::tls::told(error), next.into()],
    )];
    let paths = args.files.paths();
    let state = args
        .state
        .clone()
        .unwrap_or_else(super::run::state_directory);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let look = async {
        match config::load(&paths) {
            Ok(loaded) => {
                Subject::of(&loaded.config, paths, state)
                    .examine(Reach::Cloud)
                    .await
            }
            Err(_) => doctor::without_configuration(paths).await,
        }
    };
    findings.extend(super::run::finish(runtime, look));
    Ok(doctor::told(&findings))
}
