//! What Kafka's own Java client wrote is what we read and write, field by field. The second oracle: for versions that the
//! other Rust codec does not have, and for shapes that it could have wrong.

use bytes::Bytes;

use super::{decoded, encoded, every_message};
use crate::{Message, messages as ours, produce::ProduceRequest};

/// What Java was told to write, line by line.
const TOLD: &str = include_str!("java_frames.txt");
/// One instance of every message that a broker's listener knows, in every version of Kafka 4.3.1: also of those that are
/// not served here yet.
const EVERY: &str = include_str!("java_every.txt");

/// A line of these.
struct Line {
    name: &'static str,
    version: i16,
    body: Bytes,
    /// The values by name, as JSON.
    told: &'static str,
}

fn lines(text: &'static str) -> impl Iterator<Item = Line> {
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    rows.map(|line| {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().unwrap_or_else(|| panic!("{line} has four words"));
        let (name, version, hex, told) = (word(), word().parse().unwrap(), word(), word());
        let hex = hex.trim_start_matches('-');
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        Line { name, version, body: (0..hex.len()).step_by(2).map(byte).collect(), told }
    })
}

/// Whether Java has written a message of this name in this version.
pub(super) fn has_written(name: &str, version: i16) -> bool {
    lines(TOLD).chain(lines(EVERY)).any(|line| line.name == name && line.version == version)
}

/// The values in a text of nested structures, each as `name:value`, in their order. JSON and Rust's `Debug` come to the
/// same, once names have no capitals and no underscores.
fn values(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut name, mut word) = (String::new(), String::new());
    for letter in text.to_ascii_lowercase().replace("none", "null").chars() {
        match letter {
            ':' => name = std::mem::take(&mut word),
            // Before a brace stands the name of a structure, or `Some`.
            '{' | '[' | '(' => word.clear(),
            '}' | ']' | ')' | ',' if word.is_empty() => (),
            '}' | ']' | ')' | ',' => found.push(format!("{name}:{}", std::mem::take(&mut word))),
            ' ' | '"' | '_' => (),
            letter => word.push(letter),
        }
    }
    found
}

/// Reads and writes every line of this message.
fn compare<M: Message + std::fmt::Debug>() {
    for version in M::MIN_VERSION..=M::MAX_VERSION {
        assert!(has_written(M::NAME, version), "{} v{version} is not in java_every.txt", M::NAME);
    }
    let served = M::MIN_VERSION..=M::MAX_VERSION;
    let mine = |line: &Line| line.name == M::NAME && served.contains(&line.version);
    for Line { name, version, body, told } in lines(TOLD).chain(lines(EVERY)).filter(mine) {
        let message: M = decoded(&body, version);
        assert_eq!(encoded(&message, version), body, "{name} v{version}");
        // What a version lacks is not told, and stands in our structure all the same.
        let read = values(&format!("{message:?}"));
        let mut rest = read.iter();
        for value in values(told) {
            assert!(
                rest.any(|read| *read == value),
                "{name} v{version}: {value} is not in {read:?} at its place"
            );
        }
    }
}

macro_rules! compare_each {
    ($($api:ident::$message:ident),*) => { $( compare::<ours::$api::$message>(); )* };
}

#[test]
fn what_java_wrote_is_read_and_written_again() {
    every_message!(compare_each);
    compare::<ProduceRequest>();
}

macro_rules! names {
    ($($api:ident::$message:ident),*) => { [$( <ours::$api::$message>::NAME ),*] };
}

#[test]
fn java_was_told_of_messages_that_are_there() {
    let names = every_message!(names);
    assert!(lines(TOLD).all(|line| names.contains(&line.name)));
}
