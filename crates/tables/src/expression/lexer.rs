//! Expressions as tokens.

use super::short;
use crate::{Error, invalid};

/// A token and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    pub kind: Kind,
    pub text: &'a str,
    /// Offset of its first byte.
    pub at: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A name, a keyword or a function.
    Word,
    /// `#name`.
    Name,
    /// `:value`.
    Value,
    /// Digits.
    Digits,
    /// A sign, or two that belong together.
    Sign,
    End,
}

const SIGNS: [&str; 14] = ["<>", "<=", ">=", "<", ">", "=", "(", ")", "[", "]", ",", ".", "+", "-"];

/// Whether a placeholder or a name may contain `byte`.
pub fn of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// All tokens of `text`, the end included.
pub fn tokens<'a>(expression: &str, text: &'a str) -> Result<Vec<Token<'a>>, Error> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        if first.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        let word = |from: usize| from + rest[from..].bytes().take_while(|byte| of_word(*byte)).count();
        let (kind, length) = match first {
            '#' => (Kind::Name, word(1)),
            ':' => (Kind::Value, word(1)),
            '0'..='9' => (Kind::Digits, rest.bytes().take_while(u8::is_ascii_digit).count()),
            _ if first.is_ascii_alphabetic() || first == '_' => (Kind::Word, word(0)),
            _ => (Kind::Sign, SIGNS.iter().find(|sign| rest.starts_with(**sign)).map_or(0, |sign| sign.len())),
        };
        let bare_placeholder = length == 1 && matches!(kind, Kind::Name | Kind::Value);
        if length == 0 || bare_placeholder {
            let near = short(&rest.chars().take(16).collect::<String>());
            let message = format!("Invalid {expression}: Syntax error; token: \"{first}\", near: \"{near}\"");
            return Err(invalid(message));
        }
        tokens.push(Token { kind, text: &rest[..length], at });
        at += length;
    }
    tokens.push(Token { kind: Kind::End, text: "<EOF>", at });
    Ok(tokens)
}
