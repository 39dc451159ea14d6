//! What each fault does to an echo at the other end.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Sends back what it gets.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    address
}

async fn wire() -> Wire {
    Wire::start(echo().await).unwrap()
}

/// Says something and reads until as much has come back, or the end.
async fn say(stream: &mut TcpStream, words: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(words).await?;
    let mut heard = Vec::new();
    while heard.len() < words.len() && stream.read_buf(&mut heard).await? > 0 {}
    Ok(heard)
}

async fn client(wire: &Wire) -> TcpStream {
    TcpStream::connect(wire.address()).await.unwrap()
}

fn kinds(wire: &Wire) -> Vec<Kind> {
    wire.incidents().iter().map(|one| one.kind).collect()
}

#[tokio::test]
async fn a_good_wire_passes_everything() {
    let wire = wire().await;
    let mut client = client(&wire).await;
    assert_eq!(say(&mut client, b"hello").await.unwrap(), b"hello");
    wire.split();
    wire.delay(Duration::from_millis(1));
    assert_eq!(say(&mut client, b"again").await.unwrap(), b"again");
    assert_eq!((wire.connections(), kinds(&wire)), (1, vec![]));
    assert!(wire.heard().is_empty());
    say(&mut client, b"MSH|\rMSA|AA|C7\r").await.unwrap();
    while wire.heard().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(wire.heard()[0].about, "C7");
}

#[tokio::test]
async fn a_reset_is_an_error_and_a_fin_is_the_end() {
    let wire = wire().await;
    for (how, kind) in [(Cut::Reset, Kind::Reset), (Cut::Fin, Kind::Fin)] {
        let mut client = client(&wire).await;
        assert_eq!(say(&mut client, b"hello").await.unwrap(), b"hello");
        assert_eq!(wire.cut(how), 1);
        let end = client.read(&mut [0; 8]).await;
        assert_eq!(end.is_err(), how == Cut::Reset, "{end:?}");
        drop(client);
        while wire.connections() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(kinds(&wire).last(), Some(&kind));
    }
}

#[tokio::test]
async fn what_was_passed_on_in_one_piece_is_there_though_a_reset_follows() {
    for _ in 0..50 {
        let wire = wire().await;
        let mut client = client(&wire).await;
        client.write_all(b"MSH|\rMSA|AA|C7\r").await.unwrap();
        while wire.heard().is_empty() {
            tokio::task::yield_now().await;
        }
        wire.cut(Cut::Reset);
        while wire.connections() > 0 {
            tokio::task::yield_now().await;
        }
        let mut heard = Vec::new();
        let end = client.read_to_end(&mut heard).await;
        assert_eq!((heard.len(), end.is_err()), (15, true));
    }
}

#[tokio::test]
async fn messages_answers_and_faults_are_noted_with_their_connection() {
    let wire = wire().await;
    for number in 1..=2 {
        let mut client = client(&wire).await;
        let words = format!("\x0bMSH|^~\\&|||||||ORM|C{number}|P\rMSA|AA|C{number}\r\x1c\r");
        say(&mut client, words.as_bytes()).await.unwrap();
        wire.cut(Cut::Reset);
        while wire.connections() > 0 {
            tokio::task::yield_now().await;
        }
    }
    let said = wire
        .said()
        .into_iter()
        .map(|one| (one.control_id, one.connection));
    assert_eq!(
        said.collect::<Vec<_>>(),
        [("C1".into(), 1), ("C2".into(), 2)]
    );
    let heard = wire
        .heard()
        .into_iter()
        .map(|one| (one.about, one.connection, one.state));
    let whole = AckState::Whole;
    assert_eq!(
        heard.collect::<Vec<_>>(),
        [("C1".into(), 1, whole), ("C2".into(), 2, whole)]
    );
    let cuts: Vec<_> = wire.incidents().iter().map(|one| one.connection).collect();
    assert_eq!(cuts, [Some(1), Some(2)]);
    assert!(wire.incidents().iter().all(|one| one.until < u64::MAX));
}

#[tokio::test]
async fn what_a_peer_answers_to_an_agent_that_has_gone_is_noted() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let wire = Wire::start(listener.local_addr().unwrap()).unwrap();
    let client = client(&wire).await;
    let (mut peer, _) = listener.accept().await.unwrap();
    let _ = client.set_zero_linger();
    drop(client);
    // The relay notices, and says so to the peer.
    assert_eq!(peer.read(&mut [0; 8]).await.unwrap(), 0);
    peer.write_all(b"MSH|\rMSA|AA|C7\r\x1c").await.unwrap();
    drop(peer);
    while wire.connections() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(wire.heard()[0].about, "C7");
}

#[tokio::test]
async fn a_cut_in_the_middle_lets_the_first_bytes_through() {
    let wire = wire().await;
    wire.next(Way::FromPeer, Fault::CutAfter(3, Cut::Fin));
    let mut client = client(&wire).await;
    assert_eq!(say(&mut client, b"hello").await.unwrap(), b"hel");
}

#[tokio::test]
async fn a_silent_wire_stays_open_until_it_is_calm() {
    let wire = wire().await;
    wire.next(Way::ToPeer, Fault::Silence);
    let mut client = client(&wire).await;
    client.write_all(b"hello").await.unwrap();
    while kinds(&wire).is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        (wire.connections(), kinds(&wire)),
        (1, vec![Kind::Swallowed])
    );
    wire.calm();
    assert!(client.read(&mut [0; 8]).await.is_err());
    let mut next = self::client(&wire).await;
    assert_eq!(say(&mut next, b"hello").await.unwrap(), b"hello");
}

#[tokio::test]
async fn corruption_hits_what_a_receiver_checks() {
    let cases: [(Corruption, &[u8], &[u8]); 3] = [
        (
            Corruption::Framing,
            b"\x0bMSA|AA|C7\x1c\r",
            b"\x1bMSA|AA|C7\x1c\r",
        ),
        (
            Corruption::ControlId,
            b"\x0bMSA|AA|C7\x1c\r",
            b"\x0bMSA|AA|S7\x1c\r",
        ),
        (Corruption::Garbage, b"{}", b"\xff\xff"),
    ];
    for (what, said, heard) in cases {
        let wire = wire().await;
        wire.next(Way::FromPeer, Fault::Corrupt(what));
        let mut client = client(&wire).await;
        assert_eq!(say(&mut client, said).await.unwrap(), heard, "{what:?}");
        while kinds(&wire).is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(kinds(&wire), [Kind::Corrupted], "{what:?}");
    }
}

#[tokio::test]
async fn a_wire_that_refuses_opens_again_at_the_same_port() {
    let wire = wire().await;
    wire.refuse();
    while TcpStream::connect(wire.address()).await.is_ok() {
        tokio::task::yield_now().await;
    }
    wire.calm();
    let mut client = loop {
        if let Ok(client) = TcpStream::connect(wire.address()).await {
            break client;
        }
    };
    assert_eq!(say(&mut client, b"hello").await.unwrap(), b"hello");
}
