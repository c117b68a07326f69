//! Certificates, keys and lists in PEM (RFC 7468), wherever they are read. Errors never quote a line: it may
//! be that of a key.

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::{Error, PemObject};

/// Why a text in PEM cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PemError {
    /// It has no section of the kind.
    Nothing,
    /// What is wrong with its form.
    Malformed(&'static str),
}

/// Reads all sections of a kind, of which there is one at least.
pub(crate) fn all<T: PemObject>(text: &[u8]) -> Result<Vec<T>, PemError> {
    let sections = T::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    match sections.map_err(|error| reason(&error)) {
        Ok(sections) if sections.is_empty() => Err(PemError::Nothing),
        sections => sections,
    }
}

/// Reads the first private key that is not encrypted.
pub(crate) fn key(text: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| reason(&error))
}

fn reason(error: &Error) -> PemError {
    match error {
        Error::NoItemsFound => PemError::Nothing,
        Error::MissingSectionEnd { .. } => PemError::Malformed("a section has no END line"),
        Error::IllegalSectionStart { .. } => PemError::Malformed("a BEGIN line is malformed"),
        Error::Base64Decode(_) => PemError::Malformed("a section is not base64"),
        _ => PemError::Malformed("it is not PEM"),
    }
}
