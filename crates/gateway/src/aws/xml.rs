//! XML answers, as they are written.

use super::{Response, response};
use http::StatusCode;

/// A document that is being written.
pub struct Xml {
    text: String,
    root: String,
}

impl Xml {
    /// A document with this root and namespace.
    pub fn new(root: impl Into<String>, namespace: &str) -> Self {
        let root = root.into();
        let text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root} xmlns=\"{namespace}\">");
        Self { text, root }
    }

    /// An element with text.
    pub fn text(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        self.text.push_str(&format!("<{name}>{}</{name}>", response::xml_text(&value.to_string())));
        self
    }

    /// An element with text, when there is some.
    pub fn optional(&mut self, name: &str, value: Option<impl std::fmt::Display>) -> &mut Self {
        if let Some(value) = value {
            self.text(name, value);
        }
        self
    }

    /// An element with elements.
    pub fn element(&mut self, name: &str, inside: impl FnOnce(&mut Self)) -> &mut Self {
        self.text.push_str(&format!("<{name}>"));
        inside(self);
        self.text.push_str(&format!("</{name}>"));
        self
    }

    /// What is text already.
    pub fn raw(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// The whole as an answer.
    pub fn answer(self) -> Response {
        let Self { mut text, root } = self;
        text.push_str(&format!("</{root}>"));
        response::with_type(StatusCode::OK, "application/xml", text.into())
    }
}
