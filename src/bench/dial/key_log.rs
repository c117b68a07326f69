use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::sync::Mutex;

use rustls::KeyLog;

/// Writes the secrets of connections in the form that programs read which show packets: the one of
/// `SSLKEYLOGFILE` (draft-ietf-tls-keylogfile).
#[derive(Debug)]
pub struct KeyLogFile(Mutex<File>);

impl KeyLogFile {
    /// Writes to this file, which should be its owner's alone.
    pub fn new(file: File) -> Self {
        Self(Mutex::new(file))
    }
}

impl KeyLog for KeyLogFile {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let mut line = label.to_owned();
        for bytes in [client_random, secret] {
            line.push(' ');
            for byte in bytes {
                write!(line, "{byte:02x}").expect("a string takes everything");
            }
        }
        line.push('\n');
        let mut file = self.0.lock().expect("no holder panics");
        // Without room for it the packets stay unreadable, and what is measured is the same.
        drop(file.write_all(line.as_bytes()));
    }
}
