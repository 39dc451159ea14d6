//! An HL7 device over MLLP: listens, records what comes, answers as its script says.
//!
//! It can be switched off, which stops listening and cuts its connections, and on again at the same port. An agent
//! that dials it meanwhile is refused.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::journal::{Connection, Journal, Received};
use super::message::ack;
use super::mllp::{Deframer, frame};

/// What a device does with one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    pub kind: Kind,
    pub after: Duration,
}

/// What a device says, or fails to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Kind {
    Aa,
    Ae,
    Ar,
    /// Commit accept, and no application answer after it.
    Ca,
    CaAa,
    /// Silence; the connection stays open.
    None,
    /// Bytes that are no frame, then a frame that is no HL7.
    Garbage,
    /// The first half of an acknowledgement, then silence.
    Half,
    /// An acknowledgement of another message.
    Foreign,
    /// An acknowledgement of another message, then the right one.
    ForeignAa,
    /// The same acknowledgement two times.
    Twice,
    /// The first half of an acknowledgement, then the end of the connection.
    Close,
}

impl From<Kind> for Answer {
    fn from(kind: Kind) -> Self {
        Self {
            kind,
            after: Duration::ZERO,
        }
    }
}

impl Kind {
    #[must_use]
    pub fn after(self, after: Duration) -> Answer {
        Answer { kind: self, after }
    }
}

/// Decides the answer to each message.
pub type Script = Arc<dyn Fn(&Received) -> Answer + Send + Sync>;

/// The script of a device that always does the same.
pub fn always(answer: impl Into<Answer>) -> Script {
    let answer = answer.into();
    Arc::new(move |_| answer)
}

/// A device that runs until it is dropped.
pub struct Device {
    address: SocketAddr,
    shared: Arc<Shared>,
    switch: mpsc::Sender<Switch>,
    task: AbortHandle,
    /// Bound and never listening: keeps the port ours while the device is off.
    _port: TcpSocket,
}

struct Shared {
    name: Arc<str>,
    journal: Journal,
    script: Mutex<Script>,
    /// Spoken on every connection from now on.
    tls: Mutex<Option<TlsAcceptor>>,
}

enum Switch {
    On(oneshot::Sender<io::Result<()>>),
    Off(oneshot::Sender<io::Result<()>>),
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Device({} at {})", self.shared.name, self.address)
    }
}

impl Device {
    /// Starts a device on a port of its own.
    pub async fn start(name: &str, journal: &Journal, script: Script) -> io::Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), name, journal, script).await
    }

    pub async fn start_at(
        at: SocketAddr,
        name: &str,
        journal: &Journal,
        script: Script,
    ) -> io::Result<Self> {
        let port = reserve(at)?;
        let address = port.local_addr()?;
        let shared = Arc::new(Shared {
            name: name.into(),
            journal: journal.clone(),
            script: Mutex::new(script),
            tls: Mutex::default(),
        });
        let (switch, switches) = mpsc::channel(SWITCHES);
        let task = Task {
            address,
            shared: Arc::clone(&shared),
            connections: JoinSet::new(),
            accepted: 0,
        };
        let task = tokio::spawn(task.run(switches)).abort_handle();
        let device = Self {
            address,
            shared,
            switch,
            task,
            _port: port,
        };
        device.on().await?;
        Ok(device)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Changes what it does with messages from now on.
    pub fn follow(&self, script: Script) {
        *self
            .shared
            .script
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = script;
    }

    /// Speaks TLS from the next connection on, and nothing else; so it is mllps.
    pub fn speak_tls(&self, acceptor: TlsAcceptor) {
        *self
            .shared
            .tls
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(acceptor);
    }

    /// Everything it received, oldest first.
    pub fn received(&self) -> Vec<Received> {
        self.shared.journal.of(&self.shared.name)
    }

    /// Starts listening.
    pub async fn on(&self) -> io::Result<()> {
        let (done, told) = oneshot::channel();
        self.tell(Switch::On(done), told).await
    }

    /// Stops listening and cuts every connection.
    pub async fn off(&self) -> io::Result<()> {
        let (done, told) = oneshot::channel();
        self.tell(Switch::Off(done), told).await
    }

    async fn tell(
        &self,
        switch: Switch,
        told: oneshot::Receiver<io::Result<()>>,
    ) -> io::Result<()> {
        let gone = || io::Error::other("the device's task has ended");
        self.switch.send(switch).await.map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Task {
    address: SocketAddr,
    shared: Arc<Shared>,
    connections: JoinSet<()>,
    accepted: u64,
}

impl Task {
    async fn run(mut self, mut switches: mpsc::Receiver<Switch>) {
        let mut listener = None;
        loop {
            tokio::select! {
                switch = switches.recv() => match switch {
                    Some(Switch::On(done)) => {
                        let _ = done.send(self.open(&mut listener));
                    }
                    Some(Switch::Off(done)) => {
                        listener = None;
                        self.connections.shutdown().await;
                        let _ = done.send(Ok(()));
                    }
                    None => return,
                },
                Ok(stream) = accept(listener.as_ref()) => self.serve(stream),
                Some(_) = self.connections.join_next() => {}
            }
        }
    }

    /// A device that is on already stays as it is.
    fn open(&self, listener: &mut Option<TcpListener>) -> io::Result<()> {
        if listener.is_none() {
            *listener = Some(listen(self.address)?);
        }
        Ok(())
    }

    fn serve(&mut self, stream: TcpStream) {
        self.accepted += 1;
        let connection = Connection::now(self.accepted);
        let shared = Arc::clone(&self.shared);
        self.connections.spawn(async move {
            // A peer that goes away ends its connection and nothing else.
            let _ = meet(stream, &shared, connection).await;
        });
    }
}

async fn meet(stream: TcpStream, shared: &Shared, connection: Connection) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let tls = shared
        .tls
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    match tls {
        None => converse(stream, shared, connection).await,
        Some(tls) => converse(tls.accept(stream).await?, shared, connection).await,
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    shared: &Shared,
    connection: Connection,
) -> io::Result<()> {
    let mut deframer = Deframer::default();
    let mut buffer = vec![0; READ];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        deframer.push(buffer.get(..length).unwrap_or_default());
        while let Some(body) = deframer.next_message() {
            let received = shared.journal.record(&shared.name, connection, body)?;
            let script = Arc::clone(&*shared.script.lock().unwrap_or_else(PoisonError::into_inner));
            let Answer { kind, after } = script(&received);
            if !after.is_zero() {
                tokio::time::sleep(after).await;
            }
            shared.journal.answered(received.no, words(kind, &received));
            for part in parts(kind, &received) {
                stream.write_all(&part).await?;
                stream.flush().await?;
            }
            if kind == Kind::Close {
                return stream.shutdown().await;
            }
        }
    }
}

/// The acknowledgements of this message that are in its answer as a whole.
fn words(kind: Kind, received: &Received) -> Vec<String> {
    let codes: &[&str] = match kind {
        Kind::Aa | Kind::ForeignAa | Kind::Twice => &["AA"],
        Kind::Ae => &["AE"],
        Kind::Ar => &["AR"],
        Kind::Ca => &["CA"],
        Kind::CaAa => &["CA", "AA"],
        Kind::None | Kind::Garbage | Kind::Half | Kind::Foreign | Kind::Close => &[],
    };
    let words = |code: &&str| ack(&received.body, code, &received.control_id);
    let texts = codes.iter().map(words);
    texts
        .map(|text| String::from_utf8_lossy(&text).into_owned())
        .collect()
}

/// The writes that make up an answer.
fn parts(kind: Kind, received: &Received) -> Vec<Vec<u8>> {
    let own = |code| frame(&ack(&received.body, code, &received.control_id));
    let foreign = || frame(&ack(&received.body, "AA", "SOMEONE-ELSE"));
    let half = |mut whole: Vec<u8>| {
        whole.truncate(whole.len() / 2);
        whole
    };
    match kind {
        Kind::Aa => vec![own("AA")],
        Kind::Ae => vec![own("AE")],
        Kind::Ar => vec![own("AR")],
        Kind::Ca => vec![own("CA")],
        Kind::CaAa => vec![own("CA"), own("AA")],
        Kind::None => vec![],
        Kind::Garbage => vec![b"\r\nHELLO\r\n".to_vec(), frame(b"NOT AN ACKNOWLEDGEMENT")],
        Kind::Half | Kind::Close => vec![half(own("AA"))],
        Kind::Foreign => vec![foreign()],
        Kind::ForeignAa => vec![foreign(), own("AA")],
        Kind::Twice => vec![own("AA"), own("AA")],
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

fn reserve(at: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if at.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    Ok(socket)
}

fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    reserve(at)?.listen(BACKLOG)
}

/// Switching is rare, and the caller waits for it.
const SWITCHES: usize = 4;
const BACKLOG: u32 = 128;
const READ: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Order, field};

    async fn device(kind: Kind) -> Device {
        Device::start("chem", &Journal::default(), always(kind))
            .await
            .unwrap()
    }

    /// Sends one order and reads until the device closes or has said `messages` messages.
    async fn exchange(device: &Device, messages: usize) -> Vec<Vec<u8>> {
        let mut stream = TcpStream::connect(device.address()).await.unwrap();
        stream
            .write_all(&frame(Order::new(7).text().as_bytes()))
            .await
            .unwrap();
        let (mut deframer, mut said) = (Deframer::default(), Vec::new());
        let mut buffer = [0; 1024];
        while said.len() < messages {
            let length = stream.read(&mut buffer).await.unwrap();
            if length == 0 {
                break;
            }
            deframer.push(&buffer[..length]);
            said.extend(std::iter::from_fn(|| deframer.next_message()));
        }
        said
    }

    async fn check(kind: Kind, codes: &[&str], about: &str) {
        let said = exchange(&device(kind).await, codes.len()).await;
        for (message, code) in said.iter().zip(codes) {
            assert_eq!(field(message, "MSA", 1).as_deref(), Some(*code), "{kind:?}");
        }
        assert_eq!(said.len(), codes.len(), "{kind:?}");
        let last = said.last().and_then(|last| field(last, "MSA", 2));
        assert_eq!(last.as_deref(), Some(about), "{kind:?}");
    }

    #[tokio::test]
    async fn a_device_answers_as_it_was_told() {
        check(Kind::Aa, &["AA"], "C7").await;
        check(Kind::Ae, &["AE"], "C7").await;
        check(Kind::Ar, &["AR"], "C7").await;
        check(Kind::Ca, &["CA"], "C7").await;
        check(Kind::CaAa, &["CA", "AA"], "C7").await;
        check(Kind::Foreign, &["AA"], "SOMEONE-ELSE").await;
        check(Kind::ForeignAa, &["AA", "AA"], "C7").await;
        check(Kind::Twice, &["AA", "AA"], "C7").await;
    }

    #[tokio::test]
    async fn a_device_that_closes_in_mid_answer_says_no_whole_message() {
        assert!(exchange(&device(Kind::Close).await, 1).await.is_empty());
    }

    #[tokio::test]
    async fn garbage_is_no_acknowledgement() {
        let said = exchange(&device(Kind::Garbage).await, 1).await;
        assert_eq!(field(&said[0], "MSA", 1), None);
    }

    #[tokio::test]
    async fn a_device_that_is_off_refuses_and_takes_messages_again_at_the_same_port() {
        let device = device(Kind::Aa).await;
        device.off().await.unwrap();
        let refused = TcpStream::connect(device.address()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        device.on().await.unwrap();
        assert_eq!(exchange(&device, 1).await.len(), 1);
        assert_eq!(device.received().len(), 1);
    }

    #[tokio::test]
    async fn switching_off_cuts_the_connections() {
        let device = device(Kind::None).await;
        let mut stream = TcpStream::connect(device.address()).await.unwrap();
        // Accepting is the device's task's business: one message through shows that it happened.
        device.follow(always(Kind::Aa));
        stream
            .write_all(&frame(Order::new(1).text().as_bytes()))
            .await
            .unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        device.off().await.unwrap();
        let ended = stream.read(&mut [0; 1024]).await;
        assert!(matches!(ended, Ok(0) | Err(_)));
    }

    #[tokio::test]
    async fn a_script_decides_message_by_message() {
        let journal = Journal::default();
        let script: Script = Arc::new(|message| {
            if message.nth == 1 {
                Kind::Ae.into()
            } else {
                Kind::Aa.into()
            }
        });
        let device = Device::start("chem", &journal, script).await.unwrap();
        let code = |said: &[Vec<u8>]| field(&said[0], "MSA", 1).unwrap();
        assert_eq!(code(&exchange(&device, 1).await), "AE");
        assert_eq!(code(&exchange(&device, 1).await), "AA");
    }
}
