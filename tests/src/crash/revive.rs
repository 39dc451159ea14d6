//! The real agent, started on what a power cut has left.

use anyhow::{Context, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::disk::Keeps;
use super::run::{Recording, setup};
use super::states::write;
use crate::bench::{Bench, wait_until};
use crate::kill::evidence;
use crate::oracle::{CloudAnswer, Snapshot, Story, at_end, unfinished};

/// Starts an agent on one state and lets it finish. Returns what is wrong then.
pub fn revive(recording: &Recording, seed: u64) -> anyhow::Result<Vec<String>> {
    let mut random = StdRng::seed_from_u64(seed);
    let moment = random.random_range(0..=recording.events.len());
    let keeps = Keeps::ALL[random.random_range(0..Keeps::ALL.len())];
    let image = recording.image(moment, keeps, &mut random);
    let mut bench = setup().start_without_agent();
    write(&image, &bench.path("state"), &mut random)?;
    let mut story = recording.until(moment);
    let before = evidence::copy(&bench).context("reading what the power cut has left")?;
    story.add_kill(before);
    // What the disk does not have was never accepted, so nobody was told so.
    let kept = |callback: &str| {
        story
            .end
            .pushes
            .values()
            .any(|push| push.callback.as_deref() == Some(callback))
    };
    let mut answers = recording.answers_until(moment);
    answers.retain(|answer| kept(&answer.callback));
    let pushes = story
        .kept
        .iter()
        .filter(|push| kept(&push.callback))
        .cloned();
    story.kept = pushes.collect();
    finish(&mut bench, &story, &answers)?;
    answers.extend(heard(&bench));
    let before = story.received.len() as u64;
    let received = evidence::received(&bench).into_iter();
    story.received.extend(received.map(|mut receipt| {
        receipt.no += before;
        receipt
    }));
    for push in &mut story.kept {
        let mut mine = answers
            .iter()
            .filter(|answer| answer.callback == push.callback);
        let first = mine.next();
        push.answers = u64::from(first.is_some());
        push.conflicting = mine.filter(|answer| Some(*answer) != first).count() as u64;
    }
    story.add(evidence::copy(&bench)?);
    let breaks = at_end(&story, &answers).breaks;
    let at = |wrong| format!("seed {seed}, moment {moment}, {keeps:?}: {wrong:?}");
    Ok(breaks.iter().map(at).collect())
}

/// Lets the agent live until all is final or held, and answered.
fn finish(bench: &mut Bench, story: &Story, answers: &[CloudAnswer]) -> anyhow::Result<()> {
    bench.start_agent();
    wait_until("everything to be finished", || {
        let finished =
            Snapshot::read(&bench.database()).is_ok_and(|found| unfinished(&found).is_empty());
        let heard = heard(bench);
        let is_answered = |callback: &str| {
            let mut all = answers.iter().chain(&heard);
            all.any(|answer| answer.callback == callback)
        };
        finished && story.kept.iter().all(|push| is_answered(&push.callback))
    });
    let status = bench.stop_agent();
    ensure!(status.success(), "the agent ended with {status}");
    Ok(())
}

fn heard(bench: &Bench) -> Vec<CloudAnswer> {
    let said = bench.fake().said().into_iter();
    said.filter_map(|message| {
        Some(CloudAnswer {
            callback: message["callback"].as_str()?.to_owned(),
            status: message["statusCode"].as_i64()?,
            body: message["body"].as_str().unwrap_or_default().to_owned(),
        })
    })
    .collect()
}
