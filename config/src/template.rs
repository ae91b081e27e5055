//! The file that explains everything: `single.toml`.

use std::fmt::Write;

use ottla_rules::settings::{Definition, Kind, Standing, broker_definitions};

const WIDTH: usize = 110;

const HEAD: &str = "\
# A node of Ottla that is a cluster of its own. Every setting that does something stands here with its default;
# what is commented out has none. Settings go by Kafka's names; settings of Kafka that do nothing here yet are
# accepted as well.
#
# Stronger than this file: environment variables (OTTLA_LOG_RETENTION_MS=5 for log.retention.ms) and the command
# line (--set log.retention.ms=5).
";

/// A TOML file that names every setting that does something, with what it means and its default.
#[must_use]
pub fn template() -> String {
    let mut text = String::from(HEAD);
    for definition in broker_definitions().filter(|definition| definition.standing == Standing::Honoured) {
        text.push('\n');
        wrapped(definition.doc, &mut text);
        let line = match definition.default {
            Some(default) => format!("\"{}\" = {}", definition.name, value(definition, default)),
            None => format!("# \"{}\" =", definition.name),
        };
        text.push_str(&line);
        text.push('\n');
    }
    text
}

fn value(definition: &Definition, default: &str) -> String {
    match definition.kind {
        Kind::Boolean | Kind::Int | Kind::Short | Kind::Long => default.into(),
        // No default of ours has a quote or a backslash in it; the test that parses the file would say so.
        Kind::Double | Kind::String | Kind::List | Kind::Class | Kind::Password => format!("\"{default}\""),
    }
}

fn wrapped(doc: &str, text: &mut String) {
    let mut line = String::from("#");
    for word in doc.split(' ') {
        if line.len() + 1 + word.len() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = String::from("#");
        }
        // Writing to a string cannot fail.
        let _ = write!(line, " {word}");
    }
    text.push_str(&line);
    text.push('\n');
}
