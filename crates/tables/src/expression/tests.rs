//! Expressions as requests have them, good and hostile.

use super::*;
use serde_json::json;

fn item(json: serde_json::Value) -> Item {
    crate::item_from_json(json).unwrap()
}

fn placeholders() -> Placeholders {
    let names = [("#n", "name"), ("#dotted", "a.b")].map(|(key, name)| (key.to_owned(), name.to_owned()));
    let values = item(json!({
        ":s": {"S": "text"}, ":t": {"S": "te"}, ":n": {"N": "5"}, ":one": {"N": "1"}, ":nine": {"N": "9"}, ":l": {"L": [{"N": "3"}]},
        ":set": {"SS": ["b"]}, ":kind": {"S": "S"}, ":true": {"BOOL": true}
    }));
    Placeholders::new(Some(names.into()), Some(values)).unwrap()
}

fn sample() -> Item {
    item(json!({
        "name": {"S": "text"}, "n": {"N": "5.0"}, "l": {"L": [{"N": "1"}, {"M": {"x": {"S": "deep"}}}]}, "a.b": {"BOOL": true},
        "ss": {"SS": ["a", "b"]}, "m": {"M": {"k": {"N": "7"}, "o": {"N": "8"}}}
    }))
}

#[test]
fn conditions_hold_or_do_not() {
    for (text, holds) in [
        ("#n = :s", true),
        ("#n <> :s", false),
        ("n = :n AND NOT n > :n", true),
        ("n between :one and :nine", true),
        ("n IN (:one, :n)", true),
        ("n IN (:one)", false),
        ("attribute_exists(l[1].x) AND attribute_not_exists(l[2])", true),
        ("attribute_type(#n, :kind)", true),
        ("begins_with(#n, :t) AND contains(#n, :t) AND contains(ss, :t) = :true", false),
        ("contains(l, :one)", true),
        ("size(#n) < :n", true),
        ("size (l) = size(ss)", true),
        ("nowhere = :s OR nowhere <> :s", true),
        ("nowhere < :n", false),
        ("#n < :n", false),
        ("attribute_not_exists(a) AND (n = :one OR #dotted = :true)", true),
        ("NOT (n = :n) OR NOT NOT n = :n", true),
        ("n = :one OR n = :n AND n = :nine", false),
        ("m.k < m.o", true),
    ] {
        match condition("ConditionExpression", text, &placeholders()) {
            Ok(condition) => assert_eq!(condition.holds(&sample()), holds, "{text}"),
            // A function gives no value to compare.
            Err(error) => assert!(text.contains(") = :true"), "{text}: {error}"),
        }
    }
}

#[test]
fn updates_change_an_item() {
    let apply = |text: &str| update(text, &placeholders()).unwrap().apply(&sample());
    let after = apply(
        "SET n = n + :one, fresh = if_not_exists(fresh, :s), l = list_append(l, :l), m.k = :n - :one REMOVE #n, m.o \
         ADD ss :set, hits :one DELETE nowhere :set",
    )
    .unwrap();
    let expected = item(json!({
        "n": {"N": "6"}, "fresh": {"S": "text"}, "l": {"L": [{"N": "1"}, {"M": {"x": {"S": "deep"}}}, {"N": "3"}]},
        "a.b": {"BOOL": true}, "ss": {"SS": ["a", "b"]}, "m": {"M": {"k": {"N": "4"}}}, "hits": {"N": "1"}
    }));
    assert_eq!(after, expected);
    let after = apply("DELETE ss :set REMOVE l[0], l[1], l[9] SET m.k = m.o").unwrap();
    assert_eq!(after["ss"], Value::from_json(json!({"SS": ["a"]})).unwrap());
    assert_eq!(after["l"], Value::L(Vec::new()));
    assert_eq!(after["m"], Value::from_json(json!({"M": {"k": {"N": "8"}, "o": {"N": "8"}}})).unwrap());
    for bad in
        ["SET x.y = :n", "SET a = nowhere", "SET a = n + #n", "ADD #n :n", "SET a = list_append(n, :l)", "REMOVE n.x"]
    {
        assert!(apply(bad).is_err(), "{bad}");
    }
}

#[test]
fn projections_take_parts() {
    let paths = projection("n, l[1].x, m.k, nowhere", &placeholders()).unwrap();
    let expected =
        item(json!({"n": {"N": "5"}, "l": {"L": [{"M": {"x": {"S": "deep"}}}]}, "m": {"M": {"k": {"N": "7"}}}}));
    assert_eq!(project(&sample(), &paths), expected);
}

#[test]
fn what_is_unused_or_undefined_is_refused() {
    let placeholders = placeholders();
    condition("ConditionExpression", "#n = :s", &placeholders).unwrap();
    let error = placeholders.all_used(true).unwrap_err().to_string();
    assert_eq!(error, "Value provided in ExpressionAttributeNames unused in expressions: keys: {#dotted}");
    for (text, part) in [
        ("#x = :s", "attribute name used in the document path is not defined; attribute name: #x"),
        ("a = :x", "attribute value used in expression is not defined; attribute value: :x"),
        ("name = :s", "reserved keyword: name"),
        ("", "can not be empty"),
        ("a = ", "Syntax error; token: \"<EOF>\""),
        ("a == :s", "Syntax error; token: \"=\""),
        ("a = :s b", "Syntax error; token: \"b\""),
        ("a ; b", "token: \";\""),
        ("frob(a)", "Invalid function name; function: frob"),
        ("if_not_exists(a, :s) = :s", "not allowed to be used this way"),
        ("begins_with(a)", "Incorrect number of operands"),
        ("begins_with(a, :n)", "operand type: N"),
        ("a < :true", "operand type: BOOL"),
        ("a BETWEEN :nine AND :one", "upper bound"),
        ("attribute_exists(:s)", "requires a document path"),
        ("attribute_type(a, :s)", "Invalid attribute type name"),
    ] {
        let error = condition("ConditionExpression", text, &placeholders).unwrap_err().to_string();
        assert!(error.starts_with("Invalid ConditionExpression: ") && error.contains(part), "{text}: {error}");
    }
    for (text, part) in [
        ("SET a = :n SET b = :n", "can only be used once"),
        ("SET a.b = :n, a.b[0] = :n", "overlap"),
        ("SET a = :s + :n", "operand type: S"),
        ("ADD a :s", "operand type: S"),
        ("DELETE a :n", "operand type: N"),
        ("DELETE a b", "Syntax error"),
        ("SET a", "Syntax error"),
        ("a = :n", "Syntax error"),
    ] {
        let error = update(text, &placeholders).unwrap_err().to_string();
        assert!(error.starts_with("Invalid UpdateExpression: ") && error.contains(part), "{text}: {error}");
    }
    assert!(Placeholders::new(Some(BTreeMap::new()), None).is_err());
    assert!(Placeholders::new(Some([("n".to_owned(), "name".to_owned())].into()), None).is_err());
}

#[test]
fn hostile_expressions_end_in_an_answer() {
    let placeholders = placeholders();
    let texts = [
        "(".repeat(4000),
        "NOT ".repeat(1000),
        format!("{}a = :n{}", "(".repeat(60), ")".repeat(60)),
        format!("{}a = :n{}", "(".repeat(100), ")".repeat(100)),
        vec!["a=:n"; 299].join(" OR "),
        "a".repeat(5000),
        format!("a{} = :n", ".b".repeat(1000)),
        "a[99999999999999999999] = :n".to_owned(),
        format!("SET a = {}b", "if_not_exists(a, ".repeat(200)),
        format!("SET a = {}", "list_append(".repeat(300)),
        "ä = :n".to_owned(),
        "# = : AND [] .. <>".to_owned(),
        "\0".to_owned(),
    ];
    let mut good = 0;
    for text in &texts {
        good += usize::from(condition("FilterExpression", text, &placeholders).is_ok());
        good += usize::from(update(text, &placeholders).is_ok());
        good += usize::from(projection(text, &placeholders).is_ok());
    }
    // Sixty brackets are fine, and so is one long name.
    assert_eq!(good, 1);
}
