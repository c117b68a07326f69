//! From samples to what is said of them: quantiles, how sure they are, ratios of neighbours, and doubts.
//!
//! - A **quantile** q of n sorted values is the value at position q(n - 1), counted from 0, with a straight
//!   line between the two next to it (type 7 of Hyndman and Fan, "Sample Quantiles in Statistical
//!   Packages", 1996). With fewer than a hundred values p99 is close to the largest.
//! - The **interval of a median** is the percentile bootstrap (Efron, 1979): as many blocks as there were
//!   are drawn with replacement, [`RESAMPLES`] times; the interval has the middle 95 % of the medians of all
//!   samples of the drawn blocks. Blocks are drawn, not samples, because samples of one block
//!   shared the machine's state of that moment and are more alike than those of two blocks. With fewer than
//!   [`FEWEST_BLOCKS`] blocks there is not enough to draw from, and samples are drawn.
//! - A **ratio** to another mode is made in each block: the median of the one in this block over the median of
//!   the other in the same block, so what changed from block to block cancels. The ratio is the median
//!   over the blocks, and its interval is the bootstrap over them.
//! - **A/A** is the ratio of a mode to itself: in each block the samples with even places, as they
//!   were taken, over those with odd ones. Where blocks have one sample each, two blocks that follow each
//!   other are a pair. What differs from 1 is noise.
//!
//! Everything repeats from the samples and the seed.

mod bootstrap;
mod doubts;
mod measured;
mod noise;
mod paired;
mod quantile;

pub use bootstrap::{FEWEST_BLOCKS, RESAMPLES, median_interval, middle, resampled};
pub use measured::{Measured, Taken, records};
pub use noise::{Noise, noise};
pub use paired::{Ratio, blocks, ratio, ratios, ratios_to_itself};
pub use quantile::{median, quantile};

#[cfg(test)]
mod tests;
