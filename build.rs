//! Tells the package which compiler builds it, for what the benchmark notes about its runs.

use std::env;
use std::process::Command;

fn main() {
    let compiler = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let answer = Command::new(compiler).arg("--version").output();
    let version = answer.map(|answer| String::from_utf8_lossy(&answer.stdout).trim().to_owned());
    // Not under the prefix of the configuration: cargo gives the variable to tests and examples too.
    println!(
        "cargo::rustc-env=BENCH_RUSTC={}",
        version.unwrap_or_default()
    );
    println!("cargo::rerun-if-changed=build.rs");
}
