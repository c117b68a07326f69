use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use wayhold::bench::report::{Shown, comparison};
use wayhold::bench::results::{compare, read};

/// Arguments of `wayhold bench compare`.
///
/// A figure is worse if it is by more than the tolerance even at the favourable end of its 95 % interval, and by
/// more than 0.1 ms of a time or 2 µs of processor time. For rates, less is worse.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing is worse, 1 the runs cannot be compared, 2 wrong usage, \
    3 something is worse by more than the tolerance"
)]
pub(super) struct Args {
    /// The run that is compared to: its directory, or a file of records
    #[arg(value_name = "A")]
    before: PathBuf,
    /// The run that is judged
    #[arg(value_name = "B")]
    after: PathBuf,
    /// How much worse a figure may be: 5 % or 0.05
    #[arg(long, value_name = "SHARE", default_value = "5%", value_parser = share)]
    tolerance: f64,
    /// Show every figure
    #[arg(long)]
    all: bool,
}

pub(super) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let (before, after) = (read(&args.before)?, read(&args.after)?);
    let compared = compare(&before, &after, args.tolerance);
    let shown = if args.all {
        Shown::All
    } else {
        Shown::Headlines
    };
    print(&comparison(&compared, &[before], shown));
    if compared.differences.is_empty() {
        bail!("the two runs have no scenario in common");
    }
    Ok(if compared.has_regressed() {
        ExitCode::from(REGRESSION)
    } else {
        ExitCode::SUCCESS
    })
}

fn share(text: &str) -> Result<f64, String> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent
            .trim_end()
            .parse()
            .map(|percent: f64| percent / 100.0),
        // A bare 5 would be 500 %, which nobody means.
        None => text
            .parse()
            .map(|share: f64| if share > 1.0 { f64::NAN } else { share }),
    };
    match share {
        Ok(share) if share.is_finite() && share >= 0.0 => Ok(share),
        _ => Err("it is percent such as 5%, or a share such as 0.05".to_owned()),
    }
}

#[expect(clippy::print_stdout, reason = "this is the command's output")]
fn print(text: &str) {
    print!("{text}");
}

const REGRESSION: u8 = 3;
