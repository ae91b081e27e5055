//! Kafka's own `server.properties`: how such a file is read, and what it means here.
//!
//! What nobody knows is not fatal, as in Kafka, but said: a name that is misspelled does nothing there in silence.

use std::collections::BTreeMap;

use ottla_rules::settings::broker_definition;

/// What was read of such a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Read {
    /// Settings and their values.
    pub(crate) pairs: BTreeMap<String, String>,
    /// What a person should know: one sentence each.
    pub(crate) warnings: Vec<String>,
}

/// Names, or what they begin with, of settings that Kafka honours and we cannot; and what that means.
const OTHERWISE: &[(&str, &str)] = &[
    ("process.roles", "a node here is always broker and controller"),
    ("controller.quorum.", "a node here is a cluster of its own, nobody else votes"),
    (
        "controller.listener.names",
        "controllers talk to nobody here, so the listeners that it names are not opened",
    ),
    ("inter.broker.listener.name", "there is no other broker"),
    ("security.inter.broker.protocol", "there is no other broker"),
    ("zookeeper.", "there is no ZooKeeper here"),
    ("ssl.", "nothing is encrypted here, so keep the listeners in a network that you trust"),
    ("sasl.", "nobody is asked who they are, so keep the listeners in a network that you trust"),
    ("metadata.log.", "the metadata is kept in the data directory"),
    ("super.users", "nobody is asked who they are, so everybody may do everything"),
    ("authorizer.class.name", "nobody is asked who they are, so everybody may do everything"),
    ("max.connections.per.ip.overrides", "all addresses have the same bound, `max.connections.per.ip`"),
    ("max.connection.creation.rate", "connections are let in as fast as they come"),
];

/// Reads the text of a file.
///
/// # Errors
/// What is wrong, and in which line.
pub(crate) fn read(text: &str) -> Result<Read, String> {
    let mut read = Read::default();
    // By their place in the table.
    let mut otherwise: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (name, value) in pairs(text)? {
        let is_known = broker_definition(&name).is_some();
        match OTHERWISE
            .iter()
            .position(|(root, _)| name == *root || (root.ends_with('.') && name.starts_with(root)))
        {
            Some(place) => otherwise.entry(place).or_default().push(name.clone()),
            None if is_known => (),
            None => read.warnings.push(format!("{name} is no setting here and does nothing")),
        }
        if is_known {
            read.pairs.insert(name, trimmed(&value));
        }
    }
    for (place, names) in otherwise {
        let verb = if names.len() == 1 { "does" } else { "do" };
        read.warnings.push(format!("{} {verb} nothing: {}", names.join(", "), OTHERWISE[place].1));
    }
    translate(&mut read.pairs);
    Ok(read)
}

/// A value without the blanks around it, as Kafka takes a setting of any type (`ConfigDef.parseType`); what Java trims is more
/// than blanks, and not all of Unicode's.
fn trimmed(value: &str) -> String {
    value.trim_matches(|letter| letter <= ' ').to_owned()
}

/// The text of a file: what is not UTF-8 is Latin-1, as it is for Java.
pub(crate) fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| error.as_bytes().iter().copied().map(char::from).collect())
}

/// From what a Kafka node with such settings would do to what a node here does.
fn translate(pairs: &mut BTreeMap<String, String>) {
    let id = pairs.get("broker.id").filter(|id| id.trim() != "-1").cloned();
    if let Some(id) = id {
        pairs.entry("node.id".into()).or_insert(id);
    }
    let controllers = items(pairs, "controller.listener.names");
    for name in ["listeners", "advertised.listeners"] {
        if !pairs.contains_key(name) {
            continue;
        }
        let mut kept = items(pairs, name);
        kept.retain(|item| !controllers.iter().any(|it| is_of(item, it)));
        pairs.insert(name.into(), kept.join(","));
    }
}

/// The items of a list.
fn items(pairs: &BTreeMap<String, String>, name: &str) -> Vec<String> {
    let value = pairs.get(name).map_or("", String::as_str);
    value.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
}

/// Whether a listener `NAME://host:port` has this name.
fn is_of(listener: &str, name: &str) -> bool {
    listener.split_once("://").is_some_and(|(its, _)| its.eq_ignore_ascii_case(name.trim()))
}

/// Names and values as `java.util.Properties` reads them, in the order of their lines; of a name that comes again the last
/// value counts.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    let mut lines = text.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        let mut whole = line.trim_start_matches(BLANK).to_owned();
        if whole.is_empty() || whole.starts_with(['#', '!']) {
            continue;
        }
        while whole.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1 {
            whole.pop();
            let Some((next, _)) = lines.next() else { break };
            whole.push_str(next.trim_start_matches(BLANK));
        }
        let (name, value) = split(&whole);
        let wrong = |why| format!("line {number}: {why}");
        found.push((plain(name).map_err(wrong)?, plain(value).map_err(wrong)?));
    }
    Ok(found)
}

const BLANK: [char; 3] = [' ', '\t', '\x0c'];

/// A name ends at the first `=`, `:` or blank that has no backslash before it.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|letter: char| {
        let ends = !escaped && (matches!(letter, '=' | ':') || BLANK.contains(&letter));
        escaped = !escaped && letter == '\\';
        ends
    });
    let (name, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(BLANK);
    (name, rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(BLANK))
}

/// A text without its backslashes.
fn plain(text: &str) -> Result<String, &'static str> {
    let mut units = Vec::with_capacity(text.len());
    let mut letters = text.chars();
    let mut utf16 = [0; 2];
    while let Some(letter) = letters.next() {
        let letter = match letter {
            '\\' => match letters.next() {
                Some('u') => {
                    let digits = letters.as_str().get(..4).and_then(|hex| u16::from_str_radix(hex, 16).ok());
                    units.push(digits.ok_or("\\u wants four hexadecimal digits behind it")?);
                    letters.by_ref().take(4).for_each(drop);
                    continue;
                }
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\x0c',
                Some(other) => other,
                None => continue,
            },
            letter => letter,
        };
        units.extend_from_slice(letter.encode_utf16(&mut utf16));
    }
    String::from_utf16(&units).map_err(|_| "\\u stands for half a letter")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_split_as_java_splits_them() {
        let check = |text: &str, name: &str, value: &str| {
            assert_eq!(pairs(text), Ok(vec![(name.into(), value.into())]), "{text:?}");
        };
        check("a=b", "a", "b");
        check("  a : b  ", "a", "b  ");
        check("a b=c", "a", "b=c");
        check("a==b", "a", "=b");
        check("a", "a", "");
        check("a=", "a", "");
        check("a\\=b\\ c=d", "a=b c", "d");
        check("a = b,\\\n    c,\\\r\n\td", "a", "b,c,d");
        check("a=b\\\\", "a", "b\\");
        check("a=b\\", "a", "b");
        check("# a=b\n! c=d\n\n \t\ne=f", "e", "f");
        check("a=\\u00e4\\t\\q\\uD83D\\uDE00", "a", "ä\tq😀");
        check("a=# no comment", "a", "# no comment");
    }

    #[test]
    fn a_broken_escape_is_named_with_its_line() {
        assert_eq!(pairs("a=b\nc=\\u12"), Err("line 2: \\u wants four hexadecimal digits behind it".into()));
        assert_eq!(pairs("c=\\ud83d"), Err("line 1: \\u stands for half a letter".into()));
        assert_eq!(pairs("c=\\u12é"), Err("line 1: \\u wants four hexadecimal digits behind it".into()));
    }

    fn setting(read: &Read, name: &str) -> Option<String> {
        read.pairs.get(name).cloned()
    }

    #[test]
    fn the_older_name_of_a_node_counts_where_the_newer_is_missing() {
        let id = |text| setting(&read(text).unwrap(), "node.id");
        assert_eq!(id("broker.id=3"), Some("3".into()));
        assert_eq!(id("broker.id=3\nnode.id=4"), Some("4".into()));
        assert_eq!(id("broker.id=-1"), None);
    }

    #[test]
    fn blanks_around_a_value_are_none_of_it() {
        let read = read("compression.type=gzip \nnum.partitions=\\ 3\t\nlog.dirs=/a b\\u00a0\\n").unwrap();
        let is = |name| setting(&read, name);
        assert_eq!(is("compression.type"), Some("gzip".into()));
        assert_eq!(is("num.partitions"), Some("3".into()));
        assert_eq!(is("log.dirs"), Some("/a b\u{a0}".into()), "what Java trims, and no more");
    }

    #[test]
    fn what_is_not_utf8_is_latin_1() {
        assert_eq!(text("ü=1".into()), "ü=1");
        assert_eq!(text(vec![b'#', 0xfc]), "#ü");
    }

    #[test]
    fn listeners_of_controllers_are_left_out() {
        let text = "listeners=PLAINTEXT://:9092, CONTROLLER://:9093\ncontroller.listener.names=CONTROLLER\n";
        assert_eq!(setting(&read(text).unwrap(), "listeners"), Some("PLAINTEXT://:9092".into()));
    }

    #[test]
    fn what_does_nothing_is_said_once_with_what_it_means() {
        let text = "ssl.keystore.location=/k\nssl.key.password=x\nnum.partition=3\nprocess.roles=broker\n";
        let read = read(text).unwrap();
        assert_eq!(
            read.warnings,
            [
                "num.partition is no setting here and does nothing",
                "process.roles does nothing: a node here is always broker and controller",
                "ssl.keystore.location, ssl.key.password do nothing: nothing is encrypted here, so keep the listeners in a network that you trust",
            ]
        );
        assert!(read.pairs.keys().all(|name| name == "process.roles"));
    }
}
