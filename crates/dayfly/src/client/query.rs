//! Operations of services that take a form and answer in XML, as IAM does: as much as the verbs need.

use super::{Client, Error, Request};
use bytes::Bytes;

impl Client {
    /// Calls an operation of IAM, and gives the XML of its answer.
    pub async fn iam(&self, action: &str, parameters: &[(&str, &str)]) -> Result<String, Error> {
        let query = [&[("Action", action), ("Version", "2010-05-08")], parameters].concat();
        let request =
            Request { service: "iam", method: "POST", path: &[""], query: &query, headers: &[], body: Bytes::new() };
        let body = self.send(request).await?.body;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Every item of a list of IAM's, as XML: the members of `list`.
    pub async fn iam_list(&self, action: &str, list: &str, parameters: &[(&str, &str)]) -> Result<Vec<String>, Error> {
        let mut items = Vec::new();
        let mut marker = String::new();
        loop {
            let mut all = parameters.to_vec();
            if !marker.is_empty() {
                all.push(("Marker", &marker));
            }
            let answer = self.iam(action, &all).await?;
            let inside = text(&answer, list, false).unwrap_or_default();
            items.extend(inside.split("<member>").skip(1).map(str::to_owned));
            match text(&answer, "Marker", true) {
                Some(next) if next != marker => marker = next,
                _ => return Ok(items),
            }
        }
    }
}

/// The text of the first element `name`.
pub fn value(xml: &str, name: &str) -> Option<String> {
    text(xml, name, true)
}

fn text(xml: &str, name: &str, unescape: bool) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (inside, _) = rest.split_once(&format!("</{name}>"))?;
    if !unescape {
        return Some(inside.to_owned());
    }
    let plain = inside.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#13;", "\r");
    Some(plain.replace("&amp;", "&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_and_their_text_is_plain() {
        let xml = "<A><Code>X</Code><M>a &lt;b&gt; &amp;amp; c</M><Empty></Empty></A>";
        assert_eq!(value(xml, "Code").as_deref(), Some("X"));
        assert_eq!(value(xml, "M").as_deref(), Some("a <b> &amp; c"));
        assert_eq!(value(xml, "Empty").as_deref(), Some(""));
        assert_eq!(value(xml, "None"), None);
    }
}
