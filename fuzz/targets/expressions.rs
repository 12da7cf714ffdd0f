//! Expressions and numbers of tables. Whatever parses is applied to an item; a number reads back as itself, and its bytes
//! sort as it does.

#![no_main]

use dayfly_tables::{Number, expression, expression::Placeholders, item_from_json};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|text: &str| {
    let values = json!({
        ":n": {"N": "1.5"}, ":s": {"S": "S"}, ":l": {"L": [{"N": "1"}]}, ":ss": {"SS": ["a"]}, ":b": {"B": "AA=="}, ":m": {"M": {}}
    });
    let item = item_from_json(json!({
        "a": {"S": "text"}, "n": {"N": "7"}, "l": {"L": [{"M": {"x": {"N": "1"}}}, {"S": ""}]}, "m": {"M": {"k": {"N": "2"}}},
        "ss": {"SS": ["a", "b"]}
    }))
    .expect("an item");
    let values = item_from_json(values).expect("values");
    let placeholders = Placeholders::new(Some([("#n".to_owned(), "n".to_owned())].into()), Some(values)).expect("placeholders");
    if let Ok(condition) = expression::condition("ConditionExpression", text, &placeholders) {
        condition.holds(&item);
        condition.paths();
    }
    if let Ok(update) = expression::update(text, &placeholders) {
        let _refused = update.apply(&item);
    }
    if let Ok(paths) = expression::projection(text, &placeholders) {
        assert!(expression::project(&item, &paths).len() <= item.len());
    }
    if let Ok(number) = text.parse::<Number>() {
        assert_eq!(number.to_string().parse::<Number>().as_ref(), Ok(&number), "{text:?}");
        for other in [Number::ZERO, number.plus(number).unwrap_or(number), number.minus(number).unwrap_or(number)] {
            assert_eq!(number.cmp(&other), number.sortable().cmp(&other.sortable()), "{text:?}");
        }
    }
});
