//! Against servers that answer one request with prepared bytes.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::*;
use crate::cloud::dial::WayOut;
use crate::cloud::told;

/// Answers one request and hangs up. Gives the url, and the request once it came.
async fn server(answer: Vec<u8>) -> (Url, oneshot::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/some/path?x=1", listener.local_addr().unwrap());
    let (heard, hearing) = oneshot::channel();
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 8_192];
        let read = tcp.read(&mut request).await.unwrap();
        let _ = heard.send(String::from_utf8_lossy(&request[..read]).into_owned());
        let _ = tcp.write_all(&answer).await;
    });
    (Url::parse(&url).unwrap(), hearing)
}

fn client() -> HttpClient {
    HttpClient::new(Arc::new(Dialler::new(WayOut::default())))
}

async fn read(answer: &[u8]) -> Result<HttpAnswer, String> {
    let (url, _request) = server(answer.to_vec()).await;
    client()
        .read(&url, &"tok".into())
        .await
        .map_err(|error| told(&error))
}

#[tokio::test]
async fn a_request_names_its_host_its_path_and_its_bearer() {
    let (url, request) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()).await;
    let answer = client().read(&url, &"tok".into()).await.unwrap();
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (200, b"ok".as_slice())
    );
    let request = request.await.unwrap().to_ascii_lowercase();
    assert!(
        request.starts_with("get /some/path?x=1 http/1.1\r\n"),
        "{request}"
    );
    let port = url.port().unwrap();
    assert!(
        request.contains(&format!("\r\nhost: 127.0.0.1:{port}\r\n")),
        "{request}"
    );
    assert!(
        request.contains("\r\nauthorization: bearer tok\r\n"),
        "{request}"
    );
}

#[tokio::test]
async fn a_body_without_a_length_ends_with_the_connection() {
    let answer = read(b"HTTP/1.1 200 OK\r\n\r\nuntil the end").await.unwrap();
    assert_eq!(answer.body, b"until the end");
}

#[tokio::test]
async fn a_redirect_is_told_and_not_followed() {
    let answer = read(b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(answer.status, 302);
    assert_eq!(answer.location.as_deref(), Some("http://portal.example/"));
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused() {
    let mut answer = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    answer.resize(BODY_LIMIT + 1_000, b'x');
    assert_eq!(
        read(&answer).await.unwrap_err(),
        "127.0.0.1 sent more than 4194304 bytes"
    );
}

#[tokio::test]
async fn half_an_answer_is_no_answer() {
    let fault = read(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        .await
        .unwrap_err();
    assert!(
        fault.starts_with("127.0.0.1 broke the exchange off"),
        "{fault}"
    );
    assert!(read(b"").await.is_err());
    assert!(read(b"SSH-2.0-OpenSSH_9.2\r\n").await.is_err());
}
