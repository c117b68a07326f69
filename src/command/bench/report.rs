use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use wayhold::bench::results::{Results, csv, names, read};
use wayhold::bench::{Record, report};

/// Arguments of `wayhold bench report`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 done, 1 something could not be read or written, 2 wrong usage"
)]
pub(super) struct Args {
    /// Directories of runs, or files of records; of several, one page is made
    #[arg(required = true, value_name = "DIR")]
    results: Vec<PathBuf>,
    /// Where the page goes; by default into the first directory, or beside the first file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write the figures as comma-separated values as well
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

pub(super) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let results = args.results.iter().map(|path| read(path));
    let results = results.collect::<Result<Vec<Results>, _>>()?;
    let page = args.out.clone().unwrap_or_else(|| {
        let first = &args.results[0];
        if first.is_dir() {
            first.join(names::REPORT)
        } else {
            first.with_file_name(names::REPORT)
        }
    });
    let write = |path: &PathBuf, text: String| {
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    write(&page, report::page(&results))?;
    if let Some(file) = &args.csv {
        let records: Vec<Record> = results.iter().flat_map(|it| it.records.clone()).collect();
        write(file, csv(&records))?;
    }
    print(&report::text(&results));
    print(&format!("The page is {}.\n", page.display()));
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "this is the command's output")]
fn print(text: &str) {
    print!("{text}");
}
