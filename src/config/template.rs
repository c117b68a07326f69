//! Text with places for what a request brings: a small closed set of variables, checked at load.

use std::str::FromStr;

/// Text in which `{NAME}` stands for a variable; `{{` and `}}` are braces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// As it stands.
    Text(String),
    /// What the request brings.
    Variable(Variable),
}

/// What a template can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    /// The client's address, as [`ClientFacts::origin`](crate::request::ClientFacts::origin) has it.
    Client,
    /// The host that the client asks for, without a port.
    Host,
    /// The path that the client asks for, without its query.
    Path,
    /// What follows the path of the route: nothing, or a slash and more.
    Rest,
    /// The query with its question mark, or nothing.
    Query,
    /// What the request is called.
    RequestId,
    /// The ID of this node.
    Node,
    /// The protocol, such as `h3`.
    Protocol,
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A brace stands alone.
    #[error("a brace stands alone; write {{{{ or }}}} for one")]
    Brace,
    /// There is no such variable.
    #[error("no variable is called {0:?}; there are {names}", names = NAMES.map(|(name, _)| name).join(", "))]
    Unknown(String),
    /// The text has what a field value must not have.
    #[error("it must be visible ASCII and spaces, and begin and end with no space")]
    Character,
    /// It is longer than [`Template::MAX_BYTES`].
    #[error("longer than {max} bytes", max = Template::MAX_BYTES)]
    Long,
}

impl Template {
    /// The most that is written as one.
    pub const MAX_BYTES: usize = 4096;

    /// The pieces in their order; two of text never follow each other.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The text, if nothing in it is a variable.
    pub fn fixed(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        if text.len() > Self::MAX_BYTES {
            return Err(TemplateError::Long);
        }
        let visible = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        if !text.bytes().all(visible) || text.trim_ascii() != text {
            return Err(TemplateError::Character);
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, after) = rest.split_at(at);
            literal.push_str(before);
            let (brace, after) = after.split_at(1);
            if let Some(after) = after.strip_prefix(brace) {
                literal.push_str(brace);
                rest = after;
                continue;
            }
            let named = after.split_once('}').filter(|_| brace == "{");
            let (name, after) = named.ok_or(TemplateError::Brace)?;
            let found = NAMES.iter().find(|(known, _)| *known == name);
            let (_, variable) = found.ok_or_else(|| TemplateError::Unknown(name.into()))?;
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(Part::Variable(*variable));
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self { parts })
    }
}

const NAMES: [(&str, Variable); 8] = [
    ("client", Variable::Client),
    ("host", Variable::Host),
    ("path", Variable::Path),
    ("rest", Variable::Rest),
    ("query", Variable::Query),
    ("request_id", Variable::RequestId),
    ("node", Variable::Node),
    ("protocol", Variable::Protocol),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_variables_take_turns() {
        let template: Template = "a {{x}} {client}{host}; n={node}".parse().unwrap();
        let text = |text: &str| Part::Text(text.into());
        assert_eq!(
            template.parts(),
            [
                text("a {x} "),
                Part::Variable(Variable::Client),
                Part::Variable(Variable::Host),
                text("; n="),
                Part::Variable(Variable::Node),
            ]
        );
        assert_eq!(template.fixed(), None);
        assert_eq!("".parse::<Template>().unwrap().fixed(), Some(""));
        assert_eq!("{{}}".parse::<Template>().unwrap().fixed(), Some("{}"));
    }

    #[test]
    fn what_is_no_template_says_why() {
        for (wrong, reason) in [
            ("{clent}", "no variable is called \"clent\""),
            ("{}", "no variable is called \"\""),
            ("{client", "a brace stands alone"),
            ("client}", "a brace stands alone"),
            ("}{", "a brace stands alone"),
            ("a\r\nx: y", "visible ASCII"),
            ("a\0", "visible ASCII"),
            ("a\tb", "visible ASCII"),
            ("caf\u{e9}", "visible ASCII"),
            (" a", "no space"),
            ("a ", "no space"),
        ] {
            let error = wrong.parse::<Template>().unwrap_err().to_string();
            assert!(error.contains(reason), "{wrong:?}: {error}");
        }
        let long = "x".repeat(Template::MAX_BYTES + 1);
        assert_eq!(long.parse::<Template>(), Err(TemplateError::Long));
    }
}
