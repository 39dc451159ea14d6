//! The way to the cloud through proxies and TLS.

use std::net::SocketAddr;
use std::process::Command;

use scenarios::bench::{Bench, DeviceSetup, Process, Setup, wait_until};
use scenarios::certs::{Authority, Door, Pair};
use scenarios::proxy::Proxy;
use scenarios::sim::Order;

use crate::peers::{free_port, installed};

/// The cloud's name; only the test's own proxies know it.
const NAME: &str = "cloud.wardpost.test";

/// A bench whose cloud is reached by TLS, under a name of its own.
struct Story {
    bench: Bench,
    door: Door,
}

impl Story {
    /// `clients`: who must have signed the certificates of the cloud's clients.
    fn new(server: &Pair, clients: Option<&Authority>) -> Self {
        let setup = Setup::new().device(DeviceSetup::new("chem"));
        let bench = setup.start_without_agent();
        let clients = clients.map(|authority| authority.pem.as_str());
        let acceptor = server
            .acceptor(clients)
            .expect("a certificate that can be shown");
        let door = bench
            .wait_on(Door::open(cloud(&bench), acceptor))
            .expect("a door opens");
        Self { bench, door }
    }

    /// A story whose cloud is trusted, by these lines more in `[cloud]`.
    fn trusted(name: &str) -> Self {
        let authority = Authority::new();
        let story = Self::new(&authority.sign(name, 2090), None);
        story.write("ca.pem", &authority.pem);
        story
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.bench.path(name), text).expect("a file is written");
    }

    /// Writes these lines into `[cloud]`, instead of the url there.
    fn configure(&self, lines: &[String]) {
        let path = self.bench.path("wardpost.toml");
        let text = std::fs::read_to_string(&path).expect("a file is read");
        let url = format!("url = \"http://{}/\"", cloud(&self.bench));
        assert!(text.contains(&url), "{text}");
        std::fs::write(&path, text.replace(&url, &lines.join("\n"))).expect("a file is written");
    }

    fn proxy(&self, login: Option<&str>) -> Proxy {
        let names = [(&*format!("{NAME}:443"), self.door.address())];
        self.bench
            .wait_on(Proxy::start(&names, login))
            .expect("a proxy starts")
    }

    /// The url of the cloud where it is reached without a proxy.
    fn direct(&self) -> String {
        format!(
            "url = \"https://localhost:{}/\"",
            self.door.address().port()
        )
    }

    /// Waits until the status says this of the way to the cloud.
    fn hear(&self, words: &str) {
        wait_until(&format!("the status to say: {words}"), || {
            // The agent may not listen yet.
            let status = self.bench.wardpost(&["status"]);
            status.code == 0 && status.stdout.contains(words)
        });
    }

    fn check_push(&self) {
        assert_eq!(self.bench.push("chem", &Order::new(1)).status, 200);
    }
}

/// Where the stub itself is.
fn cloud(bench: &Bench) -> SocketAddr {
    let log = std::fs::read_to_string(bench.path("cloud.log")).expect("a file is read");
    let address = log
        .split("listening on http://")
        .nth(1)
        .expect("the stub says where it listens");
    address
        .lines()
        .next()
        .expect("an address")
        .parse()
        .expect("an address")
}

fn named() -> String {
    format!("url = \"https://{NAME}/\"")
}

fn trust() -> String {
    "trust = \"ca.pem\"".into()
}

#[test]
fn everything_goes_through_an_http_proxy_that_alone_knows_the_cloud() {
    let mut story = Story::trusted(NAME);
    let proxy = story.proxy(Some("ward:geheim"));
    story.write("pw", "geheim\n");
    let way = format!("proxy = \"http://ward@{}\"", proxy.address());
    story.configure(&[named(), trust(), way, "proxy_password_file = \"pw\"".into()]);
    story.bench.start_agent();
    story.check_push();
    let granted = proxy.granted();
    assert!(granted.len() >= 2, "token and websocket: {granted:?}");
    assert!(!story.bench.agent_log().contains("geheim"));
}

#[test]
fn a_proxy_that_refuses_for_a_while_costs_nothing_but_time() {
    let mut story = Story::trusted(NAME);
    let proxy = story.proxy(None);
    let way = format!("proxy = \"http://{}\"", proxy.address());
    story.configure(&[named(), trust(), way]);
    proxy.refuses(Some(407));
    story.bench.start_agent_alone();
    story.hear("(407)");
    let agent = story.bench.agent().id();
    proxy.refuses(Some(502));
    story.hear("(502)");
    proxy.refuses(None);
    story.hear("live");
    story.check_push();
    assert!(story.bench.agent().ended().is_none());
    assert_eq!(story.bench.agent().id(), agent, "the same process");
}

#[test]
fn a_socks_proxy_of_the_environment_looks_the_cloud_up() {
    let mut story = Story::trusted(NAME);
    let proxy = story.proxy(Some("ward:geheim"));
    story.configure(&[named(), trust()]);
    let variable = format!("socks5h://ward:geheim@{}", proxy.address());
    let mut command = story.bench.agent_command();
    command.env("ALL_PROXY", variable);
    let _agent = Process::start(&mut command, &story.bench.path("agent.log")).unwrap();
    story.hear("cloud    live");
    story.check_push();
    assert!(proxy.granted().len() >= 2);
    assert!(!story.bench.agent_log().contains("geheim"));
    story.bench.stop_cloud();
}

#[test]
fn what_no_proxy_spares_is_reached_without_and_so_is_all_with_none() {
    let story = Story::trusted("localhost");
    story.configure(&[story.direct(), trust()]);
    let nobody = format!("http://127.0.0.1:{}", free_port(&story.bench));
    let start = |variables: &[(&str, &str)]| {
        let mut command = story.bench.agent_command();
        command.envs(variables.iter().copied());
        Process::start(&mut command, &story.bench.path("agent.log")).unwrap()
    };
    let agent = start(&[("https_proxy", &nobody)]);
    story.hear("cannot be reached: cannot connect to 127.0.0.1:");
    drop(agent);
    let agent = start(&[
        ("https_proxy", &nobody),
        ("NO_PROXY", "10.0.0.0/8,localhost"),
    ]);
    story.hear("cloud    live");
    drop(agent);
    let path = story.bench.path("wardpost.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace(&trust(), &format!("{}\nproxy = \"none\"", trust()));
    std::fs::write(&path, text).unwrap();
    let _agent = start(&[("https_proxy", &nobody)]);
    story.hear("cloud    live");
}

#[test]
fn a_wrong_password_is_said_and_the_right_one_is_taken_without_a_restart() {
    let mut story = Story::trusted(NAME);
    let proxy = story.proxy(Some("ward:geheim"));
    let way = format!("proxy = \"http://ward@{}\"", proxy.address());
    story.configure(&[named(), trust(), way, "proxy_password_file = \"pw\"".into()]);
    story.bench.start_agent_alone();
    story.hear("the password for it cannot be had: cannot read ");
    story.write("pw", "falsch");
    story.hear("it does not accept our user and password (407)");
    story.write("pw", "geheim");
    story.hear("cloud    live");
    story.check_push();
    let log = story.bench.agent_log();
    assert!(!log.contains("geheim") && !log.contains("falsch"));
}

#[test]
fn a_cloud_that_demands_a_certificate_gets_the_one_that_is_on_disk_by_then() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let mut story = Story::new(&theirs.sign("localhost", 2090), Some(&theirs));
    story.write("ca.pem", &ours.pem);
    let identity = [
        "client_certificate = \"me.pem\"",
        "client_key_file = \"me.key\"",
    ];
    let identity = identity.map(String::from);
    story.configure(&[&[story.direct(), trust()], &identity[..]].concat());
    let put = |story: &Story, certificate: &Pair, key: &Pair| {
        story.write("me.pem", &certificate.certificate);
        story.write("me.key", &key.key);
    };
    let (wrong, right) = (ours.sign("ward", 2090), theirs.sign("ward", 2090));
    story.bench.start_agent_alone();
    story.hear("the client certificate cannot be used: cannot read the trusted certificates in ");
    put(&story, &wrong, &right);
    story.hear("does not belong to the certificate in");
    put(&story, &wrong, &wrong);
    story.hear("its certificate is signed by nobody we trust");
    story.write("ca.pem", &theirs.pem);
    story.hear("it refused our client certificate");
    put(&story, &right, &right);
    story.hear("cloud    live");
    story.check_push();
}

#[test]
fn a_cloud_that_demands_a_certificate_of_an_agent_that_has_none_is_said_to() {
    let authority = Authority::new();
    let mut story = Story::new(&authority.sign("localhost", 2090), Some(&authority));
    story.write("ca.pem", &authority.pem);
    story.configure(&[story.direct(), trust()]);
    story.bench.start_agent_alone();
    story.hear(
        "it demands a client certificate, and we have none; set client_certificate in [cloud]",
    );
}

#[test]
fn a_certificate_that_is_over_is_among_the_problems_of_the_status() {
    let authority = Authority::new();
    let mut story = Story::new(&authority.sign("localhost", 2090), None);
    let old = Authority::new().sign("former", 2019);
    story.write("ca.pem", &format!("{}{}", authority.pem, old.certificate));
    story.configure(&[story.direct(), trust()]);
    story.bench.start_agent();
    let expected = "ca.pem ended at 2019-12-31T00:00:00.000Z, unless the clock of this box is wrong; put its successor into the file as well";
    wait_until("the status to tell of the old certificate", || {
        let status = story.bench.wardpost_json(&["status"]);
        status["problems"].to_string().contains(expected)
    });
}

/// Starts a proxy by other people, for both protocols.
fn pproxy(bench: &Bench, port: u16) -> Process {
    let mut command = Command::new(installed(".venv/bin/python"));
    let listen = format!("http+socks5://127.0.0.1:{port}/#ward:geheim");
    command.args(["-m", "pproxy", "-v", "-l", &listen]);
    let proxy =
        Process::start(&mut command, &bench.path("pproxy.log")).expect("the program starts");
    wait_until("pproxy to listen", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    proxy
}

fn check_pproxy(scheme: &str) {
    let mut story = Story::trusted("localhost");
    let port = free_port(&story.bench);
    let proxy = pproxy(&story.bench, port);
    story.write("pw", "geheim");
    let way = format!("proxy = \"{scheme}://ward@127.0.0.1:{port}\"");
    let password = "proxy_password_file = \"pw\"".into();
    story.configure(&[story.direct(), trust(), way, password]);
    story.bench.start_agent();
    story.check_push();
    let door = format!("localhost:{}", story.door.address().port());
    let said = proxy.said();
    assert!(said.contains(&door), "the proxy saw us pass: {said}");
}

#[test]
fn an_http_proxy_by_other_people_lets_the_agent_through() {
    check_pproxy("http");
}

#[test]
fn a_socks_proxy_by_other_people_lets_the_agent_through() {
    check_pproxy("socks5");
}
