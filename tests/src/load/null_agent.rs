//! An agent that stores nothing and forwards at once: what the generator can do without ours in between.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::template::{Template, find, number};
use crate::cloud::{AGENT, Opcode, Side, Socket, enter, write_frame};
use crate::sim::{Deframer, frame};

/// Connects to the cloud and serves until the cloud closes.
pub(super) async fn run(cloud: SocketAddr) -> io::Result<()> {
    let mut socket = enter(TcpStream::connect(cloud).await?).await?;
    let connect = agent_wire::ToServer::ConnectRequest {
        access_token: Some("null".into()),
        agent_id: Some(AGENT.into()),
    };
    let mut out = Vec::new();
    write_frame(
        &mut out,
        Side::Client,
        Opcode::Text,
        connect.encode().as_bytes(),
    );
    socket.write(&out).await?;
    let (answers, mut answered) = mpsc::channel(ANSWERS);
    let mut lines = HashMap::new();
    let answer = Template::answer();
    loop {
        forward(&mut socket, &mut lines, &answers).await?;
        out.clear();
        tokio::select! {
            more = socket.fill() => if !more? { return Ok(()) },
            Some(first) = answered.recv() => {
                answer.write(first, &mut out);
                while let Ok(next) = answered.try_recv() {
                    answer.write(next, &mut out);
                }
                socket.write(&out).await?;
            }
        }
    }
}

type Lines = HashMap<Vec<u8>, mpsc::Sender<Vec<u8>>>;

async fn forward(
    socket: &mut Socket,
    lines: &mut Lines,
    answers: &mpsc::Sender<u32>,
) -> io::Result<()> {
    while let Some((opcode, payload)) = socket.frames().next_frame()? {
        let (Opcode::Text, Some((remote, body))) = (opcode, push_of(payload)) else {
            continue;
        };
        let message = frame(&unescaped(body));
        if !lines.contains_key(remote) {
            let line = open(remote, answers.clone()).await?;
            lines.insert(remote.to_vec(), line);
        }
        if let Some(line) = lines.get(remote) {
            line.send(message)
                .await
                .map_err(|_| io::Error::other("the device is gone"))?;
        }
    }
    Ok(())
}

/// Port and body of a push; `None` for anything else.
fn push_of(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let value = |name: &[u8]| {
        let from = find(payload, name)? + name.len();
        let rest = payload.get(from..)?;
        rest.get(..find(rest, b"\"")?)
    };
    Some((value(b"mllp://127.0.0.1:")?, value(b"\"body\":\"")?))
}

/// Our orders have no escape but CR and the backslash of MSH-2.
fn unescaped(body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(body.len());
    let mut bytes = body.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => plain.extend(
                bytes
                    .next()
                    .map(|escaped| if *escaped == b'r' { b'\r' } else { *escaped }),
            ),
            byte => plain.push(*byte),
        }
    }
    plain
}

async fn open(port: &[u8], answers: mpsc::Sender<u32>) -> io::Result<mpsc::Sender<Vec<u8>>> {
    let port = std::str::from_utf8(port)
        .ok()
        .and_then(|port| port.parse::<u16>().ok());
    let port = port.ok_or_else(|| io::Error::other("a remote without a port"))?;
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let (line, messages) = mpsc::channel(ANSWERS);
    tokio::spawn(async move {
        // A device that goes away ends its line and nothing else.
        let _ = converse(stream, messages, answers).await;
    });
    Ok(line)
}

async fn converse(
    stream: TcpStream,
    mut messages: mpsc::Receiver<Vec<u8>>,
    answers: mpsc::Sender<u32>,
) -> io::Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    let mut deframer = Deframer::default();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        tokio::select! {
            message = messages.recv() => {
                let Some(mut message) = message else { return Ok(()) };
                while let Ok(next) = messages.try_recv() {
                    message.extend(next);
                }
                writer.write_all(&message).await?;
            }
            length = reader.read(&mut buffer) => {
                let length = length?;
                if length == 0 {
                    return Ok(());
                }
                deframer.push(buffer.get(..length).unwrap_or_default());
                while let Some(ack) = deframer.next_message() {
                    let at = find(&ack, b"MSA|AA|").map_or(ack.len(), |at| at + b"MSA|AA|".len());
                    if let Some(number) = ack.get(at..).and_then(number) {
                        answers.send(number).await.map_err(|_| io::ErrorKind::BrokenPipe)?;
                    }
                }
            }
        }
    }
}

/// More than are ever in flight.
const ANSWERS: usize = 1024;
