use std::fmt;

/// How soon a client wants a response (RFC 9218, section 4).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Priority {
    urgency: u8,
    incremental: bool,
}

impl Default for Priority {
    /// Urgency 3, not incremental.
    fn default() -> Self {
        Self {
            urgency: 3,
            incremental: false,
        }
    }
}

impl Priority {
    /// From 0, the most urgent, to 7.
    pub fn urgency(self) -> u8 {
        self.urgency
    }

    /// Whether the response is of use piece by piece, so that others of its urgency may share the
    /// bandwidth.
    pub fn is_incremental(self) -> bool {
        self.incremental
    }

    /// Reads a Priority field or the value in a `PRIORITY_UPDATE` frame, a dictionary of structured
    /// fields (RFC 8941, section 3.2). Unknown keys and values out of range are ignored, and what does
    /// not parse is the default (RFC 9218, section 4).
    pub fn parse(value: &[u8]) -> Self {
        let mut priority = Self::default();
        priority.update(value);
        priority
    }

    /// Reads one more field line into it.
    pub(super) fn update(&mut self, value: &[u8]) {
        for member in value.split(|byte| *byte == b',') {
            let member = member.split(|byte| *byte == b';').next();
            match member.unwrap_or_default().trim_ascii() {
                [b'u', b'=', urgency @ b'0'..=b'7'] => self.urgency = urgency - b'0',
                b"i" | b"i=?1" => self.incremental = true,
                b"i=?0" => self.incremental = false,
                _ => {}
            }
        }
    }
}

impl fmt::Debug for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "u={}", self.urgency)?;
        if self.incremental {
            f.write_str(", i")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_is_read_and_what_is_not_one_is_the_default() {
        for (text, urgency, incremental) in [
            ("", 3, false),
            ("u=0", 0, false),
            ("u=7, i", 7, true),
            ("i,u=5", 5, true),
            ("u=1;x=2, i=?1;y", 1, true),
            ("u=1, u=2", 2, false),
            ("i, i=?0", 3, false),
            ("u=8, i=1", 3, false),
            ("u=-1", 3, false),
            ("u=10", 3, false),
            ("U=1, x=\"u=0\"", 3, false),
        ] {
            let priority = Priority::parse(text.as_bytes());
            let read = (priority.urgency(), priority.is_incremental());
            assert_eq!(read, (urgency, incremental), "{text}");
        }
    }
}
