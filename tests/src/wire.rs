//! A TCP proxy that misbehaves on command, and writes down what it did and when.
//!
//! ```text
//!   agent ──── Wire ──── peer (a device, the cloud)
//! ```
//!
//! It knows nothing of what it carries, but where MLLP puts its frame marks and an acknowledgement its control id: what
//! is corrupted there has to be noticed by any receiver. Everything that may keep a message or its answer from arriving
//! is an [`Incident`] with its time and its connection, and so is every message and every acknowledgement that came by
//! noted: a judge can tell what had to be uncertain from what was not.

mod relay;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

/// Which way bytes go, seen from the agent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Way {
    ToPeer,
    FromPeer,
}

/// How a connection is cut, on both sides at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// As when a firewall or a reboot forgets it: RST.
    Reset,
    /// As when the other end closes in peace: FIN.
    Fin,
}

/// What happens to the next bytes that go a way, on whichever connection they come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// So many more bytes pass, then the connection is cut.
    CutAfter(usize, Cut),
    /// They and all that follow on this connection are swallowed; the sockets stay open.
    Silence,
    Corrupt(Corruption),
}

/// What is done to bytes, such that whoever receives them has to notice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Corruption {
    /// A bit of the first VT or FS is flipped.
    Framing,
    /// A bit of the control id in MSA-2 is flipped.
    ControlId,
    /// Bytes that begin no frame and are no UTF-8, and nothing after them.
    Garbage,
}

/// Something that may have kept a message, or the answer to it, from arriving. Times are UTC in milliseconds.
///
/// It lasts as long as it can do harm: what the agent writes to a connection that is gone, it knows to be unsent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Incident {
    pub kind: Kind,
    /// None: all that the kernel had let in, and nobody had seen.
    pub connection: Option<u64>,
    pub from: u64,
    pub until: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    Reset,
    Fin,
    Swallowed,
    Corrupted,
    /// The agent was let in, and the peer was not there.
    PeerAway,
}

/// An HL7 message of the agent, as its first bytes came by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    /// The control id in its MSH-10.
    pub control_id: String,
    pub connection: u64,
    pub at: u64,
}

/// An HL7 acknowledgement that was passed on, or that the agent no longer took: not before the first time, and not after
/// the second.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heard {
    /// The control id in its MSA-2.
    pub about: String,
    pub connection: u64,
    pub from: u64,
    pub until: u64,
    pub state: AckState,
}

/// What the agent can have got of an acknowledgement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AckState {
    /// All of it, as the peer has said it.
    Whole,
    /// A part, or something else.
    Spoilt,
}

/// A wire that runs until it is dropped.
#[derive(Debug)]
pub struct Wire {
    address: SocketAddr,
    shared: Arc<Shared>,
    door: watch::Sender<Door>,
    task: AbortHandle,
    /// Bound and never listening: keeps the port ours while the wire refuses.
    _port: TcpSocket,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Door {
    Open,
    Refusing,
}

#[derive(Debug)]
struct Shared {
    peer: SocketAddr,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    weather: Weather,
    next: BTreeMap<Way, Fault>,
    connections: BTreeMap<u64, Connection>,
    opened: u64,
    incidents: Vec<Incident>,
    said: Vec<Said>,
    heard: Vec<Heard>,
}

/// What holds for all bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Weather {
    delay: Duration,
    pace: Pace,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Pace {
    #[default]
    AsTheyCome,
    ByteByByte,
}

#[derive(Debug)]
struct Connection {
    scissors: mpsc::UnboundedSender<Cut>,
    silent: bool,
}

impl Wire {
    /// A wire to this peer, at a port of its own; within a runtime.
    pub fn start(peer: SocketAddr) -> io::Result<Self> {
        let port = reserve((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = port.local_addr()?;
        let shared = Arc::new(Shared {
            peer,
            state: Mutex::default(),
        });
        let (door, doors) = watch::channel(Door::Open);
        let listener = listen(address)?;
        let task = tokio::spawn(accept(listener, Arc::clone(&shared), doors)).abort_handle();
        Ok(Self {
            address,
            shared,
            door,
            task,
            _port: port,
        })
    }

    /// Where the agent finds its peer.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts every open connection now. Returns how many there were.
    pub fn cut(&self, how: Cut) -> usize {
        let state = self.shared.state();
        for connection in state.connections.values() {
            // A connection that has just ended by itself needs no cut.
            let _ = connection.scissors.send(how);
        }
        state.connections.len()
    }

    /// The next bytes that go this way meet this fault, once.
    pub fn next(&self, way: Way, fault: Fault) {
        self.shared.state().next.insert(way, fault);
    }

    /// Every chunk of bytes is held back for so long.
    pub fn delay(&self, by: Duration) {
        self.shared.state().weather.delay = by;
    }

    /// Bytes are passed on one by one.
    pub fn split(&self) {
        self.shared.state().weather.pace = Pace::ByteByByte;
    }

    /// Whoever connects is refused, until [`Wire::calm`].
    pub fn refuse(&self) {
        self.door.send_replace(Door::Refusing);
    }

    /// From now on it is a good wire again. What was silent is reset, as when the other end comes back and knows nothing.
    pub fn calm(&self) {
        let mut state = self.shared.state();
        state.weather = Weather::default();
        state.next.clear();
        for connection in state.connections.values().filter(|one| one.silent) {
            let _ = connection.scissors.send(Cut::Reset);
        }
        drop(state);
        self.door.send_replace(Door::Open);
    }

    /// Everything that went wrong so far, oldest first.
    pub fn incidents(&self) -> Vec<Incident> {
        self.shared.state().incidents.clone()
    }

    /// Every message of the agent, oldest first.
    pub fn said(&self) -> Vec<Said> {
        self.shared.state().said.clone()
    }

    /// Every acknowledgement that was passed on to the agent, oldest first.
    pub fn heard(&self) -> Vec<Heard> {
        self.shared.state().heard.clone()
    }

    /// How many open connections swallow what is sent.
    pub fn silent(&self) -> usize {
        let state = self.shared.state();
        state.connections.values().filter(|one| one.silent).count()
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.shared.state().connections.len()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something that is over.
    fn record(&self, kind: Kind, connection: u64, from: u64) {
        self.begin(kind, Some(connection), from).end();
    }

    /// Something that lasts until it is ended.
    fn begin(&self, kind: Kind, connection: Option<u64>, from: u64) -> Lasting<'_> {
        let mut state = self.state();
        let place = state.incidents.len();
        state.incidents.push(Incident {
            kind,
            connection,
            from,
            until: u64::MAX,
        });
        let shared = self;
        Lasting { shared, place }
    }
}

/// An incident that has begun.
struct Lasting<'a> {
    shared: &'a Shared,
    place: usize,
}

impl Lasting<'_> {
    fn end(self) {
        if let Some(incident) = self.shared.state().incidents.get_mut(self.place) {
            incident.until = now();
        }
    }
}

async fn accept(first: TcpListener, shared: Arc<Shared>, mut doors: watch::Receiver<Door>) {
    let address = first.local_addr();
    let mut listener = Some(first);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            changed = doors.changed() => {
                let (Ok(()), Ok(address)) = (changed, &address) else { return };
                let open = *doors.borrow_and_update() == Door::Open;
                if open {
                    listener = listener.or_else(|| listen(*address).ok());
                } else {
                    // Whoever the kernel has let in already, and we have not seen yet, is thrown out with the listener.
                    let thrown_out = shared.begin(Kind::PeerAway, None, now());
                    drop(listener.take());
                    thrown_out.end();
                }
            }
            Ok(stream) = accepted(listener.as_ref()) => {
                connections.spawn(relay::carry(stream, Arc::clone(&shared)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn accepted(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

fn reserve(at: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    Ok(socket)
}

fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    reserve(at)?.listen(BACKLOG)
}

/// UTC in milliseconds, as the agent and the simulators stamp what they record.
fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

const BACKLOG: u32 = 128;

#[cfg(test)]
mod tests;
