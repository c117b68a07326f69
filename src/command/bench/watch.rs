use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use wayhold::bench::results::{RawSample, Run, Writer};
use wayhold::bench::run::{Progress, Watch};
use wayhold::bench::statistics::Taken;
use wayhold::testbed::emulator::Trace;

/// Shows how far a run is, and writes its samples to a directory if there is one.
pub(super) struct Follower {
    bar: ProgressBar,
    pub(super) writer: Option<Writer>,
}

impl Follower {
    pub(super) fn new(directory: Option<&Path>, run: &Run) -> anyhow::Result<Self> {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} {msg}")?;
        let writer = directory.map(|directory| Writer::create(directory, run));
        Ok(Self {
            bar: ProgressBar::new(0).with_style(style),
            writer: writer.transpose()?,
        })
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

impl Watch for Follower {
    fn progress(&mut self, progress: Progress<'_>) {
        let Progress {
            scenario,
            done,
            all,
        } = progress;
        self.bar.set_length(all.into());
        self.bar.set_position(done.into());
        let mode = scenario.mode;
        self.bar
            .set_message(format!("{mode} at {} ms", scenario.rtt_ms));
    }

    fn sample(&mut self, scenario: usize, taken: &Taken) -> Result<(), String> {
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        let raw = RawSample {
            scenario,
            block: taken.block,
            sample: taken.sample.clone(),
        };
        writer.sample(&raw).map_err(|error| error.to_string())
    }

    fn trace(&mut self, _trace: &Trace) -> Result<(), String> {
        Ok(())
    }
}
