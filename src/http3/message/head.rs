use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri};

use super::target::Target;
use super::{Size, field};
use crate::http3::qpack::{Line, Section};
use crate::http3::{Priority, Rules, Terms, Violation};

/// The header section of a request that keeps all rules.
#[derive(Debug)]
#[non_exhaustive]
pub struct Head {
    /// A token.
    pub method: Method,
    /// Scheme, authority and path; for CONNECT without a protocol the authority alone.
    pub uri: Uri,
    /// The fields without the pseudo-fields.
    pub fields: HeaderMap,
    /// The protocol of an extended CONNECT (RFC 9220).
    pub protocol: Option<Bytes>,
    /// The content-length, to which DATA is held.
    pub content_length: Option<u64>,
    /// What the Priority field says (RFC 9218, section 5), if there is one.
    pub priority: Option<Priority>,
}

impl Head {
    /// The same in the form of the `http` crate. The protocol is not in it.
    pub fn into_request(self) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.fields;
        *request.version_mut() = http::Version::HTTP_3;
        request
    }

    /// Whether only DATA may follow (RFC 9114, section 4.4).
    pub(in crate::http3) fn opens_tunnel(&self) -> bool {
        self.method == Method::CONNECT
    }
}

/// Reads an encoded header section.
pub(in crate::http3) fn read(section: &mut Section<'_>, terms: &Terms) -> Result<Head, Violation> {
    let rules = terms.rules;
    let mut size = Size::new(terms.limits, rules);
    let mut reader = Reader::new(rules);
    while let Some(line) = section.next()? {
        size.add(&line)?;
        if line.name.starts_with(b":") {
            reader.pseudo_field(line)?;
        } else {
            size.add_field()?;
            reader.field(line)?;
        }
    }
    let named = reader.target.finish(rules)?;
    if named.method == Method::CONNECT && reader.content_length.is_some() {
        rules.refuse(Violation::TunnelLength)?;
    }
    Ok(Head {
        method: named.method,
        uri: named.uri,
        fields: reader.fields,
        protocol: named.protocol,
        content_length: reader.content_length,
        priority: reader.priority,
    })
}

/// What came so far.
struct Reader {
    rules: Rules,
    target: Target,
    fields: HeaderMap,
    content_length: Option<u64>,
    priority: Option<Priority>,
    /// Whether pseudo-fields are over.
    fields_began: bool,
}

impl Reader {
    fn new(rules: Rules) -> Self {
        Self {
            rules,
            target: Target::default(),
            fields: HeaderMap::with_capacity(USUAL_FIELDS),
            content_length: None,
            priority: None,
            fields_began: false,
        }
    }

    fn pseudo_field(&mut self, line: Line<'_>) -> Result<(), Violation> {
        if self.fields_began {
            self.rules.refuse(Violation::LatePseudoField)?;
        }
        field::check_value(line.value.as_bytes(), self.rules)?;
        self.target.add(line, self.rules)
    }

    fn field(&mut self, line: Line<'_>) -> Result<(), Violation> {
        self.fields_began = true;
        let value = line.value.as_bytes();
        match line.name {
            b"host" => self.target.add_host(value, self.rules)?,
            b"content-length" => self.content_length(value)?,
            b"priority" => self.priority.get_or_insert_default().update(value),
            b"te" if !value.eq_ignore_ascii_case(b"trailers") => {
                self.rules.refuse(Violation::OtherTe)?;
            }
            name if field::is_connection_specific(name) => {
                self.rules.refuse(Violation::ConnectionField)?;
            }
            _ => {}
        }
        field::add(line, &mut self.fields, self.rules)
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Violation> {
        if self.content_length.is_some() {
            self.rules.refuse(Violation::SecondLength)?;
        }
        self.content_length = field::length(value);
        if self.content_length.is_none() {
            self.rules.refuse(Violation::IllegalLength)?;
        }
        Ok(())
    }
}

/// More than browsers send, which is up to 20; where there are still more, the map grows.
const USUAL_FIELDS: usize = 24;
