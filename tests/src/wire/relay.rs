//! One connection through the wire: two pumps, and scissors.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use super::{
    AckState, Connection, Corruption, Cut, Fault, Heard, Kind, Pace, Said, Shared, Way, Weather,
    now,
};

/// Carries bytes between the agent and the peer until one of them, or a fault, ends it.
pub(super) async fn carry(agent: TcpStream, shared: Arc<Shared>) {
    let began = now();
    let (scissors, cuts) = mpsc::unbounded_channel();
    let number = shared.open(scissors);
    if let Ok(peer) = TcpStream::connect(shared.peer).await {
        let relay = Relay {
            shared: &shared,
            number,
        };
        relay.run(agent, peer, cuts).await;
    } else {
        let away = shared.begin(Kind::PeerAway, Some(number), began);
        let _ = agent.set_zero_linger();
        drop(agent);
        away.end();
    }
    shared.state().connections.remove(&number);
}

impl Shared {
    fn open(&self, scissors: mpsc::UnboundedSender<Cut>) -> u64 {
        let mut state = self.state();
        state.opened += 1;
        let number = state.opened;
        let silent = false;
        state
            .connections
            .insert(number, Connection { scissors, silent });
        number
    }
}

struct Relay<'a> {
    shared: &'a Shared,
    number: u64,
}

/// Why a pump stopped before the end of the stream.
enum Stop {
    Cut(Cut),
    Broken,
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Self::Broken
    }
}

impl Relay<'_> {
    async fn run(
        &self,
        mut agent: TcpStream,
        mut peer: TcpStream,
        mut cuts: mpsc::UnboundedReceiver<Cut>,
    ) {
        // A socket that cannot be set up is one that has ended.
        let _ = (agent.set_nodelay(true), peer.set_nodelay(true));
        let stop = {
            let (from_agent, to_agent) = agent.split();
            let (from_peer, to_peer) = peer.split();
            tokio::select! {
                // A cut that was ordered is made before more bytes pass.
                biased;
                Some(how) = cuts.recv() => Stop::Cut(how),
                done = async { tokio::try_join!(
                    self.pump(Way::ToPeer, from_agent, to_peer),
                    self.pump(Way::FromPeer, from_peer, to_agent),
                )} => match done {
                    Ok(_) => return,
                    Err(stop) => stop,
                }
            }
        };
        match stop {
            Stop::Broken => self.hear_out(agent, peer).await,
            Stop::Cut(Cut::Reset) => self.reset(agent, peer),
            Stop::Cut(Cut::Fin) => self.finish(agent, peer).await,
        }
    }

    /// What the peer still answers to an agent that has gone shows whether it went too early.
    async fn hear_out(&self, agent: TcpStream, mut peer: TcpStream) {
        drop(agent);
        let _ = peer.shutdown().await;
        let mut buffer = vec![0; READ];
        let rest = async {
            while let Ok(length @ 1..) = peer.read(&mut buffer).await {
                let chunk = buffer.get(..length).unwrap_or_default();
                self.heard(chunk, now(), now());
            }
        };
        let _ = tokio::time::timeout(PATIENCE, rest).await;
    }

    fn reset(&self, agent: TcpStream, peer: TcpStream) {
        // Begun first: once it is done, the agent may be back before us.
        let reset = self.shared.begin(Kind::Reset, Some(self.number), now());
        for stream in [agent, peer] {
            let _ = stream.set_zero_linger();
            drop(stream);
        }
        reset.end();
    }

    /// Both ends are told that nothing more comes; what the agent says until it notices is lost.
    async fn finish(&self, mut agent: TcpStream, mut peer: TcpStream) {
        let end = self.shared.begin(Kind::Fin, Some(self.number), now());
        let _ = agent.shutdown().await;
        let _ = peer.shutdown().await;
        let mut buffer = vec![0; READ];
        let rest = async {
            while let Ok(length @ 1..) = agent.read(&mut buffer).await {
                self.said(buffer.get(..length).unwrap_or_default());
                self.shared.record(Kind::Swallowed, self.number, now());
            }
        };
        let closed = tokio::time::timeout(PATIENCE, rest).await;
        end.end();
        if closed.is_err() {
            // Whoever does not close has been told twice then.
            self.reset(agent, peer);
        }
    }

    async fn pump(
        &self,
        way: Way,
        mut from: ReadHalf<'_>,
        mut to: WriteHalf<'_>,
    ) -> Result<(), Stop> {
        let mut buffer = vec![0; READ];
        let mut fault = None;
        loop {
            let length = from.read(&mut buffer).await;
            let Ok(length @ 1..) = length else {
                length?;
                return Ok(to.shutdown().await?);
            };
            let chunk = buffer.get_mut(..length).unwrap_or_default();
            if way == Way::ToPeer {
                self.said(chunk);
            }
            let weather = self.weather(way, &mut fault);
            if !weather.delay.is_zero() {
                tokio::time::sleep(weather.delay).await;
            }
            if let Some(stop) = self
                .pass(way, chunk, &mut fault, (&mut to, weather.pace))
                .await?
            {
                return Err(stop);
            }
        }
    }

    /// What holds for these bytes, and the fault that waits for them if none is at work already.
    fn weather(&self, way: Way, fault: &mut Option<Fault>) -> Weather {
        let mut state = self.shared.state();
        if fault.is_none() {
            *fault = state.next.remove(&way);
        }
        state.weather
    }

    async fn pass(
        &self,
        way: Way,
        chunk: &mut [u8],
        fault: &mut Option<Fault>,
        to: (&mut WriteHalf<'_>, Pace),
    ) -> io::Result<Option<Stop>> {
        match fault {
            None => self.write(way, chunk, to).await?,
            Some(Fault::Silence) => self.swallow(),
            Some(Fault::CutAfter(left, how)) => {
                if chunk.len() >= *left {
                    self.write(way, chunk.get(..*left).unwrap_or_default(), to)
                        .await?;
                    return Ok(Some(Stop::Cut(*how)));
                }
                *left -= chunk.len();
                self.write(way, chunk, to).await?;
            }
            Some(Fault::Corrupt(what)) => {
                let since = now();
                let what = *what;
                if corrupt(chunk, what) {
                    *fault = (what == Corruption::Garbage).then_some(Fault::Silence);
                    self.send(chunk, to).await?;
                    self.shared.record(Kind::Corrupted, self.number, since);
                } else {
                    self.write(way, chunk, to).await?;
                }
            }
        }
        Ok(None)
    }

    async fn write(
        &self,
        way: Way,
        chunk: &[u8],
        to: (&mut WriteHalf<'_>, Pace),
    ) -> io::Result<()> {
        let (since, pace) = (now(), to.1);
        let sent = self.send(chunk, to).await;
        if way == Way::FromPeer {
            let until = match pace {
                Pace::AsTheyCome => now(),
                Pace::ByteByByte => now() + DRIPS,
            };
            self.heard(chunk, since, until);
        }
        sent
    }

    async fn send(&self, chunk: &[u8], (to, pace): (&mut WriteHalf<'_>, Pace)) -> io::Result<()> {
        match pace {
            Pace::AsTheyCome => to.write_all(chunk).await?,
            Pace::ByteByByte => {
                for byte in chunk {
                    to.write_all(std::slice::from_ref(byte)).await?;
                }
            }
        }
        Ok(())
    }

    fn said(&self, chunk: &[u8]) {
        let header = chunk.iter().position(|byte| *byte == VT);
        let message = header.and_then(|at| chunk.get(at + 1..));
        if let Some(control_id) = message.and_then(|text| crate::sim::field(text, "MSH", 10)) {
            let (connection, at) = (self.number, now());
            self.shared.state().said.push(Said {
                control_id,
                connection,
                at,
            });
        }
    }

    fn heard(&self, chunk: &[u8], from: u64, until: u64) {
        if let Some(about) = crate::sim::field(chunk, "MSA", 2) {
            let (connection, state) = (self.number, whole(chunk));
            self.shared.state().heard.push(Heard {
                about,
                connection,
                from,
                until,
                state,
            });
        }
    }

    fn swallow(&self) {
        if let Some(connection) = self.shared.state().connections.get_mut(&self.number) {
            connection.silent = true;
        }
        self.shared.record(Kind::Swallowed, self.number, now());
    }
}

/// Whether these bytes end a message.
fn whole(chunk: &[u8]) -> AckState {
    if chunk.contains(&FS) {
        AckState::Whole
    } else {
        AckState::Spoilt
    }
}

/// Whether there was anything to corrupt.
fn corrupt(chunk: &mut [u8], what: Corruption) -> bool {
    let at = match what {
        Corruption::Framing => chunk.iter().position(|byte| matches!(*byte, VT | FS)),
        Corruption::ControlId => chunk
            .windows(MSA.len())
            .position(|window| window == MSA)
            // The code has two letters, then comes a separator, then the control id.
            .map(|at| at + MSA.len() + 3),
        Corruption::Garbage => {
            chunk.fill(GARBAGE);
            return true;
        }
    };
    let Some(byte) = at.and_then(|at| chunk.get_mut(at)) else {
        return false;
    };
    *byte ^= FLIPPED;
    true
}

const VT: u8 = 0x0b;
const FS: u8 = 0x1c;
const MSA: &[u8] = b"MSA|";
/// As the first byte of a websocket frame it has bits that must be clear; in UTF-8 it does not occur.
const GARBAGE: u8 = 0xff;
/// Makes another letter of a letter, and of a frame mark something that is none.
const FLIPPED: u8 = 0x10;
const READ: usize = 64 * 1024;
/// The kernel has only a few small packets on their way at a time, and the rest waits for up to four acknowledgements,
/// each of which may be held back for 40 ms.
const DRIPS: u64 = 200;
const PATIENCE: Duration = Duration::from_secs(2);
