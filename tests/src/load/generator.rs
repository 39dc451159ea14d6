//! The cloud side of the benchmark: keeps a number of pushes in flight and takes the time of each.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use agent_wire::{ToAgent, ToServer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::template::{Template, find, number};
use crate::bench::url;
use crate::cloud::{Opcode, Side, Socket, admit, write_frame};

/// How many pushes are in flight, and over how many devices they go round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    pub in_flight: u32,
    pub devices: usize,
}

/// What happened in one stretch of time.
#[derive(Clone, Debug, Default)]
pub(super) struct Stretch {
    pub(super) took: Duration,
    /// Microseconds from the write of each push to its answer, unsorted.
    pub(super) latencies: Vec<u32>,
}

/// A cloud with one agent.
#[derive(Debug)]
pub(super) struct Generator {
    sockets: mpsc::Receiver<Socket>,
    socket: Option<Socket>,
    pushes: Vec<Template>,
    turn: usize,
    book: Book,
    silent: Silent,
    out: Vec<u8>,
}

/// Pushes that nobody waits for, to devices of their own.
#[derive(Debug, Default)]
struct Silent {
    pushes: Vec<Template>,
    sent: u32,
    /// Since when, and how many a second.
    trickle: Option<(Instant, u32)>,
    trickled: u32,
}

/// What is known of every push, by its number.
#[derive(Debug)]
struct Book {
    began: Instant,
    /// Microseconds since `began`; the first entry is nobody's, since numbers begin with 1.
    sent: Vec<u32>,
    answers: Vec<u8>,
    in_flight: u32,
    latencies: Vec<u32>,
    faults: Vec<String>,
}

impl Generator {
    /// Starts the HTTP side on the current runtime.
    pub(super) async fn start(
        devices: &[SocketAddr],
        tls: Option<TlsAcceptor>,
    ) -> io::Result<(Self, SocketAddr)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (opened, sockets) = mpsc::channel(1);
        tokio::spawn(listen(listener, tls, opened));
        let book = Book {
            began: Instant::now(),
            sent: vec![0],
            answers: vec![1],
            in_flight: 0,
            latencies: Vec::new(),
            faults: Vec::new(),
        };
        let pushes = devices.iter().map(|at| Template::push(&url(*at))).collect();
        Ok((
            Self {
                sockets,
                socket: None,
                pushes,
                turn: 0,
                book,
                silent: Silent::default(),
                out: Vec::new(),
            },
            address,
        ))
    }

    /// Waits for an agent and answers its connect request.
    pub(super) async fn connected(&mut self) -> io::Result<()> {
        let socket = self.sockets.recv().await;
        let socket = self
            .socket
            .insert(socket.ok_or_else(|| io::Error::other("the door is closed"))?);
        loop {
            while let Some((opcode, payload)) = socket.frames().next_frame()? {
                let message = ToServer::decode(&String::from_utf8_lossy(payload));
                if opcode == Opcode::Text && matches!(message, Ok(ToServer::ConnectRequest { .. }))
                {
                    say(&mut self.out, &ToAgent::ConnectResponse);
                    socket.write(&self.out).await?;
                    self.out.clear();
                    return Ok(());
                }
            }
            if !socket.fill().await? {
                return Err(io::Error::other("the agent left before it connected"));
            }
        }
    }

    /// Closes the websocket.
    pub(super) fn hang_up(&mut self) {
        self.socket = None;
    }

    /// Keeps a shape up for a time.
    pub(super) async fn keep_up(&mut self, shape: Shape, during: Duration) -> io::Result<Stretch> {
        let began = Instant::now();
        self.book.latencies.clear();
        while began.elapsed() < during {
            self.top_up(shape);
            self.silent.trickle(&mut self.out);
            self.exchange(during.saturating_sub(began.elapsed()))
                .await?;
        }
        Ok(Stretch {
            took: began.elapsed(),
            latencies: std::mem::take(&mut self.book.latencies),
        })
    }

    /// Sends so many pushes a second, round over the devices, whether or not earlier ones are answered.
    pub(super) async fn pace(
        &mut self,
        per_second: u32,
        devices: usize,
        during: Duration,
    ) -> io::Result<Stretch> {
        let began = Instant::now();
        self.book.latencies.clear();
        let mut sent = 0;
        while began.elapsed() < during {
            let due = due(began.elapsed(), per_second);
            for _ in sent..due {
                self.send_next(devices);
            }
            sent = due;
            let next = Duration::from_secs(1) * (sent + 1) / per_second;
            self.exchange(next.saturating_sub(began.elapsed())).await?;
        }
        self.drain().await?;
        Ok(Stretch {
            took: began.elapsed(),
            latencies: std::mem::take(&mut self.book.latencies),
        })
    }

    /// From now on also sends so many pushes a second to these devices, and waits for none of them.
    pub(super) fn trickle(&mut self, devices: &[SocketAddr], per_second: u32) {
        self.silent.to(devices);
        self.silent.trickle = Some((Instant::now(), per_second));
    }

    /// Sends so many pushes to these devices as fast as the agent reads, and waits for none of them.
    pub(super) async fn pour(&mut self, devices: &[SocketAddr], count: u32) -> io::Result<()> {
        self.silent.to(devices);
        let mut left = count;
        while left > 0 {
            let chunk = left.min(POUR);
            for _ in 0..chunk {
                self.silent.write(&mut self.out);
            }
            left -= chunk;
            self.exchange(Duration::ZERO).await?;
        }
        Ok(())
    }

    /// Waits for the answers of everything in flight.
    pub(super) async fn drain(&mut self) -> io::Result<()> {
        let began = Instant::now();
        while self.book.in_flight > 0 {
            if began.elapsed() > PATIENCE {
                let in_flight = self.book.in_flight;
                return Err(io::Error::other(format!(
                    "{in_flight} pushes have no answer after {PATIENCE:?}"
                )));
            }
            self.exchange(Duration::from_millis(100)).await?;
        }
        Ok(())
    }

    pub(super) fn sent(&self) -> usize {
        self.book.sent.len() - 1
    }

    /// What went wrong so far, a sentence each.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = self.book.faults.clone();
        let answers = || self.book.answers.iter().copied();
        let unanswered = answers().filter(|answers| *answers < 1).count();
        let twice = answers().filter(|answers| *answers > 1).count();
        if unanswered + twice > 0 {
            faults.push(format!(
                "{unanswered} pushes without an answer, {twice} with more than one"
            ));
        }
        faults
    }

    fn top_up(&mut self, shape: Shape) {
        while self.book.in_flight < shape.in_flight {
            self.send_next(shape.devices);
        }
    }

    fn send_next(&mut self, devices: usize) {
        self.turn = (self.turn + 1) % devices.max(1);
        if let Some(push) = self.pushes.get(self.turn) {
            push.write(self.book.send(), &mut self.out);
        }
    }

    /// Writes what waits, then takes what comes, for at most this long.
    async fn exchange(&mut self, at_most: Duration) -> io::Result<()> {
        let gone = || io::Error::other("the agent is gone");
        let socket = self.socket.as_mut().ok_or_else(gone)?;
        if !self.out.is_empty() {
            socket.write(&self.out).await?;
            self.out.clear();
        }
        match tokio::time::timeout(at_most, socket.fill()).await {
            Ok(more) => more?.then_some(()).ok_or_else(gone)?,
            Err(_) => return Ok(()),
        }
        let now = self.book.now();
        while let Some((opcode, payload)) = socket.frames().next_frame()? {
            match (opcode, answer_of(payload)) {
                (Opcode::Text, Some(answer)) => self.book.answered(answer, now),
                (Opcode::Text, None) => aside(payload, &mut self.out, &mut self.book),
                (Opcode::Close, _) => return Err(gone()),
                (Opcode::Ping | Opcode::Pong, _) => {}
            }
        }
        Ok(())
    }
}

impl Silent {
    fn to(&mut self, devices: &[SocketAddr]) {
        let silent = |at: &SocketAddr| Template::silent_push(&url(*at));
        self.pushes = devices.iter().map(silent).collect();
    }

    fn write(&mut self, out: &mut Vec<u8>) {
        let turn = self.sent as usize % self.pushes.len().max(1);
        if let Some(push) = self.pushes.get(turn) {
            push.write(SILENT_FROM + self.sent, out);
        }
        self.sent += 1;
    }

    fn trickle(&mut self, out: &mut Vec<u8>) {
        let Some((since, per_second)) = self.trickle else {
            return;
        };
        let due = due(since.elapsed(), per_second);
        for _ in self.trickled..due {
            self.write(out);
        }
        self.trickled = due;
    }
}

/// How many should have left by now.
fn due(elapsed: Duration, per_second: u32) -> u32 {
    let due = elapsed.as_micros() * u128::from(per_second) / 1_000_000;
    u32::try_from(due).unwrap_or(u32::MAX)
}

impl Book {
    fn now(&self) -> u32 {
        micros(self.began.elapsed())
    }

    /// Gives the next push its number.
    fn send(&mut self) -> u32 {
        let number = u32::try_from(self.sent.len()).unwrap_or(u32::MAX);
        self.sent.push(self.now());
        self.answers.push(0);
        self.in_flight += 1;
        number
    }

    fn answered(&mut self, (push, status): (u32, u32), now: u32) {
        let index = push as usize;
        let (Some(answers), Some(sent)) = (self.answers.get_mut(index), self.sent.get(index))
        else {
            return self.fault(format!("an answer to push {push}, which was never sent"));
        };
        *answers = answers.saturating_add(1);
        if *answers == 1 {
            self.in_flight -= 1;
            self.latencies.push(now.saturating_sub(*sent));
        }
        if status != 200 {
            self.fault(format!("push {push} got {status}"));
        }
    }

    fn fault(&mut self, fault: String) {
        if self.faults.len() < FAULTS {
            self.faults.push(fault);
        }
    }
}

async fn listen(listener: TcpListener, tls: Option<TlsAcceptor>, opened: mpsc::Sender<Socket>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (opened, tls) = (opened.clone(), tls.clone());
        tokio::spawn(async move {
            if let Ok(Some(socket)) = receive(stream, tls).await {
                // Nobody waits for it any more when the benchmark ends.
                let _ = opened.send(socket).await;
            }
        });
    }
}

async fn receive(stream: TcpStream, tls: Option<TlsAcceptor>) -> io::Result<Option<Socket>> {
    stream.set_nodelay(true)?;
    match tls {
        None => admit(stream).await,
        Some(tls) => admit(tls.accept(stream).await?).await,
    }
}

/// Number of the push and status, if this is an answer of the common form.
fn answer_of(payload: &[u8]) -> Option<(u32, u32)> {
    find(
        payload.get(..TYPE_WITHIN.min(payload.len()))?,
        b"agent:transmit:response",
    )?;
    let callback = payload.get(find(payload, CALLBACK)? + CALLBACK.len()..)?;
    // The callback ends with the ten digits of the push.
    let callback = callback.get(..find(callback, b"\"")?)?;
    let push = number(callback.get(callback.len().checked_sub(10)?..)?)?;
    let status = payload.get(find(payload, STATUS)? + STATUS.len()..)?;
    let status = std::str::from_utf8(status.get(..3)?).ok()?.parse().ok()?;
    Some((push, status))
}

/// Everything that is not such an answer: heartbeats, and what should not come.
fn aside(payload: &[u8], out: &mut Vec<u8>, book: &mut Book) {
    match ToServer::decode(&String::from_utf8_lossy(payload)) {
        Ok(ToServer::HeartbeatRequest) => {
            say(
                out,
                &ToAgent::HeartbeatResponse {
                    version: Some("5.1.12-b1681e9".into()),
                },
            );
        }
        Ok(ToServer::HeartbeatResponse { .. }) => {}
        Ok(other) => book.fault(format!("the agent said {other:?}")),
        Err(error) => book.fault(format!("the agent said something unreadable: {error}")),
    }
}

fn say(out: &mut Vec<u8>, message: &ToAgent) {
    write_frame(out, Side::Server, Opcode::Text, message.encode().as_bytes());
}

/// Up to 71 minutes, longer than any run.
fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

const CALLBACK: &[u8] = b"\"callback\":\"";
const STATUS: &[u8] = b"\"statusCode\":";
/// The type comes first; a later mention would be part of a body.
const TYPE_WITHIN: usize = 40;
const FAULTS: usize = 10;
/// Numbers of pushes that nobody waits for; no run has so many others.
const SILENT_FROM: u32 = 3_000_000_000;
/// So many are written before the agent's own words are read again.
const POUR: u32 = 64;
const PATIENCE: Duration = Duration::from_secs(30);
