//! Reads what the shim recorded (the format is drawn in `tests/shim/record.h`).

use std::collections::BTreeMap;

use anyhow::{Context, bail};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Created {
        file: String,
    },
    Written {
        file: String,
        at: usize,
        bytes: Vec<u8>,
    },
    Truncated {
        file: String,
        length: usize,
    },
    /// The state directory is a file, too, and is called `.`.
    SyncBegan {
        file: String,
    },
    SyncEnded {
        file: String,
    },
    Unlinked {
        file: String,
    },
    Renamed {
        from: String,
        to: String,
    },
    /// Bytes left on a TCP connection, named by both its ports.
    Sent {
        own: u16,
        other: u16,
        bytes: Vec<u8>,
    },
}

/// Everything in its order.
pub fn read(bytes: &[u8]) -> anyhow::Result<Vec<Event>> {
    let mut names = BTreeMap::new();
    let mut events = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (head, more) = rest.split_at_checked(HEAD).context("half a head")?;
        let head = Head::read(head).context("half a head")?;
        let (body, more) = more.split_at_checked(head.size).context("half an entry")?;
        rest = more;
        if head.kind == b'N' {
            names.insert(head.file, String::from_utf8_lossy(body).into_owned());
        } else if head.kind != b'L' {
            events.push(event(&head, body, &names)?);
        }
    }
    Ok(events)
}

struct Head {
    kind: u8,
    file: u8,
    pair: u32,
    size: usize,
    at: usize,
}

impl Head {
    fn read(bytes: &[u8]) -> Option<Self> {
        let number = |from: usize| Some(u32::from_le_bytes(*bytes.get(from..)?.first_chunk()?));
        let at = u64::from_le_bytes(*bytes.get(10..)?.first_chunk()?);
        Some(Self {
            kind: *bytes.first()?,
            file: *bytes.get(1)?,
            pair: number(2)?,
            size: usize::try_from(number(6)?).ok()?,
            at: usize::try_from(at).ok()?,
        })
    }
}

fn event(head: &Head, body: &[u8], names: &BTreeMap<u8, String>) -> anyhow::Result<Event> {
    let name = |number: u8| names.get(&number).cloned().context("a file without a name");
    let file = || name(head.file);
    Ok(match head.kind {
        b'C' => Event::Created { file: file()? },
        b'W' => Event::Written {
            file: file()?,
            at: head.at,
            bytes: body.to_vec(),
        },
        b'T' => Event::Truncated {
            file: file()?,
            length: head.at,
        },
        b'B' => Event::SyncBegan { file: file()? },
        b'E' => Event::SyncEnded { file: file()? },
        b'U' => Event::Unlinked { file: file()? },
        b'R' => Event::Renamed {
            from: file()?,
            to: name(u8::try_from(head.at)?)?,
        },
        b'S' => Event::Sent {
            own: u16::try_from(head.pair >> 16)?,
            other: u16::try_from(head.pair & 0xffff)?,
            bytes: body.to_vec(),
        },
        other => bail!("an entry of an unknown kind: {other}"),
    })
}

const HEAD: usize = 18;
