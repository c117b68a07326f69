//! Writes HTML and the SVG within it, so that every element is closed and every text escaped.

use std::fmt::{self, Display, Write as _};

/// A document that grows.
#[derive(Debug, Default)]
pub(super) struct Markup(String);

/// Attributes by name.
pub(super) type Attributes<'a> = &'a [(&'a str, &'a dyn Display)];

impl Markup {
    /// The document.
    pub(super) fn into_text(self) -> String {
        self.0
    }

    /// An element with what is in it.
    pub(super) fn element(
        &mut self,
        name: &str,
        attributes: Attributes<'_>,
        content: impl FnOnce(&mut Self),
    ) {
        self.open(name, attributes, ">");
        content(self);
        self.write(format_args!("</{name}>"));
        if !INLINE.contains(&name) {
            self.0.push('\n');
        }
    }

    /// An element with text in it.
    pub(super) fn leaf(&mut self, name: &str, attributes: Attributes<'_>, text: impl Display) {
        self.element(name, attributes, |inner| inner.text(text));
    }

    /// An SVG element without content.
    pub(super) fn shape(&mut self, name: &str, attributes: Attributes<'_>) {
        self.open(name, attributes, "/>");
    }

    /// An HTML element that never has content.
    pub(super) fn void(&mut self, name: &str, attributes: Attributes<'_>) {
        self.open(name, attributes, ">\n");
    }

    /// Text.
    pub(super) fn text(&mut self, text: impl Display) {
        write!(Escaped(&mut self.0), "{text}").expect("a string takes everything");
    }

    /// Text with code between backticks.
    pub(super) fn prose(&mut self, text: &str) {
        for (index, part) in text.split('`').enumerate() {
            if index % 2 == 0 {
                self.text(part);
            } else {
                self.leaf("code", &[], part);
            }
        }
    }

    /// What begins a document of HTML.
    pub(super) fn doctype(&mut self) {
        self.0.push_str("<!DOCTYPE html>\n");
    }

    /// A style sheet of this program's own, which has nothing to escape.
    pub(super) fn style(&mut self, sheet: &'static str) {
        self.element("style", &[], |inner| inner.0.push_str(sheet));
    }

    fn open(&mut self, name: &str, attributes: Attributes<'_>, end: &str) {
        self.write(format_args!("<{name}"));
        for (name, value) in attributes {
            self.write(format_args!(" {name}=\""));
            self.text(value);
            self.0.push('"');
        }
        self.0.push_str(end);
    }

    fn write(&mut self, text: fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("a string takes everything");
    }
}

/// A length in the units of a picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Px(pub(super) f64);

impl Display for Px {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", (self.0 * 10.0).round() / 10.0)
    }
}

/// Begins a picture, which says in words what it shows to whoever cannot see it.
pub(super) fn picture(
    out: &mut Markup,
    id: &str,
    about: &About<'_>,
    content: impl FnOnce(&mut Markup),
) {
    let (width, height) = about.size;
    let (title, description) = (format!("{id}-title"), format!("{id}-description"));
    out.element(
        "svg",
        &[
            ("viewBox", &format_args!("0 0 {} {}", Px(width), Px(height))),
            ("style", &format_args!("width:{:.2}rem", width / PX_A_REM)),
            ("role", &"img"),
            ("aria-labelledby", &format_args!("{title} {description}")),
        ],
        |out| {
            out.leaf("title", &[("id", &title)], about.title);
            out.leaf("desc", &[("id", &description)], about.description);
            content(out);
        },
    );
}

/// What a picture is.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    /// Its name.
    pub(super) title: &'a str,
    /// What it shows, for whoever cannot see it.
    pub(super) description: &'a str,
    /// Its width and height.
    pub(super) size: (f64, f64),
}

struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\n' | '\t' => self.0.push(character),
                control if control.is_control() => self.0.push('\u{fffd}'),
                other => self.0.push(other),
            }
        }
        Ok(())
    }
}

const INLINE: &[&str] = &["code", "b", "i", "td", "th", "tspan", "text", "a", "span"];
/// A picture grows with the reader's font: at the usual size its units are pixels.
const PX_A_REM: f64 = 16.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_stands_in_a_text_or_an_attribute_is_escaped() {
        let mut out = Markup::default();
        let evil = "\"><script>&\u{1}";
        out.leaf("p", &[("title", &evil)], evil);
        let escaped = "&quot;&gt;&lt;script&gt;&amp;\u{fffd}";
        assert_eq!(
            out.into_text(),
            format!("<p title=\"{escaped}\">{escaped}</p>\n")
        );
    }

    #[test]
    fn backticks_make_code_and_an_odd_one_ends_with_the_text() {
        let mut out = Markup::default();
        out.prose("the `a<b` and `c");
        assert_eq!(
            out.into_text(),
            "the <code>a&lt;b</code> and <code>c</code>"
        );
    }
}
