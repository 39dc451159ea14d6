//! A disk that is lists of rows, and what is read back from it.

use std::collections::BTreeMap;

use agent_core::push::{DeviceNo, Now, PushId, State, Timestamp};
use agent_core::queue::{
    ColdBlock, ColdFacts, DeviceConfig, EventFacts, EventRow, Kind, Loader, Mark, News, Open,
    PushFacts, Queue, Receipts, Row, SavedPrints, Segment, Stretch, Turn,
};

#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) pushes: Vec<PushFacts>,
    pub(crate) events: Vec<EventRow>,
    pub(crate) news: Vec<News>,
    mark: Option<Mark>,
    stretches: Vec<Stretch>,
    cold: BTreeMap<u64, ColdBlock>,
    open: Vec<Open>,
    devices: Vec<(DeviceNo, DeviceConfig)>,
    window: Option<usize>,
}

impl Disk {
    pub(crate) fn new(devices: Vec<(DeviceNo, DeviceConfig)>) -> Self {
        Self {
            devices,
            ..Self::default()
        }
    }

    /// Every queue that is read back keeps so few pushes whole.
    pub(crate) fn keep_whole(&mut self, window: usize) {
        self.window = Some(window);
    }

    pub(crate) fn write(&mut self, row: Row) {
        match row {
            Row::Push(row) => self.pushes.push(PushFacts {
                id: row.id,
                device: row.push.device,
                at: row.at,
                tried: row.tried,
                callback: row.push.callback.as_ref().map(|callback| callback.print),
                content: row.push.content,
                keys: row.push.key_prints.clone(),
                expires: row.expires,
                joins: row.joins,
                reply_to: row.push.reply_to(),
            }),
            Row::Copy {
                id,
                from,
                at,
                expires,
            } => {
                let from = self.facts(from).expect("what is copied has a row").clone();
                self.pushes.push(PushFacts {
                    id,
                    at,
                    expires,
                    tried: None,
                    callback: None,
                    joins: None,
                    reply_to: None,
                    ..from
                });
            }
            Row::Event(event) => {
                assert!(self.events.last().is_none_or(|last| last.seq < event.seq));
                self.events.push(event);
            }
            Row::News(news) => self.news.push(news),
            Row::Audit(_) => {}
        }
    }

    /// A segment: what it says replaces what the one before said.
    pub(crate) fn keep(&mut self, segment: Segment) {
        self.mark = Some(segment.mark);
        self.stretches.extend(segment.stretches);
        for block in segment.cold {
            self.cold.insert(block.no, block);
        }
        self.open = segment.open;
    }

    pub(crate) fn facts(&self, push: PushId) -> Option<&PushFacts> {
        let at = self.pushes.binary_search_by_key(&push, |facts| facts.id);
        Some(&self.pushes[at.ok()?])
    }

    pub(crate) fn cold_row(&self, push: PushId) -> ColdFacts {
        let facts = self.facts(push).expect("what waits has a row");
        ColdFacts {
            id: push,
            device: facts.device,
            at: facts.at,
            expires: facts.expires,
            keys: facts.keys.clone(),
        }
    }

    /// A queue that has just started, by the newest segment.
    pub(crate) fn start(&self, turn: &mut Turn) -> Queue {
        let mut queue = self.loader().start(turn);
        self.recall(&mut queue, turn.now);
        queue
    }

    /// The same as if there had never been a segment.
    pub(crate) fn start_from_all_rows(&self, turn: &mut Turn) -> Queue {
        let loader = self.begin();
        self.tail(loader, None).start(turn)
    }

    pub(crate) fn resume(&self, old: Queue, now: Now) -> Queue {
        self.loader().resume(old, now)
    }

    /// The live queue as it would come back from a commit that failed, less what only the live one remembers.
    pub(crate) fn look(&self, old: &mut Queue, now: Now) -> Vec<(PushId, State)> {
        let queue = self
            .loader()
            .resume(std::mem::replace(old, Queue::new(0)), now);
        let seen = crate::world::seen_from_outside(&queue, self, now);
        *old = queue;
        seen
    }

    fn begin(&self) -> Loader {
        let loader = Loader::new(10_000, self.devices.clone()).receipts(Receipts::On);
        match self.window {
            Some(window) => loader.window(window),
            None => loader,
        }
    }

    fn loader(&self) -> Loader {
        let mut loader = self.begin();
        let Some(mark) = self.mark else {
            return self.tail(loader, None);
        };
        loader.begin_at(mark);
        for block in self.cold.values() {
            assert!(loader.cold(block));
        }
        for open in &self.open {
            let own = self
                .events
                .iter()
                .filter(|event| event.push == open.push && event.seq <= mark.seq);
            let facts = self.facts(open.push).expect("what is open has a row");
            loader.open(facts.clone(), own.map(facts_of).collect(), open.state);
        }
        self.tail(loader, Some(mark))
    }

    fn tail(&self, mut loader: Loader, mark: Option<Mark>) -> Loader {
        let warm = |loader: &mut Loader, push: Option<PushId>| {
            if let Some(push) = push.filter(|push| loader.is_cold(*push)) {
                loader.warm(self.facts(push).expect("what waits has a row").clone());
            }
        };
        for push in &self.pushes {
            if mark.is_none_or(|mark| push.id > mark.push) {
                warm(&mut loader, push.joins);
                loader.push(push.clone());
            }
        }
        for event in &self.events {
            if mark.is_none_or(|mark| event.seq > mark.seq) {
                warm(&mut loader, Some(event.push));
                warm(&mut loader, event.next.map(|(push, _)| push));
                loader.event(facts_of(event));
            }
        }
        loader
    }

    fn recall(&self, queue: &mut Queue, now: Now) {
        let newest_first: Vec<&Stretch> = self.stretches.iter().rev().collect();
        let ranges: Vec<_> = newest_first.iter().map(|s| (s.first, s.last)).collect();
        let recall = queue.recollect(&ranges, now);
        for (stretch, recall) in newest_first.into_iter().zip(recall) {
            let saved = SavedPrints::decode(&stretch.bytes).expect("a stretch that was written");
            queue.recall(&[saved], recall);
        }
    }

    /// The state as the rows tell it.
    pub(crate) fn state(&self, push: PushId) -> State {
        let tried = self.facts(push).and_then(|facts| facts.tried);
        let mut state = tried.map_or(State::Queued, |_| State::Sending);
        for event in &self.events {
            if event.push == push {
                state = match event.kind {
                    Kind::Attempt | Kind::Completing => State::Sending,
                    _ => event.state.unwrap_or(state),
                };
            }
            if event.next.is_some_and(|(next, _)| next == push) {
                state = State::Sending;
            }
        }
        state
    }

    pub(crate) fn last_state(&self, push: PushId) -> Option<(State, Timestamp)> {
        let mut own = self.events.iter().rev().filter(|event| event.push == push);
        own.find_map(|event| Some((event.state?, event.at)))
    }
}

fn facts_of(event: &EventRow) -> EventFacts {
    EventFacts {
        seq: event.seq,
        push: event.push,
        at: event.at,
        kind: event.kind,
        state: event.state,
        resend: event.resend,
        reason: event.reason.clone(),
        who: event.who.clone(),
        status: event.status,
        next: event.next,
        taken: event.taken,
    }
}
