//! Ping: knocks at the port of a mapped device and words the result like the system's ping does. Never stored.

use std::time::Duration;

use agent_core::push::Mono;
use agent_core::route::HostPort;
use agent_wire::{PING, ToServer, TransmitResponse};
use tokio::sync::mpsc;

use super::{Said, refusal};
use crate::clock;
use crate::config::Timing;
use crate::pulse::{Pulse, Tether};
use crate::transport;

/// One ping that was asked for.
#[derive(Debug)]
pub struct PingRequest {
    count: u32,
    remote: String,
    callback: String,
    to: HostPort,
}

impl PingRequest {
    /// `body`: `PING`, or `PING <count>`.
    pub fn new(body: &str, remote: String, callback: String, to: HostPort) -> Result<Self, String> {
        let mut words = body.split_ascii_whitespace();
        let count = match (words.next(), words.next(), words.next()) {
            (Some("PING"), None, None) => Some(1),
            (Some("PING"), Some(count), None) => count.parse().ok(),
            _ => None,
        };
        let count = count.filter(|count| (1..=MOST).contains(count));
        let count = count.ok_or(format!("a ping is PING or PING <count>, 1 to {MOST}"))?;
        Ok(Self {
            count,
            remote,
            callback,
            to,
        })
    }
}

/// Answers pings, one after the other.
pub async fn run(
    mut requests: mpsc::Receiver<PingRequest>,
    said: mpsc::Sender<Said>,
    tether: Tether,
) -> Result<(), std::convert::Infallible> {
    loop {
        tether.pulse.beat();
        let request = tokio::select! {
            () = tether.stop.cancelled() => return Ok(()),
            () = tether.pulse.due() => continue,
            request = requests.recv() => request,
        };
        let Some(request) = request else {
            return Ok(());
        };
        let answer = ping(request, &tether.pulse).await;
        // Nobody to say it to means that the agent is stopping.
        let _ = said.send(Said::Reply(answer)).await;
    }
}

async fn ping(request: PingRequest, pulse: &Pulse) -> ToServer {
    let timing = Timing {
        connect_timeout: PATIENCE,
        ..Timing::default()
    };
    let mut lines = vec![format!(
        "PING {} ({}): TCP connect",
        request.remote, request.to
    )];
    let mut times = Vec::new();
    for seq in 1..=request.count {
        pulse.beat();
        let before = clock::mono();
        match transport::knock(&request.to, &timing).await {
            Ok(()) => {
                let ms = since(before);
                times.push(ms);
                lines.push(format!(
                    "connected to {}: seq={seq} time={ms} ms",
                    request.to
                ));
            }
            Err(error) => lines.push(format!("seq={seq} {error}")),
        }
    }
    let to = agent_core::queue::ReplyTo {
        callback: request.callback,
        remote: request.remote,
        content_type: PING.into(),
    };
    lines.push(summary(&to.remote, request.count, &times));
    let body = lines.join("\n");
    if times.is_empty() {
        return refusal(to, body);
    }
    ToServer::TransmitResponse(TransmitResponse {
        channel: None,
        remote: to.remote,
        callback: Some(to.callback),
        content_type: PING.into(),
        status_code: Some(200),
        body,
    })
}

fn since(before: Mono) -> u64 {
    clock::mono().0.saturating_sub(before.0)
}

fn summary(host: &str, sent: u32, times: &[u64]) -> String {
    let received = u32::try_from(times.len()).unwrap_or(u32::MAX);
    let loss = 100 * (sent - received.min(sent)) / sent.max(1);
    let counted = format!(
        "--- {host} ping statistics ---\n{sent} packets transmitted, {received} received, {loss}% packet loss"
    );
    let (Some(min), Some(max)) = (times.iter().min(), times.iter().max()) else {
        return counted;
    };
    let average = times.iter().sum::<u64>() / u64::from(received.max(1));
    format!("{counted}\nrtt min/avg/max = {min}/{average}/{max} ms")
}

/// The caller waits 10 s by default.
const MOST: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Option<u32> {
        let to = agent_core::route::HostPort {
            host: "127.0.0.1".parse().unwrap(),
            port: 2575,
        };
        PingRequest::new(body, "h".into(), "c".into(), to)
            .ok()
            .map(|ping| ping.count)
    }

    #[test]
    fn a_ping_says_how_often() {
        assert_eq!(read("PING"), Some(1));
        assert_eq!(read("PING 4"), Some(4));
        for wrong in [
            "", "PONG", "PING 0", "PING 5", "PING x", "PING 1 2", "PING -1",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_summary_reads_like_pings_own() {
        let text = summary("10.0.0.7", 4, &[1, 3]);
        assert!(text.contains("4 packets transmitted, 2 received, 50% packet loss"));
        assert!(text.ends_with("rtt min/avg/max = 1/2/3 ms"));
        assert!(summary("h", 1, &[]).contains("100% packet loss"));
    }
}
