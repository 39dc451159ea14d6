//! The example `docs/examples/lab-order` for itself: its Bots compile against the published types, do what they say in
//! node, and run in Medplum's own client as they do on a Medplum server that runs Bots in its process.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use scenarios::bench::{Bench, DeviceSetup, Ran, SECRET, Setup, run};
use scenarios::cloud::CLIENT;
use scenarios::lab_order::{create, example, name_agent, request, update};
use serde_json::{Value, json};

use crate::peers::{cloud_url, installed, node, peers};

#[test]
fn the_bots_compile_against_the_published_types() {
    let ran = in_example(node().arg(package("typescript/bin/tsc")));
    assert_eq!(ran.code, 0, "{}", ran.said());
}

#[test]
fn the_bots_do_in_node_what_they_are_there_for() {
    let ran = in_example(node().args(["--test", "test/bots.test.mjs"]));
    assert_eq!(ran.code, 0, "{}", ran.said());
    assert!(ran.stdout.contains("\n# fail 0"), "{}", ran.said());
}

#[test]
fn the_compiled_bots_are_what_the_build_makes_of_their_sources() {
    let folder = tempfile::tempdir().unwrap();
    let build = std::fs::read_to_string(example().join("package.json")).unwrap();
    let build: Value = serde_json::from_str(&build).unwrap();
    let build = build["scripts"]["build"].as_str().unwrap();
    let outdir = format!("--outdir={}", folder.path().display());
    let mut command = Command::new("sh");
    command.args(["-c", &build.replace("--outdir=dist", &outdir)]);
    let programs = example().join("node_modules/.bin");
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", programs.display()));
    let ran = in_example(&mut command);
    assert_eq!(ran.code, 0, "{}", ran.said());
    for bot in ["push-order.js", "task-order.js"] {
        let read = |folder: &Path| std::fs::read_to_string(folder.join(bot)).unwrap();
        let fresh = read(folder.path()) == read(&example().join("dist"));
        assert!(fresh, "{bot} is stale: npm run build");
    }
}

#[test]
fn a_bot_in_medplums_own_client_pushes_what_two_foreign_libraries_read() {
    let world = World::start();
    let request = world.order();
    assert!(
        world
            .run_bot(&request)
            .ends_with("is with the instrument: AA")
    );
    let read = world.read_newest();
    let expected = json!({
        "MSH-5": DEVICE, "MSH-9": "OML^O21^OML_O21", "MSH-12": "2.5.1",
        "PID-3": "900001^^^&https://example.org/patients&URI^MR", "PID-5": "Doe^Jane",
        "PID-7": "19800101", "PID-8": "F",
        "ORC-1": "NW", "ORC-2": request["id"], "ORC-9": "20260301081430+0100",
        "TQ1-9": "R", "OBR-2": request["id"], "OBR-4": "2345-7^Glucose^LN",
        "SPM-2": "26030100017", "SPM-4": "SER^Serum^HL70487", "SPM-17": "20260301080500+0100",
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&read[field], value, "{field} of {read}");
    }
    let name = read["MSH-10"].as_str().unwrap();
    assert!((1..=20).contains(&name.len()), "{name}");
}

#[test]
fn a_change_and_a_cancel_are_read_as_such_and_a_repetition_does_not_reach_the_instrument() {
    let world = World::start();
    let mut request = world.order();
    world.run_bot(&request);
    let again = world.run_bot(&request);
    assert!(again.ends_with("is with the instrument: AA"), "{again}");

    request["priority"] = "stat".into();
    request["note"] = json!([{ "text": "fasting | since 8 h\nno \\ tubes" }]);
    let mut request = world.update(&request);
    world.run_bot(&request);
    let changed = world.read_newest();
    assert_eq!([&changed["ORC-1"], &changed["TQ1-9"]], ["XO", "S"]);
    assert_eq!(changed["NTE-3"], "fasting | since 8 h\rno \\ tubes");

    request["status"] = "revoked".into();
    let request = world.update(&request);
    world.run_bot(&request);
    assert_eq!(world.read_newest()["ORC-1"], "CA");
    assert_eq!(world.bench.received(DEVICE).len(), 3);
}

const DEVICE: &str = "chem";

/// A cloud, an agent and an analyzer.
struct World {
    bench: Bench,
}

impl World {
    fn start() -> Self {
        let bench = Setup::new().device(DeviceSetup::new(DEVICE)).start();
        name_agent(&bench);
        Self { bench }
    }

    /// An order of a new patient's.
    fn order(&self) -> Value {
        let http = self.bench.http();
        self.bench.wait_on(async {
            let request = request(http, DEVICE)
                .await
                .expect("what it refers to is stored");
            create(http, &request).await.expect("an order is stored")
        })
    }

    fn update(&self, resource: &Value) -> Value {
        let updated = self.bench.wait_on(update(self.bench.http(), resource));
        updated.expect("a new version is stored")
    }

    /// Runs the Bot that pushes on this version, and hands back what it says.
    fn run_bot(&self, input: &Value) -> String {
        let call = json!({
            "baseUrl": cloud_url(&self.bench), "clientId": CLIENT, "clientSecret": SECRET,
            "code": example().join("dist/push-order.js"), "input": input,
        });
        let mut command = node();
        command
            .arg(peers().join("run-bot.mjs"))
            .arg(call.to_string());
        let ran = self.bench.run(&mut command);
        assert_eq!(ran.code, 0, "{}", ran.said());
        let last = ran.stdout.lines().last().unwrap_or_default();
        let came: Value = serde_json::from_str(last).expect("run-bot.mjs prints JSON");
        assert!(came["returned"]["said"].is_string(), "{came}");
        came["returned"]["said"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// The newest message, as foreign libraries read it; it has to be a valid order.
    fn read_newest(&self) -> Value {
        let received = self.bench.received(DEVICE);
        read_order(&received.last().expect("a message").body)
    }
}

/// What two libraries of other people read in a message; it has to be a valid order.
pub(crate) fn read_order(message: &[u8]) -> Value {
    let mut command = Command::new(installed(".venv/bin/python"));
    command.arg(peers().join("read_order.py"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut reader = command.spawn().expect("python runs");
    // Taken, so that it is closed, and the reader sees the end.
    let mut pipe = reader.stdin.take().expect("a pipe");
    pipe.write_all(message).expect("the reader reads");
    drop(pipe);
    let read = reader.wait_with_output().expect("the reader ends");
    let text = String::from_utf8_lossy(message);
    assert!(read.status.success(), "no order: {text}");
    serde_json::from_slice(&read.stdout).expect("the reader prints JSON")
}

/// A file of a package that the example has installed.
fn package(name: &str) -> PathBuf {
    let path = example().join("node_modules").join(name);
    let there = path.exists();
    assert!(there, "no {}: run cargo xtask setup", path.display());
    path
}

fn in_example(command: &mut Command) -> Ran {
    run(command.current_dir(example())).expect("it runs")
}
