use std::path::{Path, PathBuf};
use std::{fs, io};

use super::lines::{Lines, replace};
use super::{RawSample, Run, csv, names};
use crate::bench::statistics::noise;
use crate::bench::trace::Drawing;
use crate::bench::{Metric, Record};

/// Why results could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The system refused; a full disk is among the reasons. What was written before stays.
    #[error("cannot write {}: {error}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A figure is no number, so JSON has no form for it; a defect of what measured it.
    #[error("`{metric}` of a sample is {value}, which no file can hold")]
    NoNumber {
        /// The figure.
        metric: Metric,
        /// Its value.
        value: f64,
    },
}

/// Writes the directory of a run while it goes on.
///
/// Samples are in their file as soon as they are given. Records take shape at the end of a run, and come
/// then. Whatever ends the run, what is there can be read: `run.json` says `partial` until [`Self::finish`].
#[derive(Debug)]
pub struct Writer {
    directory: PathBuf,
    samples: Lines,
    results: Lines,
    traces: Lines,
    records: Vec<Record>,
}

impl Writer {
    /// Makes the directory and begins its files. The files of an earlier run in it are gone then; others
    /// stay.
    ///
    /// # Errors
    /// The system's, with the file that it is about.
    pub fn create(directory: &Path, run: &Run) -> Result<Self, WriteError> {
        let inside = |name| directory.join(name);
        fs::create_dir_all(directory).map_err(|error| WriteError::Io {
            path: directory.to_owned(),
            error,
        })?;
        for name in [names::CSV, names::REPORT] {
            remove(inside(name))?;
        }
        let begun = Run {
            partial: true,
            ..run.clone()
        };
        replace(&inside(names::RUN), &pretty(&begun))?;
        Ok(Self {
            directory: directory.to_owned(),
            samples: Lines::create(inside(names::SAMPLES))?,
            results: Lines::create(inside(names::RESULTS))?,
            traces: Lines::create(inside(names::TRACES))?,
            records: Vec::new(),
        })
    }

    /// Adds a sample.
    ///
    /// # Errors
    /// The system's; [`WriteError::NoNumber`] for a figure that is infinite or none.
    pub fn sample(&mut self, sample: &RawSample) -> Result<(), WriteError> {
        let metrics = &sample.sample.metrics;
        if let Some((&metric, &value)) = metrics.iter().find(|(_, value)| !value.is_finite()) {
            return Err(WriteError::NoNumber { metric, value });
        }
        self.samples.push(sample)
    }

    /// Adds a record.
    ///
    /// # Errors
    /// The system's.
    pub fn record(&mut self, record: &Record) -> Result<(), WriteError> {
        self.records.push(record.clone());
        self.results.push(record)
    }

    /// Adds the trace of a mode.
    ///
    /// # Errors
    /// The system's.
    pub fn trace(&mut self, trace: &Drawing) -> Result<(), WriteError> {
        self.traces.push(trace)
    }

    /// Writes `results.csv` and then the circumstances once more, with what is known at the end of a run and
    /// the noise of the records. A run that was interrupted says [`Run::partial`] itself.
    ///
    /// # Errors
    /// The system's; `run.json` says `partial` then.
    pub fn finish(self, run: &Run) -> Result<(), WriteError> {
        for file in [&self.samples, &self.results, &self.traces] {
            file.sync()?;
        }
        replace(&self.directory.join(names::CSV), &csv(&self.records))?;
        let ended = Run {
            noise: noise(&self.records),
            ..run.clone()
        };
        replace(&self.directory.join(names::RUN), &pretty(&ended))
    }
}

fn remove(path: PathBuf) -> Result<(), WriteError> {
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(WriteError::Io { path, error })
        }
        _ => Ok(()),
    }
}

fn pretty(run: &Run) -> String {
    let mut text = serde_json::to_string_pretty(run).expect("records have text keys only");
    text.push('\n');
    text
}
