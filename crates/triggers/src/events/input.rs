//! What a target gets of an event: all of it, a constant, a part, or a text with parts in it.

use super::Target;
use serde_json::{Value, json};

/// Longest text that a target gets.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// The text for `target` of `event`, which the rule with this name and ARN took.
pub fn text(target: &Target, event: &Value, rule: &str, arn: &str) -> String {
    if let Some(input) = &target.input {
        return input.clone();
    }
    if let Some(path) = &target.input_path {
        return part(event, path).unwrap_or(&Value::Null).to_string();
    }
    match &target.input_transformer {
        Some(transformer) => {
            let value = |name: &str| match name {
                "aws.events.rule-arn" => json!(arn),
                "aws.events.rule-name" => json!(rule),
                "aws.events.event.ingestion-time" => event["time"].clone(),
                "aws.events.event" | "aws.events.event.json" => event.clone(),
                name => {
                    let path = transformer.input_paths_map.get(name);
                    path.and_then(|path| part(event, path)).cloned().unwrap_or(Value::Null)
                }
            };
            let filled = fill(&transformer.input_template, value);
            // A text that is not JSON is a text.
            if serde_json::from_str::<serde::de::IgnoredAny>(&filled).is_ok() {
                filled
            } else {
                json!(filled).to_string()
            }
        }
        None => event.to_string(),
    }
}

/// Whether a path is one: `$`, `$.detail.name`, `$.detail.items[0].id`, `$.detail['a b']`.
pub fn is_path(path: &str) -> bool {
    path.len() <= 256 && steps(path).is_some()
}

/// Whether a template has only names that mean something.
pub fn is_template(template: &str) -> bool {
    (1..=8192).contains(&template.len())
}

fn part<'a>(event: &'a Value, path: &str) -> Option<&'a Value> {
    steps(path)?.into_iter().try_fold(event, |value, step| match step {
        Step::Name(name) => value.get(name),
        Step::Number(at) => value.get(at),
    })
}

enum Step<'a> {
    Name(&'a str),
    Number(usize),
}

fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix("['") {
            let (name, after) = inside.split_once("']")?;
            steps.push(Step::Name(name));
            rest = after;
        } else if let Some(inside) = rest.strip_prefix('[') {
            let (number, after) = inside.split_once(']')?;
            steps.push(Step::Number(number.parse().ok()?));
            rest = after;
        } else {
            let inside = rest.strip_prefix('.')?;
            let end = inside.find(['.', '[']).unwrap_or(inside.len());
            let (name, after) = inside.split_at(end);
            (!name.is_empty()).then_some(())?;
            steps.push(Step::Name(name));
            rest = after;
        }
    }
    Some(steps)
}

/// Puts values in the place of `<name>`: within quotes as text, elsewhere as JSON.
fn fill(template: &str, value: impl Fn(&str) -> Value) -> String {
    let mut out = String::new();
    let (mut quoted, mut escaped) = (false, false);
    let mut rest = template;
    while let Some(character) = rest.chars().next() {
        let name =
            rest.strip_prefix('<').and_then(|inside| inside.split_once('>')).map(|(name, after)| (name.trim(), after));
        if let Some((name, after)) = name.filter(|(name, _)| is_name(name) && out.len() < TEXT_BYTES_MAX) {
            let value = value(name);
            if quoted {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let json = Value::String(text).to_string();
                out.push_str(&json[1..json.len() - 1]);
            } else {
                out.push_str(&value.to_string());
            }
            rest = after;
            continue;
        }
        match character {
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = character == '\\' && !escaped;
        out.push(character);
        rest = &rest[character.len_utf8()..];
    }
    out
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::{super::InputTransformer, *};
    use std::collections::BTreeMap;

    fn event() -> Value {
        json!({"time": "T", "detail": {"name": "a \"b\"", "items": [{"id": 7}], "a b": null}})
    }

    #[test]
    fn a_target_gets_what_it_asks_for() {
        let target = |target: Target| text(&target, &event(), "r", "arn");
        let plain = Target::default();
        assert_eq!(serde_json::from_str::<Value>(&target(plain.clone())).unwrap(), event());
        assert_eq!(target(Target { input: Some("{\"x\": 1}".to_owned()), ..plain.clone() }), "{\"x\": 1}");
        for (path, expected) in [
            ("$.detail.items[0].id", "7"),
            ("$.detail['a b']", "null"),
            ("$.detail.nothing", "null"),
            ("$.detail.name", "\"a \\\"b\\\"\""),
        ] {
            assert_eq!(target(Target { input_path: Some(path.to_owned()), ..plain.clone() }), expected, "{path}");
        }
    }

    #[test]
    fn a_template_is_filled() {
        let paths = BTreeMap::from([
            ("n".to_owned(), "$.detail.name".to_owned()),
            ("i".to_owned(), "$.detail.items".to_owned()),
        ]);
        for (template, expected) in [
            ("{\"name\": <n>, \"items\": <i>}", "{\"name\": \"a \\\"b\\\"\", \"items\": [{\"id\":7}]}"),
            ("\"<n> of <aws.events.rule-name>: <i>\"", "\"a \\\"b\\\" of r: [{\\\"id\\\":7}]\""),
            ("{\"<n\": <nobody>}", "{\"<n\": null}"),
            ("plain <aws.events.rule-arn>", "\"plain \\\"arn\\\"\""),
        ] {
            let transformer = InputTransformer { input_paths_map: paths.clone(), input_template: template.to_owned() };
            let target = Target { input_transformer: Some(transformer), ..Target::default() };
            assert_eq!(text(&target, &event(), "r", "arn"), expected, "{template}");
        }
    }

    #[test]
    fn paths_are_checked() {
        for good in ["$", "$.a", "$.a.b[3]", "$['x y'].z"] {
            assert!(is_path(good), "{good}");
        }
        for bad in ["", "a", "$a", "$.", "$..a", "$.a[", "$.a[x]", "$['a"] {
            assert!(!is_path(bad), "{bad}");
        }
    }
}
