//! Subscriptions: a resource was created, updated or deleted, and a Bot is to know.
//!
//! Whether one fits is decided when the change is on disk; its Bot then runs in the background, once. A Bot that fails is
//! not run again, as on a real server, and what waits when the process ends is lost. Events of `AuditEvent` trigger nothing.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tracing::{debug, error, warn};

use crate::bots::Run;
use crate::http::Query;
use crate::oauth::{self, Caller};
use crate::search::Search;
use crate::server::Server;
use crate::store::{Current, Effect, Wrote, text};

/// Changes that wait for their Bots.
pub(crate) struct Subscriptions {
    events: mpsc::Sender<Event>,
    waiting: Mutex<Option<mpsc::Receiver<Event>>>,
}

/// One change that one Subscription is about.
struct Event {
    subscription: String,
    /// The version that triggered it; of a deletion the last one.
    resource: Arc<Value>,
    interaction: &'static str,
}

impl Default for Subscriptions {
    fn default() -> Self {
        let (events, waiting) = mpsc::channel(WAITING);
        Self {
            events,
            waiting: Mutex::new(Some(waiting)),
        }
    }
}

impl Subscriptions {
    /// Notes whom a change concerns.
    pub(crate) fn fire(&self, current: &Current, wrote: &Wrote) {
        let interaction = match wrote.effect {
            Effect::Created => "create",
            Effect::Updated => "update",
            Effect::Deleted => "delete",
            Effect::Unchanged => return,
        };
        match text(&wrote.resource, "resourceType") {
            "AuditEvent" => return,
            "Subscription" if wrote.effect != Effect::Deleted => complain(current, &wrote.resource),
            _ => {}
        }
        let concerned = current.find("Subscription", |subscription| {
            concerns(subscription, &wrote.resource, interaction)
        });
        for subscription in concerned {
            let event = Event {
                subscription: text(&subscription, "id").to_owned(),
                resource: Arc::clone(&wrote.resource),
                interaction,
            };
            if let Err(refused) = self.events.try_send(event) {
                let subscription = text(&subscription, "id");
                error!(subscription, why = %refused, "an event is lost: too many wait for their Bots");
            }
        }
    }
}

/// Runs Bots until the stub stops, each event in its turn.
pub(crate) async fn serve(server: Arc<Server>) {
    let waiting = server.subscriptions.waiting.lock();
    let Some(mut events) = waiting.unwrap_or_else(PoisonError::into_inner).take() else {
        return;
    };
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = server.stop.cancelled() => return,
        };
        let Some(event) = event else {
            return;
        };
        let Some(turn) = server.bots.background().await else {
            return;
        };
        let owner = Arc::clone(&server);
        server
            .tasks
            .spawn(async move { event.happen(&owner, turn).await });
    }
}

impl Event {
    async fn happen(self, server: &Arc<Server>, turn: OwnedSemaphorePermit) {
        let subscription = self.subscription.clone();
        match self.run(server) {
            Ok(run) => {
                // How it went is in the log and in its record; nobody else asks.
                run.carry_out(server, turn).await;
            }
            Err(Idle::NotWanted(why)) => debug!(subscription, why, "a Bot is not run"),
            Err(Idle::Impossible(why)) => error!(subscription, why, "a Bot cannot be run"),
        }
    }

    /// The run that this event leads to, as things stand now.
    fn run(&self, server: &Arc<Server>) -> Result<Run, Idle> {
        let subscription = server
            .read("Subscription", &self.subscription)
            .map_err(|_| Idle::NotWanted("the Subscription was deleted"))?;
        if text(&subscription, "status") != "active" {
            return Err(Idle::NotWanted("the Subscription is not active any more"));
        }
        let (kind, id) = (
            text(&self.resource, "resourceType"),
            text(&self.resource, "id"),
        );
        if self.interaction != "delete" && server.read(kind, id).is_err() {
            return Err(Idle::NotWanted("the resource was deleted"));
        }
        let bot = bot(&server.store.current, &subscription).map_err(Idle::Impossible)?;
        let requester = self.resource.pointer("/meta/author/reference");
        let requester = requester.and_then(Value::as_str).map(str::to_owned);
        let caller = runs_as(server, &bot, requester.as_deref());
        Ok(Run {
            caller: caller.ok_or_else(|| Idle::Impossible(NO_MEMBERSHIP.to_owned()))?,
            bot,
            requester,
            content_type: FHIR_JSON.to_owned(),
            input: if self.interaction == "delete" {
                json!({ "deletedResource": *self.resource })
            } else {
                (*self.resource).clone()
            },
            headers: Some(self.headers(&format!("{kind}/{id}"))),
            about: vec![
                format!("Subscription/{}", self.subscription),
                format!("{kind}/{id}"),
            ],
        })
    }

    fn headers(&self, resource: &str) -> Value {
        let mut headers = json!({
            "Content-Type": FHIR_JSON,
            "X-Medplum-Subscription": self.subscription,
            "X-Medplum-Interaction": self.interaction,
        });
        if self.interaction == "delete" {
            headers["X-Medplum-Deleted-Resource"] = json!(resource);
        }
        headers
    }
}

/// Why an event leads to no run.
enum Idle {
    NotWanted(&'static str),
    Impossible(String),
}

/// Whether a Subscription is about this change.
fn concerns(subscription: &Value, resource: &Value, interaction: &str) -> bool {
    let hook = subscription
        .pointer("/channel/type")
        .and_then(Value::as_str);
    text(subscription, "status") == "active"
        && hook == Some("rest-hook")
        && !endpoint(subscription).is_empty()
        && supports(subscription, interaction)
        && !has_expression(subscription)
        && criteria(subscription).is_ok_and(|(kind, search)| {
            kind == text(resource, "resourceType") && search.fits(resource)
        })
}

/// Without the extension every interaction is meant.
fn supports(subscription: &Value, interaction: &str) -> bool {
    let mut listed = extensions(subscription, INTERACTION).peekable();
    listed.peek().is_none() || listed.any(|one| text(one, "valueCode") == interaction)
}

fn has_expression(subscription: &Value) -> bool {
    extensions(subscription, EXPRESSION).next().is_some()
}

fn extensions<'a>(subscription: &'a Value, url: &'static str) -> impl Iterator<Item = &'a Value> {
    let all = subscription.get("extension").and_then(Value::as_array);
    all.into_iter()
        .flatten()
        .filter(move |one| text(one, "url") == url)
}

/// The resource type and the search, or what is wrong with them.
fn criteria(subscription: &Value) -> Result<(String, Search), String> {
    let criteria = text(subscription, "criteria");
    let (kind, query) = criteria.split_once('?').unwrap_or((criteria, ""));
    if !kind.starts_with(|first: char| first.is_ascii_uppercase()) {
        return Err(format!("its criteria '{criteria}' name no resource type"));
    }
    let search = Search::parse(&Query::parse(query));
    let search = search.map_err(|outcome| format!("its criteria: {}", outcome.text()))?;
    Ok((kind.to_owned(), search))
}

fn endpoint(subscription: &Value) -> &str {
    let endpoint = subscription.pointer("/channel/endpoint");
    endpoint.and_then(Value::as_str).unwrap_or_default()
}

fn bot(current: &Current, subscription: &Value) -> Result<Arc<Value>, String> {
    let endpoint = endpoint(subscription);
    let id = endpoint.strip_prefix("Bot/").ok_or_else(|| {
        format!("its endpoint '{endpoint}' is not Bot/ID, and the stub calls nothing else")
    })?;
    current
        .read("Bot", id)
        .map_err(|_| format!("there is no {endpoint}"))
}

/// The Bot's membership, or with `runAsUser` that of who made the change.
fn runs_as(server: &Server, bot: &Arc<Value>, requester: Option<&str>) -> Option<Arc<Caller>> {
    let own = format!("Bot/{}", text(bot, "id"));
    let as_user = bot.get("runAsUser") == Some(&Value::Bool(true));
    let profile = if as_user { requester? } else { &own };
    oauth::membership(server, profile)?;
    let (kind, id) = profile.split_once('/')?;
    let profile = server.read(kind, id).ok()?;
    Some(Arc::new(Caller::of(server, profile)))
}

/// Says in the log what keeps a new Subscription from working. It is taken all the same, as a real server does.
fn complain(current: &Current, subscription: &Value) {
    let id = text(subscription, "id");
    let mut faults = Vec::new();
    faults.extend(criteria(subscription).err());
    faults.extend(bot(current, subscription).err());
    if text(subscription, "status") != "active" {
        faults.push("its status is not active".to_owned());
    }
    if subscription.pointer("/channel/type") != Some(&json!("rest-hook")) {
        faults.push("its channel is no rest-hook".to_owned());
    }
    if has_expression(subscription) {
        faults.push("it has a FHIRPath expression, which the stub does not evaluate".to_owned());
    }
    for why in faults {
        warn!(subscription = id, why, "this Subscription runs no Bot");
    }
}

const INTERACTION: &str =
    "https://medplum.com/fhir/StructureDefinition/subscription-supported-interaction";
const EXPRESSION: &str =
    "https://medplum.com/fhir/StructureDefinition/fhir-path-criteria-expression";
const FHIR_JSON: &str = "application/fhir+json";
const NO_MEMBERSHIP: &str = "Could not find project membership for bot";

/// Events that may wait for a Bot. Each is little more than a pointer to a resource that is in memory anyway.
const WAITING: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: &Value, interaction: &str, expected: bool) {
        let request = json!({ "resourceType": "ServiceRequest", "status": "active" });
        let mut subscription = json!({
            "status": "active", "criteria": "ServiceRequest?status=active",
            "channel": { "type": "rest-hook", "endpoint": "Bot/b" },
        });
        for (name, value) in change.as_object().unwrap() {
            subscription[name] = value.clone();
        }
        let found = concerns(&subscription, &request, interaction);
        assert_eq!(found, expected, "{subscription} {interaction}");
    }

    #[test]
    fn a_subscription_concerns_what_its_criteria_find() {
        check(&json!({}), "create", true);
        check(&json!({}), "delete", true);
        check(&json!({ "criteria": "ServiceRequest" }), "update", true);
        for off in [
            json!({ "criteria": "ServiceRequest?status=draft" }),
            json!({ "criteria": "Patient" }),
            json!({ "criteria": "ServiceRequest?subject.name=x" }),
            json!({ "criteria": "" }),
            json!({ "status": "off" }),
            json!({ "channel": { "type": "websocket" } }),
            json!({ "channel": { "type": "rest-hook" } }),
            json!({ "extension": [{ "url": EXPRESSION, "valueString": "%current.exists()" }] }),
        ] {
            check(&off, "create", false);
        }
    }

    #[test]
    fn listed_interactions_are_the_only_ones() {
        let one = |code: &str| json!({ "url": INTERACTION, "valueCode": code });
        let create = json!({ "extension": [one("create")] });
        check(&create, "create", true);
        check(&create, "update", false);
        let both = json!({ "extension": [one("create"), one("update")] });
        check(&both, "update", true);
        check(&both, "delete", false);
    }
}
