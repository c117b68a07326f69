use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{RawSample, Run, names};
use crate::bench::statistics::{Measured, Taken, records};
use crate::bench::trace::Drawing;
use crate::bench::{Record, SCHEMA};

/// What a run left behind.
#[derive(Clone, Debug)]
pub struct Results {
    /// The directory or file that it was read from.
    pub path: PathBuf,
    /// The circumstances; none where only records were kept.
    pub run: Option<Run>,
    /// What was measured.
    pub records: Vec<Record>,
    /// The samples, where they were kept.
    pub samples: Vec<RawSample>,
    /// The packets of one handshake of each mode, where there was a link to see them on.
    pub traces: Vec<Drawing>,
    /// Why there is less than was planned, in words; empty for a run that came to its end.
    pub gaps: Vec<String>,
}

/// Why results could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system refused, or there is nothing of this name.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A line is not what it has to be.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from one.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A later version of this program wrote the file; that one can read it.
    #[error(
        "{}:{line}: its schema is {found}, and this program knows no later one than {SCHEMA}: \
         read it with the version that wrote it",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The line, from one.
        line: u64,
        /// The schema that it says.
        found: u32,
    },
    /// The file holds no record, or the directory no results.
    #[error("{}: no results", path.display())]
    Empty {
        /// The file or directory.
        path: PathBuf,
    },
}

/// Reads the directory of a run, or a file of records alone.
///
/// The last line of a file may be cut off, when it has no end; that is a gap and no error.
///
/// # Errors
/// The file, and the line where one is wrong.
pub fn read(path: &Path) -> Result<Results, ReadError> {
    let mut results = Results {
        path: path.to_owned(),
        run: None,
        records: Vec::new(),
        samples: Vec::new(),
        traces: Vec::new(),
        gaps: Vec::new(),
    };
    let gaps = &mut results.gaps;
    if path.is_dir() {
        let run = run(&path.join(names::RUN))?;
        let planned = run.as_ref().map(|run| run.scenarios.len());
        results.run = run;
        results.records = optional(&path.join(names::RESULTS), gaps, record)?;
        results.samples = optional(&path.join(names::SAMPLES), gaps, |line| raw(line, planned))?;
        results.traces = optional(&path.join(names::TRACES), gaps, parse)?;
    } else {
        results.records = lines(path, gaps, record)?;
    }
    if results.run.as_ref().is_some_and(|run| run.partial) {
        gaps.push("the run was cut off or interrupted".to_owned());
    }
    if results.records.is_empty() {
        results.records = recovered(&results);
        if results.records.is_empty() {
            return Err(ReadError::Empty {
                path: path.to_owned(),
            });
        }
        let gap = "records are made of the samples; what failed or came late is not known";
        results.gaps.push(gap.to_owned());
    }
    Ok(results)
}

/// The records of a run that ended before it wrote any, of the samples that it left.
fn recovered(results: &Results) -> Vec<Record> {
    let Some(run) = &results.run else {
        return Vec::new();
    };
    let scenarios = run.scenarios.iter().enumerate();
    let all: Vec<_> = scenarios
        .map(|(place, scenario)| Measured {
            taken: results.taken(place),
            partial: true,
            ..Measured::of(scenario.clone())
        })
        .filter(|measured| !measured.taken.is_empty())
        .collect();
    records(&all, run.seed)
}

impl Results {
    /// The samples of the scenario at this place of [`Run::scenarios`], in the order in which they were taken.
    pub fn taken(&self, place: usize) -> Vec<Taken> {
        let samples = self.samples.iter();
        let samples = samples.filter(|raw| raw.scenario == place);
        samples
            .map(|raw| Taken {
                block: raw.block,
                sample: raw.sample.clone(),
            })
            .collect()
    }
}

fn run(path: &Path) -> Result<Option<Run>, ReadError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(ReadError::Io {
                path: path.to_owned(),
                error,
            });
        }
    };
    let parsed = schema(&text).and_then(|()| parse(&text));
    parsed.map(Some).map_err(|fault| fault.at(path, 0))
}

/// The values of a file that may be missing.
fn optional<T>(
    path: &Path,
    gaps: &mut Vec<String>,
    value: impl Fn(&[u8]) -> Result<T, Fault>,
) -> Result<Vec<T>, ReadError> {
    match lines(path, gaps, value) {
        Err(ReadError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
            Ok(Vec::new())
        }
        read => read,
    }
}

fn lines<T>(
    path: &Path,
    gaps: &mut Vec<String>,
    value: impl Fn(&[u8]) -> Result<T, Fault>,
) -> Result<Vec<T>, ReadError> {
    let refused = |error| ReadError::Io {
        path: path.to_owned(),
        error,
    };
    let mut file = BufReader::new(File::open(path).map_err(refused)?);
    let (mut values, mut line, mut number) = (Vec::new(), Vec::new(), 0);
    loop {
        line.clear();
        let limited = file.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line);
        if limited.map_err(refused)? == 0 {
            return Ok(values);
        }
        match value(&line) {
            Ok(value) => values.push(value),
            Err(_) if line.iter().all(u8::is_ascii_whitespace) => {}
            Err(_) if line.len() as u64 == LINE_BYTES => {
                let fault = Fault::Content(format!("a line of more than {LINE_BYTES} bytes"));
                return Err(fault.at(path, number));
            }
            Err(Fault::Form { .. }) if !line.ends_with(b"\n") => {
                gaps.push(format!("{}: the last line is cut off", path.display()));
            }
            Err(fault) => return Err(fault.at(path, number)),
        }
        number += 1;
    }
}

fn record(line: &[u8]) -> Result<Record, Fault> {
    schema(line).and_then(|()| parse(line))
}

fn raw(line: &[u8], planned: Option<usize>) -> Result<RawSample, Fault> {
    let raw: RawSample = parse(line)?;
    match planned {
        Some(planned) if raw.scenario >= planned => Err(Fault::Content(format!(
            "there is no scenario {} in {}, which has {planned}",
            raw.scenario,
            names::RUN
        ))),
        _ => Ok(raw),
    }
}

/// Looks at the schema alone, because a later one may have changed everything else.
fn schema(text: &[u8]) -> Result<(), Fault> {
    #[derive(Deserialize)]
    struct Versioned {
        schema: u32,
    }
    match parse::<Versioned>(text)?.schema {
        0..=SCHEMA => Ok(()),
        later => Err(Fault::Newer(later)),
    }
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(text).map_err(|error| Fault::Form {
        reason: error.to_string(),
        line: error.line().saturating_sub(1) as u64,
    })
}

/// What is wrong with a text.
enum Fault {
    /// Its form, on this line of it, from zero.
    Form { reason: String, line: u64 },
    /// What it says.
    Content(String),
    /// It is of a later schema.
    Newer(u32),
}

impl Fault {
    /// The fault of a text that begins on this line of a file, from zero.
    fn at(self, path: &Path, begins: u64) -> ReadError {
        let path = path.to_owned();
        match self {
            Self::Form { reason, line } => ReadError::Line {
                path,
                line: begins + line + 1,
                reason,
            },
            Self::Content(reason) => ReadError::Line {
                path,
                line: begins + 1,
                reason,
            },
            Self::Newer(found) => ReadError::Newer {
                path,
                line: begins + 1,
                found,
            },
        }
    }
}

/// Longer lines are of no run: a record has a few kilobytes, a trace of a thousand packets some hundred.
const LINE_BYTES: u64 = 16 << 20;
