use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use wayhold::bench::results::{RawSample, Run, Writer};
use wayhold::bench::run::{Progress, Watch};
use wayhold::bench::statistics::Taken;
use wayhold::sys::timer::Clocks;
use wayhold::testbed::emulator::{Capture, Trace};

/// Shows how far a run is, and writes its samples and packets where they are wanted.
pub(super) struct Follower {
    bar: ProgressBar,
    pub(super) writer: Option<Writer>,
    capture: Option<Capture<BufWriter<File>>>,
}

impl Follower {
    pub(super) fn new(run: &Run, out: Option<&Path>, pcap: Option<&Path>) -> anyhow::Result<Self> {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} {msg}")?;
        let writer = out.map(|directory| Writer::create(directory, run));
        let capture = pcap.map(|path| {
            File::create(path)
                .and_then(|file| Capture::begin(BufWriter::new(file), Clocks::read()))
                .with_context(|| format!("cannot write {}", path.display()))
        });
        Ok(Self {
            bar: ProgressBar::new(0).with_style(style),
            writer: writer.transpose()?,
            capture: capture.transpose()?,
        })
    }

    /// Ends what is shown and the file of packets.
    pub(super) fn end(&mut self) -> anyhow::Result<()> {
        self.bar.finish_and_clear();
        if let Some(capture) = self.capture.take() {
            capture.end().context("cannot write the packets")?;
        }
        Ok(())
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
        let rtt = scenario.rtt_ms;
        self.bar.set_message(format!("{mode} at {rtt} ms"));
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

    fn trace(&mut self, trace: &Trace) -> Result<(), String> {
        let Some(capture) = &mut self.capture else {
            return Ok(());
        };
        let written = capture.trace(trace);
        written.map_err(|error| format!("cannot write the packets: {error}"))
    }
}
