//! Medians, and the page that is printed.

use std::fmt::Write;

use crate::Options;

/// The Markdown that comes out: a chapter is a table of rows.
pub(crate) struct Table {
    text: String,
}

/// The middle one; half way between the middle two.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// A figure with as many digits as mean something.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "-".to_owned(),
        magnitude if magnitude >= 100.0 => {
            let digits = format!("{magnitude:.0}");
            let mut text = if value < 0.0 { "-".to_owned() } else { String::new() };
            for (at, digit) in digits.char_indices() {
                if at > 0 && (digits.len() - at).is_multiple_of(3) {
                    text.push(',');
                }
                text.push(digit);
            }
            text
        }
        magnitude if magnitude >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

impl Table {
    pub(crate) fn new(options: &Options) -> Table {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let size = std::fs::metadata(&options.bin).map_or(0, |binary| binary.len());
        let mut text = String::new();
        let quick = if options.quick { ", quick" } else { "" };
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(text, "{cores} cores{quick}; the binary has {:.1} MB.", size as f64 / 1e6);
        Table { text }
    }

    /// Begins a chapter.
    pub(crate) fn chapter(&mut self, name: &str) {
        let _ = writeln!(self.text, "\n### {name}\n");
    }

    /// The head of a table.
    pub(crate) fn head(&mut self, cells: &[&str]) {
        let _ = writeln!(self.text, "| {} |", cells.join(" | "));
        let _ = writeln!(self.text, "|{}", "---|".repeat(cells.len()));
    }

    /// A row, also told at once to whoever watches.
    pub(crate) fn row(&mut self, cells: &[String]) {
        eprintln!("  {}", cells.join(" | "));
        let _ = writeln!(self.text, "| {} |", cells.join(" | "));
    }

    pub(crate) fn markdown(&self) -> &str {
        &self.text
    }
}
