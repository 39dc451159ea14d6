//! Devices behind TLS: mllps, and each way in which it fails.

use std::process::Command;

use scenarios::bench::{Bench, DeviceSetup, Process, Setup, wait_for, wait_until, waiting};
use scenarios::certs::{Authority, Pair};
use scenarios::oracle::State;
use scenarios::sim::{Kind, Order, always};
use serde_json::json;

use crate::peers::{installed, peers};
use crate::wait_for_state;

/// A bench with one mllps device, `chem`, that speaks TLS if it has a certificate. The agent does not run yet.
fn secure(chem: DeviceSetup, server: Option<&Pair>, clients: Option<&Authority>) -> Bench {
    let bench = Setup::new().device(chem.secure()).start_without_agent();
    if let Some(server) = server {
        let clients = clients.map(|authority| authority.pem.as_str());
        bench.device("chem").speak_tls(
            server
                .acceptor(clients)
                .expect("a certificate that can be shown"),
        );
    }
    bench
}

fn chem() -> DeviceSetup {
    DeviceSetup::new("chem")
}

/// Writes a file beside the device's own.
fn write(bench: &Bench, name: &str, text: &str) {
    std::fs::write(bench.path("devices.d").join(name), text).expect("a file is written");
}

/// Waits until the status says this of the device.
fn hear(bench: &Bench, words: &str) {
    wait_until(&format!("the status to say of the device: {words}"), || {
        let status = bench.wardpost_json(&["status"]);
        let reason = status["devices"][0]["reason"].as_str();
        reason.is_some_and(|reason| reason.contains(words))
    });
}

/// A device that cannot be reached says why; a push waits for it and is not at risk.
fn check_away(mut bench: Bench, words: &str) {
    bench.start_agent();
    hear(&bench, words);
    let reply = bench.push("chem", &Order::new(1));
    assert_eq!(reply.status, 202, "{}", reply.text());
    wait_for_state(&bench, "P1", State::Queued);
    // What a plain device makes of the beginning of TLS is its own affair; an order is not in it.
    let received = bench.received("chem");
    assert!(
        !received
            .iter()
            .any(|message| message.text().contains("MSH"))
    );
}

fn impatient() -> DeviceSetup {
    chem().text("delivery.answer_within", "300ms")
}

#[test]
fn a_push_reaches_a_device_that_a_trusted_authority_has_signed() {
    let authority = Authority::new();
    let server = authority.sign("127.0.0.1", 2090);
    let chem = chem().text("tls.trust", "ca.pem");
    let mut bench = secure(chem, Some(&server), None);
    write(&bench, "ca.pem", &authority.pem);
    bench.start_agent();
    for number in 0..3 {
        assert_eq!(bench.push("chem", &Order::new(number)).status, 200);
    }
    assert_eq!(bench.control_ids("chem"), ["C0", "C1", "C2"]);
}

#[test]
fn a_large_order_arrives_whole_and_a_connection_for_each_message_ends_well() {
    let server = Pair::self_signed("analyzer", 2020);
    let chem = chem()
        .text("tls.pin", &format!("sha256:{}", server.print()))
        .text("transport.connection", "per-message");
    let mut bench = secure(chem, Some(&server), None);
    bench.start_agent();
    let large = Order::new(1).noting("x".repeat(600_000));
    assert_eq!(bench.push("chem", &large).status, 200);
    assert_eq!(bench.push("chem", &Order::new(2)).status, 200);
    let received = bench.received("chem");
    assert_eq!(received[0].text(), large.text());
    assert_ne!(received[0].connection, received[1].connection);
}

#[test]
fn a_device_signed_by_a_stranger_is_away() {
    let server = Authority::new().sign("127.0.0.1", 2090);
    let bench = secure(impatient().text("tls.trust", "ca.pem"), Some(&server), None);
    write(&bench, "ca.pem", &Authority::new().pem);
    check_away(
        bench,
        "no TLS with 127.0.0.1: its certificate is signed by nobody we trust; name its authority in [tls] trust, or the certificate itself in [tls] pin",
    );
}

#[test]
fn a_device_whose_certificate_is_over_or_for_another_name_is_away() {
    let authority = Authority::new();
    for (server, words) in [
        (
            authority.sign("127.0.0.1", 2020),
            "its certificate has expired, or the clock of this box is wrong",
        ),
        (
            authority.sign("chem.lab", 2090),
            "its certificate is for another name; write a name that is in it as [tls] server_name",
        ),
    ] {
        let bench = secure(impatient().text("tls.trust", "ca.pem"), Some(&server), None);
        write(&bench, "ca.pem", &authority.pem);
        check_away(bench, words);
    }
}

#[test]
fn a_device_with_another_certificate_than_the_pinned_one_is_away_until_its_pin_is_changed() {
    let (expected, server) = (Pair::self_signed("a", 2090), Pair::self_signed("b", 2090));
    let mut bench = secure(impatient().text("tls.pin", "pin.pem"), Some(&server), None);
    write(&bench, "pin.pem", &expected.certificate);
    bench.start_agent();
    hear(
        &bench,
        &format!(
            "it shows sha256:{}, and pinned is sha256:{}",
            server.print(),
            expected.print()
        ),
    );
    bench.push_and_go("chem", &Order::new(1));
    write(&bench, "pin.pem", &server.certificate);
    wait_for_state(&bench, "P1", State::Delivered);
    assert_eq!(bench.control_ids("chem"), ["C1"]);
}

#[test]
fn a_device_that_speaks_plain_mllp_gets_nothing_of_an_order() {
    let chem = impatient().text("transport.connect_timeout", "500ms");
    let bench = secure(chem, None, None);
    // It may close, answer in its own way, or say nothing: each has its sentence, and each names the way out.
    check_away(bench, "mllp://");
}

#[test]
fn a_device_that_demands_a_certificate_gets_no_order_before_it_is_content() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let chem = impatient()
        .text("tls.trust", "ca.pem")
        .text("tls.client_certificate", "me.pem")
        .text("tls.client_key_file", "me.key");
    let mut bench = secure(chem, Some(&theirs.sign("127.0.0.1", 2090)), Some(&theirs));
    write(&bench, "ca.pem", &theirs.pem);
    let put = |bench: &Bench, pair: &Pair| {
        write(bench, "me.pem", &pair.certificate);
        write(bench, "me.key", &pair.key);
    };
    put(&bench, &ours.sign("ward", 2090));
    bench.start_agent();
    hear(
        &bench,
        "it refused our client certificate; is it signed by an authority that is trusted there",
    );
    bench.push_and_go("chem", &Order::new(1));
    put(&bench, &theirs.sign("ward", 2090));
    wait_for_state(&bench, "P1", State::Delivered);
    assert_eq!(
        bench.control_ids("chem"),
        ["C1"],
        "never uncertain on the way"
    );
}

#[test]
fn a_device_that_demands_a_certificate_of_an_agent_that_has_none_is_away() {
    let authority = Authority::new();
    let server = authority.sign("127.0.0.1", 2090);
    let chem = impatient().text("tls.trust", "ca.pem");
    let bench = secure(chem, Some(&server), Some(&authority));
    write(&bench, "ca.pem", &authority.pem);
    check_away(
        bench,
        "it demands a client certificate, and we have none; set client_certificate in [tls]",
    );
}

#[test]
fn a_device_that_takes_an_order_and_is_cut_off_leaves_it_uncertain() {
    let server = Pair::self_signed("analyzer", 2090);
    let print = format!("sha256:{}", server.print());
    let chem = chem().text("tls.pin", &print).doing(always(Kind::None));
    let mut bench = secure(chem, Some(&server), None);
    bench.start_agent();
    bench.push_and_go("chem", &Order::new(1));
    wait_until("the device to get it", || bench.received("chem").len() == 1);
    bench.switch_off("chem");
    wait_for_state(&bench, "P1", State::Held);
    let log = bench.agent_log();
    let words = "the connection was cut off without the end of TLS";
    assert!(log.contains(words), "{log}");
}

/// The library python-hl7 behind the ssl module of Python, which is OpenSSL.
#[test]
fn python_behind_openssl_takes_an_order_from_an_agent_with_a_certificate() {
    let authority = Authority::new();
    let mut bench = secure(chem(), None, None);
    let (server, us) = (
        authority.sign("127.0.0.1", 2090),
        authority.sign("ward", 2090),
    );
    for (name, text) in [
        ("ca.pem", &authority.pem),
        ("peer.pem", &server.certificate),
        ("peer.key", &server.key),
        ("me.pem", &us.certificate),
        ("me.key", &us.key),
    ] {
        write(&bench, name, text);
    }
    let folder = bench.path("devices.d");
    let mut command = Command::new(installed(".venv/bin/python"));
    command.arg(peers().join("hl7_server.py"));
    command
        .args(["peer.pem", "peer.key", "ca.pem"])
        .current_dir(&folder);
    let peer = Process::start(&mut command, &bench.path("peer.log")).unwrap();
    let port: u16 = wait_for("the peer to listen", || {
        peer.said().trim().rsplit(':').next()?.parse().ok()
    });
    let url = format!("mllps://127.0.0.1:{port}");
    let file = format!(
        "name = \"peer\"\nurl = \"{url}\"\n[tls]\ntrust = \"ca.pem\"\nclient_certificate = \"me.pem\"\nclient_key_file = \"me.key\"\n"
    );
    write(&bench, "peer.toml", &file);
    bench.start_agent();
    let device = json!({ "resourceType": "Device", "url": url });
    let created = bench.wait_on(bench.http().post("/fhir/R4/Device", &device));
    let created = created.unwrap().json();
    let destination = format!("Device/{}", created["id"].as_str().unwrap());
    let order = Order::new(7).text();
    let reply = bench.send(&waiting(&destination, "x-application/hl7-v2+er7", &order));
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(reply.text().contains("MSA|AA|C7"), "{}", reply.text());
}
