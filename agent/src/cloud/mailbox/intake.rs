//! From a Task to a push: whose it is, for which device, with which payload. What passes is on disk, held for its claim.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use agent_core::mailbox::{Taken, Task, TaskId, Trouble, Version};
use agent_core::phi::Phi;
use agent_core::push::{DeviceNo, Mono, NewPush};
use agent_core::queue;
use agent_core::retry::AskedWait;
use agent_core::route::Route;
use agent_wire::PushRequest;
use serde_json::Value;

use super::requests::{Access, BELIEVED, Company};
use super::resource::{self, Payload, Wish};
use super::{Form, Shared, callback_of};
use crate::clock;
use crate::cloud::translate;

/// Answers of the cloud that are believed for a while.
#[derive(Default)]
pub(super) struct Seen(Mutex<Notes>);

#[derive(Default)]
struct Notes {
    /// `Device.url` by id.
    urls: HashMap<String, (String, Mono)>,
    company: Option<(Company, Mono)>,
}

/// Whether the Task says for whom it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Addressed {
    Us,
    /// To nobody, and there is no other agent.
    WhoIsThere,
    /// To nobody, and there may be others.
    Nobody,
}

/// Why a Task goes no further: the verdict on it.
type Stopped = Taken;

impl Shared {
    pub(super) async fn take(&self, access: &Access, id: &TaskId, version: &Version) -> Taken {
        match self.try_take(access, id, version).await {
            Ok(taken) | Err(taken) => taken,
        }
    }

    async fn try_take(
        &self,
        access: &Access,
        id: &TaskId,
        version: &Version,
    ) -> Result<Taken, Stopped> {
        let read = access.resource("Task", &id.0, self.limit()).await;
        let value = match read {
            Ok(value) => value,
            Err(Trouble::Gone) => return Ok(Taken::Gone),
            Err(Trouble::TooLarge(_)) => return Ok(Taken::Bad(self.too_large())),
            Err(trouble) => return Err(later(trouble)),
        };
        let task = self.note(&value, access).map_err(later)?;
        if task.version != *version {
            return Ok(Taken::Changed(task));
        }
        let (no, url) = self.device(access, &value).await?;
        let wish = resource::wish(&value).map_err(Taken::Bad)?;
        let push = self.push(access, &task, (no, url), wish).await?;
        match self.store.take_task(push).await {
            Ok(queue::Taken::Kept(push)) => {
                self.store.watch_task(push);
                Ok(Taken::Kept(push))
            }
            Ok(queue::Taken::Refused(why)) => Ok(Taken::Later(why, AskedWait::Nothing)),
            Err(error) => Ok(Taken::Later(error.to_string(), AskedWait::Nothing)),
        }
    }

    /// Keeps in mind what is needed to write on a Task that was read.
    pub(super) fn note(&self, value: &Value, access: &Access) -> Result<Task, Trouble> {
        let read = resource::task(value, &access.agent).zip(Form::of(value));
        let Some((task, form)) = read else {
            let why = "what came is no Task".to_owned();
            return Err(Trouble::Refused(why));
        };
        let mut forms = self.forms();
        if forms.len() >= MOST_FORMS {
            forms.clear();
        }
        forms.insert(task.id.clone(), form);
        Ok(task)
    }

    /// The mapped device that is to get it, and what the cloud calls it.
    async fn device(&self, access: &Access, value: &Value) -> Result<(DeviceNo, String), Stopped> {
        let addressed = match resource::named_agent(value) {
            Some(agent) if agent == access.agent => Addressed::Us,
            Some(_) => return Err(Taken::NotOurs("it names another agent".into())),
            None => match self.intake.company(access).await? {
                Company::Nobody => Addressed::WhoIsThere,
                Company::Unseen => Addressed::Nobody,
                Company::Others => return Err(Taken::NotOurs(SEVERAL.into())),
            },
        };
        let id = resource::device_id(value).ok_or(Taken::Bad(NO_DEVICE.into()))?;
        let url = match self.intake.url(access, id).await {
            Ok(url) => url,
            Err(Trouble::Gone) if addressed != Addressed::Us => {
                return Err(Taken::NotOurs(format!("this client sees no Device/{id}")));
            }
            Err(Trouble::Gone) => return Err(Taken::Bad(format!("there is no Device/{id}"))),
            Err(trouble) => return Err(later(trouble)),
        };
        let devices = self.site.devices();
        if let Some(file) = devices.broken_file(&url) {
            let why = format!("{} cannot be used, so its device is off", file.display());
            return Err(Taken::Later(why, AskedWait::Nothing));
        }
        match devices.resolve(&url) {
            Route::Found(no) => Ok((no, url)),
            Route::Myself => Err(Taken::Bad("a Task holds no commands for the agent".into())),
            // Another agent may have the file.
            Route::Allowed(_) | Route::Refused(_) if addressed == Addressed::Nobody => {
                Err(Taken::NotOurs(unmapped(id)))
            }
            Route::Allowed(_) | Route::Refused(_) => Err(Taken::Bad(unmapped(id))),
        }
    }

    async fn push(
        &self,
        access: &Access,
        task: &Task,
        (no, remote): (DeviceNo, String),
        wish: Wish,
    ) -> Result<NewPush, Stopped> {
        let devices = self.site.devices();
        let most = devices.rules().max_push_bytes;
        let (body, own_type) = self.body(access, wish.payload, most).await?;
        let content_type = wish.content_type.or(own_type);
        let content_type =
            content_type.ok_or(Taken::Bad("it has no input «contentType»".into()))?;
        let request = PushRequest {
            remote: Some(remote),
            content_type: Some(content_type),
            body: Some(body.0),
            callback: None,
            return_ack: wish.return_ack,
        };
        let mut request = translate::request(request, most).map_err(Taken::Bad)?;
        request.callback = Some(callback_of(&task.id, &task.version));
        let device = devices.get(no).ok_or(Taken::Bad(REMOVED.into()))?;
        let mut push = translate::push(request, no, device).map_err(Taken::Bad)?;
        if let Some(end) = wish.expires {
            let left = end.since(clock::utc());
            let own = push.options.expires.unwrap_or(left);
            push.options.expires = Some(own.min(left));
        }
        Ok(push)
    }

    /// The text to send, and the content type that it came with.
    async fn body(
        &self,
        access: &Access,
        payload: Payload,
        most: usize,
    ) -> Result<(Phi<String>, Option<String>), Stopped> {
        let id = match payload {
            Payload::Text(text) => return Ok((text, None)),
            Payload::Binary(id) => id,
        };
        let binary = match access.binary(&id, most).await {
            Ok(binary) => binary,
            Err(Trouble::Gone) => {
                return Err(Taken::Bad(format!("its Binary/{id} cannot be read")));
            }
            Err(Trouble::TooLarge(_)) => return Err(Taken::Bad(self.too_large())),
            Err(trouble) => return Err(later(trouble)),
        };
        let text = String::from_utf8(binary.bytes);
        let text = text.map_err(|_| Taken::Bad(format!("its Binary/{id} is no text in UTF-8")))?;
        let kind = Some(binary.content_type).filter(|kind| !kind.is_empty());
        Ok((Phi(text), kind))
    }

    fn too_large(&self) -> String {
        let most = self.site.devices().rules().max_push_bytes;
        format!(
            "its payload has more than {most} bytes; send less, or raise max_push_bytes in \
             [limits] of wardpost.toml"
        )
    }
}

impl Seen {
    async fn url(&self, access: &Access, id: &str) -> Result<String, Trouble> {
        let now = clock::mono();
        let known = self.notes().urls.get(id).cloned();
        if let Some((url, until)) = known
            && now < until
        {
            return Ok(url);
        }
        let device = access.resource("Device", id, DEVICE_LIMIT).await?;
        let url = device["url"].as_str().unwrap_or_default().to_owned();
        let mut notes = self.notes();
        if notes.urls.len() >= MOST_URLS {
            notes.urls.clear();
        }
        let until = now.plus(BELIEVED);
        notes.urls.insert(id.to_owned(), (url.clone(), until));
        Ok(url)
    }

    async fn company(&self, access: &Access) -> Result<Company, Stopped> {
        let now = clock::mono();
        let known = self.notes().company;
        if let Some((company, until)) = known
            && now < until
        {
            return Ok(company);
        }
        let company = access.company().await.map_err(later)?;
        self.notes().company = Some((company, now.plus(BELIEVED)));
        Ok(company)
    }

    /// Whoever panicked here has left no half-made change behind.
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What cannot be known now is asked again.
fn later(trouble: Trouble) -> Taken {
    match trouble {
        Trouble::Unknown(why, asked) => Taken::Later(why, asked),
        Trouble::Refused(why) | Trouble::TooLarge(why) => Taken::Later(why, AskedWait::Nothing),
        Trouble::Conflict | Trouble::Gone => {
            Taken::Later("the server does not show it".into(), AskedWait::Nothing)
        }
    }
}

fn unmapped(id: &str) -> String {
    format!("no file in devices.d maps the url of Device/{id} on this agent")
}

const SEVERAL: &str =
    "this client sees several agents, so a Task must name its own: add an input «agent»";
const NO_DEVICE: &str = "its owner is no Device";
const REMOVED: &str = "its device was removed just now";
/// Far above any Device resource.
const DEVICE_LIMIT: usize = 1 << 20;
const MOST_URLS: usize = 10_000;
/// Tasks of which it is known how to write on them; of others it is read again.
const MOST_FORMS: usize = 8_192;
