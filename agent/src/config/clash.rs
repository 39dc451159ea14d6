//! What two device files must not both claim: a name, a url, an alias.
//!
//! Both are refused, for nobody but their author knows which one is meant, and an order must not go
//! to the wrong device because of a copied file.

use std::collections::HashMap;
use std::path::Path;

use agent_core::route::{Address, HostPort};

use super::devices::Claims;
use super::problem::{Problem, Severity};
use super::spans::Place;

/// One claim of one file.
struct Claim<'a> {
    file: usize,
    key: &'static str,
    place: Place,
    what: What<'a>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum What<'a> {
    Address(Address),
    Text(&'a str),
}

/// Finds what several of the files claim; each problem comes with the number of its file.
pub(super) fn find(files: &[(&Path, &Claims)]) -> Vec<(usize, Problem)> {
    let claims = files
        .iter()
        .enumerate()
        .flat_map(|(number, (_, claims))| claims_of(number, claims));
    let mut problems = Vec::new();
    let mut first_by_claim: HashMap<What<'_>, Claim<'_>> = HashMap::new();
    for claim in claims {
        let Some(first) = first_by_claim.get(&claim.what) else {
            first_by_claim.insert(claim.what.clone(), claim);
            continue;
        };
        if first.file != claim.file {
            problems.push(refusal(files, &claim, first));
            problems.push(refusal(files, first, &claim));
        }
    }
    problems.dedup();
    problems.extend(same_target(files));
    problems
}

fn claims_of(file: usize, claims: &Claims) -> Vec<Claim<'_>> {
    let mut all = Vec::new();
    if let Some(name) = &claims.name {
        let what = What::Address(Address::of_device(&name.value));
        all.push(Claim {
            file,
            key: "name",
            place: name.place,
            what,
        });
    }
    if let (Some(url), Some(address)) = (&claims.url, &claims.address) {
        let what = What::Address(address.clone());
        all.push(Claim {
            file,
            key: "url",
            place: url.place,
            what,
        });
    }
    for alias in &claims.aliases {
        let what = match alias.value.parse() {
            Ok(address) => What::Address(address),
            Err(_) => What::Text(&alias.value),
        };
        all.push(Claim {
            file,
            key: "aliases",
            place: alias.place,
            what,
        });
    }
    all
}

fn refusal(files: &[(&Path, &Claims)], here: &Claim<'_>, other: &Claim<'_>) -> (usize, Problem) {
    let (file, _) = files[here.file];
    let (other_file, _) = files[other.file];
    let other_name = other_file
        .file_name()
        .unwrap_or(other_file.as_os_str())
        .display();
    let problem = Problem {
        file: file.to_owned(),
        place: here.place,
        key: here.key.to_owned(),
        severity: Severity::Error,
        message: format!(
            "says the same as {} of {other_name}, line {}",
            other.key, other.place.line
        ),
        fix: "change one of them; until then neither device gets anything".to_owned(),
    };
    (here.file, problem)
}

/// Two devices behind one port share its connection limit, and nothing keeps order between them.
fn same_target(files: &[(&Path, &Claims)]) -> Vec<(usize, Problem)> {
    let mut first_by_target: HashMap<&HostPort, &Path> = HashMap::new();
    let mut problems = Vec::new();
    for (number, (file, claims)) in files.iter().enumerate() {
        let Some(dial) = &claims.dial else { continue };
        let Some(first) = first_by_target.insert(&dial.value, file) else {
            continue;
        };
        let first = first.file_name().unwrap_or(first.as_os_str()).display();
        let problem = Problem {
            file: (*file).to_owned(),
            place: dial.place,
            key: "transport.connect".to_owned(),
            severity: Severity::Warning,
            message: format!("dials the same host and port as {first}"),
            fix:
                "pushes to the two are not kept in order; use one device with aliases if it is one"
                    .to_owned(),
        };
        problems.push((number, problem));
    }
    problems
}
