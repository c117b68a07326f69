//! What every claim needs: a directory, patience, and a place in the network to run at.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use wayhold::client::Target;
use wayhold::testbed::lab::Host;

use crate::INSIDE;
use crate::network::SERVICE;

/// How long a claim waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A directory of one claim, which is removed when all have been tried.
pub(crate) struct Directory(PathBuf);

/// Runs a claim's part on a host: its sockets and its processes are the host's.
pub(crate) fn play<T: Send>(host: &Host, part: impl AsyncFnOnce() -> T + Send) -> T {
    let played = host.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(part())
    });
    played.unwrap()
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        while !so().await {
            ticks.tick().await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(waited.is_ok(), "waited in vain until {what}");
}

/// The service, as a client names it.
pub(crate) fn target() -> Target {
    Target {
        address: (SERVICE.address, 443).into(),
        name: "localhost".into(),
    }
}

impl Directory {
    /// Makes a directory with what an operator copies to every node: a certificate for `localhost`
    /// and the service address that is its own authority, and its key.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let all = PathBuf::from(std::env::var_os(INSIDE).unwrap());
        let path = all.join(NEXT.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&path).unwrap();
        let made = Self(path);
        let names = ["localhost".to_owned(), SERVICE.address.to_string()];
        let certified = rcgen::generate_simple_self_signed(names).unwrap();
        fs::write(made.file("tls.pem"), certified.cert.pem()).unwrap();
        fs::write(made.file("tls.key"), certified.signing_key.serialize_pem()).unwrap();
        made
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl AsRef<Path> for Directory {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}
