/// The quantile of sorted values: 0.5 is the median. None of none.
pub fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let (below, beyond) = position(share, last);
    let low = sorted.get(below)?;
    let high = sorted.get(below + 1).unwrap_or(low);
    Some(low + (high - low) * beyond)
}

/// The median of values in any order. None of none.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(&sorted(values.to_vec()), 0.5)
}

/// The whole places before a share of the way to the last one, and the rest.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place in memory is below 2^53, and a share of it is not negative"
)]
pub(super) fn position(share: f64, last: usize) -> (usize, f64) {
    let position = share.clamp(0.0, 1.0) * last as f64;
    (position.floor() as usize, position.fract())
}

pub(super) fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}
