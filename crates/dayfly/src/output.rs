//! What people and machines see: tables, JSON, colour and progress. Every verb prints through this.

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

/// Prints `value` as JSON to stdout.
pub fn json(value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    line(&text)
}

/// Prints a line to stdout. Unlike `println!`, a closed pipe is an error and not a panic.
pub fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// Prints a line to stderr: what is said to the person and is no result.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A table for people. `right` names the columns of numbers.
pub fn table(header: &[&str], rows: &[Vec<String>], right: &[usize]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().map(|name| name.to_uppercase())).add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let text: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    match text.split_first() {
        Some((head, rest)) if colour(&io::stdout()) => format!("\x1b[1m{head}\x1b[0m\n{}", rest.join("\n")),
        _ => text.join("\n"),
    }
}

/// Whether to write colour to `stream`.
pub fn colour(stream: &impl IsTerminal) -> bool {
    stream.is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|value| value != "dumb")
}

/// `text` in bold red, where stderr takes colour.
pub fn red(text: &str) -> String {
    if colour(&io::stderr()) { format!("\x1b[1;31m{text}\x1b[0m") } else { text.to_owned() }
}

/// A spinner on stderr while something is waited for; nothing when stderr is no terminal.
pub fn spinner(message: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner().with_message(message.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// A bar of `length` steps on stderr; nothing when stderr is no terminal.
pub fn progress(length: u64, message: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len}").unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style).with_message(message.to_owned())
}

/// An amount of money: enough digits that a single call is not shown as nothing.
pub fn money(amount: f64, currency: &str) -> String {
    if amount == 0.0 { format!("0 {currency}") } else { format!("{amount:.9} {currency}") }
}

/// Bytes for people.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_up_and_has_no_trailing_space() {
        let rows = [vec!["a".into(), "1".into()], vec!["longer".into(), "100".into()]];
        assert_eq!(table(&["name", "ms"], &rows, &[1]), "NAME     MS\na         1\nlonger  100");
    }

    #[test]
    fn small_amounts_are_shown() {
        assert_eq!(money(0.000_000_2, "USD"), "0.000000200 USD");
        assert_eq!(money(0.0, "USD"), "0 USD");
        assert_eq!((size(10), size(2048), size(3 << 20)), ("10 B".into(), "2.0 KB".into(), "3.0 MB".into()));
    }
}
