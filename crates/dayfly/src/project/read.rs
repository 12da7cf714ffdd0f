//! Reads `dayfly.toml`. Every mistake is said with its file and line, the line itself, and what was expected.

use super::manifest::{Manifest, Name, Requirements, Route};
use std::{collections::BTreeMap, fmt, ops::Range, path::Path};
use thiserror::Error;
use toml::de::{DeTable, DeValue};

/// A mistake and its place.
#[derive(Debug, Error)]
pub struct Mistake {
    file: String,
    message: String,
    /// Number, text, and which of its columns.
    line: Option<(usize, String, Range<usize>)>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((number, text, columns)) = &self.line else { return write!(f, "{}: {}", self.file, self.message) };
        let margin = " ".repeat(number.to_string().len());
        let marks = "^".repeat(columns.len().max(1));
        writeln!(f, "{}:{number}: {}", self.file, self.message)?;
        writeln!(f, "  {number} | {text}")?;
        write!(f, "  {margin} | {}{marks}", " ".repeat(columns.start))
    }
}

/// What is wrong, and at which keys one below the other.
struct Problem {
    keys: Vec<String>,
    message: String,
}

/// Reads the text of `file`; `folder` is where its modules are.
pub fn read(text: &str, file: &str, folder: &Path) -> Result<Manifest, Mistake> {
    let manifest: Manifest = toml::from_str(text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        let span = element(text, &span, error.message()).unwrap_or(span);
        mistake(text, file, Some(span), plain_words(error.message()))
    })?;
    check(&manifest, folder).map_err(|problem| mistake(text, file, span_of(text, &problem.keys), problem.message))?;
    Ok(manifest)
}

/// What an App declares, read from JSON; `file` is its module.
pub fn from_app(value: serde_json::Value, file: &str, folder: &Path) -> Result<Manifest, Mistake> {
    let whole = |message: String| Mistake { file: file.to_owned(), message, line: None };
    let manifest: Manifest = serde_json::from_value(value).map_err(|error| whole(plain_words(&error.to_string())))?;
    check(&manifest, folder).map_err(|problem| whole(format!("{}: {}", problem.keys.join("."), problem.message)))?;
    Ok(manifest)
}

fn mistake(text: &str, file: &str, span: Option<Range<usize>>, message: String) -> Mistake {
    let line = span.map(|span| {
        let start = span.start.min(text.len());
        let begin = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let number = text[..begin].matches('\n').count() + 1;
        let column = text[begin..start].chars().count();
        let width = text[start..span.end.clamp(start, end)].chars().count();
        // A tab would move the marks away from what they mark.
        (number, text[begin..end].trim_end().replace('\t', " "), column..column + width)
    });
    Mistake { file: file.to_owned(), message, line }
}

/// The element of an array that a message is about: the parser gives the place of the whole array.
fn element(text: &str, span: &Range<usize>, message: &str) -> Option<Range<usize>> {
    let array = DeValue::parse(text.get(span.clone())?).ok()?;
    let about = |element: &str| message.trim().ends_with(&format!("found {element:?}"));
    let found = array.get_ref().as_array()?.iter().find(|one| one.get_ref().as_str().is_some_and(about))?.span();
    Some(span.start + found.start..span.start + found.end)
}

/// The parser's message, with the nearest known key for one that is unknown.
fn plain_words(message: &str) -> String {
    let message = message.trim();
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let mut names = rest.split('`').skip(1).step_by(2);
        let unknown = names.next().unwrap_or_default();
        let known: Vec<&str> = names.collect();
        return format!("unknown key `{unknown}`: {}", nearest(unknown, &known));
    }
    message
        .replace("missing field", "missing key")
        .replace("invalid type: ", "wrong type: ")
        .replace("expected i64", "expected a whole number")
}

/// What is said of a name that is not there.
fn nearest(unknown: &str, known: &[&str]) -> String {
    let near = known.iter().min_by_key(|name| strsim::damerau_levenshtein(unknown, name));
    match near {
        Some(near) if strsim::damerau_levenshtein(unknown, near) <= 2.max(unknown.len() / 3) => {
            format!("did you mean `{near}`?")
        }
        _ if known.is_empty() => "there is none here".to_owned(),
        _ => format!("expected one of {}", known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
    }
}

/// What one value alone does not show.
fn check(manifest: &Manifest, folder: &Path) -> Result<(), Problem> {
    let problem = |keys: &[&str], message: String| {
        Err(Problem { keys: keys.iter().map(|key| (*key).to_owned()).collect(), message })
    };
    let mut routes: BTreeMap<&Route, &Name> = BTreeMap::new();
    let mut consumers: BTreeMap<&Name, &Name> = BTreeMap::new();
    for (name, function) in &manifest.functions {
        let place = |key: &'static str| ["functions", name.as_str(), key];
        let module = folder.join(function.handler.module_path());
        if !module.with_extension("py").is_file() && !module.join("__init__.py").is_file() {
            let path = function.handler.module_path();
            return problem(&place("handler"), format!("expected a file {path}.py for the handler, there is none"));
        }
        for (index, route) in function.routes.iter().enumerate() {
            if let Some(other) = routes.insert(route, name) {
                let keys = ["functions", name.as_str(), "routes", &index.to_string()];
                return problem(&keys, format!("{} {} leads to {other} already", route.method, route.path));
            }
        }
        for (key, named, known) in [
            ("queues", &function.queues, manifest.queues.keys().map(Name::as_str).collect::<Vec<_>>()),
            ("objects", &function.objects, manifest.buckets.keys().map(Name::as_str).collect()),
        ] {
            for (index, wanted) in named.iter().enumerate() {
                let keys = ["functions", name.as_str(), key, &index.to_string()];
                if !known.contains(&wanted.as_str()) {
                    let what = if key == "queues" { "queues" } else { "buckets" };
                    let hint = nearest(wanted.as_str(), &known);
                    return problem(&keys, format!("no [{what}.{wanted}] in this file: {hint}"));
                }
                let taken = if key == "queues" { consumers.insert(wanted, name) } else { None };
                if let Some(other) = taken {
                    return problem(&keys, format!("the messages of {wanted} go to {other} already"));
                }
            }
        }
    }
    if let Some(Requirements::File(file)) = &manifest.requirements
        && !folder.join(file).is_file()
    {
        return problem(&["requirements"], format!("expected a file of requirements, {file} is none"));
    }
    if let Some(runtime) = &manifest.runtime
        && !runtime.starts_with("python3.")
    {
        return problem(&["runtime"], format!("expected a runtime such as \"python3.12\", found {runtime:?}"));
    }
    for (name, bucket) in &manifest.buckets {
        if let Some(site) = &bucket.site
            && !folder.join(site).join("index.html").is_file()
        {
            let keys = ["buckets", name.as_str(), "site"];
            return problem(&keys, format!("expected a folder with an index.html, {site} is none"));
        }
    }
    for (name, queue) in &manifest.queues {
        if queue.fifo && queue.batch.is_some_and(|batch| batch.0 > 10) {
            let keys = ["queues", name.as_str(), "batch"];
            return problem(&keys, "a queue in order gives 10 messages at most".to_owned());
        }
    }
    for (name, table) in &manifest.tables {
        if table.range.as_ref().is_some_and(|range| range.name == table.key.name) {
            let keys = ["tables", name.as_str(), "range"];
            return problem(&keys, format!("expected another attribute than the key, {}", table.key.name));
        }
    }
    Ok(())
}

/// Where the value at `keys` stands, or the last of the keys that is there.
fn span_of(text: &str, keys: &[String]) -> Option<Range<usize>> {
    let root = DeTable::parse(text).ok()?;
    let mut span = root.span();
    let mut table = Some(root.get_ref());
    let mut array = None;
    for key in keys {
        let value = match (table, array) {
            (Some(table), _) => table.get(key.as_str()),
            (None, Some(array)) => {
                let array: &toml::de::DeArray<'_> = array;
                key.parse().ok().and_then(|index: usize| array.get(index))
            }
            (None, None) => None,
        };
        let Some(value) = value else { break };
        span = value.span();
        (table, array) = match value.get_ref() {
            DeValue::Table(inner) => (Some(inner), None),
            DeValue::Array(inner) => (None, Some(inner)),
            _ => (None, None),
        };
    }
    Some(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("app.py"), "").unwrap();
        read(text, "dayfly.toml", folder.path()).unwrap_err().to_string()
    }

    #[test]
    fn mistakes_are_said_with_their_line() {
        for (text, said) in [
            (
                "[functions.api]\nhandlr = \"app.x\"\n",
                "dayfly.toml:2: unknown key `handlr`: did you mean `handler`?\n  2 | handlr = \"app.x\"\n    | ^^^^^^",
            ),
            ("nome = 1", "dayfly.toml:1: unknown key `nome`: did you mean `name`?"),
            (
                "name = \"a\"\n\n[functions.api]\nmemory = 1\n",
                "dayfly.toml:4: expected a whole number from 128 to 1048576, found 1\n  4 | memory = 1\n    |          ^",
            ),
            ("[functions.api]\nhandler = \"app\"", "dayfly.toml:2: expected module.function"),
            ("[functions.api]\nhandler = \"other.x\"", "dayfly.toml:2: expected a file other.py"),
            ("[functions.api]\nmemory = 256", "dayfly.toml:1: missing key `handler`"),
            (
                "[functions.a]\nhandler = \"app.x\"\nroutes = [\n  \"GET /a\",\n  \"GTE /\",\n]",
                "dayfly.toml:5: expected a route such as",
            ),
            ("[functions.a]\nhandler = \"app.x\"\nroutes = [\"GET /{a+}/b\"]", "dayfly.toml:3: expected a route"),
            (
                "[functions.a]\nhandler = \"app.x\"\nroutes = [\"GET /\",\n\"GET /\"]",
                "dayfly.toml:4: GET / leads to a already",
            ),
            (
                "[functions.a]\nhandler = \"app.x\"\nschedules = [\"cron(0 0 31 2 ? *)\"]",
                "dayfly.toml:3: expected \"5 minutes\"",
            ),
            ("[functions.a]\nhandler = \"app.x\"\nschedules = [\"5 minute\"]", "dayfly.toml:3: expected \"5 minutes\""),
            (
                "[functions.a]\nhandler = \"app.x\"\nqueues = [\"pots\"]\n[queues.posts]",
                "dayfly.toml:3: no [queues.pots] in this file: did you mean `posts`?",
            ),
            (
                "[functions.a]\nhandler = \"app.x\"\nobjects = [\"b\"]",
                "dayfly.toml:3: no [buckets.b] in this file: there is none here",
            ),
            ("[tables.t]\nkey = \"a: int\"", "dayfly.toml:2: expected string, number or binary"),
            ("[tables.t]\nkey = \"a\"\nrange = \"a\"", "dayfly.toml:3: expected another attribute"),
            ("[buckets.b]\nsite = \"dist\"", "dayfly.toml:2: expected a folder with an index.html, dist is none"),
            ("[queues.Q]\n", "dayfly.toml:1: expected a name of lower-case letters"),
            ("requirements = \"none.txt\"", "dayfly.toml:1: expected a file of requirements, none.txt is none"),
            ("runtime = \"cobol\"", "dayfly.toml:1: expected a runtime such as \"python3.12\", found \"cobol\""),
            ("memory = \"big\"", "dayfly.toml:1: wrong type: string \"big\", expected a whole number"),
            ("requirements = 1", "dayfly.toml:1: expected the name of a requirements file, or a list of packages"),
            ("environment = { A = 1 }", "dayfly.toml:1: wrong type: integer `1`, expected a string"),
            ("name = \"a\"\n[functions", "dayfly.toml:2: "),
            ("name = \"ä\"\nx", "dayfly.toml:2: "),
        ] {
            let found = refused(text);
            assert!(found.starts_with(said), "{text}\n---\n{found}\n---\n{said}");
        }
    }

    #[test]
    fn a_whole_file_is_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("app.py"), "").unwrap();
        let text = r#"
name = "shop"
requirements = ["six==1.17.0"]
[environment]
GREETING = "hi"
[functions.api]
handler = "app.api"
routes = ["GET /", "ANY /items/{id}", "GET /files/{rest+}"]
schedules = ["5 minutes", "cron(0 9 ? * MON-FRI *)"]
queues = ["orders"]
[queues.orders]
batch = 100
[tables.words]
key = "word"
range = "day: number"
"#;
        let manifest = read(text, "dayfly.toml", folder.path()).unwrap();
        let (_, function) = manifest.functions.first_key_value().unwrap();
        assert_eq!(function.routes[1], Route { method: "ANY".into(), path: "/items/{id}".into() });
        assert_eq!(function.schedules[0].as_str(), "rate(5 minutes)");
        let (_, table) = manifest.tables.first_key_value().unwrap();
        assert_eq!((table.key.kind, table.range.as_ref().unwrap().kind), ('S', 'N'));
    }
}
