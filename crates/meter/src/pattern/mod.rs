//! CloudWatch's filter patterns, as far as people use them with `aws logs tail` and `filter-log-events`.
//!
//! Text: all plain terms and quoted phrases must occur, none with `-` before it may; of those with `?` one must, unless
//! there are plain ones. JSON, in braces: as comparisons of fields. Matching is case-sensitive. Not served: `[…]` and `%regex%`.
//! Source: "Filter pattern syntax for metric filters, subscription filters, filter log events", CloudWatch Logs User Guide.

mod json;

use std::borrow::Cow;
use thiserror::Error;

/// Longest pattern, as CloudWatch has it.
const PATTERN_BYTES_MAX: usize = 1_024;

/// Why a pattern cannot be used. The gateway answers `InvalidParameterException`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatternError {
    /// Longer than CloudWatch allows.
    #[error("the pattern is longer than {PATTERN_BYTES_MAX} bytes")]
    TooLong,
    /// A kind of pattern that is not served.
    #[error("{0} patterns are not supported")]
    Unsupported(&'static str),
    /// Something is wrong at a place in the pattern.
    #[error("expected {expected} at character {position} of the pattern")]
    Syntax {
        /// What should be there.
        expected: &'static str,
        /// Bytes before it.
        position: usize,
    },
}

/// A pattern that was understood.
#[derive(Debug)]
pub(crate) enum Pattern {
    Text { all: Vec<String>, any: Vec<String>, none: Vec<String> },
    Json(json::Expression),
}

impl Pattern {
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        let trimmed = text.trim();
        match trimmed.as_bytes().first() {
            Some(b'{') => json::parse(trimmed).map(Self::Json),
            Some(b'[') => Err(PatternError::Unsupported("space-delimited")),
            Some(b'%') => Err(PatternError::Unsupported("regular expression")),
            _ => terms(text),
        }
    }

    pub fn matches(&self, message: &str) -> bool {
        match self {
            Self::Text { all, any, none } => {
                all.iter().all(|term| message.contains(term))
                    && !none.iter().any(|term| message.contains(term))
                    && (any.is_empty() || !all.is_empty() || any.iter().any(|term| message.contains(term)))
            }
            Self::Json(expression) => serde_json::from_str(message).is_ok_and(|value| expression.matches(&value)),
        }
    }
}

fn terms(text: &str) -> Result<Pattern, PatternError> {
    let (mut all, mut any, mut none) = (Vec::new(), Vec::new(), Vec::new());
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let list = match rest.as_bytes()[0] {
            b'?' => {
                rest = &rest[1..];
                &mut any
            }
            b'-' => {
                rest = &rest[1..];
                &mut none
            }
            _ => &mut all,
        };
        let position = text.len() - rest.len();
        let term = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (phrase, after) =
                    quoted_text(quoted).ok_or(PatternError::Syntax { expected: "a closing quote", position })?;
                rest = after;
                phrase
            }
            None => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                let term = &rest[..end];
                rest = &rest[end..];
                Cow::Borrowed(term)
            }
        };
        if term.is_empty() {
            return Err(PatternError::Syntax { expected: "a term", position });
        }
        list.push(term.into_owned());
        rest = rest.trim_start();
    }
    Ok(Pattern::Text { all, any, none })
}

/// The text up to the closing quote, with `\"` and `\\` resolved, and what follows the quote.
fn quoted_text(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut owned = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((Cow::Owned(owned), &text[at + 1..])),
            '\\' => owned.push(chars.next().map(|(_, escaped)| escaped)?),
            other => owned.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, message: &str) -> bool {
        Pattern::parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}")).matches(message)
    }

    #[test]
    fn terms_and_phrases_are_all_needed() {
        for (pattern, message, expected) in [
            ("", "anything", true),
            ("  ", "anything", true),
            ("ERROR", "an ERROR here", true),
            ("ERROR", "an error here", false),
            ("ERROR here", "here is an ERROR", true),
            ("ERROR there", "here is an ERROR", false),
            (r#""is an""#, "here is an ERROR", true),
            (r#""an is""#, "here is an ERROR", false),
            (r#""say \"hi\"""#, r#"say "hi" now"#, true),
            ("ERROR -here", "here is an ERROR", false),
            ("ERROR -\"not here\"", "here is an ERROR", true),
            ("-DEBUG", "INFO x", true),
            ("-DEBUG", "DEBUG x", false),
            ("?ERROR ?WARN", "a WARN", true),
            ("?ERROR ?WARN", "an INFO", false),
            ("?ERROR ?WARN -x", "a WARN x", false),
            ("Größe", "die Größe", true),
        ] {
            assert_eq!(matches(pattern, message), expected, "{pattern} on {message}");
        }
    }

    #[test]
    fn what_cannot_be_understood_has_a_typed_error() {
        let error = |pattern: &str| Pattern::parse(pattern).err();
        assert_eq!(error("\"open"), Some(PatternError::Syntax { expected: "a closing quote", position: 0 }));
        assert_eq!(error("a - b"), Some(PatternError::Syntax { expected: "a term", position: 3 }));
        assert_eq!(error("[a, b]"), Some(PatternError::Unsupported("space-delimited")));
        assert_eq!(error("%a+%"), Some(PatternError::Unsupported("regular expression")));
        assert_eq!(error(&"x".repeat(1_025)), Some(PatternError::TooLong));
        assert!(matches!(error("\"\\"), Some(PatternError::Syntax { .. })));
    }
}
