//! Texts of policies that stand for many: wildcards, and variables that are known when a question is asked.

use super::document::Context;
use std::borrow::Cow;

/// A wildcard within a compiled pattern. No byte of UTF-8 is one of these, so that what a variable stands for, or an
/// escaped `${*}`, never becomes one.
const ANY: u8 = 0xff;
const ONE: u8 = 0xfe;
/// Longest pattern in bytes. Together with the sizes of policies this bounds what a question costs.
pub const LENGTH_MAX: usize = 16 << 10;

/// A pattern as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Variable { name: String, default: Option<String> },
}

/// What is special in a text.
#[derive(Debug, Clone, Copy)]
pub struct Special {
    /// `*` and `?`.
    pub wildcards: bool,
    /// `${…}`: in documents of version 2012-10-17.
    pub variables: bool,
}

impl Pattern {
    /// Reads a text; `None` when it is too long, or has a variable that does not end.
    pub fn new(text: &str, special: Special) -> Option<Self> {
        if text.len() > LENGTH_MAX {
            return None;
        }
        let mut pieces = Vec::new();
        let mut plain = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if special.variables && rest.starts_with("${") {
                let (inside, after) = rest[2..].split_once('}')?;
                rest = after;
                match inside {
                    "*" | "?" | "$" => plain.extend_from_slice(inside.as_bytes()),
                    _ => {
                        pieces.push(Piece::Text(std::mem::take(&mut plain)));
                        pieces.push(variable(inside));
                    }
                }
                continue;
            }
            match first {
                '*' if special.wildcards => plain.push(ANY),
                '?' if special.wildcards => plain.push(ONE),
                other => plain.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
            rest = &rest[first.len_utf8()..];
        }
        pieces.push(Piece::Text(plain));
        Some(Self(pieces))
    }

    /// With what its variables stand for; `None` when one of them is not known.
    pub fn filled(&self, context: &Context) -> Option<Cow<'_, [u8]>> {
        if let [Piece::Text(text)] = self.0.as_slice() {
            return Some(Cow::Borrowed(text));
        }
        let mut all = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => all.extend_from_slice(text),
                Piece::Variable { name, default } => match (context.get(name), default) {
                    (Some([value]), _) => all.extend_from_slice(value.as_bytes()),
                    (None, Some(default)) => all.extend_from_slice(default.as_bytes()),
                    _ => return None,
                },
            }
        }
        Some(Cow::Owned(all))
    }
}

/// Whether `text` is what a filled pattern describes.
pub fn matches(filled: &[u8], text: &str) -> bool {
    fits(filled, text.as_bytes(), ANY, ONE)
}

/// Whether an ARN is what a filled pattern describes: each of its six parts for itself.
pub fn matches_arn(filled: &[u8], arn: &str) -> bool {
    let mut wanted = filled.splitn(6, |byte| *byte == b':');
    let mut given = arn.splitn(6, ':');
    loop {
        match (wanted.next(), given.next()) {
            (Some(wanted), Some(given)) if matches(wanted, given) => {}
            (None, None) => return true,
            _ => return filled == [ANY],
        }
    }
}

fn variable(inside: &str) -> Piece {
    match inside.split_once(',') {
        Some((name, default)) => {
            let default = default.trim().trim_matches('\'').to_owned();
            Piece::Variable { name: name.trim().to_owned(), default: Some(default) }
        }
        None => Piece::Variable { name: inside.trim().to_owned(), default: None },
    }
}

/// Whether `text` fits, with these bytes for any characters and for one.
pub fn fits(pattern: &[u8], text: &[u8], any: u8, one: u8) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when what follows the last star does not fit.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(byte) if *byte == any => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == one => {
                (p, t) = (p + 1, t + 1);
                // The rest of a character of several bytes.
                while text.get(t).is_some_and(|byte| byte & 0xc0 == 0x80) {
                    t += 1;
                }
            }
            Some(byte) if *byte == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == any)
}
