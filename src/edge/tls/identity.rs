use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use httpdate::fmt_http_date;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::config::provider;
use super::x509::{Fields, Name, Validity};
use crate::pem::{self, PemError};

/// A certificate chain with its private key, as clients are shown it.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    certified: Arc<CertifiedKey>,
    path: PathBuf,
    validity: Validity,
    names: Vec<Name>,
    shared_key: Option<IdentityWarning>,
}

impl Identity {
    /// Reads a chain and a key in PEM, which may stand in one file, and checks that they belong
    /// together.
    ///
    /// # Errors
    /// Names the file and the reason. A certificate that is out of date is no error; see
    /// [`Identity::warnings`].
    pub(crate) fn load(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let chain = std::fs::read(cert).map_err(|source| read_error(cert, source))?;
        let (text, mode) = read_key(key)?;
        let shared_key = (mode & 0o077 != 0).then(|| IdentityWarning::SharedKey {
            path: key.to_owned(),
            mode: mode & 0o777,
        });
        let identity = Self::parse((cert, &chain), (key, &text))?;
        Ok(Self {
            shared_key,
            ..identity
        })
    }

    /// Takes a chain and a key in PEM from the caller.
    ///
    /// # Errors
    /// As for [`Identity::load`], with words in place of the files.
    pub(crate) fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let names = ["the given certificate chain", "the given key"].map(Path::new);
        Self::parse((names[0], chain), (names[1], key))
    }

    /// Checks PEM texts, each with the name that errors call it by.
    fn parse(
        (cert, chain): (&Path, &[u8]),
        (key, key_text): (&Path, &[u8]),
    ) -> Result<Self, TlsError> {
        let chain = parse_chain(cert, chain)?;
        let fields = chain
            .first()
            .and_then(|leaf| Fields::of(leaf))
            .ok_or_else(|| malformed(cert, "the certificate is not X.509"))?;
        let private_key = parse_key(key, key_text)?;
        let certified = CertifiedKey::from_der(chain, private_key, &provider()).map_err(
            |error| match error {
                rustls::Error::InconsistentKeys(_) => TlsError::Mismatch {
                    cert: cert.to_owned(),
                    key: key.to_owned(),
                },
                _ => TlsError::UnusableKey {
                    path: key.to_owned(),
                    reason: error.to_string(),
                },
            },
        )?;
        Ok(Self {
            certified: Arc::new(certified),
            path: cert.to_owned(),
            validity: fields.validity,
            names: fields.names,
            shared_key: None,
        })
    }

    /// When the certificate ends.
    pub(crate) fn expires(&self) -> SystemTime {
        self.validity.not_after
    }

    /// The hosts that it names.
    pub(super) fn names(&self) -> &[Name] {
        &self.names
    }

    /// The file of the chain, or words in its place.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    #[cfg(test)]
    pub(super) fn rename(&mut self, path: &str) {
        self.path = path.into();
    }

    /// What an operator should mend, though the identity can be served.
    pub(crate) fn warnings(&self, now: SystemTime) -> Vec<IdentityWarning> {
        let Validity {
            not_before,
            not_after,
        } = self.validity;
        let expired = (now > not_after).then(|| IdentityWarning::Expired {
            path: self.path.clone(),
            since: not_after,
        });
        let early = (now < not_before).then(|| IdentityWarning::NotYetValid {
            path: self.path.clone(),
            until: not_before,
        });
        let warnings = [expired, early, self.shared_key.clone()];
        warnings.into_iter().flatten().collect()
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

/// Something about a certificate or key that is served all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IdentityWarning {
    /// Clients will refuse the certificate: renew it.
    #[error("the certificate in {} expired on {}", path.display(), fmt_http_date(*since))]
    Expired {
        /// The certificate's file.
        path: PathBuf,
        /// The end of its validity.
        since: SystemTime,
    },
    /// Clients will refuse the certificate for now: check the clock.
    #[error("the certificate in {} is valid from {}", path.display(), fmt_http_date(*until))]
    NotYetValid {
        /// The certificate's file.
        path: PathBuf,
        /// The start of its validity.
        until: SystemTime,
    },
    /// No client is ever shown it, because none asks for an address or no name.
    #[error("the certificate in {} has no DNS name, so no client is shown it", .0.display())]
    Nameless(PathBuf),
    /// Another one is shown for a name: leave the name out of one of them.
    #[error(
        "{name} is in {} and in {} with a key of the same kind; clients are shown the first",
        shown.display(),
        hidden.display()
    )]
    Overlap {
        /// The name.
        name: String,
        /// The file of the certificate that is shown.
        shown: PathBuf,
        /// The other one.
        hidden: PathBuf,
    },
    /// Others than the owner may read the key: set its mode to 0600.
    #[error("{} can be read by others than its owner (mode {mode:04o})", path.display())]
    SharedKey {
        /// The key's file.
        path: PathBuf,
        /// The permission bits.
        mode: u32,
    },
}

/// Why a certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// A file cannot be read: check the path and the permissions.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file or directory of the development certificate cannot be written: check `state_dir`.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// There is no PEM section `CERTIFICATE`.
    #[error("no certificate found in {}", .0.display())]
    NoCertificate(PathBuf),
    /// There is no PEM section with an unencrypted private key; encrypted ones are not read.
    #[error("no private key found in {}", .0.display())]
    NoKey(PathBuf),
    /// The PEM form or its content is broken.
    #[error("{} is malformed: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// The key is of a kind that TLS 1.3 does not sign with.
    #[error("the key in {} cannot be used: {reason}", path.display())]
    UnusableKey {
        /// The key's file.
        path: PathBuf,
        /// The TLS library's reason.
        reason: String,
    },
    /// The key belongs to another certificate.
    #[error("the key in {} does not match the certificate in {}", key.display(), cert.display())]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// What is in the files of authorities and of what they have revoked cannot be used together.
    #[error("client certificates cannot be verified by {}: {reason}", path.display())]
    Clients {
        /// The file.
        path: PathBuf,
        /// The TLS library's reason.
        reason: String,
    },
    /// The development certificate could not be made.
    #[error("cannot make a development certificate: {0}")]
    Generate(#[from] rcgen::Error),
    /// The TLS library refused to start, for want of randomness for one.
    #[error("TLS cannot start: {0}")]
    Library(#[from] rustls::Error),
}

pub(super) fn parse_chain(
    name: &Path,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    pem::all(text).map_err(|error| match error {
        PemError::Nothing => TlsError::NoCertificate(name.to_owned()),
        PemError::Malformed(reason) => malformed(name, reason),
    })
}

fn parse_key(name: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    pem::key(text).map_err(|error| match error {
        PemError::Nothing => TlsError::NoKey(name.to_owned()),
        PemError::Malformed(reason) => malformed(name, reason),
    })
}

fn read_key(path: &Path) -> Result<(Zeroizing<Vec<u8>>, u32), TlsError> {
    let metadata = std::fs::metadata(path).map_err(|source| read_error(path, source))?;
    let text = std::fs::read(path)
        .map(Zeroizing::new)
        .map_err(|source| read_error(path, source))?;
    Ok((text, metadata.permissions().mode()))
}

pub(super) fn read_error(path: &Path, source: io::Error) -> TlsError {
    TlsError::Read {
        path: path.to_owned(),
        source,
    }
}

pub(super) fn malformed(path: &Path, reason: &'static str) -> TlsError {
    TlsError::Malformed {
        path: path.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::edge::tls::testing::{Directory, mint};

    fn load(directory: &Directory, cert: &str, key: &str) -> Result<Identity, TlsError> {
        Identity::load(
            &directory.write("tls.pem", cert),
            &directory.write("tls.key", key),
        )
    }

    #[test]
    fn a_certificate_loads_with_its_key() {
        let directory = Directory::new();
        let (cert, key) = mint();
        let identity = load(&directory, &cert, &key).unwrap();
        assert!(
            identity
                .warnings(SystemTime::UNIX_EPOCH + YEAR * 56)
                .is_empty()
        );
    }

    #[test]
    fn chain_and_key_may_stand_in_one_file() {
        let directory = Directory::new();
        let (cert, key) = mint();
        let both = directory.write("both.pem", &format!("{key}{cert}"));
        Identity::load(&both, &both).unwrap();
    }

    #[test]
    fn an_identity_comes_from_memory_and_names_what_it_lacks() {
        let ((cert, key), (_, other)) = (mint(), mint());
        let both = format!("{key}{cert}");
        Identity::from_pem(both.as_bytes(), both.as_bytes()).unwrap();
        let error = |cert: &str, key: &str| {
            Identity::from_pem(cert.as_bytes(), key.as_bytes())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            error(&key, &key),
            "no certificate found in the given certificate chain"
        );
        assert_eq!(error(&cert, ""), "no private key found in the given key");
        assert!(error(&cert, &other).contains("does not match"));
    }

    #[test]
    fn a_key_of_another_certificate_is_named() {
        let directory = Directory::new();
        let ((cert, _), (_, key)) = (mint(), mint());
        let error = load(&directory, &cert, &key).unwrap_err();
        assert!(matches!(error, TlsError::Mismatch { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("tls.pem") && text.contains("tls.key"),
            "{text}"
        );
    }

    #[test]
    fn what_a_file_lacks_is_named() {
        let directory = Directory::new();
        let (cert, key) = mint();
        let error = load(&directory, &key, &key).unwrap_err().to_string();
        assert!(error.starts_with("no certificate found in "), "{error}");
        let error = load(&directory, &cert, &cert).unwrap_err().to_string();
        assert!(error.starts_with("no private key found in "), "{error}");
        let missing = directory.path().join("missing.pem");
        let error = Identity::load(&missing, &missing).unwrap_err().to_string();
        assert!(error.contains("missing.pem: No such file"), "{error}");
    }

    #[test]
    fn broken_files_are_named_without_their_content() {
        let directory = Directory::new();
        let (cert, key) = mint();
        let (short, _) = key.split_at(key.len() / 2);
        let error = load(&directory, &cert, short).unwrap_err().to_string();
        assert!(
            error.ends_with("tls.key is malformed: a section has no END line"),
            "{error}"
        );
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let error = load(&directory, nonsense, &key).unwrap_err().to_string();
        assert!(error.ends_with("the certificate is not X.509"), "{error}");
    }

    #[test]
    fn an_expired_certificate_is_a_warning() {
        let directory = Directory::new();
        let (cert, key) = mint();
        let identity = load(&directory, &cert, &key).unwrap();
        let late = identity.expires() + Duration::from_secs(1);
        assert!(matches!(
            identity.warnings(late)[..],
            [IdentityWarning::Expired { .. }]
        ));
        assert!(matches!(
            identity.warnings(SystemTime::UNIX_EPOCH)[..],
            [IdentityWarning::NotYetValid { .. }]
        ));
        let text = identity.warnings(late)[0].to_string();
        let end = "tls.pem expired on Fri, 01 Jan 2100 00:00:00 GMT";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn a_key_that_others_can_read_is_a_warning() {
        let directory = Directory::new();
        let (cert, key) = mint();
        let cert = directory.write("tls.pem", &cert);
        let key = directory.write("tls.key", &key);
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o640)).unwrap();
        let identity = Identity::load(&cert, &key).unwrap();
        let warnings = identity.warnings(SystemTime::UNIX_EPOCH + YEAR * 56);
        let expected = IdentityWarning::SharedKey {
            path: key,
            mode: 0o640,
        };
        assert_eq!(warnings, [expected]);
    }

    const YEAR: Duration = Duration::from_hours(24 * 365);
}
