//! What Kafka's own Java client wrote is what we read and write, field by field. The second oracle: for versions that the
//! other Rust codec does not have, and for shapes that it could have wrong.

use bytes::Bytes;

use super::{decoded, encoded, every_message};
use crate::{Message, messages as ours};

/// A line of `java_frames.txt`.
struct Line {
    name: &'static str,
    version: i16,
    body: Bytes,
    /// The values by name, as JSON.
    told: &'static str,
}

fn lines() -> impl Iterator<Item = Line> {
    let rows = include_str!("java_frames.txt").lines().filter(|line| !line.starts_with('#'));
    rows.map(|line| {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().unwrap_or_else(|| panic!("{line} has four words"));
        let (name, version, hex, told) = (word(), word().parse().unwrap(), word(), word());
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        Line { name, version, body: (0..hex.len()).step_by(2).map(byte).collect(), told }
    })
}

/// Whether Java has written a message of this name in this version.
pub(super) fn has_written(name: &str, version: i16) -> bool {
    lines().any(|line| line.name == name && line.version == version)
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

/// Reads and writes every line of this message; how many there were.
fn compare<M: Message + std::fmt::Debug>() -> usize {
    let mine: Vec<_> = lines().filter(|line| line.name == M::NAME).collect();
    for Line { name, version, body, told } in &mine {
        let message: M = decoded(body, *version);
        assert_eq!(encoded(&message, *version), *body, "{name} v{version}");
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
    mine.len()
}

macro_rules! compare_each {
    ($($api:ident::$message:ident),*) => { 0 $( + compare::<ours::$api::$message>() )* };
}

#[test]
fn what_java_wrote_is_read_and_written_again() {
    let compared: usize = every_message!(compare_each);
    assert_eq!(compared, lines().count(), "a line names a message that is not there");
}

#[test]
fn values_are_found_in_json_and_in_debug() {
    let json =
        values(r#"{"topics":[{"topicName":"a","ids":[1,2]},{"topicName":null,"ids":[]}],"timeoutMs":3}"#);
    assert_eq!(json, ["topicname:a", "ids:1", "ids:2", "topicname:null", "timeoutms:3"]);
    let debug = "Asked { topics: Some([T { topic_name: Some(\"a\"), ids: [1, 2] }, T { topic_name: None, ids: [] }]), timeout_ms: 3 }";
    assert_eq!(values(debug), json);
}
