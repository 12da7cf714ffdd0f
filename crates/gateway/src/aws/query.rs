//! The query protocol: parameters in a form, answers in XML. What STS and IAM share.

use super::{Error, Request, Response, xml::Xml};
use crate::sigv4::query_pairs;
use std::collections::BTreeMap;

/// The parameters of a request, from its query and its body.
pub struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// All of them; the first of a name counts.
    pub fn of(request: &Request) -> Self {
        let mut all = BTreeMap::new();
        let body = String::from_utf8_lossy(&request.body);
        for (name, value) in
            query_pairs(request.parts.uri.query().unwrap_or_default()).into_iter().chain(query_pairs(&body))
        {
            all.entry(name).or_insert(value);
        }
        Self(all)
    }

    /// The value under `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The operation.
    pub fn action(&self) -> Result<&str, Error> {
        self.get("Action").ok_or_else(|| Error::bad_request("MissingAction", "The request has no Action"))
    }

    /// The entries of a map: `NAME.entry.1.key` and `.value`, with other words for these two perhaps.
    pub fn entries(&self, name: &str, [key, value]: [&str; 2]) -> BTreeMap<String, String> {
        let field = |number: usize, field: &str| self.get(&format!("{name}.entry.{number}.{field}"));
        let entry =
            |number| Some((field(number, key)?.to_owned(), field(number, value).unwrap_or_default().to_owned()));
        (1..=self.0.len()).map_while(entry).collect()
    }

    /// The members of a list of texts: `NAME.member.1`, `NAME.member.2`, and so on.
    pub fn texts(&self, name: &str) -> Vec<String> {
        let member = |number| self.get(&format!("{name}.member.{number}")).map(str::to_owned);
        (1..=self.0.len()).map_while(member).collect()
    }

    /// The members of a list of structures: `NAME.member.1.FIELD`, `NAME.member.2.FIELD`, and so on.
    pub fn members(&self, name: &str, fields: [&str; 2]) -> Vec<[String; 2]> {
        let field = |number: usize, field: &str| self.get(&format!("{name}.member.{number}.{field}"));
        let member = |number| Some(fields.map(|name| field(number, name).map(str::to_owned)));
        let whole = |[first, second]: [Option<String>; 2]| Some([first?, second.unwrap_or_default()]);
        (1..=self.0.len()).map_while(|number| member(number).and_then(whole)).collect()
    }
}

/// An answer whose result is what `inside` writes.
pub fn answer(request: &Request, operation: &str, namespace: &str, inside: impl FnOnce(&mut Xml)) -> Response {
    let mut xml = Xml::new(format!("{operation}Response"), namespace);
    xml.element(&format!("{operation}Result"), inside);
    with_metadata(xml, request)
}

/// An answer without a result.
pub fn done(request: &Request, operation: &str, namespace: &str) -> Response {
    with_metadata(Xml::new(format!("{operation}Response"), namespace), request)
}

fn with_metadata(mut xml: Xml, request: &Request) -> Response {
    xml.element("ResponseMetadata", |xml| {
        xml.text("RequestId", request.id);
    });
    xml.answer()
}

/// The error for an operation that is not served: one of `known`, or one that nobody has.
pub fn not_served(operation: &str, known: &[&str], version: &str) -> Error {
    if known.contains(&operation) {
        return Error::unsupported(operation);
    }
    let operation: String = operation.chars().take(200).collect();
    Error::bad_request("InvalidAction", format!("Could not find operation {operation} for version {version}"))
}
