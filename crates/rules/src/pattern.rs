//! Patterns that have to match a whole text (Kafka uses RE2's `matches`).

use regex::{Error, Regex, RegexBuilder};

/// How much memory one pattern may take once it is compiled, in bytes. A larger one is refused as invalid.
const BYTES_MAX: usize = 1 << 20;

/// Compiles a pattern.
///
/// # Errors
/// When it is none, or takes over 1 MiB.
pub fn compile(pattern: &str) -> Result<Regex, Error> {
    let build = |pattern: &str| RegexBuilder::new(pattern).size_limit(BYTES_MAX).build();
    // Alone, too: a bracket too many would close ours, and what is behind it would match parts of a text.
    build(pattern)?;
    build(&format!("^(?:{pattern})$"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_text_has_to_match() {
        let either = compile("a|b").unwrap();
        assert!(either.is_match("a") && either.is_match("b") && !either.is_match("ab"));
    }

    #[test]
    fn what_is_no_pattern_alone_is_none() {
        for wrong in ["orders)|(?:payments", "x)|(.*", "(", "[", "a{1000}{1000}"] {
            assert!(compile(wrong).is_err(), "{wrong}");
        }
    }
}
