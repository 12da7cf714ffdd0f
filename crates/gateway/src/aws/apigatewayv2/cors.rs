//! The CORS settings of an API. They are kept as those of function URLs are, whose members begin with capitals.

use super::{error::bad_request, typed};
use crate::aws::Error;
use dayfly_types::url::Cors;
use serde_json::{Map, Value, json};

const MAX_AGE_S_MAX: u32 = 86_400;

pub fn read(given: Value) -> Result<Cors, Error> {
    let cors: Cors = match given {
        Value::Object(members) => typed(Value::Object(recased(members, |first| first.to_ascii_uppercase())))?,
        _ => return Err(bad_request("corsConfiguration must be an object")),
    };
    if cors.max_age.is_some_and(|seconds| seconds > MAX_AGE_S_MAX) {
        return Err(bad_request(format!("maxAge is at most {MAX_AGE_S_MAX}")));
    }
    let any = |list: &[String]| list.iter().any(|one| one == "*");
    if cors.allow_credentials == Some(true) && any(&cors.allow_origins) {
        return Err(bad_request("allowOrigins cannot be * when allowCredentials is true"));
    }
    Ok(cors)
}

pub fn shown(cors: &Cors) -> Value {
    match json!(cors) {
        Value::Object(members) => Value::Object(recased(members, |first| first.to_ascii_lowercase())),
        other => other,
    }
}

fn recased(members: Map<String, Value>, case: impl Fn(char) -> char) -> Map<String, Value> {
    let renamed = |name: String| {
        let mut letters = name.chars();
        letters.next().map(&case).into_iter().chain(letters).collect::<String>()
    };
    members.into_iter().map(|(name, value)| (renamed(name), value)).collect()
}
