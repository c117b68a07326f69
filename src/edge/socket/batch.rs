use std::ops::Range;

use crate::steer::Verdict;

/// Sorts the segments of one received batch, all of `stride` bytes but the last; a batch of no bytes
/// is one empty datagram.
///
/// Segments whose verdict `keeps` are moved to the front of `buf` in their order, and their total length
/// is returned. `act` gets everything else in order: consecutive segments with the same
/// [`Verdict::Forward`] or [`Verdict::Sibling`] in one piece, all others one by one.
pub(super) fn sort(
    buf: &mut [u8],
    stride: usize,
    mut decide: impl FnMut(&[u8]) -> Verdict,
    keeps: impl Fn(Verdict) -> bool,
    mut act: impl FnMut(Verdict, &[u8]),
) -> usize {
    let mut kept = 0;
    let mut run: Option<(Verdict, Range<usize>)> = None;
    for at in (0..buf.len().max(1)).step_by(stride) {
        let segment = at..buf.len().min(at + stride);
        let verdict = decide(&buf[segment.clone()]);
        match &mut run {
            Some((forward, range)) if *forward == verdict => {
                range.end = segment.end;
                continue;
            }
            _ => {
                if let Some((forward, range)) = run.take() {
                    act(forward, &buf[range]);
                }
            }
        }
        match verdict {
            _ if keeps(verdict) => {
                buf.copy_within(segment.clone(), kept);
                kept += segment.len();
            }
            Verdict::Forward(_) | Verdict::Sibling(_) => run = Some((verdict, segment)),
            _ => act(verdict, &buf[segment]),
        }
    }
    if let Some((forward, range)) = run {
        act(forward, &buf[range]);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::NodeId;
    use crate::steer::DropReason;

    /// The first byte of a segment says what becomes of it.
    fn decide(segment: &[u8]) -> Verdict {
        match segment.first() {
            Some(b'l') => Verdict::Accept(0),
            Some(b'd') | None => Verdict::Drop(DropReason::NotQuic),
            Some(digit) => Verdict::Forward(NodeId::new(u32::from(*digit)).unwrap()),
        }
    }

    fn sorted(batch: &[u8], stride: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
        let mut buf = batch.to_vec();
        let mut acted = Vec::new();
        let keeps = |verdict| matches!(verdict, Verdict::Accept(_));
        let kept = sort(&mut buf, stride, decide, keeps, |_, bytes| {
            acted.push(bytes.to_vec());
        });
        buf.truncate(kept);
        (buf, acted)
    }

    #[test]
    fn a_batch_for_this_node_stays_whole() {
        assert_eq!(sorted(b"laalbblc", 3), (b"laalbblc".to_vec(), vec![]));
    }

    #[test]
    fn local_segments_close_up_and_a_run_for_a_peer_stays_one_piece() {
        let (kept, acted) = sorted(b"1aalbb1cc1dd2eeldd1f", 3);
        assert_eq!(kept, b"lbbldd");
        assert_eq!(acted, [&b"1aa"[..], b"1cc1dd", b"2ee", b"1f"]);
    }

    #[test]
    fn a_dropped_segment_splits_a_run() {
        let (kept, acted) = sorted(b"1adb1clx", 2);
        assert_eq!(kept, b"lx");
        assert_eq!(acted, [b"1a", b"db", b"1c"]);
    }

    #[test]
    fn an_empty_datagram_is_decided_on_like_any_other() {
        assert_eq!(sorted(b"", 1200), (vec![], vec![vec![]]));
    }
}
