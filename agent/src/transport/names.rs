//! Looks up the addresses of names, a few at a time.
//!
//! A lookup blocks a thread until the system gives up, which nothing can interrupt: who asked and went away leaves it behind. A
//! name server that does not answer would so take every thread that the agent has for reading, and reloads with it. So a
//! lookup holds a seat until it is really over. The cloud has seats of its own, lest many devices keep it out.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};

use tokio::sync::Semaphore;

/// Whose name it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Whose {
    Cloud,
    Device,
}

impl Whose {
    fn seats(self) -> &'static Semaphore {
        match self {
            Self::Cloud => &CLOUD,
            Self::Device => &DEVICES,
        }
    }
}

/// Finds the addresses of `HOST:PORT`. One that is an address already needs no lookup.
pub(crate) async fn addresses(whose: Whose, place: String) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = place.parse() {
        return Ok(vec![address]);
    }
    let look = move || Ok(place.to_socket_addrs()?.collect());
    seated(whose.seats(), look).await
}

/// Does what blocks with a seat, which is free again when it is over, not when nobody waits for it any more.
async fn seated<T: Send + 'static>(
    seats: &'static Semaphore,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let seat = seats.acquire().await.map_err(io::Error::other)?;
    let work = move || {
        let done = work();
        drop(seat);
        done
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other)?
}

/// Together less than half of the threads that may block.
static CLOUD: Semaphore = Semaphore::const_new(4);
static DEVICES: Semaphore = Semaphore::const_new(8);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn an_address_needs_no_lookup() {
        for (place, whose) in [
            ("10.0.0.7:2575", Whose::Device),
            ("[fd00::7]:443", Whose::Cloud),
        ] {
            let found = addresses(whose, place.to_owned()).await.unwrap();
            assert_eq!(found, [place.parse().unwrap()]);
        }
    }

    #[tokio::test]
    async fn a_lookup_that_nobody_waits_for_keeps_its_seat_until_it_is_over() {
        static SEATS: Semaphore = Semaphore::const_new(1);
        let (end, told) = mpsc::channel::<()>();
        let (hint, begun) = tokio::sync::oneshot::channel();
        let endless = seated(&SEATS, move || {
            let _ = hint.send(());
            told.recv().map_err(io::Error::other)
        });
        tokio::select! {
            _ = endless => panic!("it ended"),
            told = begun => told.unwrap(),
        }
        assert!(SEATS.try_acquire().is_err(), "its thread is still taken");
        drop(end);
        assert!(SEATS.acquire().await.is_ok());
    }
}
