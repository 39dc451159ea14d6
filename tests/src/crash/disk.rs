//! What is on a disk when the power goes: what was synced for certain, and of everything later any part.
//!
//! A write is safe after a sync of its file that began after it. Until then each of its sectors may be there or not, in
//! any order, the last one torn. A name, new or removed, is safe after a sync of the directory. That is less than any
//! file system in use keeps, so what survives here survives there.

use std::collections::{BTreeMap, VecDeque};

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::record::Event;

/// Files by name.
pub type Image = BTreeMap<String, Vec<u8>>;

/// A disk that events happen to.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    nodes: Vec<Node>,
    /// Which node a name means now.
    names: BTreeMap<String, usize>,
    /// Which it means for certain.
    safe_names: BTreeMap<String, usize>,
    unsafe_names: Vec<(String, Option<usize>)>,
    syncing_names: VecDeque<usize>,
}

/// A file without its name.
#[derive(Clone, Debug, Default)]
struct Node {
    safe: Vec<u8>,
    later: Vec<Change>,
    /// For each sync that has begun: how many of the later changes came before it.
    syncing: VecDeque<usize>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Length(usize),
}

/// Which part of what is not safe the disk keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keeps {
    Nothing,
    Everything,
    /// All up to some write, and of that one the beginning.
    Beginning,
    /// Some writes, each as a whole, in any order.
    SomeWrites,
    /// Some sectors of each write.
    SomeSectors,
}

impl Keeps {
    pub const ALL: [Self; 5] = [
        Self::Nothing,
        Self::Everything,
        Self::Beginning,
        Self::SomeWrites,
        Self::SomeSectors,
    ];
}

/// Whether syncs work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Syncs {
    Work,
    /// They say that they did, and do nothing.
    Lie,
}

impl Disk {
    pub fn take(&mut self, event: &Event, syncs: Syncs) {
        match event {
            Event::Created { file } => {
                self.nodes.push(Node::default());
                self.link(file, self.nodes.len() - 1);
            }
            Event::Written { file, at, bytes } => self.change(file, || Change::Write {
                at: *at,
                bytes: bytes.clone(),
            }),
            Event::Truncated { file, length } => self.change(file, || Change::Length(*length)),
            Event::Unlinked { file } => self.unlink(file),
            Event::Renamed { from, to } => {
                if let Some(node) = self.names.get(from).copied() {
                    self.unlink(from);
                    self.link(to, node);
                }
            }
            Event::SyncBegan { file } if syncs == Syncs::Work => self.sync_began(file),
            Event::SyncEnded { file } if syncs == Syncs::Work => self.sync_ended(file),
            Event::SyncBegan { .. } | Event::SyncEnded { .. } | Event::Sent { .. } => {}
        }
    }

    fn link(&mut self, file: &str, node: usize) {
        self.names.insert(file.to_owned(), node);
        self.unsafe_names.push((file.to_owned(), Some(node)));
    }

    fn unlink(&mut self, file: &str) {
        self.names.remove(file);
        self.unsafe_names.push((file.to_owned(), None));
    }

    fn node(&mut self, file: &str) -> Option<&mut Node> {
        self.nodes.get_mut(*self.names.get(file)?)
    }

    fn change(&mut self, file: &str, change: impl FnOnce() -> Change) {
        if let Some(node) = self.node(file) {
            node.later.push(change());
        }
    }

    fn sync_began(&mut self, file: &str) {
        if file == DIRECTORY {
            self.syncing_names.push_back(self.unsafe_names.len());
        } else if let Some(node) = self.node(file) {
            node.syncing.push_back(node.later.len());
        }
    }

    fn sync_ended(&mut self, file: &str) {
        if file == DIRECTORY {
            let count = self.syncing_names.pop_front().unwrap_or_default();
            for (name, node) in self.unsafe_names.drain(..count) {
                set(&mut self.safe_names, name, node);
            }
            for begun in &mut self.syncing_names {
                *begun = begun.saturating_sub(count);
            }
        } else if let Some(node) = self.node(file) {
            node.sync_ended();
        }
    }

    /// What the disk would have kept if the power had gone now.
    pub fn image(&self, keeps: Keeps, random: &mut StdRng) -> Image {
        let mut names = self.safe_names.clone();
        for (name, node) in &self.unsafe_names {
            let kept = match keeps {
                Keeps::Nothing => false,
                Keeps::Everything => true,
                Keeps::Beginning | Keeps::SomeWrites | Keeps::SomeSectors => random.random(),
            };
            if kept {
                set(&mut names, name.clone(), *node);
            }
        }
        let content = |node: usize, random: &mut StdRng| {
            let node = self.nodes.get(node);
            node.map(|node| node.content(keeps, random))
                .unwrap_or_default()
        };
        names
            .into_iter()
            .map(|(name, node)| (name, content(node, random)))
            .collect()
    }
}

fn set(names: &mut BTreeMap<String, usize>, name: String, node: Option<usize>) {
    match node {
        Some(node) => names.insert(name, node),
        None => names.remove(&name),
    };
}

impl Node {
    fn sync_ended(&mut self) {
        let count = self.syncing.pop_front().unwrap_or_default();
        for change in self.later.drain(..count) {
            change.apply(&mut self.safe);
        }
        for begun in &mut self.syncing {
            *begun = begun.saturating_sub(count);
        }
    }

    fn content(&self, keeps: Keeps, random: &mut StdRng) -> Vec<u8> {
        let mut content = self.safe.clone();
        for change in self.kept(keeps, random) {
            change.apply(&mut content);
        }
        content
    }

    fn kept(&self, keeps: Keeps, random: &mut StdRng) -> Vec<Change> {
        match keeps {
            Keeps::Nothing => vec![],
            Keeps::Everything => self.later.clone(),
            Keeps::Beginning => {
                let count = random.random_range(0..=self.later.len());
                let mut kept: Vec<Change> = self.later.iter().take(count).cloned().collect();
                if let Some(Change::Write { bytes, .. }) = kept.last_mut() {
                    bytes.truncate(random.random_range(0..=bytes.len()));
                }
                kept
            }
            Keeps::SomeWrites => {
                let mut kept = self.later.clone();
                kept.retain(|_| random.random());
                kept.shuffle(random);
                kept
            }
            Keeps::SomeSectors => {
                let chance = [0.1, 0.5, 0.9][random.random_range(0..3)];
                let all = self.later.iter().flat_map(Change::sectors);
                all.filter(|_| random.random_bool(chance)).collect()
            }
        }
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Length(length) => content.resize(*length, 0),
            Self::Write { at, bytes } => {
                let end = at + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                if let Some(part) = content.get_mut(*at..end) {
                    part.copy_from_slice(bytes);
                }
            }
        }
    }

    /// The same in parts that a disk writes as a whole.
    fn sectors(&self) -> Vec<Self> {
        let Self::Write { at, bytes } = self else {
            return vec![self.clone()];
        };
        let first = SECTOR - at % SECTOR;
        let (head, tail) = bytes.split_at(first.min(bytes.len()));
        let mut from = *at;
        let parts = std::iter::once(head).chain(tail.chunks(SECTOR));
        parts
            .map(|part| {
                let at = from;
                from += part.len();
                Self::Write {
                    at,
                    bytes: part.to_vec(),
                }
            })
            .collect()
    }
}

const SECTOR: usize = 512;
const DIRECTORY: &str = ".";

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn disk(events: &[Event]) -> Disk {
        let mut disk = Disk::default();
        for event in events {
            disk.take(event, Syncs::Work);
        }
        disk
    }

    fn event(kind: fn(String) -> Event, file: &str) -> Event {
        kind(file.to_owned())
    }

    fn created() -> Event {
        event(|file| Event::Created { file }, "db")
    }

    fn synced(file: &str) -> [Event; 2] {
        [began(file), ended(file)]
    }

    fn began(file: &str) -> Event {
        event(|file| Event::SyncBegan { file }, file)
    }

    fn ended(file: &str) -> Event {
        event(|file| Event::SyncEnded { file }, file)
    }

    fn written(at: usize, text: &str) -> Event {
        Event::Written {
            file: "db".into(),
            at,
            bytes: text.into(),
        }
    }

    fn kept(events: &[Event], keeps: Keeps) -> Option<String> {
        let mut random = StdRng::seed_from_u64(1);
        let image = disk(events).image(keeps, &mut random);
        let bytes = image.get("db")?.clone();
        Some(String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn what_was_synced_is_there_and_what_came_later_may_be() {
        let mut events = vec![created()];
        events.extend(synced("."));
        events.push(written(0, "abc"));
        events.extend(synced("db"));
        events.push(written(1, "XYZ"));
        assert_eq!(kept(&events, Keeps::Nothing).as_deref(), Some("abc"));
        assert_eq!(kept(&events, Keeps::Everything).as_deref(), Some("aXYZ"));
    }

    #[test]
    fn a_write_during_a_sync_is_not_safe_after_it() {
        let mut events = vec![created()];
        events.extend(synced("."));
        events.extend([written(0, "a"), began("db"), written(1, "b"), ended("db")]);
        assert_eq!(kept(&events, Keeps::Nothing).as_deref(), Some("a"));
    }

    #[test]
    fn a_file_whose_name_was_not_synced_may_be_gone() {
        let mut events = vec![created(), written(0, "a")];
        events.extend(synced("db"));
        assert_eq!(kept(&events, Keeps::Nothing), None);
        assert_eq!(kept(&events, Keeps::Everything).as_deref(), Some("a"));
    }

    #[test]
    fn sectors_are_cut_where_the_disk_cuts_them() {
        let write = Change::Write {
            at: 500,
            bytes: vec![1; 600],
        };
        let sizes: Vec<(usize, usize)> = write
            .sectors()
            .iter()
            .map(|part| match part {
                Change::Write { at, bytes } => (*at, bytes.len()),
                Change::Length(_) => (0, 0),
            })
            .collect();
        assert_eq!(sizes, [(500, 12), (512, 512), (1024, 76)]);
    }
}
