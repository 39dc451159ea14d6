//! Tokens: who gets one, and what is said to who does not.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hyper::Method;
use serde_json::{Value, json};
use wardpost_cloud::{Cloud, Database, Options};

use crate::client::{Peer, World, connect, login, options, request, token};

const FORM: &str = "grant_type=client_credentials&client_id=c1&client_secret=s3cret";

async fn check_refusal(world: &World, form: &str, description: &str) {
    let reply = login(world.cloud.base_url(), &[], form).await;
    let expected = json!({ "error": "invalid_request", "error_description": description });
    assert_eq!((reply.status, reply.json()), (400, expected), "{form}");
}

fn claims(token: &str) -> Value {
    let payload = URL_SAFE_NO_PAD
        .decode(token.split('.').nth(1).unwrap())
        .unwrap();
    serde_json::from_slice(&payload).unwrap()
}

#[tokio::test]
async fn a_client_logs_in_and_gets_what_a_real_server_gives() {
    let world = World::forgetful().await;
    let reply = login(world.cloud.base_url(), &[], FORM).await;
    assert_eq!(reply.status, 200);
    let answer = reply.json();
    assert_eq!(answer["token_type"], "Bearer");
    assert_eq!(answer["expires_in"], 3600);
    assert_eq!(
        answer["project"],
        json!({ "reference": "Project/wardpost", "display": "Wardpost" })
    );
    assert_eq!(answer["profile"]["reference"], "ClientApplication/c1");
    assert_eq!(answer.get("refresh_token"), None);
    let claims = claims(answer["access_token"].as_str().unwrap());
    assert_eq!(claims["client_id"], "c1");
    assert_eq!(claims["profile"], "ClientApplication/c1");
    assert!(claims["login_id"].is_string());
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        3600
    );
}

#[tokio::test]
async fn basic_authentication_wins_over_the_form() {
    let world = World::forgetful().await;
    let basic = format!("Basic {}", STANDARD.encode("c1:s3cret"));
    let form = "grant_type=client_credentials&client_id=other&client_secret=wrong";
    let headers = [("authorization", basic.as_str())];
    assert_eq!(
        login(world.cloud.base_url(), &headers, form).await.status,
        200
    );
}

#[tokio::test]
async fn each_mistake_in_a_login_has_its_own_words() {
    let world = World::forgetful().await;
    check_refusal(
        &world,
        "client_id=c1&client_secret=s3cret",
        "Missing grant_type",
    )
    .await;
    check_refusal(&world, "grant_type=password", "Unsupported grant_type").await;
    let no_id = "grant_type=client_credentials&client_secret=x";
    check_refusal(&world, no_id, "Missing client_id").await;
    let no_secret = "grant_type=client_credentials&client_id=c1";
    check_refusal(&world, no_secret, "Missing client_secret").await;
    check_refusal(&world, &FORM.replace("c1", "c2"), "Invalid client").await;
    check_refusal(&world, &FORM.replace("s3cret", "s3cret!"), "Invalid secret").await;
}

#[tokio::test]
async fn a_switched_off_client_and_one_without_secret_are_invalid() {
    let world = World::forgetful().await;
    let off = json!({ "resourceType": "ClientApplication", "id": "c1", "secret": "s3cret", "status": "off" });
    assert!(world.cloud.put(off).await);
    check_refusal(&world, FORM, "Invalid client").await;
    assert!(
        world
            .cloud
            .put(json!({ "resourceType": "ClientApplication", "id": "c1" }))
            .await
    );
    check_refusal(&world, FORM, "Invalid client").await;
}

#[tokio::test]
async fn a_retiring_secret_still_works_and_the_client_has_its_own_lifetime() {
    let world = World::forgetful().await;
    let client = json!({ "resourceType": "ClientApplication", "id": "c1", "secret": "new",
        "retiringSecret": "s3cret", "accessTokenLifetime": "90s" });
    assert!(world.cloud.put(client).await);
    assert_eq!(
        login(world.cloud.base_url(), &[], FORM).await.json()["expires_in"],
        90
    );
}

#[tokio::test]
async fn a_login_must_be_a_form() {
    let world = World::forgetful().await;
    let url = format!("{}oauth2/token", world.cloud.base_url());
    let json = [("content-type", "application/json")];
    let reply = request(Method::POST, &url, &json, b"{}".to_vec()).await;
    assert_eq!(
        (reply.status, reply.body.as_str()),
        (400, "Unsupported content type")
    );
}

#[tokio::test]
async fn who_am_i_shows_the_profile_without_its_secret() {
    let world = World::forgetful().await;
    let me = world.get("auth/me").await.json();
    assert_eq!(me["profile"]["resourceType"], "ClientApplication");
    assert_eq!(me["profile"]["id"], "c1");
    assert_eq!(me["profile"].get("secret"), None);
    assert_eq!(me["project"]["name"], "Wardpost");
    assert_eq!(me["membership"]["id"], "member-c1");
}

#[tokio::test]
async fn a_request_without_a_valid_token_is_unauthorized() {
    let world = World::forgetful().await;
    for authorization in ["", "Bearer opaque", "Basic YTpi", "Digest x"] {
        let url = format!("{}fhir/R4/Agent/a1", world.cloud.base_url());
        let headers = [("authorization", authorization)];
        let reply = request(Method::GET, &url, &headers, Vec::new()).await;
        reply.refuses(401, "Unauthorized");
        assert!(reply.headers.contains_key("www-authenticate"));
    }
}

#[tokio::test]
async fn id_and_secret_are_taken_in_place_of_a_token() {
    let world = World::forgetful().await;
    let url = format!("{}fhir/R4/Agent/a1", world.cloud.base_url());
    let basic = format!("Basic {}", STANDARD.encode("c1:s3cret"));
    let headers = [("authorization", basic.as_str())];
    assert_eq!(
        request(Method::GET, &url, &headers, Vec::new())
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn revoked_tokens_open_nothing_any_more() {
    let world = World::forgetful().await;
    world.cloud.revoke_tokens();
    world
        .get("fhir/R4/Agent/a1")
        .await
        .refuses(401, "Unauthorized");
    let mut peer = world.open().await;
    peer.send(&connect(&world.token)).await;
    assert_eq!(peer.next_refusal().await, "Invalid access token");
}

#[tokio::test]
async fn a_token_outlives_a_restart_and_the_seed_is_planted_once() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::File(folder.path().join("cloud.db"));
    let options = Options {
        database,
        ..options()
    };
    let world = World::with(options.clone()).await;
    let changed =
        json!({ "resourceType": "Agent", "id": "a1", "name": "Renamed", "status": "active" });
    assert!(world.cloud.put(changed).await);
    let token = token(world.cloud.base_url()).await;
    world.cloud.shutdown().await;

    let cloud = Cloud::start(options).await.unwrap();
    assert_eq!(cloud.resource("Agent", "a1").unwrap()["name"], "Renamed");
    let mut peer = Peer::open(cloud.base_url(), "/ws/agent").await;
    peer.send(&connect(&token)).await;
    assert_eq!(peer.next().await["type"], "agent:connect:response");
    drop(peer);
    cloud.shutdown().await;
}

#[tokio::test]
async fn every_path_exists_below_api_too() {
    let world = World::forgetful().await;
    assert_eq!(world.get("api/fhir/R4/Agent/a1").await.status, 200);
    assert_eq!(world.get("api/auth/me").await.status, 200);
    assert_eq!(world.get("api/healthcheck").await.json()["ok"], true);
    assert_eq!(world.get("healthcheck").await.json()["ok"], true);
}
