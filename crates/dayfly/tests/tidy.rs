//! Rules that would drift if they lived only in prose. Each rule is a function over text, tried on a bad example first.

#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

/// The table of ARCHITECTURE.md: who may use whom.
const MAY_USE: [(&str, &[&str]); 11] = [
    (
        "dayfly",
        &["gateway", "triggers", "scheduler", "worker", "sandbox", "meter", "objects", "tables", "store", "types"],
    ),
    ("dayfly-gateway", &["scheduler", "triggers", "meter", "objects", "tables", "store", "types"]),
    ("dayfly-triggers", &["scheduler", "store", "types"]),
    ("dayfly-scheduler", &["worker", "meter", "store", "types"]),
    ("dayfly-worker", &["sandbox", "types"]),
    ("dayfly-sandbox", &[]),
    ("dayfly-meter", &["store", "types"]),
    ("dayfly-objects", &["store", "types"]),
    ("dayfly-tables", &["store", "types"]),
    ("dayfly-store", &["types"]),
    ("dayfly-types", &[]),
];
/// Crates that speak HTTP. The gateway does; the binary is a client; nobody else.
const HTTP: [&str; 9] =
    ["http", "http-body", "http-body-util", "hyper", "hyper-util", "axum", "reqwest", "ureq", "tower-http"];
/// A process that clones itself has one thread.
const ASYNC: [&str; 4] = ["tokio", "async-std", "smol", "rayon"];
const LINES_MAX: usize = 1000;

// Rules. Each returns what is wrong.

fn dependencies(package: &str, uses: &[String]) -> Vec<String> {
    let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == package) else {
        return vec![format!("{package} is not in the table")];
    };
    let mut problems = Vec::new();
    for used in uses {
        let ours = used.strip_prefix("dayfly-");
        if ours.is_some_and(|used| !allowed.contains(&used)) || used == "dayfly" {
            problems.push(format!("{package} must not use {used}"));
        }
        if HTTP.contains(&used.as_str()) && !["dayfly", "dayfly-gateway"].contains(&package) {
            problems.push(format!("{package} must not speak HTTP, but uses {used}"));
        }
        if ASYNC.contains(&used.as_str()) && package == "dayfly-sandbox" {
            problems.push(format!("{package} must stay single-threaded, but uses {used}"));
        }
    }
    problems
}

fn unsafe_only_in_sys(path: &str, text: &str) -> Vec<String> {
    // What runs inside a sandbox has no more rights than the code that it runs beside.
    let inside = path == "runtimes/python/zygote.rs" || path.starts_with("runtimes/python/zygote/");
    let allowed = inside || path == "crates/sandbox/src/sys.rs" || path.starts_with("crates/sandbox/src/sys/");
    let found = code_lines(text).any(|line| words(line).any(|word| word == "unsafe"));
    if found && !allowed { vec![format!("{path}: unsafe outside crates/sandbox/src/sys")] } else { Vec::new() }
}

fn no_glob_imports(path: &str, text: &str) -> Vec<String> {
    let code = text.split("\nmod tests {").next().unwrap_or_default();
    let is_test = path.contains("/tests/") || path.ends_with("_tests.rs") || path.ends_with("/tests.rs");
    let globs = code_lines(code).filter(|line| {
        let line = line.trim_start();
        (line.starts_with("use ") || line.starts_with("pub use ")) && line.contains("::*")
    });
    if is_test { Vec::new() } else { globs.map(|line| format!("{path}: glob import: {}", line.trim())).collect() }
}

fn begins_with_a_purpose(path: &str, text: &str) -> Vec<String> {
    let is_source = path.starts_with("crates/") && path.contains("/src/");
    if is_source && !text.starts_with("//!") {
        return vec![format!("{path}: does not begin with //! and what it is")];
    }
    Vec::new()
}

fn not_too_long(path: &str, text: &str) -> Vec<String> {
    let lines = text.lines().count();
    if lines > LINES_MAX { vec![format!("{path}: {lines} lines; split at {LINES_MAX}")] } else { Vec::new() }
}

fn no_words_of_elsewhere(path: &str, text: &str) -> Vec<String> {
    // In pieces, so that this file does not hold what it forbids.
    let forbidden = [
        ["/wo", "rk/"].concat(),
        ["/ro", "ot/"].concat(),
        ["crates", ".io/api"].concat(),
        ["index.crates", ".io"].concat(),
        ["pypi", ".org/simple"].concat(),
        ["files.python", "hosted.org"].concat(),
        ["registry.npm", "js.org"].concat(),
        ["deb.debian", ".org"].concat(),
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["XX", "X:"].concat(),
    ];
    let mut problems = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for word in forbidden.iter().filter(|word| line.contains(word.as_str())) {
            problems.push(format!("{path}:{}: {word}", number + 1));
        }
    }
    problems
}

// The rules on this tree.

#[test]
fn crates_use_only_whom_they_may() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut problems = Vec::new();
    let mut seen = 0;
    for package in metadata["packages"].as_array().unwrap() {
        // Tests may use what they like.
        let uses: Vec<String> = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|dependency| dependency["kind"] != "dev")
            .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
            .collect();
        problems.extend(dependencies(package["name"].as_str().unwrap(), &uses));
        seen += 1;
    }
    assert!(seen >= 8, "only {seen} crates were seen");
    assert_eq!(problems, Vec::<String>::new());
}

#[test]
fn rust_files_keep_the_rules() {
    let rules = [unsafe_only_in_sys, no_glob_imports, begins_with_a_purpose, not_too_long];
    let mut problems = Vec::new();
    let files = tree();
    assert!(files.len() > 30, "only {} files were seen", files.len());
    for (path, text) in files.iter().filter(|(path, _)| path.ends_with(".rs")) {
        problems.extend(rules.iter().flat_map(|rule| rule(path, text)));
    }
    assert_eq!(problems, Vec::<String>::new());
}

#[test]
fn no_file_speaks_of_where_it_was_made_or_puts_work_off() {
    let problems: Vec<String> = tree().iter().flat_map(|(path, text)| no_words_of_elsewhere(path, text)).collect();
    assert_eq!(problems, Vec::<String>::new());
}

#[test]
fn scripts_and_python_are_not_too_long() {
    let problems: Vec<String> = tree()
        .iter()
        .filter(|(path, _)| path.ends_with(".py") || path.ends_with(".sh"))
        .flat_map(|(path, text)| not_too_long(path, text))
        .collect();
    assert_eq!(problems, Vec::<String>::new());
}

// The rules can fail.

#[test]
fn each_rule_finds_what_it_is_for() {
    let uses = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(dependencies("dayfly-worker", &uses(&["dayfly-store"])).len(), 1);
    assert_eq!(dependencies("dayfly-types", &uses(&["dayfly"])).len(), 1);
    assert_eq!(dependencies("dayfly-scheduler", &uses(&["hyper"])).len(), 1);
    assert_eq!(dependencies("dayfly-sandbox", &uses(&["tokio"])).len(), 1);
    assert_eq!(dependencies("dayfly-new", &uses(&[])).len(), 1);
    assert_eq!(dependencies("dayfly", &uses(&["dayfly-gateway", "hyper", "tokio"])), Vec::<String>::new());

    let block = ["fn f() { un", "safe { g() } }"].concat();
    assert_eq!(unsafe_only_in_sys("crates/store/src/x.rs", &block).len(), 1);
    assert_eq!(unsafe_only_in_sys("crates/sandbox/src/sys.rs", &block).len(), 0);
    assert_eq!(unsafe_only_in_sys("crates/store/src/x.rs", "// unsafe\nlet unsafe_code = \"unsafe\";").len(), 0);

    assert_eq!(no_glob_imports("crates/a/src/b.rs", "//! b\nuse std::io::*;\n").len(), 1);
    assert_eq!(no_glob_imports("crates/a/src/b.rs", "//! b\nmod tests {\n    use super::*;\n}\n").len(), 0);

    assert_eq!(begins_with_a_purpose("crates/a/src/b.rs", "use x;\n").len(), 1);
    assert_eq!(not_too_long("a", &"\n".repeat(LINES_MAX + 1)).len(), 1);
    assert_eq!(no_words_of_elsewhere("a", &["see /wo", "rk/x and TO", "DO"].concat()).len(), 2);
}

/// Every text file that git knows or would take, by its path from the root.
fn tree() -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let relative = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            if path.is_symlink() || ignored(&relative) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                files.insert(relative, text);
            }
        }
    }
    files
}

fn ignored(relative: &str) -> bool {
    let name = relative.rsplit('/').next().unwrap_or(relative);
    name.starts_with(".venv")
        || [".git", "__pycache__", ".pytest_cache", "node_modules"].contains(&name)
        || name.starts_with("target")
        || ["fuzz/corpus", "fuzz/artifacts", "Cargo.lock", "LICENSE"].contains(&relative)
        || name.ends_with(".pyc")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Lines without comments and without what stands in quotes.
fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| line.split('"').next().unwrap_or(line))
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
}
