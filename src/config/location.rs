//! Where a redirect leads: a template that no request can lead elsewhere.

use std::str::FromStr;

use super::names;
use super::template::{Part, Template, TemplateError, Variable};

/// A template for `Location`: `https://HOST/PATH`, or a path on the host that was asked for.
///
/// The scheme and the host are the operator's: of the variables only `{host}` may stand in the host, as
/// the whole of it or after a dot. `{path}` and `{rest}` begin with a slash, so that none may stand before
/// them: `//host` would lead elsewhere (RFC 3986, section 4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location(Template);

/// Why a text is no place to redirect to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// It is no template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// It could lead to where a client wants.
    #[error("{0}")]
    Unsafe(&'static str),
}

impl Location {
    /// The template.
    pub fn template(&self) -> &Template {
        &self.0
    }
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        let template: Template = text.parse()?;
        check(&template).map_err(LocationError::Unsafe)?;
        Ok(Self(template))
    }
}

fn check(template: &Template) -> Result<(), &'static str> {
    let mut parts = template.parts().iter();
    let Some(Part::Text(first)) = parts.next() else {
        return Err("it must begin with \"https://\", \"http://\" or a path");
    };
    let illegal = |byte: u8| !byte.is_ascii_graphic() || b"\\\"<>^`{|}".contains(&byte);
    for part in template.parts() {
        if let Part::Text(text) = part
            && text.bytes().any(illegal)
        {
            return Err("it has a character that belongs into no URL");
        }
    }
    let mut absolute = ["https://", "http://"].into_iter();
    let after_scheme = absolute.find_map(|scheme| first.strip_prefix(scheme));
    match after_scheme {
        Some(begin) => check_authority(begin, parts.clone())?,
        None if first.starts_with('/') && !first.starts_with("//") => {}
        None => return Err("it must begin with \"https://\", \"http://\" or a path"),
    }
    check_rest(template)
}

/// The host ends at the first slash, question mark or variable that begins with one.
fn check_authority(begin: &str, mut more: std::slice::Iter<'_, Part>) -> Result<(), &'static str> {
    let mut authority = String::new();
    let mut text = begin;
    loop {
        let host = text.split(['/', '?', '#']).next().unwrap_or_default();
        authority.push_str(host);
        if host.len() < text.len() {
            break;
        }
        match more.next() {
            None | Some(Part::Variable(Variable::Path | Variable::Rest | Variable::Query)) => break,
            Some(Part::Variable(Variable::Host)) => {
                if !authority.is_empty() && !authority.ends_with('.') {
                    return Err("{host} must be the whole host, or stand after a dot");
                }
                authority.push_str(HOST);
                text = "";
            }
            Some(Part::Variable(_)) => return Err("of variables only {host} may be in the host"),
            Some(Part::Text(next)) if authority.ends_with(HOST) => {
                if !next.starts_with(['/', '?', ':']) {
                    return Err("nothing but a port may follow {host}");
                }
                text = next;
            }
            Some(Part::Text(next)) => text = next,
        }
    }
    if authority.is_empty() {
        return Err("it has no host; write one after the slashes, or {host} for the one asked for");
    }
    names::authority(&authority).map(drop)
}

fn check_rest(template: &Template) -> Result<(), &'static str> {
    let doubled = template.parts().windows(2).any(|pair| match pair {
        [
            Part::Text(text),
            Part::Variable(Variable::Path | Variable::Rest),
        ] => text.ends_with('/'),
        _ => false,
    });
    if doubled {
        return Err("{path} and {rest} bring their slash with them");
    }
    let query = Part::Variable(Variable::Query);
    let asks = |part: &Part| matches!(part, Part::Text(text) if text.contains(['?', '#']));
    if template.parts().contains(&query) {
        if template.parts().last() != Some(&query) {
            return Err("{query} must be the last");
        }
        if template.parts().iter().any(asks) {
            return Err("{query} brings its question mark with it");
        }
    }
    Ok(())
}

/// Stands for any host while the rest of one is checked.
const HOST: &str = "host.invalid";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_keeps_its_host_whatever_the_request_says() {
        for right in [
            "https://www.example.org{path}{query}",
            "https://{host}{path}{query}",
            "https://{host}:8443{path}",
            "https://www.{host}/x",
            "http://[2001:db8::1]:8080{rest}",
            "https://example.org",
            "https://example.org?a=b",
            "/new{rest}{query}",
            "/login?from=here",
            "/",
            "/a/b",
            "/x{path}",
        ] {
            assert!(
                right.parse::<Location>().is_ok(),
                "{right}: {:?}",
                right.parse::<Location>()
            );
        }
        for wrong in [
            "",
            "{path}",
            "{rest}/x",
            "//evil.example/",
            "/{path}",
            "/{rest}",
            "x",
            "ftp://example.org/",
            "javascript:alert(1)",
            "https:/example.org",
            "https://",
            "https:///x",
            "https://{path}",
            "https://{client}/",
            "https://example.org{host}/",
            "https://{host}evil.example/",
            "https://{host}.evil.example/",
            "https://{host}{host}/",
            "https://user@example.org/",
            "https://example.org:0/",
            "https://example.org/{path}",
            "https://example.org\\{path}",
            "https://exa mple.org/",
            "https://example.org/a b",
            "https://example.org{query}{path}",
            "https://example.org/{query}x",
            "https://example.org/?a=b{query}",
            "/a\"b",
            "/{{x}}",
        ] {
            assert!(wrong.parse::<Location>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_location_without_a_host_says_so() {
        for wrong in ["https://", "https://{path}", "https:///x"] {
            let error = wrong.parse::<Location>().unwrap_err().to_string();
            assert!(error.starts_with("it has no host"), "{wrong}: {error}");
        }
    }
}
