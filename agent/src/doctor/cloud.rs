//! The way to the cloud, the token, and what its bearer may do.

use std::sync::Arc;
use std::time::Duration;

use agent_core::clock::CloudTime;
use secrecy::SecretString;
use tokio::time::timeout;

use super::{Finding, Subject};
use crate::cloud::dial::{DialError, Dialler, Step};
use crate::cloud::http::HttpClient;
use crate::cloud::rights::{self, Asker, Judged, OwnAgent, RIGHTS, Right};
use crate::cloud::token::{AccessToken, TokenError};
use crate::secret::Secret;
use crate::tls::told;

/// What was found, and what time it is there.
#[derive(Debug, Default)]
pub struct Network {
    pub findings: Vec<Finding>,
    pub time: Option<CloudTime>,
}

impl Network {
    pub(super) async fn look(subject: &Subject) -> Self {
        let mut network = Self::default();
        if timeout(PATIENCE, network.go(subject)).await.is_err() {
            let said = format!("it took longer than {} s", PATIENCE.as_secs());
            let next = "what is not listed was not tried: ask again, or see what hangs above";
            let finding = Finding::wrong(("cloud", "in time"), [said, next.into()]);
            network.findings.push(finding);
        }
        network
    }

    async fn go(&mut self, subject: &Subject) {
        let dialler = Arc::new(subject.settings.dialler());
        if !self.reach(&dialler, subject).await {
            self.skip(&[HTTP, SECRET, RIGHT], "the cloud is not reached");
            return;
        }
        let http = HttpClient::new(dialler);
        self.greet(&http, subject).await;
        match self.token(&http, subject).await {
            Some(token) => self.policy(&http, &token, subject).await,
            None => self.skip(&[RIGHT], "there is no token"),
        }
    }

    fn skip(&mut self, skipped: &[(&'static str, &'static str)], because: &str) {
        let skipped = skipped.iter();
        self.findings
            .extend(skipped.map(|what| Finding::not_tried(*what, because)));
    }

    /// Name, connection, proxy, TLS: each has its finding, up to the first that fails.
    async fn reach(&mut self, dialler: &Dialler, subject: &Subject) -> bool {
        let url = &subject.settings.url;
        let failed = dialler.dial(url).await.err();
        let steps = dialler.steps(url);
        let at = failed.as_ref().map(DialError::step);
        let at = steps.iter().position(|step| Some(*step) == at);
        for (number, step) in steps.into_iter().enumerate() {
            let what = ("cloud", word(step));
            let finding = match (&failed, at) {
                (Some(error), Some(at)) if number == at => {
                    Finding::wrong(what, [told(error), advice(step).into()])
                }
                (Some(_), Some(at)) if number > at => {
                    Finding::not_tried(what, "a step before it failed")
                }
                _ => Finding::good(what, passed(step)),
            };
            self.findings.push(finding);
        }
        failed.is_none()
    }

    async fn greet(&mut self, http: &HttpClient, subject: &Subject) {
        let url = &subject.settings.url;
        let finding = match rights::greet(http, url).await {
            Ok(greeting) => {
                self.time = greeting.time;
                match greeting.status {
                    200 => Finding::good(HTTP, format!("{url} answers")),
                    status => {
                        let said = format!("{url} answers with HTTP {status} that it is not well");
                        let next =
                            "is it [cloud] url, or a captive portal? Else wait, or ask who runs it";
                        Finding::warning(HTTP, [said, next.into()])
                    }
                }
            }
            Err(error) => {
                let next = "is what answers there the cloud? See [cloud] url";
                Finding::wrong(HTTP, [told(&error), next.into()])
            }
        };
        self.findings.push(finding);
    }

    async fn token(&mut self, http: &HttpClient, subject: &Subject) -> Option<SecretString> {
        let settings = &subject.settings;
        match AccessToken::fetch(http, &settings.url, &settings.credentials).await {
            Ok(token) => {
                self.time = self.time.or(token.time);
                let said = format!(
                    "the secret of the client {} is accepted",
                    settings.credentials.client
                );
                self.findings.push(Finding::good(SECRET, said));
                Some(token.text)
            }
            Err(error) => {
                let next = secret_advice(&error, subject);
                self.findings
                    .push(Finding::wrong(SECRET, [told(&error), next]));
                None
            }
        }
    }

    async fn policy(&mut self, http: &HttpClient, token: &SecretString, subject: &Subject) {
        let settings = &subject.settings;
        let asker = Asker {
            http,
            base: &settings.url,
            token,
        };
        match asker.own(&settings.agent).await {
            Ok(own) => {
                let said = format!("Agent/{} is there and may be read", settings.agent);
                self.findings
                    .push(Finding::good(("policy", "Agent read"), said));
                self.channels(&asker, &own, subject).await;
            }
            Err(judged) => {
                let what = ("policy", "Agent read");
                let needed = "to know its own status and channels";
                self.judge(
                    what,
                    &judged,
                    &Need {
                        kind: "Agent",
                        needed,
                        subject,
                    },
                );
            }
        }
        for right in RIGHTS {
            let judged = asker.may(right).await;
            let Right { kind, needed, .. } = right;
            self.judge(
                ("policy", name(right)),
                &judged,
                &Need {
                    kind,
                    needed,
                    subject,
                },
            );
        }
    }

    fn judge(&mut self, what: (&'static str, &'static str), judged: &Judged, need: &Need<'_>) {
        let finding = match judged {
            Judged::Held => Finding::good(what, "allowed"),
            Judged::Lacking { status } => {
                let said = format!("not allowed (HTTP {status}), and needed {}", need.needed);
                let entry = rights::entry(need.kind, &need.subject.settings.agent);
                let mut next = format!("add to `resource` of the client's AccessPolicy: {entry}");
                if *status == 404 {
                    next = format!("see whether it is there, or {next}");
                }
                Finding::wrong(what, [said, next])
            }
            Judged::Unknown { why } => {
                Finding::warning(what, [why.clone(), "ask again later".into()])
            }
        };
        self.findings.push(finding);
    }

    /// Each channel's Bot can be read, and each channel that a file names is there.
    async fn channels(&mut self, asker: &Asker<'_>, own: &OwnAgent, subject: &Subject) {
        for channel in own.channels.iter().take(MOST_CHANNELS) {
            let Some(bot) = channel.bot.as_deref().filter(|bot| bot.starts_with("Bot/")) else {
                let said = format!("the channel {} names no Bot", channel.name);
                let next = "give it a targetReference, or what comes in there is lost on a server";
                self.findings
                    .push(Finding::warning(CHANNEL, [said, next.into()]));
                continue;
            };
            let judged = asker.reads(bot).await;
            let needed = "to have what comes in on a channel taken by its Bot";
            self.judge(
                CHANNEL,
                &judged,
                &Need {
                    kind: "Bot",
                    needed,
                    subject,
                },
            );
        }
        let missing = subject
            .channels
            .iter()
            .filter(|named| own.channels.iter().all(|channel| channel.name != **named));
        for named in missing {
            let said = format!(
                "Agent/{} has no channel {named}, which a file names",
                subject.settings.agent
            );
            let next = "add it to `channel` of the Agent, or correct the file";
            self.findings
                .push(Finding::wrong(CHANNEL, [said, next.into()]));
        }
    }
}

/// What a right is needed for, and by whom.
struct Need<'a> {
    kind: &'static str,
    needed: &'static str,
    subject: &'a Subject,
}

fn name(right: Right) -> &'static str {
    use crate::cloud::rights::Interaction::{Read, Search, Update};
    match (right.kind, right.interaction) {
        ("Device", Search) => "Device search",
        ("Device", Read) => "Device read",
        ("Endpoint", _) => "Endpoint search",
        ("Bot", _) => "Bot read",
        ("Task", Search) => "Task search",
        ("Task", Read) => "Task read",
        ("Task", Update) => "Task update",
        _ => "Binary read",
    }
}

fn word(step: Step) -> &'static str {
    match step {
        Step::Name => "name",
        Step::Connection => "connection",
        Step::Proxy => "proxy",
        Step::Tls => "tls",
    }
}

fn passed(step: Step) -> &'static str {
    match step {
        Step::Name => "there is an address for it",
        Step::Connection => "connected by TCP",
        Step::Proxy => "the proxy lets us through",
        Step::Tls => "the certificate is one that we trust",
    }
}

fn advice(step: Step) -> &'static str {
    match step {
        Step::Name => "look at cable, network and name server, and at [cloud] url",
        Step::Connection => "look at the firewall, and at host and port in [cloud] url or proxy",
        Step::Proxy => "look at [cloud] proxy, and ask who runs it",
        Step::Tls => "look at [cloud] trust, and at `date`",
    }
}

fn secret_advice(error: &TokenError, subject: &Subject) -> String {
    let credential = matches!(subject.settings.credentials.secret, Secret::Credential(_));
    let next = match error {
        TokenError::NoSecret { .. } if credential && subject.clock.is_none() => {
            "credentials are handed to the service alone: start it, and ask again"
        }
        TokenError::NoSecret { .. } | TokenError::SecretEmpty { .. } => {
            "put the secret in place: /etc/credstore/client-secret and a restart, or the file that is named"
        }
        TokenError::Refused { .. } => {
            "put the secret that is valid in the cloud in place, and see that [cloud] client is its ClientApplication"
        }
        TokenError::Missing { .. } | TokenError::Redirected { .. } | TokenError::NotJson => {
            "correct [cloud] url, or let the box through the portal"
        }
        _ => "wait, or ask who runs the cloud",
    };
    next.to_owned()
}

const HTTP: (&str, &str) = ("cloud", "http");
const SECRET: (&str, &str) = ("token", "secret");
const RIGHT: (&str, &str) = ("policy", "rights");
const CHANNEL: (&str, &str) = ("policy", "channels");
/// Shorter than whoever asks for the whole waits.
const PATIENCE: Duration = Duration::from_secs(30);
const MOST_CHANNELS: usize = 20;
