//! Each kind of alarm in virtual time: raised once, not repeated, over once, and not raised again by a restart.

use super::*;

/// Ten minutes before it is an alarm, two before it is over.
const RULE: Rule = Rule {
    after: Duration::from_mins(10),
    calm: Duration::from_mins(2),
};

struct World {
    alarms: Alarms,
    rules: Rules,
    minutes: u64,
    episodes: u64,
}

impl World {
    fn new(rule: Rule) -> Self {
        let rules = Kind::ALL.map(|kind| (kind, rule));
        Self {
            alarms: Alarms::default(),
            rules: Rules(rules.into()),
            minutes: 0,
            episodes: 0,
        }
    }

    fn edges(&mut self, seen: &[&Name]) -> Vec<Edge> {
        let sighting = |name: &&Name| Sighting {
            name: (*name).clone(),
            text: format!("at {}", self.minutes),
        };
        let seen = seen.iter().map(sighting).collect();
        let now = Mono(self.minutes * 60_000);
        self.alarms.look(seen, &self.rules, now)
    }

    /// Looks, and writes down what is news.
    fn look(&mut self, seen: &[&Name]) -> String {
        let mut words = Vec::new();
        for edge in self.edges(seen) {
            match edge {
                Edge::Raise { name, text } => {
                    self.episodes += 1;
                    self.alarms.raised(&name, Episode(self.episodes));
                    words.push(format!("raise {} {text}", self.episodes));
                }
                Edge::Recover { name, episode } => {
                    self.alarms.recovered(&name);
                    words.push(format!("over {}", episode.0));
                }
            }
        }
        words.join(", ")
    }

    /// A look a minute until then; everything that was news.
    fn until(&mut self, minute: u64, seen: &[&Name]) -> String {
        let mut words = Vec::new();
        while self.minutes < minute {
            self.minutes += 1;
            words.push(self.look(seen));
        }
        words.retain(|word| !word.is_empty());
        words.join(", ")
    }

    /// The process ends; what was raised is on disk, the rest is forgotten.
    fn restart(&mut self) {
        let open: Vec<(Name, Episode, String)> = self
            .alarms
            .open()
            .map(|(name, episode, text)| (name.clone(), episode, text.to_owned()))
            .collect();
        self.alarms = Alarms::default();
        for (name, episode, text) in open {
            self.alarms.recall(name, episode, text);
        }
    }
}

fn name(kind: Kind, subject: &str) -> Name {
    Name {
        kind,
        subject: subject.into(),
    }
}

#[test]
fn each_kind_is_raised_once_when_it_has_lasted_and_is_over_once() {
    for kind in Kind::ALL {
        let name = name(kind, "chem");
        let mut world = World::new(RULE);
        assert_eq!(world.look(&[&name]), "");
        assert_eq!(world.until(9, &[&name]), "");
        assert_eq!(world.until(10, &[&name]), "raise 1 at 10", "{kind:?}");
        assert_eq!(world.until(500, &[&name]), "", "it is not told again");
        assert_eq!(world.until(502, &[]), "");
        assert_eq!(world.until(503, &[]), "over 1");
        assert_eq!(world.until(600, &[]), "");
        assert_eq!(world.until(610, &[&name]), "");
        assert_eq!(
            world.until(611, &[&name]),
            "raise 2 at 611",
            "another episode"
        );
    }
}

#[test]
fn each_kind_that_is_raised_is_not_raised_again_by_a_restart_and_can_be_over_after_it() {
    for kind in Kind::ALL {
        let name = name(kind, "chem");
        let mut world = World::new(RULE);
        world.until(11, &[&name]);
        assert_eq!(world.episodes, 1);
        world.restart();
        assert_eq!(world.until(200, &[&name]), "", "{kind:?}");
        world.restart();
        assert_eq!(world.until(203, &[]), "over 1");
        world.restart();
        assert_eq!(world.until(212, &[&name]), "");
    }
}

#[test]
fn a_start_that_has_not_seen_it_yet_does_not_end_it() {
    let name = name(Kind::DeviceAway, "chem");
    let mut world = World::new(RULE);
    world.until(11, &[&name]);
    world.restart();
    assert_eq!(world.until(12, &[]), "", "the line has not tried yet");
    assert_eq!(world.until(100, &[&name]), "");
}

#[test]
fn what_is_over_before_it_has_lasted_is_no_news() {
    let name = name(Kind::CloudAway, "");
    let mut world = World::new(RULE);
    assert_eq!(world.until(9, &[&name]), "");
    assert_eq!(world.until(20, &[]), "");
    assert_eq!(world.until(29, &[&name]), "");
}

#[test]
fn a_device_that_comes_and_goes_is_one_alarm_and_not_many() {
    let name = name(Kind::DeviceAway, "chem");
    let mut world = World::new(RULE);
    let mut told = Vec::new();
    for minute in 1..=120 {
        let seen: &[&Name] = if minute % 2 == 0 { &[] } else { &[&name] };
        told.push(world.until(minute, seen));
    }
    told.retain(|word| !word.is_empty());
    assert_eq!(told, ["raise 1 at 11"]);
    assert_eq!(world.until(130, &[]), "over 1");
}

#[test]
fn without_a_wait_it_is_raised_and_over_at_the_next_look() {
    let name = name(Kind::Held, "chem");
    let mut world = World::new(Rule::default());
    assert_eq!(world.look(&[&name]), "raise 1 at 0");
    assert_eq!(world.look(&[&name]), "");
    assert_eq!(world.until(1, &[]), "over 1");
}

#[test]
fn each_subject_has_an_alarm_of_its_own() {
    let (chem, hema) = (name(Kind::Held, "chem"), name(Kind::Held, "hema"));
    let mut world = World::new(Rule::default());
    assert_eq!(world.look(&[&chem]), "raise 1 at 0");
    assert_eq!(world.look(&[&chem, &hema]), "raise 2 at 0");
    assert_eq!(world.until(1, &[&hema]), "over 1");
    let open: Vec<_> = world
        .alarms
        .open()
        .map(|(name, ..)| name.subject.clone())
        .collect();
    assert_eq!(open, ["hema"]);
}

#[test]
fn what_could_not_be_written_down_is_news_again() {
    let name = name(Kind::Disk, "");
    let mut world = World::new(Rule::default());
    assert_eq!(world.edges(&[&name]).len(), 1);
    assert_eq!(world.edges(&[&name]).len(), 1);
    assert_eq!(world.look(&[&name]), "raise 1 at 0");
    assert_eq!(world.edges(&[]).len(), 1);
    assert_eq!(world.edges(&[]).len(), 1);
    assert_eq!(world.edges(&[&name]).len(), 0, "it was never over");
    assert_eq!(world.look(&[]), "over 1");
}

#[test]
fn the_newest_words_are_shown_of_what_is_raised() {
    let name = name(Kind::Held, "chem");
    let mut world = World::new(Rule::default());
    world.look(&[&name]);
    world.until(7, &[&name]);
    let texts: Vec<&str> = world.alarms.open().map(|(_, _, text)| text).collect();
    assert_eq!(texts, ["at 7"]);
}

#[test]
fn every_kind_has_a_word_of_its_own() {
    for kind in Kind::ALL {
        assert_eq!(Kind::from_word(kind.word()), Some(kind));
    }
    assert_eq!(Kind::from_word("other"), None);
}
