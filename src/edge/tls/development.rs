use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use zeroize::Zeroizing;

use super::{Identity, TlsError};

/// A self-signed identity for trying things out, made once and kept in a file.
#[derive(Clone, Debug)]
pub(crate) struct DevelopmentIdentity {
    /// The certificate and its key.
    pub(crate) identity: Identity,
    /// The PEM file of both, mode 0600, which a client can be given as its authority.
    pub(crate) path: PathBuf,
    /// When it ends; a start of the gateway within a day of that makes a new one.
    pub(crate) expires: SystemTime,
}

impl Identity {
    /// Takes the development certificate from `state_dir`, or makes one there: ECDSA P-256 for
    /// `localhost`, `127.0.0.1`, `::1` and the host's name, valid for 13 days.
    ///
    /// The directory is made with mode 0700 if it is missing. Processes that start at once wait
    /// for each other and take the same certificate.
    pub(crate) fn development(
        state_dir: &Path,
        now: SystemTime,
    ) -> Result<DevelopmentIdentity, TlsError> {
        make_directory(state_dir)?;
        let _held = lock(&state_dir.join("development.lock"))?;
        let path = state_dir.join("development.pem");
        let identity = match kept(&path, now)? {
            Some(identity) => identity,
            None => make(&path, now)?,
        };
        Ok(DevelopmentIdentity {
            expires: identity.expires(),
            identity,
            path,
        })
    }
}

fn make_directory(path: &Path) -> Result<(), TlsError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| write_error(path, source))
}

fn lock(path: &Path) -> Result<File, TlsError> {
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(false).mode(0o600);
    let file = file
        .open(path)
        .map_err(|source| write_error(path, source))?;
    file.lock().map_err(|source| write_error(path, source))?;
    Ok(file)
}

fn kept(path: &Path, now: SystemTime) -> Result<Option<Identity>, TlsError> {
    match Identity::load(path, path) {
        Ok(identity) if identity.expires() > now + RENEWAL => Ok(Some(identity)),
        Ok(_) => Ok(None),
        Err(TlsError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error @ TlsError::Read { .. }) => Err(error),
        Err(error) => {
            tracing::warn!(%error, "the development certificate is replaced");
            Ok(None)
        }
    }
}

fn make(path: &Path, now: SystemTime) -> Result<Identity, TlsError> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let certificate = params(now)?.self_signed(&key)?;
    let key = Zeroizing::new(key.serialize_pem());
    let unfinished = path.with_extension("new");
    write(&unfinished, &[certificate.pem().as_bytes(), key.as_bytes()])
        .and_then(|()| std::fs::rename(&unfinished, path))
        .map_err(|source| write_error(path, source))?;
    Identity::load(path, path)
}

fn params(now: SystemTime) -> Result<CertificateParams, TlsError> {
    let mut names = ["localhost", "127.0.0.1", "::1"]
        .map(str::to_owned)
        .to_vec();
    names.extend(host_name());
    let since_1970 = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let mut params = CertificateParams::new(names)?;
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + since_1970.saturating_sub(CLOCK_SKEW);
    params.not_after = params.not_before + LIFETIME;
    params
        .distinguished_name
        .push(DnType::CommonName, "wayhold development certificate");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim_end();
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    (name.len() <= 253 && name.split('.').all(is_label)).then(|| name.to_owned())
}

fn write(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut options = File::options();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()
}

fn write_error(path: &Path, source: io::Error) -> TlsError {
    TlsError::Write {
        path: path.to_owned(),
        source,
    }
}

/// Browsers that are told to trust one key take no certificate for more than 14 days.
const LIFETIME: Duration = Duration::from_hours(13 * 24);
const RENEWAL: Duration = Duration::from_hours(24);
/// A client's clock may be this far behind.
const CLOCK_SKEW: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::edge::tls::testing::Directory;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_hours(500_000)
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn the_certificate_is_made_once_and_kept() {
        let directory = Directory::new();
        let state = directory.path().join("a/state");
        let made = Identity::development(&state, now()).unwrap();
        let text = std::fs::read(&made.path).unwrap();
        assert_eq!(made.expires, now() + LIFETIME - CLOCK_SKEW);
        let kept = Identity::development(&state, now() + RENEWAL).unwrap();
        assert_eq!(kept.expires, made.expires);
        assert_eq!(std::fs::read(&kept.path).unwrap(), text);
    }

    #[test]
    fn only_the_owner_can_read_it() {
        let directory = Directory::new();
        let state = directory.path().join("state");
        let made = Identity::development(&state, now()).unwrap();
        assert_eq!(mode(&state), 0o700);
        assert_eq!(mode(&made.path), 0o600);
        assert!(made.identity.warnings(now()).is_empty());
    }

    #[test]
    fn it_is_renewed_on_its_last_day() {
        let directory = Directory::new();
        let made = Identity::development(directory.path(), now()).unwrap();
        let last_day = made.expires - RENEWAL;
        let renewed = Identity::development(directory.path(), last_day).unwrap();
        assert_eq!(renewed.expires, last_day + LIFETIME - CLOCK_SKEW);
    }

    #[test]
    fn a_broken_file_is_replaced() {
        let directory = Directory::new();
        directory.write("development.pem", "-----BEGIN CERTIFICATE-----\nAA");
        directory.write("development.new", "left by a crash");
        let made = Identity::development(directory.path(), now()).unwrap();
        assert_eq!(mode(&made.path), 0o600);
    }

    #[test]
    fn starts_at_once_take_the_same_certificate() {
        let directory = Directory::new();
        let state = directory.path().join("state");
        let barrier = std::sync::Barrier::new(8);
        let certificates: Vec<_> = std::thread::scope(|scope| {
            let start = || {
                barrier.wait();
                let made = Identity::development(&state, now()).unwrap();
                made.identity.certified().cert.clone()
            };
            let threads = [(); 8].map(|()| scope.spawn(start));
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(certificates.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let directory = Directory::new();
        let file = directory.write("file", "");
        let error = Identity::development(&file.join("state"), now()).unwrap_err();
        assert!(matches!(error, TlsError::Write { .. }), "{error}");
    }
}
