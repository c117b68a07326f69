//! Runs a target without a fuzzer: its corpus, and inputs that follow from their number.

use std::any::Any;
use std::fmt::Write;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::{Path, PathBuf};

use super::input::MAX_LEN;

/// Runs the corpus and `inputs` more. `WAYHOLD_FUZZ_EXECUTIONS` takes the place of `inputs`, and
/// `WAYHOLD_FUZZ_SEED` makes them others.
pub(crate) fn run(name: &str, target: fn(&[u8]), inputs: u64) {
    let corpus = corpus(name);
    for (path, bytes) in &corpus {
        hold(target, bytes, &path.display().to_string());
    }
    let corpus: Vec<_> = corpus.into_iter().map(|(_, bytes)| bytes).collect();
    let executions = number("WAYHOLD_FUZZ_EXECUTIONS");
    let seed = number("WAYHOLD_FUZZ_SEED").unwrap_or(0);
    let mut hasher = DefaultHasher::new();
    (name, seed).hash(&mut hasher);
    let start = hasher.finish();
    let mut bytes = Vec::new();
    for index in 0..executions.unwrap_or(inputs) {
        Random(start.wrapping_add(index.wrapping_mul(STRIDE))).input(&corpus, &mut bytes);
        hold(
            target,
            &bytes,
            &format_args!("input {index} of seed {seed}"),
        );
    }
    if let Some(executions) = executions {
        say(&format!(
            "{name}: {executions} executions of seed {seed}, all clean"
        ));
    }
}

/// What was found before and what reaches far, in the directory where bolero keeps it.
fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/__fuzz__")
        .join(name);
    let mut files = Vec::new();
    for part in ["corpus", "crashes"] {
        for entry in fs::read_dir(place.join(part)).into_iter().flatten() {
            let path = entry.expect("the directory can be read").path();
            let bytes = fs::read(&path).expect("the file can be read");
            files.push((path, bytes));
        }
    }
    files.sort();
    assert!(!files.is_empty(), "{name} has a corpus");
    files
}

fn hold(target: fn(&[u8]), bytes: &[u8], origin: &dyn std::fmt::Display) {
    let Err(mut panic) = catch_unwind(|| target(bytes)) else {
        return;
    };
    // It panics often while the input gets shorter, and once is enough to hear of it.
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let mut smallest = bytes.to_vec();
    let mut length = smallest.len();
    while length > 0 {
        let mut at = 0;
        while at < smallest.len() {
            let mut shorter = smallest.clone();
            shorter.drain(at..(at + length).min(smallest.len()));
            match catch_unwind(AssertUnwindSafe(|| target(&shorter))) {
                Err(still) => (smallest, panic) = (shorter, still),
                Ok(()) => at += length,
            }
        }
        length /= 2;
    }
    set_hook(hook);
    let mut hex = String::new();
    for byte in &smallest {
        write!(hex, "\\x{byte:02x}").expect("a string takes it");
    }
    panic!(
        "{origin} fails: {}\nA short one like it: printf '{hex}'",
        text(&*panic)
    );
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic")
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number")),
    )
}

#[expect(clippy::print_stdout, reason = "a long run says what it did")]
fn say(text: &str) {
    println!("{text}");
}

/// The generator `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STRIDE);
        let mut value = self.0;
        value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ value >> 31
    }

    fn below(&mut self, count: usize) -> usize {
        let count = u64::try_from(count).expect("a length has 64 bits");
        usize::try_from(self.next() % count).expect("it is below a length")
    }

    /// Random bytes, or a part of the corpus with some bytes changed.
    fn input(&mut self, corpus: &[Vec<u8>], out: &mut Vec<u8>) {
        out.clear();
        if self.below(3) == 0 {
            let length = 1 << self.below(9);
            let length = self.below(length) + 1;
            while out.len() < length {
                out.extend_from_slice(&self.next().to_le_bytes());
            }
            out.truncate(length);
            return;
        }
        for _ in 0..=self.below(2) {
            let from = &corpus[self.below(corpus.len())];
            let start = self.below(from.len() + 1);
            let end = start + self.below(from.len() - start + 1);
            let part = if self.below(2) == 0 {
                &from[..]
            } else {
                &from[start..end]
            };
            out.extend_from_slice(part);
        }
        out.truncate(MAX_LEN);
        for _ in 0..self.below(8) {
            self.change(out);
        }
    }

    fn change(&mut self, out: &mut Vec<u8>) {
        let at = self.below(out.len() + 1);
        let byte = match self.below(3) {
            0 => [0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xfe, 0xff][self.below(8)],
            _ => self.next().to_le_bytes()[0],
        };
        match (self.below(4), out.get_mut(at)) {
            (0, _) | (_, None) => out.insert(at, byte),
            (1, Some(_)) => drop(out.remove(at)),
            (2, Some(place)) => *place ^= 1 << self.below(8),
            (_, Some(place)) => *place = byte,
        }
    }
}

const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;
