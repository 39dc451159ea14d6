//! The worked example whole: what a clinician does to a `ServiceRequest` arrives at the analyzer, through a Subscription, a
//! Bot and the agent. Bots are made with Medplum's command line, everything else with Medplum's client.

use scenarios::bench::{Bench, DeviceSetup, Setup, wait_for, wait_until};
use scenarios::lab_order::{PROJECT, example, name_agent, name_of, resource};
use serde_json::{Value, json};

use crate::lab_order::read_order;
use crate::peers::{client, command_line};

#[test]
fn an_order_and_its_changes_reach_the_analyzer_once_each_through_a_bot_that_pushes() {
    let story = Story::with("push-order", Setup::new());
    let order = story.call("createResource", &story.order());
    let received = story.read(1);
    assert_eq!(received["ORC-1"], "NW");
    assert_eq!(received["ORC-2"], order["id"]);
    assert_eq!(received["OBR-4"], "2345-7^Glucose^LN");
    assert_eq!(received["SPM-2"], "26030100017");

    let order = story.change(&order, "priority", &json!("stat"));
    let received = story.read(2);
    assert_eq!([&received["ORC-1"], &received["TQ1-9"]], ["XO", "S"]);

    let said = story.execute(&order);
    assert!(said.ends_with("is with the instrument: AA"), "{said}");
    story.change(&order, "status", &json!("revoked"));
    let received = story.read(3);
    assert_eq!(received["ORC-1"], "CA");
    assert_eq!(received["ORC-2"], order["id"]);
}

#[test]
fn an_order_waits_in_the_mailbox_of_a_server_that_forgets_until_the_agent_is_back() {
    let mut story = Story::with("task-order", Setup::new().set("cloud.mailbox", "true"));
    story.bench.stop_agent();
    let order = story.call("createResource", &story.order());
    let task = story.task_of(&order, "requested");
    let order = story.change(&order, "status", &json!("revoked"));
    wait_until("a Task for each version", || story.tasks(&order).len() == 2);
    let said = story.execute(&order);
    assert!(said.contains("waits for the agent in Task/"), "{said}");
    assert_eq!(story.tasks(&order).len(), 2);

    story.bench.start_agent();
    assert_eq!(story.read(1)["ORC-1"], "NW");
    assert_eq!(story.read(2)["ORC-1"], "CA");
    let done = wait_for("the first Task to be completed", || {
        let tasks = story.tasks(&order).into_iter();
        let mut done = tasks.filter(|one| one["status"] == "completed");
        done.find(|one| one["id"] == task["id"])
    });
    assert!(done["output"].to_string().contains("MSA|AA|"), "{done}");
}

const DEVICE: &str = "chem";

/// A cloud with a Bot and its Subscription, an agent and an analyzer.
struct Story {
    bench: Bench,
    bot: String,
}

impl Story {
    fn with(bot: &str, setup: Setup) -> Self {
        let bench = setup.device(DeviceSetup::new(DEVICE)).start();
        name_agent(&bench);
        let file = |folder: &str, ending: &str| {
            let file = example().join(folder).join(format!("{bot}.{ending}"));
            file.to_str().expect("a path is text").to_owned()
        };
        let (source, dist) = (file("src", "ts"), file("dist", "js"));
        let words = ["bot", "create", bot, PROJECT, &source, &dist];
        let ran = command_line(&bench, &[&words[..], &VMCONTEXT].concat());
        assert_eq!(ran.code, 0, "{}", ran.said());
        let id = ran.stdout.split("Bot created: ").nth(1);
        let id = id.and_then(|rest| rest.lines().next());
        let bot = id.expect("the command says the id").to_owned();
        let story = Self { bench, bot };
        story.limit_bot();
        let text = resource("subscription").to_string();
        let text = text.replace("Bot/BOT", &format!("Bot/{}", story.bot));
        story.call(
            "createResource",
            &serde_json::from_str(&text).expect("JSON"),
        );
        story
    }

    /// The Bot may do what the example's access policy allows, and no more.
    fn limit_bot(&self) {
        let policy = self.call("createResource", &resource("bot-access-policy"));
        let bot = json!({ "profile": format!("Bot/{}", self.bot) });
        let call = json!(["searchOne", "ProjectMembership", bot]);
        let mut membership = client(&self.bench, &[call])[0]["answer"].clone();
        membership["accessPolicy"] = json!({ "reference": name_of(&policy) });
        self.call("updateResource", &membership);
    }

    /// One call of Medplum's client with one argument, which has to succeed.
    fn call(&self, method: &str, argument: &Value) -> Value {
        let answered = client(&self.bench, &[json!([method, argument])]);
        assert!(answered[0].get("refusal").is_none(), "{}", answered[0]);
        answered[0]["answer"].clone()
    }

    /// The example's order, with Patient and Specimen in the cloud.
    fn order(&self) -> Value {
        let patient = self.call("createResource", &resource("patient"));
        let text = resource("specimen").to_string();
        let text = text.replace("Patient/PATIENT", &name_of(&patient));
        let specimen: Value = serde_json::from_str(&text).expect("JSON");
        let specimen = self.call("createResource", &specimen);
        let text = resource("service-request").to_string();
        let text = text
            .replace("Patient/PATIENT", &name_of(&patient))
            .replace("Specimen/SPECIMEN", &name_of(&specimen))
            .replace("Device/DEVICE", &format!("Device/device-{DEVICE}"));
        serde_json::from_str(&text).expect("JSON")
    }

    fn change(&self, order: &Value, member: &str, value: &Value) -> Value {
        let mut order = order.clone();
        order[member] = value.clone();
        self.call("updateResource", &order)
    }

    /// Runs the Bot with this version, as somebody does who tries it.
    fn execute(&self, order: &Value) -> String {
        let call = json!(["executeBot", self.bot, order, "application/fhir+json"]);
        let answered = client(&self.bench, &[call]);
        let said = &answered[0]["answer"]["said"];
        assert!(said.is_string(), "{}", answered[0]);
        said.as_str().unwrap_or_default().to_owned()
    }

    /// The newest message, when there are so many; more there must not be.
    fn read(&self, count: usize) -> Value {
        let received = wait_for("the analyzer to receive it", || {
            let received = self.bench.received(DEVICE);
            (received.len() >= count).then_some(received)
        });
        assert_eq!(received.len(), count);
        read_order(&received.last().expect("a message").body)
    }

    fn tasks(&self, order: &Value) -> Vec<Value> {
        let query = json!({ "focus": name_of(order) });
        let answered = client(&self.bench, &[json!(["searchResources", "Task", query])]);
        answered[0]["answer"].as_array().expect("a list").clone()
    }

    fn task_of(&self, order: &Value, status: &str) -> Value {
        wait_for("a Task", || {
            let tasks = self.tasks(order).into_iter();
            tasks.into_iter().find(|task| task["status"] == status)
        })
    }
}

const VMCONTEXT: [&str; 2] = ["--runtime-version", "vmcontext"];
