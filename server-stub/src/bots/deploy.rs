//! Making Bots: `POST admin/projects/ID/bot`, which gives one its membership, and `Bot/ID/$deploy`, which gives it its code.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::access::Created;
use crate::http::Call;
use crate::oauth;
use crate::outcome::Outcome;
use crate::patch::Step;
use crate::server::Server;
use crate::store::{Change, Edit, Name, text};

/// `POST /admin/projects/ID/bot`: for callers without limits only.
pub(crate) async fn create_with_membership(
    State(server): State<Arc<Server>>,
    Path(project): Path<String>,
    request: Request,
) -> Response {
    match create(&server, &project, request).await {
        Ok(bot) => (StatusCode::CREATED, Json(bot)).into_response(),
        Err(outcome) => outcome.into_response(),
    }
}

async fn create(server: &Arc<Server>, project: &str, request: Request) -> Result<Value, Outcome> {
    let mut call = Call::new(server, "", request)?;
    if !call.caller.policy.is_everything() {
        return Err(Outcome::forbidden());
    }
    if text(&oauth::project(server), "id") != project {
        return Err(Outcome::not_found());
    }
    let wanted = call.json().await?;
    if text(&wanted, "name").is_empty() {
        return Err(Outcome::invalid("Bot name is required"));
    }
    let runtime = match text(&wanted, "runtimeVersion") {
        "" => "awslambda",
        given => given,
    };
    let mut bot = json!({
        "resourceType": "Bot", "name": wanted["name"], "runtimeVersion": runtime,
    });
    if !text(&wanted, "description").is_empty() {
        bot["description"] = wanted["description"].clone();
    }
    let (Created::Now(bot) | Created::Before(bot)) = call.caller.create(server, bot, "").await?;
    let reference = json!({ "reference": format!("Bot/{}", text(&bot, "id")) });
    let mut membership = json!({
        "resourceType": "ProjectMembership",
        "project": { "reference": format!("Project/{project}") },
        "user": reference, "profile": reference,
    });
    if let Some(policy) = wanted
        .get("accessPolicy")
        .filter(|policy| policy.is_object())
    {
        membership["accessPolicy"] = policy.clone();
    }
    server.write(Change::Create(membership)).await?;
    Ok((*bot).clone())
}

/// `POST Bot/ID/$deploy`: keeps the code as a Binary and names it in the Bot. Without `code` there must be some already.
pub(super) async fn deploy(
    server: &Arc<Server>,
    id: &str,
    mut call: Call,
) -> Result<Response, Outcome> {
    let wanted = call.json().await?;
    let bot = call.caller.read(server, "Bot", id)?;
    let code = text(&wanted, "code");
    if code.is_empty() {
        let there = bot.pointer("/executableCode/url").is_some();
        return if there {
            Ok(Outcome::all_ok().into_response())
        } else {
            Err(Outcome::invalid("Bot missing executable code"))
        };
    }
    let filename = match text(&wanted, "filename") {
        "" => "index.js",
        given => given,
    };
    let binary = json!({
        "resourceType": "Binary", "contentType": JAVASCRIPT, "data": STANDARD.encode(code),
    });
    let (Created::Now(binary) | Created::Before(binary)) =
        call.caller.create(server, binary, "").await?;
    let url = format!("Binary/{}", text(&binary, "id"));
    let executable = json!({ "contentType": JAVASCRIPT, "url": url, "title": filename });
    let edit = Edit::Patch(vec![Step::Add {
        path: "/executableCode".into(),
        value: executable,
    }]);
    call.caller
        .edit(server, Name::new("Bot", id), None, edit)
        .await?;
    Ok(Outcome::all_ok().into_response())
}

const JAVASCRIPT: &str = "text/javascript";
