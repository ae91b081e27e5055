//! The promises of ARCHITECTURE.md that a text search can guard: who may know whom, how long a file may be.
//!
//! The walk is over the files that git tracks or would track; `target/` and data directories do not count.

use std::{
    fs,
    path::{Path, PathBuf},
};

const LINES_PER_FILE_MAX: usize = 600;
const LINES_PER_FUNCTION_MAX: usize = 70;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(under: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join(under)];
    while let Some(place) = open.pop() {
        if place.is_dir() {
            let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name != "target" && !name.starts_with('.') && name != "ottla-data" {
                open.extend(fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()));
            }
        } else if place.extension().is_some_and(|kind| kind == "rs") {
            let text = fs::read_to_string(&place).unwrap();
            found.push((place.strip_prefix(root()).unwrap().to_path_buf(), text));
        }
    }
    found.sort();
    found
}

fn manifest(of: &str) -> String {
    fs::read_to_string(root().join(of).join("Cargo.toml")).unwrap()
}

/// The names under `[dependencies]` of one package (not those its tests alone use).
fn dependencies(of: &str) -> Vec<String> {
    let text = manifest(of);
    let mut inside = false;
    let mut names = Vec::new();
    for line in text.lines() {
        if line.starts_with('[') {
            inside = line == "[dependencies]" || line.starts_with("[target.");
        } else if inside
            && let Some(name) = line.split(['.', ' ', '=']).next().filter(|name| !name.is_empty())
        {
            names.push(name.to_owned());
        }
    }
    assert!(!names.is_empty(), "{of} has no dependencies, or they were not found");
    names
}

fn complain(what: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{what}\n{}", offences.join("\n"));
}

#[test]
fn no_file_is_longer_than_six_hundred_lines() {
    let mut offences = Vec::new();
    for (file, text) in sources(".") {
        let lines = text.lines().count();
        if lines > LINES_PER_FILE_MAX {
            offences.push(format!("{lines} {}", file.display()));
        }
    }
    complain("split these by what is decided in them:", &offences);
}

/// A function ends where a brace stands at the indentation it began with; formatted code always has that shape.
#[test]
fn no_function_is_longer_than_seventy_lines() {
    let mut offences = Vec::new();
    for (file, text) in sources(".") {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            let starts = [
                "fn ",
                "pub fn ",
                "pub(crate) fn ",
                "pub(super) fn ",
                "async fn ",
                "pub async fn ",
                "const fn ",
                "pub const fn ",
            ];
            if !starts.iter().any(|word| code.starts_with(word)) {
                continue;
            }
            let end = format!("{}}}", &line[..line.len() - code.len()]);
            let length =
                lines[at..].iter().position(|l| *l == end || l.ends_with(';') && *l == *line).unwrap_or(0);
            if length + 1 > LINES_PER_FUNCTION_MAX {
                offences.push(format!("{} lines: {}:{} {code}", length + 1, file.display(), at + 1));
            }
        }
    }
    complain("shorten these:", &offences);
}

#[test]
fn dependencies_point_one_way() {
    let allowed: &[(&str, &[&str])] = &[
        ("crates/rules", &[]),
        ("crates/host", &[]),
        ("crates/wire", &["ottla-rules"]),
        ("crates/store", &["ottla-host", "ottla-rules"]),
        ("config", &["ottla-rules"]),
        ("actors", &["ottla-config", "ottla-host", "ottla-rules", "ottla-store"]),
    ];
    let mut offences = Vec::new();
    for (package, may_know) in allowed {
        for name in dependencies(package).iter().filter(|name| name.starts_with("ottla")) {
            if !may_know.contains(&name.as_str()) {
                offences.push(format!("{package} must not know {name}"));
            }
        }
    }
    complain("the direction of ARCHITECTURE.md is broken:", &offences);
}

#[test]
fn each_outside_crate_is_known_only_where_it_belongs() {
    let homes: &[(&str, &[&str])] = &[
        ("actix", &[".", "actors"]),
        ("actix-rt", &[".", "actors"]),
        ("dashmap", &["actors"]),
        ("axum", &["."]),
        ("sled", &["crates/store"]),
        ("bincode", &["crates/store"]),
        ("kafka-protocol", &[]),
        ("turmoil", &["crates/host", "crates/sim"]),
        ("rustix", &["crates/host"]),
        ("socket2", &["crates/host"]),
    ];
    let mut offences = Vec::new();
    for package in
        [".", "actors", "config", "crates/host", "crates/rules", "crates/sim", "crates/store", "crates/wire"]
    {
        for name in dependencies(package) {
            if homes.iter().any(|(outside, home)| *outside == name && !home.contains(&package)) {
                offences.push(format!("{package} must not know {name}"));
            }
        }
    }
    complain("a crate is known outside its home:", &offences);
}

/// Words that must not appear under a folder, comments and string literals included: simpler to keep than to excuse.
fn ban(under: &[&str], words: &[&str]) -> Vec<String> {
    let mut offences = Vec::new();
    for (file, text) in under.iter().flat_map(|folder| sources(folder)) {
        for (at, line) in text.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(**word)) {
                offences.push(format!("{}:{}: {word}", file.display(), at + 1));
            }
        }
    }
    offences
}

#[test]
fn rules_never_wait_and_never_read_a_clock() {
    let words = [
        "async fn",
        ".await",
        "std::time::",
        "Instant::now",
        "SystemTime",
        "std::fs",
        "std::net",
        "std::thread",
        "mpsc",
        "tokio",
        "actix",
    ];
    complain("rules are pure:", &ban(&["crates/rules/src"], &words));
}

#[test]
fn only_the_host_touches_the_outside_world() {
    let places = ["crates/store/src", "crates/wire/src", "actors/src", "config/src"];
    let words = [
        "Instant::now",
        "SystemTime::now",
        "std::thread::spawn",
        "thread::sleep",
        "TcpStream",
        "TcpListener",
        "getrandom",
        "rand::",
    ];
    complain("this belongs to the host crate:", &ban(&places, &words));
}

#[test]
fn actors_do_not_use_the_parts_of_actix_that_surprise() {
    let words = [
        "Supervisor::",
        "impl Supervised",
        "SyncArbiter",
        "SyncContext",
        "StreamHandler",
        "ResponseFuture",
        "ResponseActFuture",
        "AtomicResponse",
        "SystemService",
        "ArbiterService",
        "fn stopping(",
        "fn stopped(",
        "run_interval(",
    ];
    complain("see docs/decisions on supervision and handlers:", &ban(&["actors/src", "src"], &words));
}

#[test]
fn handlers_return_nothing() {
    let mut offences = Vec::new();
    for (file, text) in sources("actors/src") {
        for (at, line) in text.lines().enumerate() {
            let code = line.trim();
            let message = code.starts_with("#[rtype(") && code != "#[rtype(result = \"()\")]";
            if message || (code.starts_with("type Result =") && code != "type Result = ();") {
                offences.push(format!("{}:{}: {code}", file.display(), at + 1));
            }
        }
    }
    complain("answers travel inside messages:", &offences);
}

#[test]
fn every_api_file_tells_its_versions() {
    let offences: Vec<_> = sources("src/api")
        .iter()
        .filter(|(file, text)| {
            file.file_stem().is_some_and(|name| name != "mod") && !text.starts_with("//! ")
        })
        .map(|(file, _)| file.display().to_string())
        .collect();
    complain("an API file begins with its name, key and versions:", &offences);
}

/// Statements that name something of `of`, as a whole word and outside of comments, in files that are not its home.
fn away_from_home(under: &[&str], of: &str, name: &str, homes: &[&str]) -> Vec<String> {
    let mut offences = Vec::new();
    for (file, text) in under.iter().flat_map(|folder| sources(folder)) {
        if homes.iter().any(|home| file.starts_with(home)) {
            continue;
        }
        let code: String =
            text.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n").collect();
        for statement in code.split(';').filter(|statement| statement.contains(of)) {
            let mut words = statement.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
            if words.any(|word| word == name) {
                offences.push(format!("{}: {name}", file.display()));
            }
        }
    }
    offences
}

/// Invariant 5. A log and a journal are values with one owner, changed by `&mut self`: whoever cannot name them cannot
/// write their files. What leaves them for readers is a range of a file, and nobody outside of `store` writes to a file.
#[test]
fn a_partitions_files_and_a_journal_have_one_writer() {
    let partition = ["actors/src/partition.rs", "actors/src/partition"];
    let mut offences = away_from_home(&["actors/src", "src"], "ottla_store", "Log", &partition);
    // A story of the journal's shell has its own journal, with no actor but the one it tells of.
    let journal = ["actors/src/journal.rs", "actors/src/crew.rs", "actors/src/shells/journal.rs"];
    offences.extend(away_from_home(&["actors/src", "src"], "ottla_store", "Journal", &journal));
    offences.extend(ban(&["actors/src", "src"], &[".pwrite", "write_all_at"]));
    for (file, owned) in [
        ("crates/store/src/log.rs", "pub struct Log {"),
        ("crates/store/src/journal.rs", "pub struct Journal {"),
    ] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let before = text.split(owned).next().filter(|before| before.len() < text.len());
        let attributes = before.unwrap_or_else(|| panic!("{file} has no {owned}")).rsplit("\n\n").next();
        if attributes.unwrap_or_default().contains("Clone") {
            offences.push(format!("{file}: two owners of one {owned}"));
        }
    }
    complain("files have one writer:", &offences);
}

/// Invariant 8. The journal keeps whom to tell with each batch until its sync is over: that is an answer on its way, meant
/// for the one life that asked. An OffsetsActor is itself the directory of its groups, whose ends it is told; and a group ends
/// with the OffsetsActor that it lives under.
#[test]
fn addresses_of_actors_that_restart_are_not_kept() {
    let homes = [
        "actors/src/stage",
        "actors/src/partition.rs",
        "actors/src/journal.rs",
        "actors/src/shells.rs",
        "actors/src/shells",
        "actors/src/offsets.rs",
        "actors/src/group.rs",
    ];
    let mut offences = away_from_home(&["actors/src", "src"], "Addr", "Addr", &homes);
    offences.extend(away_from_home(&["actors/src", "src"], "PartitionAddr", "PartitionAddr", &homes));
    complain("find these in the directory when they are needed:", &offences);
}
