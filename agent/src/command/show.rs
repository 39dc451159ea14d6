//! Answers of the agent as people read them.

use std::io::{Result, Write};

use serde_json::Value;

use crate::control::verbs::Verb;

pub(super) fn show(verb: &Verb, answer: &Value, out: &mut impl Write) -> Result<()> {
    match verb {
        Verb::Status => status(answer, out),
        Verb::Devices => devices(answer, out),
        Verb::Queue { .. } => queue(answer, out),
        Verb::Why { .. } => why(answer, out),
        Verb::Reload => reload(answer, out),
        Verb::Doctor => rows(answer, "findings")
            .iter()
            .try_for_each(|found| writeln!(out, "{}", finding(found))),
        Verb::Diag => writeln!(out, "{answer:#}"),
        Verb::Poll { .. } => writeln!(out, "the mailbox is looked into now; see `wardpost status`"),
        Verb::Hold { .. }
        | Verb::Release { .. }
        | Verb::Resend { .. }
        | Verb::Settle { .. }
        | Verb::Cancel { .. } => done(verb, answer, out),
    }
}

fn status(answer: &Value, out: &mut impl Write) -> Result<()> {
    let uplink = answer.get("uplink").unwrap_or(&Value::Null);
    writeln!(
        out,
        "wardpost {}, up since {}",
        text(answer, "version"),
        text(answer, "since")
    )?;
    writeln!(out, "cloud    {}", text(uplink, "words"))?;
    mailbox(answer.get("mailbox").unwrap_or(&Value::Null), out)?;
    if answer.get("agent_status").is_some_and(Value::is_string) {
        writeln!(
            out,
            "agent    {} in the cloud",
            text(answer, "agent_status")
        )?;
    }
    writeln!(
        out,
        "pushes   {} queued, {} held",
        text(answer, "queued"),
        text(answer, "held")
    )?;
    let uploads = answer.get("uploads").unwrap_or(&Value::Null);
    writeln!(
        out,
        "upward   {} wait for the cloud",
        text(uploads, "waiting")
    )?;
    disk(answer.get("disk").unwrap_or(&Value::Null), out)?;
    writeln!(out, "config   applied {}", text(answer, "applied"))?;
    for alarm in rows(answer, "alarms") {
        writeln!(
            out,
            "alarm    {}: {}",
            text(alarm, "kind"),
            text(alarm, "text")
        )?;
    }
    for problem in rows(answer, "problems") {
        writeln!(out, "problem  {}", plain(problem))?;
    }
    devices(answer, out)
}

fn mailbox(mailbox: &Value, out: &mut impl Write) -> Result<()> {
    if mailbox.get("on").and_then(Value::as_bool) != Some(true) {
        return Ok(());
    }
    writeln!(
        out,
        "mailbox  {} waiting, {} claimed ({} on hold), {} to report; searched {}",
        text(mailbox, "waiting"),
        text(mailbox, "open"),
        text(mailbox, "on_hold"),
        text(mailbox, "untold"),
        text(mailbox, "last_search")
    )?;
    if mailbox.get("last_error").is_some_and(Value::is_string) {
        writeln!(out, "mailbox  last trouble {}", text(mailbox, "last_error"))?;
    }
    rows(mailbox, "aside")
        .iter()
        .try_for_each(|task| writeln!(out, "mailbox  left alone: {}", plain(task)))
}

fn disk(disk: &Value, out: &mut impl Write) -> Result<()> {
    let mib = |name| disk.get(name).and_then(Value::as_u64).unwrap_or(0) >> 20;
    writeln!(
        out,
        "disk     {} MiB free; database {} MiB, {} MiB of it in use",
        mib("free"),
        mib("database"),
        mib("used")
    )
}

fn reload(answer: &Value, out: &mut impl Write) -> Result<()> {
    rows(answer, "said")
        .iter()
        .try_for_each(|said| writeln!(out, "{}", plain(said)))
}

fn devices(answer: &Value, out: &mut impl Write) -> Result<()> {
    let devices = rows(answer, "devices");
    if devices.is_empty() {
        return writeln!(out, "no devices; add a file to devices.d");
    }
    let width = devices
        .iter()
        .map(|device| text(device, "name").len())
        .max()
        .unwrap_or(0);
    for device in devices {
        let reason = text(device, "reason");
        let reason = if reason.is_empty() {
            reason
        } else {
            format!("  {reason}")
        };
        writeln!(
            out,
            "device   {:width$}  {:9}  {} queued, {} held{reason}",
            text(device, "name"),
            text(device, "line"),
            text(device, "queued"),
            text(device, "held"),
        )?;
    }
    Ok(())
}

fn queue(answer: &Value, out: &mut impl Write) -> Result<()> {
    let pushes = rows(answer, "pushes");
    if pushes.is_empty() {
        return writeln!(out, "nothing waits");
    }
    for push in pushes {
        writeln!(
            out,
            "{:>8}  {}  {:7}  {}  {}",
            text(push, "push"),
            text(push, "at"),
            text(push, "state"),
            text(push, "device"),
            text(push, "reason"),
        )?;
    }
    Ok(())
}

fn why(answer: &Value, out: &mut impl Write) -> Result<()> {
    let level = text(answer, "level");
    let level = if level.is_empty() {
        level
    } else {
        format!(" ({level})")
    };
    let state = text(answer, "state");
    writeln!(
        out,
        "push {} for {} is {state}{level}",
        text(answer, "push"),
        text(answer, "device")
    )?;
    let task = text(answer, "task");
    if !task.is_empty() {
        writeln!(out, "  kept in the cloud as {task}")?;
    }
    for event in rows(answer, "events") {
        writeln!(out, "  {}  {}", text(event, "at"), text(event, "text"))?;
    }
    let reason = text(answer, "reason");
    if !reason.is_empty() {
        writeln!(out, "why:  {reason}")?;
    }
    writeln!(out, "next: {}", text(answer, "next"))
}

fn done(verb: &Verb, answer: &Value, out: &mut impl Write) -> Result<()> {
    let new = text(answer, "new");
    if new.is_empty() {
        writeln!(
            out,
            "{}: done for push {}",
            verb.name(),
            text(answer, "push")
        )
    } else {
        writeln!(
            out,
            "push {} goes again as push {new}",
            text(answer, "push")
        )
    }
}

/// One finding of the doctor, on one line.
pub(super) fn finding(found: &Value) -> String {
    let what = format!("{} {}", text(found, "check"), text(found, "step"));
    let verdict = text(found, "verdict").replace('-', " ");
    let next = text(found, "next");
    let next = if next.is_empty() {
        next
    } else {
        format!("; {next}")
    };
    format!("{verdict:9}  {what:21}  {}{next}", text(found, "said"))
}

pub(super) fn rows<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer
        .get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn text(answer: &Value, name: &str) -> String {
    answer.get(name).map(plain).unwrap_or_default()
}

/// A value without quotes, and without anything that steers a terminal.
pub(super) fn plain(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
