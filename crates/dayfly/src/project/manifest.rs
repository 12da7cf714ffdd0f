//! What a project consists of: the shapes of `dayfly.toml`, which the declarations of a `dayfly.App` share.
//!
//! Every value is checked where it is read, so that the reader of the file can say the line.

use dayfly_triggers::events::schedule;
use serde::Deserialize;
use std::{collections::BTreeMap, fmt};

/// A project.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Manifest {
    /// Names of what is deployed begin with it. Default: the folder's name.
    pub name: Option<Name>,
    /// Module that makes a `dayfly.App`, for example `app`: what it declares is added to what stands here.
    pub app: Option<Module>,
    /// For example `python3.11`. Default: the newest that the server has.
    pub runtime: Option<String>,
    /// MB, for functions that say nothing.
    pub memory: Option<Memory>,
    /// Seconds, for functions that say nothing.
    pub timeout: Option<Timeout>,
    /// Environment of all functions.
    pub environment: BTreeMap<Variable, String>,
    /// Packages of all functions.
    pub requirements: Option<Requirements>,
    /// Functions.
    pub functions: BTreeMap<Name, Function>,
    /// Message queues.
    pub queues: BTreeMap<Name, Queue>,
    /// Tables of items.
    pub tables: BTreeMap<Name, Table>,
    /// Buckets.
    pub buckets: BTreeMap<Name, Bucket>,
}

/// Packages: a file of them, or themselves.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "expected the name of a requirements file, or a list of packages")]
pub enum Requirements {
    /// As pip reads it.
    File(String),
    /// `name==version` and the like.
    List(Vec<String>),
}

/// A function and what calls it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Function {
    /// `module.function`.
    pub handler: Handler,
    /// MB.
    pub memory: Option<Memory>,
    /// Seconds.
    pub timeout: Option<Timeout>,
    /// Over the project's.
    #[serde(default)]
    pub environment: BTreeMap<Variable, String>,
    /// `METHOD /path`.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// `5 minutes`, `rate(…)`, `cron(…)`.
    #[serde(default)]
    pub schedules: Vec<Schedule>,
    /// Queues whose messages it handles.
    #[serde(default)]
    pub queues: Vec<Name>,
    /// Buckets whose objects it handles.
    #[serde(default)]
    pub objects: Vec<Name>,
}

/// A message queue.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Queue {
    /// Messages of a call at most.
    pub batch: Option<Within<1, 10_000>>,
    /// How long a call may wait for its batch to fill.
    pub window_seconds: Option<Within<0, 300>>,
    /// How long a message that was taken stays hidden. Default: six times its function's timeout.
    pub visibility_seconds: Option<Within<0, 43_200>>,
    /// Calls at a time.
    pub concurrency: Option<Within<2, 1000>>,
    /// After so many failures a message goes to the queue `NAME-dead`.
    pub attempts: Option<Within<1, 1000>>,
    /// In order, and once.
    pub fifo: bool,
}

/// A table of items.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// `name`, or `name: number`.
    pub key: Key,
    /// The second part of the key.
    pub range: Option<Key>,
    /// Attribute with the time, in seconds since 1970, when an item goes.
    pub expires: Option<String>,
    /// Further ways to look items up.
    #[serde(default)]
    pub indexes: BTreeMap<Name, Index>,
}

/// A global secondary index.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// As a table's.
    pub key: Key,
    /// As a table's.
    pub range: Option<Key>,
}

/// A bucket, and for which of its objects functions are called.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bucket {
    /// Keys that begin so.
    pub prefix: Option<String>,
    /// Keys that end so.
    pub suffix: Option<String>,
    /// A folder whose files are the bucket's website.
    pub site: Option<String>,
}

/// MB of a function; how much there may be is the server's to say.
pub type Memory = Within<128, 1_048_576>;
/// Seconds of a call.
pub type Timeout = Within<1, 900>;

/// A whole number within bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i64")]
pub struct Within<const MIN: i64, const MAX: i64>(pub i64);

impl<const MIN: i64, const MAX: i64> TryFrom<i64> for Within<MIN, MAX> {
    type Error = String;
    fn try_from(number: i64) -> Result<Self, String> {
        if (MIN..=MAX).contains(&number) {
            Ok(Self(number))
        } else {
            Err(format!("expected a whole number from {MIN} to {MAX}, found {number}"))
        }
    }
}

/// Makes a type of text that is checked by `$check`, whose error is what is said at the line.
macro_rules! checked {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                let check: fn(String) -> Result<String, String> = $check;
                check(text).map(Self)
            }
        }

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

checked!(
    /// A name that every kind of thing may have.
    Name,
    |text| {
        let fits = (1..=40).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && !text.ends_with('-')
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        let expected = "expected a name of lower-case letters, digits and dashes, 40 at most, a letter first";
        if fits { Ok(text) } else { Err(format!("{expected}, found {text:?}")) }
    }
);

checked!(
    /// Name of an environment variable.
    Variable,
    |text| {
        let fits = text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if fits { Ok(text) } else { Err(format!("expected letters, digits and _, a letter first, found {text:?}")) }
    }
);

checked!(
    /// A module's dotted name.
    Module,
    |text| {
        let fits = text.split('.').all(identifier);
        if fits { Ok(text) } else { Err(format!("expected a module such as \"app\", found {text:?}")) }
    }
);

checked!(
    /// `module.function`; folders before the module end in a slash.
    Handler,
    |text| {
        let fits = text.rsplit_once('.').is_some_and(|(module, function)| {
            identifier(function) && module.split(['.', '/']).all(identifier)
        });
        if fits { Ok(text) } else { Err(format!("expected module.function such as \"app.handler\", found {text:?}")) }
    }
);

impl Handler {
    /// The module's path without `.py`.
    pub fn module_path(&self) -> String {
        self.0.rsplit_once('.').map_or("", |(module, _)| module).replace('.', "/")
    }
}

fn identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_') && text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// A method, or `ANY`, and a path with `{name}` and `{name+}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Route {
    /// In upper case.
    pub method: String,
    /// From its first slash on.
    pub path: String,
}

const METHODS: [&str; 8] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "ANY"];

impl TryFrom<String> for Route {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let expected = |what: &str| format!("expected a route such as \"GET /items/{{id}}\": {what}, found {text:?}");
        let (method, path) = text.split_once(' ').ok_or_else(|| expected("a method, a space and a path"))?;
        if !METHODS.contains(&method) {
            return Err(expected(&format!("the method is one of {}", METHODS.join(", "))));
        }
        if !path.starts_with('/') || path.contains("//") || (path.len() > 1 && path.ends_with('/')) {
            return Err(expected("the path begins with a slash and has none at its end or twice"));
        }
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        for (index, part) in parts.iter().enumerate() {
            let inner = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            let plain =
                |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:@!$&'()*,;=%".contains(&b));
            let fits = match inner {
                Some(name) if name.ends_with('+') => index + 1 == parts.len() && identifier(&name[..name.len() - 1]),
                Some(name) => identifier(name),
                None => plain(part),
            };
            if !fits {
                return Err(expected("a part of the path is text, {name}, or, at the end, {name+}"));
            }
        }
        Ok(Self { method: method.to_owned(), path: path.to_owned() })
    }
}

checked!(
    /// An EventBridge expression; `5 minutes` is short for `rate(5 minutes)`.
    Schedule,
    |text| {
        let expression = if text.contains('(') { text.clone() } else { format!("rate({text})") };
        schedule::Schedule::parse(&expression)
            .map_err(|error| format!("expected \"5 minutes\", \"rate(…)\" or \"cron(…)\": {error}, found {text:?}"))?;
        Ok(expression)
    }
);

/// An attribute of a key and its type.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Key {
    /// The attribute.
    pub name: String,
    /// `S`, `N` or `B`.
    pub kind: char,
}

impl TryFrom<String> for Key {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let (name, kind) = text.split_once(':').unwrap_or((&text, "string"));
        let kind = match kind.trim() {
            "string" => 'S',
            "number" => 'N',
            "binary" => 'B',
            other => return Err(format!("expected string, number or binary after the colon, found {other:?}")),
        };
        let name = name.trim().to_owned();
        if name.is_empty() || name.len() > 255 {
            return Err(format!("expected the name of an attribute, such as \"id\" or \"id: number\", found {text:?}"));
        }
        Ok(Self { name, kind })
    }
}
