//! JSON patterns: `{ ($.a.b = "x*" || $.list[0] >= 3) && $.c IS NULL && $.d NOT EXISTS }`.
//!
//! A comparison with a field that is not there, or of another kind, is false. `*` in a text stands for anything.

use super::{PatternError, quoted_text};
use serde_json::Value;

/// Parentheses that may be open at once: the parser calls itself for each.
const DEPTH_MAX: usize = 32;

#[derive(Debug)]
pub(crate) enum Expression {
    And(Vec<Expression>),
    Or(Vec<Expression>),
    Test { path: Vec<Step>, test: Test },
}

#[derive(Debug)]
pub(crate) enum Step {
    Field(String),
    Index(usize),
}

#[derive(Debug)]
pub(crate) enum Test {
    Text { equal: bool, pattern: String },
    Number { comparison: Comparison, than: f64 },
    Is(Value),
    Exists(bool),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Expression {
    pub fn matches(&self, value: &Value) -> bool {
        match self {
            Self::And(all) => all.iter().all(|expression| expression.matches(value)),
            Self::Or(any) => any.iter().any(|expression| expression.matches(value)),
            Self::Test { path, test } => {
                let found = path.iter().try_fold(value, |value, step| match step {
                    Step::Field(name) => value.get(name),
                    Step::Index(index) => value.get(index),
                });
                test.matches(found)
            }
        }
    }
}

impl Test {
    fn matches(&self, found: Option<&Value>) -> bool {
        match (self, found) {
            (Self::Exists(expected), found) => found.is_some() == *expected,
            (_, None) => false,
            (Self::Is(expected), Some(found)) => found == expected,
            (Self::Text { equal, pattern }, Some(Value::String(text))) => wildcard(pattern, text) == *equal,
            (Self::Text { equal, .. }, Some(_)) => !equal,
            (Self::Number { comparison, than }, Some(found)) => found.as_f64().is_some_and(|number| match comparison {
                Comparison::Equal => number == *than,
                Comparison::NotEqual => number != *than,
                Comparison::Less => number < *than,
                Comparison::LessOrEqual => number <= *than,
                Comparison::Greater => number > *than,
                Comparison::GreaterOrEqual => number >= *than,
            }),
        }
    }
}

/// Whether `text` is `pattern`, in which `*` stands for any text. Steps back only to the last `*`, so never exponential.
fn wildcard(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((star_p, star_t)) = star {
            star = Some((star_p, star_t + 1));
            p = star_p + 1;
            t = star_t + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Parses a pattern that begins with a brace.
pub(super) fn parse(text: &str) -> Result<Expression, PatternError> {
    let mut parser = Parser { text, rest: text, depth: 0 };
    parser.expect("{", "{")?;
    let expression = parser.any()?;
    parser.expect("}", "&&, || or }")?;
    if parser.rest.is_empty() { Ok(expression) } else { Err(parser.wrong("the end")) }
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
    /// Parentheses that are open.
    depth: usize,
}

impl<'a> Parser<'a> {
    fn any(&mut self) -> Result<Expression, PatternError> {
        let mut any = vec![self.all()?];
        while self.take("||") {
            any.push(self.all()?);
        }
        Ok(if any.len() == 1 { any.remove(0) } else { Expression::Or(any) })
    }

    fn all(&mut self) -> Result<Expression, PatternError> {
        let mut all = vec![self.one()?];
        while self.take("&&") {
            all.push(self.one()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Expression::And(all) })
    }

    fn one(&mut self) -> Result<Expression, PatternError> {
        if self.take("(") {
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return Err(self.wrong("fewer open parentheses"));
            }
            let inner = self.any()?;
            self.expect(")", "&&, || or )")?;
            self.depth -= 1;
            return Ok(inner);
        }
        self.expect("$", "$ or (")?;
        let path = self.path()?;
        Ok(Expression::Test { path, test: self.test()? })
    }

    fn path(&mut self) -> Result<Vec<Step>, PatternError> {
        let mut path = Vec::new();
        loop {
            if self.rest.starts_with('.') {
                self.rest = &self.rest[1..];
                let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '@');
                let name = self.run(is_name);
                if name.is_empty() {
                    return Err(self.wrong("a field's name"));
                }
                path.push(Step::Field(name.to_owned()));
            } else if self.rest.starts_with('[') {
                self.rest = &self.rest[1..];
                if self.rest.starts_with('*') {
                    return Err(PatternError::Unsupported("[*]"));
                }
                path.push(match self.quoted()? {
                    Some(name) => Step::Field(name),
                    None => {
                        let digits = self.run(|c| c.is_ascii_digit());
                        Step::Index(digits.parse().map_err(|_| self.wrong("an index"))?)
                    }
                });
                self.expect("]", "]")?;
            } else if path.is_empty() {
                return Err(self.wrong("a . or ["));
            } else {
                return Ok(path);
            }
        }
    }

    fn test(&mut self) -> Result<Test, PatternError> {
        if self.word("IS") {
            for (word, value) in [("NULL", Value::Null), ("TRUE", Value::Bool(true)), ("FALSE", Value::Bool(false))] {
                if self.word(word) {
                    return Ok(Test::Is(value));
                }
            }
            return Err(self.wrong("NULL, TRUE or FALSE"));
        }
        if self.word("NOT") {
            return if self.word("EXISTS") { Ok(Test::Exists(false)) } else { Err(self.wrong("EXISTS")) };
        }
        if self.word("EXISTS") {
            return Ok(Test::Exists(true));
        }
        let comparisons = [
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("=", Comparison::Equal),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let Some((_, comparison)) = comparisons.into_iter().find(|(sign, _)| self.take(sign)) else {
            return Err(self.wrong("a comparison"));
        };
        self.rest = self.rest.trim_start();
        let equal = comparison == Comparison::Equal;
        let only_numbers = !equal && comparison != Comparison::NotEqual;
        if let Some(pattern) = self.quoted()? {
            return if only_numbers { Err(self.wrong("a number")) } else { Ok(Test::Text { equal, pattern }) };
        }
        let word = self.run(|c| !c.is_whitespace() && !matches!(c, ')' | '}' | '&' | '|' | '(' | '{' | '"'));
        match word.parse::<f64>() {
            Ok(than) if than.is_finite() => Ok(Test::Number { comparison, than }),
            _ if word.is_empty() || only_numbers => Err(self.wrong(if only_numbers { "a number" } else { "a value" })),
            _ => Ok(Test::Text { equal, pattern: word.to_owned() }),
        }
    }

    /// A quoted text, when one is next.
    fn quoted(&mut self) -> Result<Option<String>, PatternError> {
        let Some(quoted) = self.rest.strip_prefix('"') else { return Ok(None) };
        let (text, rest) = quoted_text(quoted).ok_or_else(|| self.wrong("a closing quote"))?;
        self.rest = rest;
        Ok(Some(text.into_owned()))
    }

    fn run(&mut self, of: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !of(c)).unwrap_or(self.rest.len());
        let (run, rest) = self.rest.split_at(end);
        self.rest = rest;
        run
    }

    /// Skips white space and then `sign`, when it is next.
    fn take(&mut self, sign: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// The same for a word, which must end there.
    fn word(&mut self, word: &str) -> bool {
        let before = self.rest;
        if self.take(word) && !self.rest.starts_with(|c: char| c.is_alphanumeric()) {
            return true;
        }
        self.rest = before;
        false
    }

    fn expect(&mut self, sign: &str, expected: &'static str) -> Result<(), PatternError> {
        if self.take(sign) { Ok(()) } else { Err(self.wrong(expected)) }
    }

    fn wrong(&self, expected: &'static str) -> PatternError {
        PatternError::Syntax { expected, position: self.text.len() - self.rest.trim_start().len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str =
        r#"{"level":"ERROR","n":5,"f":-1.5,"a":{"b":"xyz","c d":1},"list":[1,{"k":"v"}],"null":null,"yes":true}"#;

    #[test]
    fn fields_are_compared() {
        let value = serde_json::from_str(MESSAGE).unwrap();
        for (pattern, expected) in [
            (r#"{ $.level = "ERROR" }"#, true),
            (r#"{$.level=ERROR}"#, true),
            (r#"{ $.level = "error" }"#, false),
            (r#"{ $.level != "INFO" }"#, true),
            (r#"{ $.missing != "INFO" }"#, false),
            (r#"{ $.n = 5 }"#, true),
            (r#"{ $.n = "5" }"#, false),
            (r#"{ $.n != 5 }"#, false),
            (r#"{ $.n > 4 && $.n < 5.5 && $.n >= 5 && $.n <= 5e0 }"#, true),
            (r#"{ $.n > 5 || $.f <= -1.5 }"#, true),
            (r#"{ $.level > 4 }"#, false),
            (r#"{ $.a.b = "x*" }"#, true),
            (r#"{ $.a.b = "*y*" }"#, true),
            (r#"{ $.a.b = *z }"#, true),
            (r#"{ $.a.b = "*a*" }"#, false),
            (r#"{ $.a.b != "x*" }"#, false),
            (r#"{ $.a["c d"] = 1 }"#, true),
            (r#"{ $.list[0] = 1 && $.list[1].k = "v" }"#, true),
            (r#"{ $.list[7] = 1 }"#, false),
            (r#"{ $.null IS NULL }"#, true),
            (r#"{ $.missing IS NULL }"#, false),
            (r#"{ $.yes IS TRUE && $.missing NOT EXISTS && $.null EXISTS }"#, true),
            (r#"{ $.n = 1 && $.n = 5 || $.yes IS TRUE }"#, true),
            (r#"{ $.n = 1 && ($.n = 5 || $.yes IS TRUE) }"#, false),
            (r#"{ ($.n = 5) }"#, true),
        ] {
            let expression = parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert_eq!(expression.matches(&value), expected, "{pattern}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (pattern, expected, position) in [
            ("{", "$ or (", 1),
            ("{ }", "$ or (", 2),
            ("{ $ = 1 }", "a . or [", 4),
            ("{ $.a }", "a comparison", 6),
            ("{ $.a = }", "a value", 8),
            ("{ $.a > \"x\" }", "a number", 12),
            ("{ $.a > x }", "a number", 10),
            ("{ $.a = 1", "&&, || or }", 9),
            ("{ ($.a = 1 }", "&&, || or )", 11),
            ("{ $.a = 1 } x", "the end", 12),
            ("{ $.a = \"x }", "a closing quote", 8),
            ("{ $.a IS 5 }", "NULL, TRUE or FALSE", 9),
            ("{ $.a[99999999999999999999999] = 5 }", "an index", 29),
        ] {
            assert_eq!(parse(pattern).err(), Some(PatternError::Syntax { expected, position }), "{pattern}");
        }
        assert_eq!(parse("{ $.a[*] = 1 }").err(), Some(PatternError::Unsupported("[*]")));
        let deep = PatternError::Syntax { expected: "fewer open parentheses", position: 34 };
        assert_eq!(parse(&format!("{{{}", "(".repeat(1_023))).err(), Some(deep));
    }

    #[test]
    fn a_wildcard_is_never_slow() {
        assert!(!wildcard(&"a*".repeat(500), &format!("{}b", "a".repeat(400))));
        assert!(wildcard("**", ""));
        assert!(!wildcard("a", "ab"));
    }
}
