//! The rules that make a field section a request or its trailers (RFC 9114, sections 4.1 to 4.4; RFC
//! 9110; RFC 9220).

mod field;
mod head;
mod target;
mod trailers;

pub use head::Head;
pub(super) use head::read as read_head;
pub(super) use trailers::read as read_trailers;

use super::qpack::Line;
use super::{Limits, Rules, Violation};

/// Holds a section to the limits on its size, which are judged as it is decoded.
#[derive(Debug)]
struct Size {
    bytes: u64,
    fields: usize,
    rules: Rules,
}

impl Size {
    fn new(limits: Limits, rules: Rules) -> Self {
        Self {
            bytes: limits.section_bytes.into(),
            fields: limits.fields,
            rules,
        }
    }

    /// Counts a line as RFC 9114, section 4.2.2 does.
    fn add(&mut self, line: &Line<'_>) -> Result<(), Violation> {
        let bytes = line.name.len() + line.value.as_bytes().len() + LINE_OVERHEAD;
        let left = u64::try_from(bytes)
            .ok()
            .and_then(|bytes| self.bytes.checked_sub(bytes));
        match left {
            Some(left) => self.bytes = left,
            None => self.rules.refuse(Violation::LargeSection)?,
        }
        Ok(())
    }

    /// Counts a line that is no pseudo-field.
    fn add_field(&mut self) -> Result<(), Violation> {
        match self.fields.checked_sub(1) {
            Some(left) => self.fields = left,
            None => self.rules.refuse(Violation::ManyFields)?,
        }
        Ok(())
    }
}

const LINE_OVERHEAD: usize = 32;
