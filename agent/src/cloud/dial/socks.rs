//! SOCKS version 5 (RFC 1928) with user and password (RFC 1929). The proxy looks the name up: inside of a clinic nobody
//! else may be able to.

use secrecy::ExposeSecret as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use url::Host;

use super::Target;
use super::proxy::{Login, ProxyError};

/// Agrees on a method, says who we are, and asks for the connection.
pub(super) async fn open<S>(
    stream: &mut S,
    login: Option<&Login>,
    target: &Target,
) -> Result<(), ProxyError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let methods: &[u8] = match login {
        None => &[VERSION, 1, NO_LOGIN],
        Some(_) => &[VERSION, 2, NO_LOGIN, PASSWORD],
    };
    say(stream, methods).await?;
    let [version, method] = read(stream).await?;
    if version != VERSION {
        return Err(ProxyError::OtherProtocol("SOCKS5"));
    }
    match (method, login) {
        (NO_LOGIN, _) => {}
        (PASSWORD, Some(login)) => log_in(stream, login).await?,
        (_, None) => return Err(ProxyError::WantsUser { status: 0 }),
        (_, Some(_)) => {
            let schemes = "something else than user and password".into();
            return Err(ProxyError::OtherLogin { schemes });
        }
    }
    say(stream, &request(target)?).await?;
    answer(stream, target).await
}

/// RFC 1929.
async fn log_in<S>(stream: &mut S, login: &Login) -> Result<(), ProxyError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut words = vec![1];
    for part in [login.user.as_str(), login.password.expose_secret()] {
        words.push(u8::try_from(part.len()).map_err(|_| ProxyError::LongLogin)?);
        words.extend(part.as_bytes());
    }
    say(stream, &words).await?;
    let [_, status] = read(stream).await?;
    if status == 0 {
        Ok(())
    } else {
        Err(ProxyError::BadLogin { status: 0 })
    }
}

/// RFC 1928, 4.
fn request(target: &Target) -> Result<Vec<u8>, ProxyError> {
    let mut words = vec![VERSION, CONNECT, 0];
    match &target.host {
        Host::Ipv4(address) => {
            words.push(IPV4);
            words.extend(address.octets());
        }
        Host::Ipv6(address) => {
            words.push(IPV6);
            words.extend(address.octets());
        }
        Host::Domain(name) => {
            words.push(NAME);
            words.push(u8::try_from(name.len()).map_err(|_| ProxyError::LongName)?);
            words.extend(name.as_bytes());
        }
    }
    words.extend(target.port.to_be_bytes());
    Ok(words)
}

/// RFC 1928, 6. The address that it was bound to is read and not used; what follows it belongs to the tunnel.
async fn answer<S>(stream: &mut S, target: &Target) -> Result<(), ProxyError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let [version, reply, _, kind] = read(stream).await?;
    if version != VERSION {
        return Err(ProxyError::OtherProtocol("SOCKS5"));
    }
    if reply != 0 {
        return Err(refusal(reply, target));
    }
    let length = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => {
            let [length] = read(stream).await?;
            usize::from(length)
        }
        _ => return Err(ProxyError::OtherProtocol("SOCKS5")),
    };
    let mut bound = vec![0; length + PORT];
    stream.read_exact(&mut bound).await?;
    Ok(())
}

fn refusal(reply: u8, target: &Target) -> ProxyError {
    let why = match reply {
        1 => "it says no more than that it failed",
        2 => {
            return ProxyError::Forbidden {
                target: target.to_string(),
                status: 0,
            };
        }
        3 => "the network is unreachable from there",
        4 => "the host is unreachable from there, or its name is not known there",
        5 => "the connection is refused there; is the port right?",
        6 => "the time to live ran out",
        7 => "it does not do connections, only something else",
        8 => "it does not know this kind of address",
        _ => return ProxyError::UnknownReply(reply),
    };
    ProxyError::Beyond {
        target: target.to_string(),
        status: 0,
        why,
    }
}

async fn say<S: AsyncWrite + Unpin>(stream: &mut S, words: &[u8]) -> Result<(), ProxyError> {
    stream.write_all(words).await?;
    Ok(stream.flush().await?)
}

async fn read<const N: usize, S>(stream: &mut S) -> Result<[u8; N], ProxyError>
where
    S: AsyncRead + Unpin,
{
    let mut words = [0; N];
    stream.read_exact(&mut words).await?;
    Ok(words)
}

const VERSION: u8 = 5;
const CONNECT: u8 = 1;
const NO_LOGIN: u8 = 0;
const PASSWORD: u8 = 2;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;
/// Bytes of a port.
const PORT: usize = 2;

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use url::Url;

    use super::*;

    const MET: &[u8] = &[5, 0];
    const DONE: &[u8] = &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0];

    fn login() -> Login {
        Login {
            user: "ward".into(),
            password: "geheim".into(),
        }
    }

    /// What comes of these answers, in words, what was asked, and what was left unread.
    async fn ask(
        url: &str,
        login: Option<&Login>,
        answers: &[&[u8]],
    ) -> (Result<(), String>, Vec<u8>) {
        let (mut ours, mut theirs) = duplex(4096);
        theirs.write_all(&answers.concat()).await.unwrap();
        theirs.shutdown().await.unwrap();
        let target = Target::of(&Url::parse(url).unwrap()).unwrap();
        let opened = open(&mut ours, login, &target).await;
        drop(ours);
        let mut asked = Vec::new();
        theirs.read_to_end(&mut asked).await.unwrap();
        (opened.map_err(|error| error.to_string()), asked)
    }

    async fn refused(login: Option<&Login>, answers: &[&[u8]]) -> String {
        let (opened, _) = ask("https://cloud.example/", login, answers).await;
        opened.unwrap_err()
    }

    #[tokio::test]
    async fn the_proxy_is_given_the_name_or_the_address_as_it_is() {
        let (opened, asked) = ask("https://cloud.example/", None, &[MET, DONE]).await;
        assert_eq!(opened, Ok(()));
        let name: &[u8] = b"\x05\x01\x00\x05\x01\x00\x03\x0dcloud.example\x01\xbb";
        assert_eq!(asked, name);
        let (_, asked) = ask("http://10.0.0.7/", None, &[MET, DONE]).await;
        assert_eq!(
            asked,
            b"\x05\x01\x00\x05\x01\x00\x01\x0a\x00\x00\x07\x00\x50"
        );
        let (_, asked) = ask("http://[fd00::7]/", None, &[MET, DONE]).await;
        assert_eq!(asked.get(..7), Some(&b"\x05\x01\x00\x05\x01\x00\x04"[..]));
        assert_eq!(asked.len(), 3 + 4 + 16 + 2);
    }

    #[tokio::test]
    async fn user_and_password_are_given_where_they_are_asked_for() {
        let login = login();
        let answers: &[&[u8]] = &[&[5, 2], &[1, 0], DONE];
        let (opened, asked) = ask("https://cloud.example/", Some(&login), answers).await;
        assert_eq!(opened, Ok(()));
        assert!(asked.starts_with(b"\x05\x02\x00\x02\x01\x04ward\x06geheim\x05\x01"));
        let (opened, asked) = ask("https://cloud.example/", Some(&login), &[MET, DONE]).await;
        assert_eq!(opened, Ok(()));
        assert!(!asked.windows(4).any(|word| word == b"ward"));
    }

    #[tokio::test]
    async fn what_follows_the_answer_is_the_tunnels() {
        let (mut ours, mut theirs) = duplex(4096);
        let bound = b"\x05\x00\x00\x03\x04abcd\x01\xbbTUNNEL";
        theirs.write_all(&[MET, bound].concat()).await.unwrap();
        let target = Target::of(&Url::parse("https://cloud.example/").unwrap()).unwrap();
        open(&mut ours, None, &target).await.unwrap();
        let mut rest = [0; 6];
        ours.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"TUNNEL");
    }

    #[tokio::test]
    async fn each_refusal_says_what_to_do() {
        let login = login();
        let some = Some(&login);
        for (login, answers, words) in [
            (
                None,
                &[&[5, 0xff][..]][..],
                "asks for a user and a password:",
            ),
            (some, &[&[5, 0xff]], "accepts only something else"),
            (
                some,
                &[&[5, 2], &[1, 1]],
                "does not accept our user and password:",
            ),
            (None, &[b"HTTP/1.1 400"], "no SOCKS5 proxy"),
            (None, &[&[4, 0]], "no SOCKS5 proxy"),
            (
                None,
                &[MET, &[5]],
                "closed the connection without an answer",
            ),
            (None, &[], "closed the connection without an answer"),
        ] {
            let told = refused(login, answers).await;
            assert!(told.contains(words), "{answers:?}: {told}");
            assert!(!told.contains("geheim"), "{told}");
        }
    }

    #[tokio::test]
    async fn every_reply_code_has_its_words() {
        for (code, words) in [
            (1, "failed"),
            (2, "does not allow cloud.example:443:"),
            (3, "network is unreachable"),
            (4, "host is unreachable"),
            (5, "refused there"),
            (6, "time to live"),
            (7, "does not do connections"),
            (8, "kind of address"),
            (9, "means nothing (9)"),
        ] {
            let told = refused(None, &[MET, &[5, code, 0, 1, 0, 0, 0, 0, 0, 0]]).await;
            assert!(told.contains(words), "{code}: {told}");
        }
    }
}
