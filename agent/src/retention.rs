//! Lets the store remove what has been over for long enough: some minutes after the start, then every hour.

use std::time::Duration;

use tracing::{info, warn};

use crate::clock;
use crate::pulse::Tether;
use crate::site::Site;
use crate::store::{Kept, Progress, Store, StoreError};

pub async fn run(store: Store, site: Site, tether: Tether) -> Result<(), StoreError> {
    let mut next = clock::mono().plus(FIRST);
    loop {
        tether.pulse.beat();
        tokio::select! {
            () = tether.stop.cancelled() => return Ok(()),
            () = tether.pulse.due() => {}
            () = clock::sleep_until(next) => {
                let kept = site.devices().rules().kept;
                sweep(&store, kept, &tether).await?;
                next = clock::mono().plus(EVERY);
            }
        }
    }
}

/// One run, with pauses so that pushes go first.
async fn sweep(store: &Store, kept: Kept, tether: &Tether) -> Result<(), StoreError> {
    while !tether.stop.is_cancelled() {
        tether.pulse.beat();
        match store.sweep(clock::utc(), kept).await? {
            Ok(Progress::More) => tokio::time::sleep(PAUSE).await,
            Ok(Progress::Done(swept)) => {
                info!(
                    words = swept.words,
                    rows = swept.rows,
                    "removed what is old"
                );
                return Ok(());
            }
            Err(why) => {
                warn!(why, "nothing that is old is removed");
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A start has other things to do, and its clock may not be set yet.
const FIRST: Duration = Duration::from_mins(5);
const EVERY: Duration = Duration::from_hours(1);
const PAUSE: Duration = Duration::from_millis(50);
