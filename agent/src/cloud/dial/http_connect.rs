//! HTTP CONNECT (RFC 9110, 9.3.6) with basic authentication (RFC 7617). The answer is read to its last byte and not one
//! further: what follows belongs to the tunnel.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::Target;
use super::proxy::{Login, ProxyError};
use crate::cloud::agent_version;

/// Asks for the tunnel and reads the answer.
pub(super) async fn open<S>(
    stream: &mut S,
    login: Option<&Login>,
    target: &Target,
) -> Result<(), ProxyError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = request(login, target);
    stream.write_all(request.expose_secret().as_bytes()).await?;
    stream.flush().await?;
    for _ in 0..=MOST_INTERIM {
        let head = head(stream).await?;
        match status(&head).ok_or(ProxyError::OtherProtocol("HTTP"))? {
            100..=199 => {}
            200..=299 => return Ok(()),
            status => return Err(refusal(status, &head, login, target)),
        }
    }
    Err(ProxyError::OtherProtocol("HTTP"))
}

fn request(login: Option<&Login>, target: &Target) -> SecretString {
    let mut text = format!(
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: wardpost/{}\r\n",
        agent_version()
    );
    if let Some(Login { user, password }) = login {
        let pair = STANDARD.encode(format!("{user}:{}", password.expose_secret()));
        let _ = write!(text, "Proxy-Authorization: Basic {pair}\r\n");
    }
    text.push_str("\r\n");
    SecretString::from(text)
}

/// Reads up to the empty line. Byte by byte: the socket has them at hand, and none after them may be taken.
async fn head<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Vec<u8>, ProxyError> {
    let mut head = Vec::new();
    while !(head.ends_with(b"\r\n\r\n") || head.ends_with(b"\n\n")) {
        head.push(stream.read_u8().await?);
        if head.len() > HEAD_LIMIT {
            return Err(ProxyError::TooLong);
        }
        let begin = head.get(..PROTOCOL.len().min(head.len()));
        if begin != PROTOCOL.get(..PROTOCOL.len().min(head.len())) {
            return Err(ProxyError::OtherProtocol("HTTP"));
        }
    }
    Ok(head)
}

fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_ascii_whitespace();
    words.next()?;
    words.next()?.parse().ok()
}

fn refusal(status: u16, head: &[u8], login: Option<&Login>, target: &Target) -> ProxyError {
    let named = target.to_string();
    match status {
        407 => {
            let schemes = schemes(head);
            if !schemes.is_empty() && !schemes.iter().any(|scheme| scheme == "basic") {
                let schemes = schemes.join(" or ");
                return ProxyError::OtherLogin { schemes };
            }
            match login {
                None => ProxyError::WantsUser { status },
                Some(_) => ProxyError::BadLogin { status },
            }
        }
        401 | 403 | 405 => ProxyError::Forbidden {
            target: named,
            status,
        },
        502..=504 => ProxyError::Beyond {
            target: named,
            status,
            why: "is the name right, and is the proxy's own way out up?",
        },
        _ => ProxyError::Status {
            target: named,
            status,
        },
    }
}

/// The authentication that a proxy offers, by name alone.
fn schemes(head: &[u8]) -> Vec<String> {
    let head = String::from_utf8_lossy(head);
    let offers = head.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("proxy-authenticate")
            .then_some(value)
    });
    let names = offers.filter_map(|offer| offer.split_ascii_whitespace().next());
    let letters_of = |name: &str| {
        let letters = name.chars().filter(char::is_ascii_alphanumeric);
        letters
            .take(LONGEST_SCHEME)
            .collect::<String>()
            .to_ascii_lowercase()
    };
    names.take(MOST_SCHEMES).map(letters_of).collect()
}

/// What every answer of an HTTP proxy begins with.
const PROTOCOL: &[u8] = b"HTTP/1.";
/// A refusal comes with a page; its head is far shorter than this.
pub(super) const HEAD_LIMIT: usize = 16 * 1024;
/// Answers before the answer (1xx); nobody sends more than one.
const MOST_INTERIM: usize = 4;
const MOST_SCHEMES: usize = 4;
const LONGEST_SCHEME: usize = 16;

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use url::Url;

    use super::*;

    /// What comes of this answer, in words, and what was asked.
    async fn ask(answer: &[u8], login: Option<&Login>) -> (Result<(), String>, String) {
        let (mut ours, mut theirs) = duplex(64 * 1024);
        theirs.write_all(answer).await.unwrap();
        if answer.is_empty() {
            theirs.shutdown().await.unwrap();
        }
        let target = Target::of(&Url::parse("https://cloud.example/").unwrap()).unwrap();
        let opened = open(&mut ours, login, &target).await;
        drop(ours);
        let mut asked = String::new();
        theirs.read_to_string(&mut asked).await.unwrap();
        (opened.map_err(|error| error.to_string()), asked)
    }

    async fn refused(answer: &str) -> String {
        ask(answer.as_bytes(), None).await.0.unwrap_err()
    }

    fn login() -> Login {
        Login {
            user: "ward".into(),
            password: "geheim".into(),
        }
    }

    #[tokio::test]
    async fn a_tunnel_is_asked_for_by_host_and_port_and_as_whom() {
        let (opened, asked) = ask(b"HTTP/1.1 200 OK\r\n\r\n", None).await;
        assert_eq!(opened, Ok(()));
        assert!(
            asked.starts_with("CONNECT cloud.example:443 HTTP/1.1\r\nHost: cloud.example:443\r\n"),
            "{asked}"
        );
        assert!(!asked.contains("Authorization"), "{asked}");
        let (_, asked) = ask(b"HTTP/1.1 200 OK\r\n\r\n", Some(&login())).await;
        assert!(
            asked.contains("\r\nProxy-Authorization: Basic d2FyZDpnZWhlaW0=\r\n"),
            "{asked}"
        );
    }

    #[tokio::test]
    async fn nothing_after_the_answer_is_taken() {
        let (mut ours, mut theirs) = duplex(1024);
        let answer =
            b"HTTP/1.1 100 Wait\r\n\r\nHTTP/1.0 200 Connection established\nVia: x\n\nTUNNEL";
        theirs.write_all(answer).await.unwrap();
        let target = Target::of(&Url::parse("https://cloud.example/").unwrap()).unwrap();
        open(&mut ours, None, &target).await.unwrap();
        let mut rest = [0; 6];
        ours.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"TUNNEL");
    }

    #[tokio::test]
    async fn each_refusal_says_what_to_do() {
        for (answer, words) in [
            (
                "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n",
                "asks for a user and a password (407)",
            ),
            (
                "HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\nproxy-authenticate: Negotiate x\r\n\r\n",
                "accepts only ntlm or negotiate (407)",
            ),
            (
                "HTTP/1.1 403 No\r\n\r\n",
                "does not allow cloud.example:443 (403)",
            ),
            (
                "HTTP/1.1 502 No\r\n\r\n<html>",
                "cannot reach cloud.example:443 (502)",
            ),
            (
                "HTTP/1.1 504 No\r\n\r\n",
                "cannot reach cloud.example:443 (504)",
            ),
            (
                "HTTP/1.1 302 Found\r\nLocation: http://portal/\r\n\r\n",
                "answered 302 to CONNECT",
            ),
            ("HTTP/1.1 OK\r\n\r\n", "no HTTP proxy"),
            ("<html>welcome</html>", "no HTTP proxy"),
            ("\u{5}\u{ff}", "no HTTP proxy"),
            ("", "closed the connection without an answer"),
        ] {
            let told = refused(answer).await;
            assert!(told.contains(words), "{answer}: {told}");
        }
    }

    #[tokio::test]
    async fn a_wrong_password_is_told_apart_from_none_and_not_repeated() {
        let answer = b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n";
        let told = ask(answer, Some(&login())).await.0.unwrap_err();
        assert!(
            told.contains("does not accept our user and password (407)"),
            "{told}"
        );
        assert!(!told.contains("geheim") && !told.contains("ward"), "{told}");
    }

    #[tokio::test]
    async fn an_answer_without_end_is_given_up() {
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(HEAD_LIMIT));
        assert!(refused(&endless).await.contains("longer than 16 KiB"));
    }
}
