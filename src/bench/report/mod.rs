//! What results say: tables for a terminal, a verdict in words, and a page with pictures.
//!
//! Everything here is a function of what was read or measured; it opens no file and reads no clock.

mod bars;
mod comparison;
mod curve;
mod definitions;
mod dots;
mod facts;
mod figures;
mod findings;
mod ladder;
mod markup;
mod page;
mod scale;
mod sections;
mod tables;
mod text;
mod verdict;

pub use comparison::{Shown, comparison};
pub use definitions::definition;
pub use page::page;
pub use text::text;
pub use verdict::{doubts, noise, verdict};

#[cfg(test)]
mod tests;
