//! What routes do themselves, out of the tree of all layers.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::load::Reader;
use super::{Answer, Content, FieldEdits, Forwarded, ForwardedField, Location, Trace};

/// The keys of an answer as they are written.
#[derive(Debug)]
struct Written {
    redirect: Option<Location>,
    redirect_status: u16,
    status: u16,
    body: Option<String>,
    file: Option<PathBuf>,
    content_type: super::Template,
}

impl Reader<'_> {
    /// Reads `request_` or `response_` of a route.
    pub(super) fn edits(&mut self, at: &str) -> FieldEdits {
        let mut edits = FieldEdits::default();
        self.read(&format!("{at}_remove"), &mut edits.remove);
        self.read(&format!("{at}_set"), &mut edits.set);
        self.read(&format!("{at}_add"), &mut edits.add);
        edits
    }

    /// Reads what a route answers itself.
    pub(super) fn answer(&mut self, at: &str) -> Option<Answer> {
        let key = |name: &str| format!("{at}.{name}");
        let mut written = Written {
            redirect: None,
            redirect_status: DEFAULT_REDIRECT,
            status: 0,
            body: None,
            file: None,
            content_type: super::Template::default(),
        };
        self.read(&key("redirect"), &mut written.redirect);
        self.read(&key("redirect_status"), &mut written.redirect_status);
        self.read(&key("respond"), &mut written.status);
        self.read(&key("respond_body"), &mut written.body);
        self.read(&key("respond_file"), &mut written.file);
        if let Ok(plain) = PLAIN.parse() {
            written.content_type = plain;
        }
        self.read(&key("respond_type"), &mut written.content_type);
        if let Some(to) = written.redirect {
            return Some(Answer::Redirect {
                status: written.redirect_status,
                to,
            });
        }
        if !self.is_set(&key("respond")) {
            return None;
        }
        let body = match (written.body, written.file) {
            (_, Some(file)) => match content(&file) {
                Ok(content) => content,
                Err(error) => {
                    let message = format!("cannot read {}: {error}", file.display());
                    self.refuse(&[&key("respond_file")], message);
                    Vec::new()
                }
            },
            (body, None) => body.unwrap_or_default().into_bytes(),
        };
        Some(Answer::Fixed {
            status: written.status,
            content_type: written.content_type,
            body: Content(body),
        })
    }

    /// Reads `forwarded`.
    pub(super) fn forwarded(&mut self) -> Forwarded {
        let mut forwarded = Forwarded::default();
        self.read("forwarded.trusted", &mut forwarded.trusted);
        self.read::<ForwardedField>("forwarded.field", &mut forwarded.field);
        forwarded
    }

    /// Reads `trace`.
    pub(super) fn trace(&mut self) -> Trace {
        let mut trace = Trace::default();
        self.read("trace.request_id", &mut trace.request_id);
        self.read("trace.context", &mut trace.context);
        self.read("trace.sampled_percent", &mut trace.sampled_percent);
        trace
    }
}

/// The bytes of a file that is not too large. Opening a pipe would wait for its writer.
fn content(path: &Path) -> io::Result<Vec<u8>> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let most = u64::try_from(Answer::MAX_BYTES).unwrap_or(u64::MAX);
    let mut content = Vec::new();
    File::open(path)?
        .take(most.saturating_add(1))
        .read_to_end(&mut content)?;
    if content.len() > Answer::MAX_BYTES {
        return Err(io::Error::other("larger than 1 MiB"));
    }
    Ok(content)
}

/// Permanent, and with the method and body that the request had (RFC 9110, section 15.4.9).
const DEFAULT_REDIRECT: u16 = 308;
const PLAIN: &str = "text/plain; charset=utf-8";
