//! Each rule on small files: where it bites, and where it lets go.

use super::check;

/// What is found, as `line: the first word in backquotes or the whole sentence's first two words`.
fn found(path: &str, content: &str) -> Vec<String> {
    check(path, content)
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn is_clean(path: &str, content: &str) {
    assert_eq!(found(path, content), Vec::<String>::new());
}

fn is_found(path: &str, content: &str, expected: &str) {
    let found = found(path, content);
    assert!(
        matches!(&found[..], [one] if one.starts_with(expected)),
        "{expected}: {found:?}"
    );
}

#[test]
fn only_the_clock_file_reads_a_clock() {
    let line = "//! x\nlet now = std::time::Instant::now();\n";
    is_found(
        "agent/src/line/task.rs",
        line,
        "agent/src/line/task.rs:2: `Instant::now`",
    );
    is_clean("agent/src/clock.rs", line);
    is_clean("server-stub/src/lib.rs", line);
}

#[test]
fn a_clock_that_is_only_mentioned_is_no_clock() {
    is_clean(
        "agent/src/agent.rs",
        "//! never calls Instant::now\n/// nor SystemTime::now\nlet a = 1; // Instant::now\n",
    );
}

#[test]
fn tests_at_the_bottom_or_beside_may_read_a_clock() {
    is_clean(
        "agent/src/agent.rs",
        "//! x\nfn a() {}\n#[cfg(test)]\nmod tests {\n    Instant::now();\n}\n",
    );
    is_clean("agent/src/line/tests.rs", "//! x\nInstant::now();\n");
}

#[test]
fn a_test_module_in_a_file_of_its_own_does_not_end_the_program() {
    let content = "//! x\n#[cfg(test)]\nmod tests;\nfn a() { Instant::now(); }\n";
    is_found(
        "agent/src/agent.rs",
        content,
        "agent/src/agent.rs:4: `Instant::now`",
    );
}

#[test]
fn only_the_store_speaks_sql_in_tests_too() {
    let line = "//! x\nuse rusqlite::Connection;\n";
    is_found(
        "agent/src/control/verbs.rs",
        line,
        "agent/src/control/verbs.rs:2: `rusqlite`",
    );
    is_found(
        "agent/src/control/tests.rs",
        line,
        "agent/src/control/tests.rs:2: `rusqlite`",
    );
    is_clean("agent/src/store/push.rs", line);
}

#[test]
fn only_the_cloud_folder_knows_the_wire() {
    let line = "//! x\nuse agent_wire::ToServer;\n";
    is_found(
        "agent/src/agent.rs",
        line,
        "agent/src/agent.rs:2: `agent_wire`",
    );
    is_clean("agent/src/cloud/translate.rs", line);
}

#[test]
fn only_the_transport_and_the_dialler_open_sockets() {
    let line = "//! x\nlet s = TcpStream::connect(to).await;\n";
    is_found(
        "agent/src/cloud/uplink.rs",
        line,
        "agent/src/cloud/uplink.rs:2: `TcpStream::connect`",
    );
    is_clean("agent/src/cloud/dial.rs", line);
    is_clean("agent/src/transport/tcp.rs", line);
    is_clean(
        "agent/src/control/server.rs",
        "//! x\nUnixListener::bind(path);\n",
    );
}

#[test]
fn only_the_supervisor_spawns() {
    let line = "//! x\ntokio::spawn(run());\n";
    is_found(
        "agent/src/dispatch.rs",
        line,
        "agent/src/dispatch.rs:2: `tokio::spawn`",
    );
    is_clean("agent/src/supervisor.rs", line);
}

#[test]
fn an_exception_gives_its_reason_and_a_test_always_runs() {
    is_found(
        "tests/src/lib.rs",
        "//! x\n#[allow(dead_code)]\n",
        "tests/src/lib.rs:2: `#[allow(`",
    );
    is_found(
        "tests/src/lib.rs",
        "//! x\n#[ignore]\n",
        "tests/src/lib.rs:2: `#[ignore`",
    );
    is_found(
        "tests/src/lib.rs",
        "//! x\nfn test_it() {}\n",
        "tests/src/lib.rs:2: `fn test_`",
    );
    is_clean(
        "tests/src/lib.rs",
        "//! x\n#[expect(dead_code, reason = \"x\")]\n",
    );
}

#[test]
fn a_rust_file_begins_with_what_it_is_for() {
    is_found(
        "tests/src/lib.rs",
        "use std::fs;\n",
        "tests/src/lib.rs:1: no module comment",
    );
    is_found(
        "tests/src/lib.rs",
        "",
        "tests/src/lib.rs:1: no module comment",
    );
    is_clean("tests/src/lib.rs", "\n//! what it is for\n");
    is_clean("tests/src/sim/tests.rs", "use super::*;\n");
}

#[test]
fn a_long_file_is_refused_and_its_tests_do_not_count() {
    let lines = |count| format!("//! x\n{}", "fn a() {}\n".repeat(count));
    is_clean("agent/src/agent.rs", &lines(599));
    is_found(
        "agent/src/agent.rs",
        &lines(600),
        "agent/src/agent.rs:601: 601 lines",
    );
    is_clean(
        "agent/src/agent.rs",
        &format!(
            "{}#[cfg(test)]\nmod tests {{\n{}}}\n",
            lines(500),
            lines(500)
        ),
    );
}

#[test]
fn a_path_of_one_machine_is_refused_anywhere() {
    let path = concat!("see /work", "/notes\n");
    is_found("docs/architecture.md", path, "docs/architecture.md:1: ");
    is_found(
        "README.md",
        concat!("x\n..", "/shared/x\n"),
        "README.md:2: ",
    );
    is_clean("README.md", concat!("https://example.org/work", "/x\n"));
    is_clean("README.md", "networks, frame/work/flow\n");
}

#[test]
fn a_lock_file_names_no_registry() {
    is_found(
        "tests/peers/package-lock.json",
        "\"resolved\": \"x\"\n",
        "tests/peers/package-lock.json:1: ",
    );
    is_clean(
        "tests/peers/package-lock.json",
        "\"funding\": \"https://example.org\"\n",
    );
    is_clean(
        "Cargo.lock",
        "source = \"registry+https://github.com/rust-lang/crates.io-index\"\n",
    );
    is_found(
        "Cargo.lock",
        "source = \"registry+https://example.org/index\"\n",
        "Cargo.lock:1: ",
    );
    is_found(
        "tests/peers/requirements.txt",
        "--index-url https://example.org\n",
        "tests/peers/requirements.txt:1: ",
    );
}

#[test]
fn the_change_log_says_what_comes_next() {
    is_found(
        "CHANGELOG.md",
        "# Changes\n## 0.1.0\n",
        "CHANGELOG.md:1: no `## Unreleased`",
    );
    is_clean("CHANGELOG.md", "# Changes\n## [Unreleased]\n");
}
