//! Room on the disk, and disks that are broken.

use std::os::unix::fs::FileExt;

use super::*;

const MIB: usize = 1 << 20;

/// The next refusal, or the next attempt.
async fn refusal_or_attempt(bench: &mut Bench) -> Result<String, Attempt> {
    loop {
        if let Ok(attempt) = bench.attempts.try_recv() {
            return Err(attempt);
        }
        if let Ok(Said::Reply(reply)) = bench.said.try_recv() {
            return Ok(reply.encode());
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_holds_what_it_may_takes_pushes_again_when_it_was_swept() {
    let bounds = Bounds {
        max_disk: 8 << 20,
        ..BOUNDS
    };
    let mut bench = Bench::bounded(tempfile::tempdir().unwrap(), bounds);
    let body = |n: usize| format!("MSH|{n}|{}", "x".repeat(MIB));
    for n in 0..20 {
        bench.push(&format!("c{n}"), &body(n)).await;
    }
    let Said::Reply(refused) = bench.said().await else {
        panic!("not refused");
    };
    assert!(refused.encode().contains("limits.max_disk"));
    bench.store.barrier().await.unwrap();
    let refused = 1 + std::iter::from_fn(|| bench.said.try_recv().ok()).count();
    assert!((5..20).contains(&refused), "{refused} of 20 refused");
    let room = bench.store.room_on_disk();
    assert!(room.refusing.is_some() && room.used > 8 << 20, "{room:?}");

    bench.store.line_ready(CHEM).await.unwrap();
    let mut last = Seq(0);
    for _ in refused..20 {
        last = bench.deliver().await.seq;
    }
    bench.heard(last).await;
    bench.sweep(8).await.unwrap();
    let taken = tokio::time::timeout(Duration::from_secs(10), async {
        for n in 100.. {
            bench.push(&format!("c{n}"), "MSH|again").await;
            if refusal_or_attempt(&mut bench).await.is_err() {
                break;
            }
        }
    });
    taken.await.expect("a push is taken again");
    let room = bench.store.room_on_disk();
    assert!(room.used < 2 << 20 && room.file > 8 << 20, "{room:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_callback_is_answered_though_new_pushes_are_refused() {
    let mut bench = Bench::start();
    bench.store.line_ready(CHEM).await.unwrap();
    bench.push("c1", "MSH|1").await;
    let answer = bench.deliver().await;
    let folder = bench.close().await;
    let mut bench = Bench::bounded(
        folder,
        Bounds {
            min_free: 1 << 60,
            ..BOUNDS
        },
    );
    bench.push("c1", "MSH|1").await;
    assert_eq!(bench.answer().await.body, answer.body);
    bench.push("c2", "MSH|2").await;
    let Said::Reply(refused) = bench.said().await else {
        panic!("not refused");
    };
    assert!(refused.encode().contains("limits.min_free"));
}

/// A database with some pushes, all of it in its file, and nobody on it.
async fn closed_database() -> TempDir {
    let mut bench = Bench::start();
    bench.store.line_ready(CHEM).await.unwrap();
    for n in 0..20 {
        bench
            .push(
                &format!("c{n}"),
                &format!("MSH|{n}|{}", "body".repeat(2000)),
            )
            .await;
        bench.deliver().await;
    }
    bench.restart().await.close().await
}

fn positions(bytes: &[u8], of: &[u8]) -> Vec<usize> {
    let windows = bytes.windows(of.len()).enumerate();
    windows
        .filter(|(_, window)| *window == of)
        .map(|(at, _)| at)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newest_push_that_is_not_what_was_stored_stops_the_start() {
    let folder = closed_database().await;
    let path = folder.path().join("wardpost.db");
    let bytes = std::fs::read(&path).unwrap();
    let at = *positions(&bytes, b"bodybody").last().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"BODY", at as u64).unwrap();
    let refused = Opened::open(folder.path()).unwrap_err().sentence();
    assert!(refused.contains("is not what was stored"), "{refused}");
    assert!(refused.contains("restore a backup"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_page_stops_the_start() {
    let folder = closed_database().await;
    let path = folder.path().join("wardpost.db");
    let bytes = std::fs::read(&path).unwrap();
    // The chain of pages of some body.
    let at = positions(&bytes, b"bodybody")[0] / 4096 * 4096;
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0xff; 4096], at as u64).unwrap();
    let refused = Opened::open(folder.path()).unwrap_err().sentence();
    assert!(
        refused.contains("damaged") || refused.contains("malformed"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reader_finds_damaged_ends_the_writer_too() {
    let bench = Bench::on(closed_database().await);
    let path = bench.folder.path().join("wardpost.db");
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let pages = file.metadata().unwrap().len() / 4096;
    for page in 1..pages {
        file.write_all_at(&[0xff; 4096], page * 4096).unwrap();
    }
    let failed = bench.store.history(PushId(3)).await.unwrap_err();
    assert!(
        failed.sentence().contains("cannot be trusted"),
        "{}",
        failed.sentence()
    );
    let ended = bench.ended.await.unwrap().unwrap_err().sentence();
    assert!(ended.contains("read the history of a push"), "{ended}");
    let stopped = bench.store.accept(push("c99", "MSH|99")).await;
    assert!(stopped.is_err(), "nothing is taken any more");
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let refused = Opened::open(file.path()).unwrap_err().sentence();
    assert!(
        refused.contains("cannot use the state directory"),
        "{refused}"
    );
    assert!(
        refused.contains(&file.path().display().to_string()),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_reads_the_database_and_does_not_end_stops_the_start() {
    let bench = Bench::start();
    bench.push("c1", "MSH|1").await;
    let folder = bench.close().await;
    let reader = rusqlite::Connection::open(folder.path().join("wardpost.db")).unwrap();
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM push")
        .unwrap();
    let refused = Opened::open(folder.path()).unwrap_err().sentence();
    assert!(refused.contains("another program reads"), "{refused}");
    drop(reader);
    Opened::open(folder.path()).unwrap();
}
