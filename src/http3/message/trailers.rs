use http::HeaderMap;

use super::{Size, field};
use crate::http3::qpack::Section;
use crate::http3::{Terms, Violation};

/// Reads an encoded trailer section (RFC 9114, section 4.1; RFC 9110, section 6.5).
pub(in crate::http3) fn read(
    section: &mut Section<'_>,
    terms: &Terms,
) -> Result<HeaderMap, Violation> {
    let rules = terms.rules;
    let mut size = Size::new(terms.limits, rules);
    let mut fields = HeaderMap::new();
    while let Some(line) = section.next()? {
        size.add(&line)?;
        size.add_field()?;
        if line.name.starts_with(b":") {
            rules.refuse(Violation::PseudoFieldInTrailers)?;
            continue;
        }
        if field::is_connection_specific(line.name) {
            rules.refuse(Violation::ConnectionField)?;
        }
        if matches!(line.name, b"content-length" | b"host" | b"te") {
            rules.refuse(Violation::Reframing)?;
        }
        field::add(line, &mut fields, rules)?;
    }
    Ok(fields)
}
