//! Traces of some QUIC connections (qlog, draft-ietf-quic-qlog-main-schema): a file each, in a directory that
//! never holds more than it may.
//!
//! quinn writes events from the task of the connection. They go into a bounded queue to a thread of their own,
//! so that a slow disk costs records, which are counted, and never a datagram. quinn's events hold packet
//! numbers, sizes and times, and neither tokens nor content.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use quinn::{QlogConfig, QlogStream};

use crate::config::Log;
use crate::telemetry::{Metrics, Reason};

/// What traces connections. The thread that writes ends with the last use of it.
#[derive(Debug)]
pub(crate) struct Qlog {
    queue: SyncSender<Record>,
    directory: PathBuf,
    one_in: u32,
    most_of_one: u64,
    open: Arc<AtomicU32>,
    metrics: Metrics,
}

/// A line of a trace, on its way to the file.
type Record = (Arc<Trace>, Vec<u8>);

/// One file.
#[derive(Debug)]
struct Trace {
    path: PathBuf,
    /// Made when its first record is written. Only the thread that writes looks into it.
    file: Mutex<Option<File>>,
    bytes: AtomicU64,
    /// Nothing more is written to it.
    over: AtomicBool,
    open: Arc<AtomicU32>,
}

impl Qlog {
    /// Makes the directory, of mode 0700, and starts what writes to it; nothing where no traces are wanted.
    /// Traces that are there count as the oldest.
    ///
    /// # Errors
    /// Those of the file system, and that others than the owner may enter the directory.
    pub(crate) fn start(log: &Log, metrics: &Metrics) -> io::Result<Option<Arc<Self>>> {
        let Some(directory) = log.qlog_dir.clone() else {
            return Ok(None);
        };
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&directory)?;
        let mode = fs::metadata(&directory)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let open = format!("others than its owner may enter it (mode {mode:04o})");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, open));
        }
        let shelf = Shelf::new(&directory, log.qlog_bytes)?;
        let (queue, records) = sync_channel(QUEUE);
        let counters = metrics.clone();
        let thread = std::thread::Builder::new().name("qlog".into());
        thread.spawn(move || shelf.write_all(&records, &counters))?;
        Ok(Some(Arc::new(Self {
            queue,
            directory,
            one_in: log.qlog_one_in,
            most_of_one: log.qlog_bytes / FILES_AT_LEAST,
            open: Arc::default(),
            metrics: metrics.clone(),
        })))
    }

    /// Begins the trace of a connection with this ID, if the lot falls on it.
    pub(super) fn trace(&self, id: &str) -> Option<QlogStream> {
        let mut lot = [0; 4];
        aws_lc_rs::rand::fill(&mut lot).ok()?;
        if !u32::from_be_bytes(lot).is_multiple_of(self.one_in) {
            return None;
        }
        if self.open.fetch_add(1, Ordering::Relaxed) >= MOST_OPEN {
            self.open.fetch_sub(1, Ordering::Relaxed);
            self.count("too_many_open");
            return None;
        }
        let trace = Trace {
            path: self.directory.join(format!("{id}.sqlog")),
            file: Mutex::new(None),
            bytes: AtomicU64::new(0),
            over: AtomicBool::new(false),
            open: Arc::clone(&self.open),
        };
        self.metrics.qlog_traces.inc();
        let mut config = QlogConfig::default();
        config.writer(Box::new(TraceWriter {
            trace: Arc::new(trace),
            record: Vec::new(),
            queue: self.queue.clone(),
            most: self.most_of_one,
            metrics: self.metrics.clone(),
        }));
        config.title(Some("wayhold".into()));
        config.into_stream()
    }

    fn count(&self, reason: &'static str) {
        self.metrics
            .qlog_dropped
            .get_or_create(&Reason { reason })
            .inc();
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What quinn writes to: gathers a record, and puts it into the queue whole or not at all.
struct TraceWriter {
    trace: Arc<Trace>,
    record: Vec<u8>,
    queue: SyncSender<Record>,
    most: u64,
    metrics: Metrics,
}

impl Write for TraceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.record.extend_from_slice(bytes);
        if self.record.last() == Some(&END) {
            self.send();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TraceWriter {
    fn send(&mut self) {
        let record = std::mem::take(&mut self.record);
        let length = u64::try_from(record.len()).unwrap_or(u64::MAX);
        let so_far = self.trace.bytes.load(Ordering::Relaxed);
        let reason = if self.trace.over.load(Ordering::Relaxed) {
            "removed"
        } else if so_far + length > self.most {
            "file_full"
        } else {
            let Err(_full) = self.queue.try_send((Arc::clone(&self.trace), record)) else {
                self.trace.bytes.store(so_far + length, Ordering::Relaxed);
                return;
            };
            if so_far == 0 {
                // Nothing can be read of a trace without its beginning.
                self.trace.over.store(true, Ordering::Relaxed);
            }
            "queue_full"
        };
        self.metrics
            .qlog_dropped
            .get_or_create(&Reason { reason })
            .inc();
    }
}

/// The files of the directory, and how much they may hold.
#[derive(Debug)]
struct Shelf {
    files: VecDeque<OnShelf>,
    bytes: u64,
    most: u64,
}

#[derive(Debug)]
struct OnShelf {
    path: PathBuf,
    bytes: u64,
    /// What writes it, if anything may.
    trace: Option<std::sync::Weak<Trace>>,
}

impl Shelf {
    fn new(directory: &Path, most: u64) -> io::Result<Self> {
        let mut found = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let path = entry.path();
            let metadata = entry.metadata()?;
            if metadata.is_file() && path.extension().is_some_and(|is| is == "sqlog") {
                let since = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                found.push((since, path, metadata.len()));
            }
        }
        found.sort_unstable();
        let files: VecDeque<_> = found
            .into_iter()
            .map(|(_, path, bytes)| OnShelf {
                path,
                bytes,
                trace: None,
            })
            .collect();
        let mut shelf = Self {
            bytes: files.iter().map(|file| file.bytes).sum(),
            files,
            most,
        };
        shelf.make_room(0);
        Ok(shelf)
    }

    /// Writes until nobody sends any more.
    fn write_all(mut self, records: &Receiver<Record>, metrics: &Metrics) {
        while let Ok((trace, record)) = records.recv() {
            let written = self.write(&trace, &record);
            if let Err(error) = written {
                trace.over.store(true, Ordering::Relaxed);
                tracing::debug!(path = %trace.path.display(), %error, "a trace is not written");
                let reason = Reason {
                    reason: "write_failed",
                };
                metrics.qlog_dropped.get_or_create(&reason).inc();
            }
        }
    }

    fn write(&mut self, trace: &Arc<Trace>, record: &[u8]) -> io::Result<()> {
        if trace.over.load(Ordering::Relaxed) {
            return Ok(());
        }
        let length = u64::try_from(record.len()).unwrap_or(u64::MAX);
        let mut file = trace.file.lock().expect("no holder panics");
        if file.is_none() {
            self.make_room(1);
            // A client chooses the ID, and must not get at the file of another.
            let mut options = File::options();
            *file = Some(
                options
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&trace.path)?,
            );
            self.files.push_back(OnShelf {
                path: trace.path.clone(),
                bytes: 0,
                trace: Some(Arc::downgrade(trace)),
            });
        }
        file.as_mut()
            .map_or(Ok(()), |file| file.write_all(record))?;
        drop(file);
        self.bytes += length;
        let own = self.files.iter_mut().rev().find(|on| on.path == trace.path);
        if let Some(own) = own {
            own.bytes += length;
        }
        self.make_room(0);
        Ok(())
    }

    /// Removes the oldest until what is left, and so many more, may be there.
    fn make_room(&mut self, more: usize) {
        while self.bytes > self.most || self.files.len() + more > MOST_FILES {
            let Some(oldest) = self.files.pop_front() else {
                return;
            };
            if let Some(trace) = oldest.trace.and_then(|trace| trace.upgrade()) {
                trace.over.store(true, Ordering::Relaxed);
            }
            // Another process of the node may have removed it.
            drop(fs::remove_file(&oldest.path));
            self.bytes = self.bytes.saturating_sub(oldest.bytes);
        }
    }
}

const END: u8 = b'\n';
/// Records that wait to be written, of some hundred bytes each.
const QUEUE: usize = 4096;
/// Connections that are traced at once.
const MOST_OPEN: u32 = 256;
/// Files in the directory.
const MOST_FILES: usize = 4096;
/// So many files fit at least.
const FILES_AT_LEAST: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::tls::testing::Directory;

    fn log(directory: &Path, bytes: u64) -> Log {
        Log {
            qlog_dir: Some(directory.to_owned()),
            qlog_one_in: 1,
            qlog_bytes: bytes,
            ..Log::default()
        }
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> = entries
            .map(|entry| name(entry).into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn trace(path: PathBuf) -> Arc<Trace> {
        Arc::new(Trace {
            path,
            file: Mutex::new(None),
            bytes: AtomicU64::new(0),
            over: AtomicBool::new(false),
            open: Arc::new(AtomicU32::new(1)),
        })
    }

    #[test]
    fn a_trace_is_a_sequence_of_json_texts_for_its_owner_alone() {
        let directory = Directory::new();
        let place = directory.path().join("a/qlog");
        let metrics = Metrics::default();
        let qlog = Qlog::start(&log(&place, 1 << 20), &metrics)
            .unwrap()
            .unwrap();
        drop(qlog.trace("0011").unwrap());
        assert_eq!(metrics.qlog_traces.get(), 1);
        let path = place.join("0011.sqlog");
        let text = crate::edge::tls::testing::eventually(|| {
            fs::read(&path).ok().filter(|text| text.ends_with(b"\n"))
        });
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&place), mode(&path)), (0o700, 0o600));
        for record in text.split(|&byte| byte == 0x1e).skip(1) {
            let value: serde_json::Value = serde_json::from_slice(record).unwrap();
            assert_eq!(value["qlog_format"], "JSON-SEQ");
        }
    }

    #[test]
    fn a_directory_that_others_may_enter_is_refused() {
        let directory = Directory::new();
        let place = directory.path().join("open");
        fs::create_dir(&place).unwrap();
        fs::set_permissions(&place, PermissionsExt::from_mode(0o755)).unwrap();
        let error = Qlog::start(&log(&place, 1 << 20), &Metrics::default()).unwrap_err();
        assert!(error.to_string().contains("mode 0755"), "{error}");
    }

    #[test]
    fn the_oldest_files_make_room_and_take_nothing_more() {
        let directory = Directory::new();
        fs::write(directory.path().join("old.sqlog"), [0; 60]).unwrap();
        fs::write(directory.path().join("kept.txt"), [0; 600]).unwrap();
        let mut shelf = Shelf::new(directory.path(), 100).unwrap();
        let traces = ["1.sqlog", "2.sqlog"].map(|name| trace(directory.path().join(name)));
        shelf.write(&traces[0], &[b'x'; 40]).unwrap();
        assert_eq!(
            names(directory.path()),
            ["1.sqlog", "kept.txt", "old.sqlog"]
        );
        shelf.write(&traces[1], &[b'x'; 40]).unwrap();
        assert_eq!(names(directory.path()), ["1.sqlog", "2.sqlog", "kept.txt"]);
        shelf.write(&traces[1], &[b'x'; 40]).unwrap();
        assert!(traces[0].over.load(Ordering::Relaxed));
        shelf.write(&traces[0], &[b'x'; 40]).unwrap();
        assert_eq!(names(directory.path()), ["2.sqlog", "kept.txt"]);
        assert_eq!(shelf.bytes, 80);
    }

    #[test]
    fn a_file_that_is_there_is_never_written_to() {
        let directory = Directory::new();
        fs::write(directory.path().join("1.sqlog"), "mine").unwrap();
        let mut shelf = Shelf::new(directory.path(), 1000).unwrap();
        let error = shelf.write(&trace(directory.path().join("1.sqlog")), b"x\n");
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn records_that_find_no_room_are_dropped_whole_and_counted() {
        let (queue, records) = sync_channel(1);
        let metrics = Metrics::default();
        let mut writer = TraceWriter {
            trace: trace("unused".into()),
            record: Vec::new(),
            queue,
            most: 20,
            metrics: metrics.clone(),
        };
        let dropped = |reason| metrics.qlog_dropped.get_or_create(&Reason { reason }).get();
        for piece in [&b"\x1e{"[..], b"}", b"\n", b"\x1e{}", b"\n"] {
            writer.write_all(piece).unwrap();
        }
        assert_eq!(records.recv().unwrap().1, b"\x1e{}\n");
        assert_eq!(dropped("queue_full"), 1);
        writer.write_all(b"0123456789012345678\n").unwrap();
        assert_eq!(dropped("file_full"), 1);
        writer.trace.over.store(true, Ordering::Relaxed);
        writer.write_all(b"x\n").unwrap();
        assert_eq!(dropped("removed"), 1);
        assert!(records.try_recv().is_err());
    }
}
