//! Which crate may use which, held against what cargo says.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;

use super::Finding;

/// Checks every rule against the output of `cargo metadata`.
pub(super) fn check(metadata: &str) -> Result<Vec<Finding>> {
    let graph = Graph::read(&serde_json::from_str(metadata)?)?;
    Ok(RULES.iter().flat_map(|rule| rule.check(&graph)).collect())
}

/// What a crate must never see, at any depth.
struct Rule {
    krate: &'static str,
    manifest: &'static str,
    never: &'static [&'static str],
    /// Our own crates that it may use; all others of ours are forbidden.
    ours: &'static [&'static str],
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        krate: "device-drivers",
        manifest: "device-drivers/Cargo.toml",
        never: &["tokio", "mio", "rusqlite"],
        ours: &[],
        why: "drivers decide and touch nothing; let the agent do what needs a socket, a clock or a disk",
    },
    Rule {
        krate: "agent-core",
        manifest: "agent/core/Cargo.toml",
        never: &["tokio", "mio", "rusqlite", "serde"],
        ours: &[],
        why: "the core decides and touches nothing; translate at the edge, in the agent",
    },
    Rule {
        krate: "agent-wire",
        manifest: "agent/wire/Cargo.toml",
        never: &["tokio", "mio", "rusqlite"],
        ours: &[],
        why: "the wire is types and nothing else; interpret them in the agent or in the stub",
    },
    Rule {
        krate: "wardpost",
        manifest: "agent/Cargo.toml",
        never: &["axum"],
        ours: &["agent-core", "agent-wire", "device-drivers"],
        why: "the agent must not know the stub or the tests; talk to them over a socket",
    },
    Rule {
        krate: "wardpost-cloud",
        manifest: "server-stub/Cargo.toml",
        never: &[],
        ours: &["agent-wire"],
        why: "a stub that shares the agent's code shares its mistakes",
    },
    Rule {
        krate: "scenarios",
        manifest: "tests/Cargo.toml",
        never: &[],
        ours: &["agent-wire", "wardpost-cloud"],
        why: "a simulator that shares our codec shares its mistakes; start the binaries instead",
    },
    Rule {
        krate: "xtask",
        manifest: "xtask/Cargo.toml",
        never: &["tokio", "cc"],
        ours: &[],
        why: "xtask installs what everything else needs, so it must build with a Rust toolchain alone",
    },
];

impl Rule {
    fn check(&self, graph: &Graph) -> Vec<Finding> {
        let Some(paths) = graph.paths_from(self.krate) else {
            return vec![self.finding(format!(
                "there is no crate {}; put the rules in xtask/src/tidy right",
                self.krate
            ))];
        };
        let forbidden = paths.iter().filter(|(name, _)| self.forbids(graph, name));
        forbidden
            .map(|(name, path)| {
                self.finding(format!("{} sees {name} ({path}): {}", self.krate, self.why))
            })
            .collect()
    }

    fn forbids(&self, graph: &Graph, name: &str) -> bool {
        self.never.contains(&name)
            || (graph.ours.contains(name) && name != self.krate && !self.ours.contains(&name))
    }

    fn finding(&self, words: String) -> Finding {
        Finding {
            path: self.manifest.into(),
            line: 1,
            words,
        }
    }
}

/// Who depends on whom in what is shipped: development and build dependencies left out.
struct Graph {
    uses: BTreeMap<String, BTreeSet<String>>,
    ours: BTreeSet<String>,
}

impl Graph {
    fn read(metadata: &Value) -> Result<Self> {
        let names: BTreeMap<&str, &str> = list(&metadata["packages"])
            .filter_map(|package| Some((package["id"].as_str()?, package["name"].as_str()?)))
            .collect();
        let name = |id: &Value| {
            id.as_str()
                .and_then(|id| names.get(id))
                .map(|name| (*name).to_owned())
        };
        let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in list(&metadata["resolve"]["nodes"]) {
            let who = name(&node["id"]).context("cargo metadata names an unknown package")?;
            let whom = list(&node["deps"])
                .filter(|dep| is_normal(dep))
                .filter_map(|dep| name(&dep["pkg"]));
            uses.entry(who).or_default().extend(whom);
        }
        let ours = list(&metadata["workspace_members"])
            .filter_map(name)
            .collect();
        Ok(Self { uses, ours })
    }

    /// Every crate that `start` reaches, with the way there.
    fn paths_from(&self, start: &str) -> Option<BTreeMap<String, String>> {
        self.uses.get(start)?;
        let mut paths = BTreeMap::from([(start.to_owned(), start.to_owned())]);
        let mut waiting = vec![start.to_owned()];
        while let Some(user) = waiting.pop() {
            for used in self.uses.get(&user).into_iter().flatten() {
                if !paths.contains_key(used) {
                    paths.insert(used.clone(), format!("{} > {used}", paths[&user]));
                    waiting.push(used.clone());
                }
            }
        }
        Some(paths)
    }
}

fn is_normal(dependency: &Value) -> bool {
    list(&dependency["dep_kinds"]).any(|kind| kind["kind"].is_null())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `edges`: who, whom, and the kind of dependency.
    fn graph(edges: &[(&str, &str, Option<&str>)]) -> Graph {
        let ours = RULES.iter().map(|rule| rule.krate);
        let names: BTreeSet<&str> = edges
            .iter()
            .flat_map(|(a, b, _)| [*a, *b])
            .chain(ours.clone())
            .collect();
        let nodes = names.iter().map(|name| {
            let deps = edges.iter().filter(|(user, ..)| user == name);
            let deps =
                deps.map(|(_, used, kind)| json!({ "pkg": used, "dep_kinds": [{ "kind": kind }] }));
            json!({ "id": name, "deps": deps.collect::<Vec<_>>() })
        });
        let metadata = json!({
            "packages": names.iter().map(|name| json!({ "id": name, "name": name })).collect::<Vec<_>>(),
            "workspace_members": ours.collect::<Vec<_>>(),
            "resolve": { "nodes": nodes.collect::<Vec<_>>() },
        });
        Graph::read(&metadata).unwrap()
    }

    fn found(edges: &[(&str, &str, Option<&str>)]) -> Vec<String> {
        let graph = graph(edges);
        RULES
            .iter()
            .flat_map(|rule| rule.check(&graph))
            .map(|finding| finding.to_string())
            .collect()
    }

    #[test]
    fn a_pure_crate_that_reaches_tokio_by_another_crate_is_found_with_the_way_there() {
        let found = found(&[("agent-core", "helper", None), ("helper", "tokio", None)]);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with(
            "agent/core/Cargo.toml:1: agent-core sees tokio (agent-core > helper > tokio)"
        ));
    }

    #[test]
    fn development_and_build_dependencies_are_free() {
        assert!(
            found(&[
                ("agent-core", "tokio", Some("dev")),
                ("device-drivers", "serde", Some("build"))
            ])
            .is_empty()
        );
    }

    #[test]
    fn the_agent_may_use_the_pure_crates_and_nothing_else_of_ours() {
        assert!(
            found(&[
                ("wardpost", "agent-core", None),
                ("wardpost", "tokio", None)
            ])
            .is_empty()
        );
        assert_eq!(found(&[("wardpost", "wardpost-cloud", None)]).len(), 1);
    }

    #[test]
    fn a_simulator_must_not_share_our_codec() {
        assert_eq!(found(&[("scenarios", "device-drivers", None)]).len(), 1);
        assert!(
            found(&[
                ("scenarios", "wardpost-cloud", None),
                ("scenarios", "agent-wire", None)
            ])
            .is_empty()
        );
    }

    #[test]
    fn the_pure_crates_have_never_heard_of_each_other() {
        assert_eq!(found(&[("agent-core", "device-drivers", None)]).len(), 1);
        assert_eq!(found(&[("device-drivers", "agent-core", None)]).len(), 1);
        assert_eq!(found(&[("agent-wire", "agent-core", None)]).len(), 1);
    }
}
