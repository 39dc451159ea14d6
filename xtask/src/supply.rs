//! `cargo xtask deny` and `cargo xtask sbom`: what the product is made of, and whether it may be.
//!
//! Both are the work of well-kept tools, which are installed by name if they are not there.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run::{self, cargo, succeeds};

/// Licences, forbidden crates and sources, as `deny.toml` says. Advisories need their database from the network, so
/// they are a command of their own: `cargo deny check advisories`.
pub(crate) fn deny() -> Result<()> {
    install("deny", DENY)?;
    run::run(&mut cargo(&[
        "deny", "--locked", "check", "bans", "licenses", "sources",
    ]))
}

/// Writes the bill of materials of the agent as `CycloneDX` and names the file.
pub(crate) fn sbom() -> Result<()> {
    let file = write_sbom()?;
    println!("sbom: {}", file.display());
    Ok(())
}

/// The bill of materials of the binary that is shipped: its own dependencies, no test's and no build machine's.
pub(crate) fn write_sbom() -> Result<PathBuf> {
    install("cyclonedx", CYCLONEDX)?;
    let manifest = run::root().join("agent/Cargo.toml");
    let mut command = cargo(&["cyclonedx", "--format", "json", "--spec-version", "1.5"]);
    command
        .args(["--no-build-deps", "--describe", "crate", "--manifest-path"])
        .arg(&manifest)
        // The same sources give the same file.
        .env("SOURCE_DATE_EPOCH", "0");
    run::run_quietly(&mut command)?;
    collect()
}

/// The tool leaves a file beside every manifest of the workspace; only the agent's is wanted.
fn collect() -> Result<PathBuf> {
    let root = run::root();
    let left = root.join("agent/wardpost.cdx.json");
    let text = fs::read_to_string(left).context("the tool left no bill of the agent")?;
    for member in MEMBERS {
        for file in fs::read_dir(root.join(member))? {
            let path = file?.path();
            if path.to_string_lossy().ends_with(".cdx.json") {
                fs::remove_file(path)?;
            }
        }
    }
    // Where the sources stood on the machine that built it is nobody's business, and would make two bills of one source.
    let text = text.replace(&format!("file://{}", root.display()), "file://.");
    if text.contains("file:///") {
        bail!("the bill of materials still names a path of this machine");
    }
    check(&text)?;
    let kept = run::target()?.join("wardpost.cdx.json");
    fs::write(&kept, text)?;
    Ok(kept)
}

/// A bill that lacks what we know is in the agent is not worth its paper.
fn check(text: &str) -> Result<()> {
    let bill: Value = serde_json::from_str(text)?;
    let components = bill["components"].as_array().context("no components")?;
    let is_there = |name: &&str| components.iter().any(|part| part["name"] == **name);
    let missing: Vec<&str> = KNOWN
        .iter()
        .filter(|name| !is_there(name))
        .copied()
        .collect();
    if !missing.is_empty() {
        bail!("the bill of materials lacks {}", missing.join(", "));
    }
    println!("sbom: {} components", components.len());
    Ok(())
}

/// Installs a subcommand of cargo, once, into cargo's own folder.
fn install(name: &str, version: &str) -> Result<()> {
    if succeeds("cargo", &[name, "--version"]) {
        return Ok(());
    }
    println!("setup: installing cargo-{name} {version}; this takes some minutes, once");
    let package = format!("cargo-{name}@{version}");
    run::run(&mut cargo(&["install", "--quiet", "--locked", &package]))
}

const DENY: &str = "0.20.2";
const CYCLONEDX: &str = "0.5.9";
const MEMBERS: [&str; 7] = [
    "agent",
    "agent/core",
    "agent/wire",
    "device-drivers",
    "server-stub",
    "tests",
    "xtask",
];
const KNOWN: [&str; 5] = [
    "rusqlite",
    "rustls",
    "tokio",
    "tokio-tungstenite",
    "systemd",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bill_without_what_we_know_is_inside_is_refused() {
        let bill = |names: &[&str]| {
            let components: Vec<Value> = names
                .iter()
                .map(|name| serde_json::json!({ "name": name }))
                .collect();
            serde_json::json!({ "components": components }).to_string()
        };
        assert!(check(&bill(&KNOWN)).is_ok());
        assert!(check(&bill(&["tokio"])).is_err());
        assert!(check("{}").is_err());
    }
}
