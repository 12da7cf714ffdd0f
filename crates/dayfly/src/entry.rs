//! Where the code of a folder or a file begins, and what it is written in, by convention.

use std::path::Path;

/// Where the handler is looked for, in this order.
const MODULES: [&str; 4] = ["app", "main", "lambda_function", "index"];
const HANDLERS: [&str; 2] = ["handler", "lambda_handler"];
const SCRIPTS: [&str; 3] = ["js", "mjs", "cjs"];
/// A program of this name is its own runtime.
const BOOTSTRAP: &str = "bootstrap";

/// What runs the code.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Language {
    /// `python3.x`
    #[default]
    Python,
    /// `nodejsX.x`
    Node,
    /// `provided.al2023`: a program that speaks the Runtime API.
    Provided,
}

impl Language {
    /// What a handler of a folder or a file is written in.
    pub fn of(root: &Path, handler: &str) -> Self {
        let module = handler.rsplit_once('.').map_or(handler, |(module, _)| module);
        let is_script = |extension: &&str| match root.is_dir() {
            true => root.join(format!("{module}.{extension}")).is_file(),
            false => root.extension().is_some_and(|its| its == *extension),
        };
        match () {
            () if root.join(BOOTSTRAP).is_file() => Self::Provided,
            () if SCRIPTS.iter().any(is_script) => Self::Node,
            () => Self::Python,
        }
    }

    /// The newest of these runtimes that is of the language.
    pub fn newest<'a>(self, runtimes: impl Iterator<Item = &'a str>) -> Option<String> {
        let version = |name: &str| match self {
            Self::Python => name.strip_prefix("python3.")?.parse::<u32>().ok(),
            Self::Node => name.strip_prefix("nodejs")?.strip_suffix(".x")?.parse().ok(),
            Self::Provided => name.strip_prefix("provided.al")?.parse().ok(),
        };
        runtimes.filter_map(|name| Some((version(name)?, name))).max().map(|(_, name)| name.to_owned())
    }
}

/// `module.function`, and what it is written in, when a folder or a file has one.
pub fn find(root: &Path) -> Option<(String, Language)> {
    if root.join(BOOTSTRAP).is_file() {
        return Some((BOOTSTRAP.to_owned(), Language::Provided));
    }
    let modules: Vec<&str> = if root.is_dir() { MODULES.to_vec() } else { vec![root.file_stem()?.to_str()?] };
    let extensions = [("py", Language::Python)].into_iter().chain(SCRIPTS.map(|extension| (extension, Language::Node)));
    extensions
        .flat_map(|(extension, language)| modules.iter().map(move |module| (extension, language, *module)))
        .find_map(|(extension, language, module)| {
            let path = if root.is_dir() { root.join(format!("{module}.{extension}")) } else { root.to_owned() };
            if path.extension()? != extension {
                return None;
            }
            let source = std::fs::read_to_string(path).ok()?;
            let has = |name: &&&str| match language {
                Language::Node => exports(&source, name),
                _ => defines(&source, name),
            };
            HANDLERS.iter().find(has).map(|name| (format!("{module}.{name}"), language))
        })
}

/// Whether `root` is a file of code that can be a package by itself.
pub fn is_code(root: &Path) -> bool {
    let extension = root.extension().and_then(|extension| extension.to_str());
    root.is_file() && extension.is_some_and(|extension| extension == "py" || SCRIPTS.contains(&extension))
}

/// Whether a Python source defines `name` at its top level, by `def` or by assignment.
pub fn defines(source: &str, name: &str) -> bool {
    source.lines().any(|line| {
        let rest = ["def ", "async def "].iter().find_map(|keyword| line.strip_prefix(keyword)).unwrap_or(line);
        rest.strip_prefix(name).map(str::trim_start).is_some_and(|rest| match rest.as_bytes() {
            [b'(', ..] => rest.len() < line.len() && line.starts_with(['d', 'a']) && line.contains("def "),
            [b'=', next, ..] => *next != b'=',
            [b':', ..] => true,
            _ => false,
        })
    })
}

/// Whether a script exports `name`: `exports.name =`, `module.exports = { name }`, `export … name`.
fn exports(source: &str, name: &str) -> bool {
    source.lines().any(|line| {
        let begins = ["exports.", "module.exports", "export "].iter().any(|start| line.starts_with(start));
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '$');
        begins && words.any(|word| word == name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_are_found_only_where_they_are_defined() {
        for (source, found) in [
            ("def handler(event, context):\n", true),
            ("async def handler (e, c):\n", true),
            ("handler = make()\n", true),
            ("handler: Callable = make()\n", true),
            ("    def handler(self):\n", false),
            ("handler(1)\n", false),
            ("handler == 1\n", false),
            ("handlers = []\n", false),
            ("def handler_two(e, c):\n", false),
        ] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("app.py"), source).unwrap();
            assert_eq!(find(folder.path()).is_some(), found, "{source:?}");
        }
    }

    #[test]
    fn scripts_and_programs_are_found_too() {
        for (file, source, entry) in [
            ("index.js", "exports.handler = async () => 1;\n", Some(("index.handler", Language::Node))),
            ("index.mjs", "export const handler = async () => 1;\n", Some(("index.handler", Language::Node))),
            ("app.mjs", "const handler = 1;\nexport { handler };\n", Some(("app.handler", Language::Node))),
            ("index.js", "const handler = 1;\n", None),
            ("index.js", "exports.handlers = 1;\n", None),
            ("bootstrap", "#!/bin/sh\n", Some(("bootstrap", Language::Provided))),
        ] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join(file), source).unwrap();
            let found = find(folder.path());
            assert_eq!(found.as_ref().map(|(handler, language)| (handler.as_str(), *language)), entry, "{source:?}");
            if let Some((handler, language)) = entry {
                assert_eq!(Language::of(folder.path(), handler), language);
            }
        }
    }

    #[test]
    fn the_newest_runtime_is_of_the_language() {
        let have = ["python3.9", "python3.13", "nodejs20.x", "provided.al2", "provided.al2023"];
        for (language, newest) in
            [(Language::Python, "python3.13"), (Language::Node, "nodejs20.x"), (Language::Provided, "provided.al2023")]
        {
            assert_eq!(language.newest(have.into_iter()).as_deref(), Some(newest));
        }
        assert_eq!(Language::Node.newest(["python3.9"].into_iter()), None);
    }
}
