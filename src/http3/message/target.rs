//! What a request names: its pseudo-fields (RFC 9114, sections 4.3.1 and 4.4; RFC 9220).

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Method, uri};

use super::field::is_token;
use crate::http3::qpack::Line;
use crate::http3::{Rules, Violation};

/// The pseudo-fields and the Host field, as they come.
#[derive(Debug, Default)]
pub(super) struct Target {
    method: Option<Bytes>,
    scheme: Option<Bytes>,
    authority: Option<Bytes>,
    path: Option<Bytes>,
    protocol: Option<Bytes>,
    host: Option<Bytes>,
}

/// What they come to.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) protocol: Option<Bytes>,
}

impl Target {
    /// Takes a line whose name begins with a colon.
    pub(super) fn add(&mut self, line: Line<'_>, rules: Rules) -> Result<(), Violation> {
        let place = match line.name {
            b":method" => &mut self.method,
            b":scheme" => &mut self.scheme,
            b":authority" => &mut self.authority,
            b":path" => &mut self.path,
            b":protocol" => &mut self.protocol,
            _ => return rules.refuse(Violation::UnknownPseudoField),
        };
        if place.is_some() {
            rules.refuse(Violation::SecondPseudoField)?;
        }
        *place = Some(line.value.into_bytes());
        Ok(())
    }

    /// Takes the value of a Host field.
    pub(super) fn add_host(&mut self, value: &[u8], rules: Rules) -> Result<(), Violation> {
        if self.host.is_some() {
            rules.refuse(Violation::SecondHost)?;
        }
        self.host = Some(Bytes::copy_from_slice(value));
        Ok(())
    }

    /// Judges them together.
    pub(super) fn finish(self, rules: Rules) -> Result<Named, Violation> {
        let method = required(self.method.as_ref(), Violation::NoMethod, rules)?;
        if !is_token(&method) {
            rules.refuse(Violation::IllegalMethod)?;
        }
        let Ok(method) = Method::from_bytes(&method) else {
            return Err(Violation::Unrepresentable);
        };
        if let Some(protocol) = &self.protocol {
            if method != Method::CONNECT {
                rules.refuse(Violation::StrayProtocol)?;
            }
            if !is_protocol(protocol) {
                rules.refuse(Violation::IllegalProtocol)?;
            }
        } else if method == Method::CONNECT {
            return self.connect(method, rules);
        }
        self.resource(method, rules)
    }

    fn resource(self, method: Method, rules: Rules) -> Result<Named, Violation> {
        let scheme = required(self.scheme.as_ref(), Violation::NoScheme, rules)?;
        let path = required(self.path.as_ref(), Violation::NoPath, rules)?;
        let authority = self.authority_or_host(rules)?;
        check_path(&path, &method, rules)?;
        let parts = uri::Builder::new()
            .scheme(parse_scheme(&scheme, rules)?)
            .authority(parse_authority(&authority, rules)?)
            .path_and_query(parse_path(path)?);
        Ok(Named {
            method,
            uri: parts.build().map_err(unrepresentable)?,
            protocol: self.protocol,
        })
    }

    fn connect(self, method: Method, rules: Rules) -> Result<Named, Violation> {
        if self.scheme.is_some() || self.path.is_some() {
            rules.refuse(Violation::ConnectTarget)?;
        }
        let authority = parse_authority(&self.authority_or_host(rules)?, rules)?;
        if authority.port_u16().is_none_or(|port| port == 0) {
            rules.refuse(Violation::ConnectPort)?;
        }
        let uri = uri::Builder::new().authority(authority);
        Ok(Named {
            method,
            uri: uri.build().map_err(unrepresentable)?,
            protocol: None,
        })
    }

    /// Where both are there they have to be the same, up to the case of letters.
    fn authority_or_host(&self, rules: Rules) -> Result<Bytes, Violation> {
        if let (Some(authority), Some(host)) = (&self.authority, &self.host)
            && !authority.eq_ignore_ascii_case(host)
        {
            rules.refuse(Violation::OtherHost)?;
        }
        let authority = self.authority.as_ref().or(self.host.as_ref());
        match authority {
            Some(authority) if !authority.is_empty() => Ok(authority.clone()),
            _ => {
                rules.refuse(Violation::NoAuthority)?;
                Ok(Bytes::from_static(MISSING.as_bytes()))
            }
        }
    }
}

fn required(field: Option<&Bytes>, violation: Violation, rules: Rules) -> Result<Bytes, Violation> {
    if let Some(value) = field {
        return Ok(value.clone());
    }
    rules.refuse(violation)?;
    let substitute = match violation {
        Violation::NoMethod => "GET",
        Violation::NoScheme => "https",
        _ => "/",
    };
    Ok(Bytes::from_static(substitute.as_bytes()))
}

/// RFC 9110, section 7.8: a name, and a version behind a slash where there is one.
fn is_protocol(protocol: &[u8]) -> bool {
    let mut parts = protocol.splitn(2, |byte| *byte == b'/');
    protocol.len() <= PROTOCOL_BYTES && parts.all(is_token)
}

fn parse_scheme(scheme: &Bytes, rules: Rules) -> Result<Scheme, Violation> {
    if &scheme[..] == b"https" {
        return Ok(Scheme::HTTPS);
    }
    if !is_scheme(scheme) {
        rules.refuse(Violation::IllegalScheme)?;
        return Ok(Scheme::HTTPS);
    }
    Scheme::try_from(&scheme[..]).map_err(unrepresentable)
}

/// RFC 3986, section 3.1.
fn is_scheme(scheme: &[u8]) -> bool {
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    scheme.first().is_some_and(u8::is_ascii_alphabetic) && scheme.iter().all(legal)
}

fn parse_authority(authority: &Bytes, rules: Rules) -> Result<Authority, Violation> {
    if authority.contains(&b'@') {
        rules.refuse(Violation::Userinfo)?;
    }
    if let Ok(authority) = Authority::from_maybe_shared(authority.clone()) {
        return Ok(authority);
    }
    rules.refuse(Violation::IllegalAuthority)?;
    Ok(Authority::from_static(MISSING))
}

fn check_path(path: &[u8], method: &Method, rules: Rules) -> Result<(), Violation> {
    let asterisk = path == b"*" && *method == Method::OPTIONS;
    if !path.starts_with(b"/") && !asterisk {
        rules.refuse(Violation::RelativePath)?;
    }
    if path
        .iter()
        .any(|byte| !byte.is_ascii_graphic() || *byte == b'#')
    {
        rules.refuse(Violation::IllegalPath)?;
    }
    Ok(())
}

fn parse_path(path: Bytes) -> Result<PathAndQuery, Violation> {
    PathAndQuery::from_maybe_shared(path).map_err(unrepresentable)
}

fn unrepresentable<E>(_invalid: E) -> Violation {
    Violation::Unrepresentable
}

/// The longest name of a protocol; registered ones are much shorter.
const PROTOCOL_BYTES: usize = 64;

/// Stands for an authority that is missing where the rule that refuses it is switched off.
const MISSING: &str = "missing.invalid";
