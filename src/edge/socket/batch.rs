use std::ops::Range;

use crate::steer::Verdict;

/// Takes the datagrams of one batch apart, all of `stride` bytes but the last; a batch of no bytes is
/// one empty datagram.
///
/// `act` gets them in order: consecutive ones with the same verdict in one piece if they stay together
/// on their way, all others one by one.
pub(in crate::edge) fn split(
    bytes: &[u8],
    stride: usize,
    mut decide: impl FnMut(&[u8]) -> Verdict,
    mut act: impl FnMut(Verdict, &[u8]),
) {
    let mut run: Option<(Verdict, Range<usize>)> = None;
    for segment in segments(bytes.len(), stride) {
        let verdict = decide(&bytes[segment.clone()]);
        run = match run {
            Some((same, range)) if same == verdict && stays_together(verdict) => {
                Some((same, range.start..segment.end))
            }
            before => {
                if let Some((verdict, range)) = before {
                    act(verdict, &bytes[range]);
                }
                Some((verdict, segment))
            }
        };
    }
    if let Some((verdict, range)) = run {
        act(verdict, &bytes[range]);
    }
}

/// Sorts the datagrams of one batch that was received: those which `own` is true of are moved to the
/// front of `buf` in their order, and their total length is returned. `act` gets the others as in
/// [`split`], with where in the batch they begin.
pub(super) fn sort(
    buf: &mut [u8],
    stride: usize,
    mut decide: impl FnMut(&[u8]) -> Verdict,
    own: impl Fn(Verdict) -> bool,
    mut act: impl FnMut(Verdict, usize, &[u8]),
) -> usize {
    let mut kept = 0;
    let mut run: Option<(Verdict, Range<usize>)> = None;
    for segment in segments(buf.len(), stride) {
        let verdict = decide(&buf[segment.clone()]);
        if let Some((same, range)) = &mut run {
            if *same == verdict && stays_together(verdict) {
                range.end = segment.end;
                continue;
            }
            act(*same, range.start, &buf[range.clone()]);
            run = None;
        }
        if own(verdict) {
            if kept < segment.start {
                buf.copy_within(segment.clone(), kept);
            }
            kept += segment.len();
        } else {
            run = Some((verdict, segment));
        }
    }
    if let Some((verdict, range)) = run {
        act(verdict, range.start, &buf[range]);
    }
    kept
}

fn segments(len: usize, stride: usize) -> impl Iterator<Item = Range<usize>> {
    let starts = (0..len.max(1)).step_by(stride);
    starts.map(move |at| at..len.min(at + stride))
}

fn stays_together(verdict: Verdict) -> bool {
    match verdict {
        Verdict::Local(_) | Verdict::Accept(_) | Verdict::Forward(_) | Verdict::Sibling(_) => true,
        Verdict::Wait | Verdict::Reset | Verdict::Negotiate | Verdict::Drop(_) => false,
    }
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
            Some(b'w') => Verdict::Accept(1),
            Some(b'd') | None => Verdict::Drop(DropReason::NotQuic),
            Some(digit) => Verdict::Forward(NodeId::new(u32::from(*digit)).unwrap()),
        }
    }

    type Acted = Vec<(usize, Vec<u8>)>;

    fn sorted(batch: &[u8], stride: usize) -> (Vec<u8>, Acted) {
        let mut buf = batch.to_vec();
        let mut acted = Vec::new();
        let own = |verdict| verdict == Verdict::Accept(0);
        let kept = sort(&mut buf, stride, decide, own, |_, at, bytes| {
            acted.push((at, bytes.to_vec()));
        });
        buf.truncate(kept);
        (buf, acted)
    }

    fn owned<const N: usize>(acted: [(usize, &[u8]); N]) -> Acted {
        acted.map(|(at, bytes)| (at, bytes.to_vec())).into()
    }

    #[test]
    fn a_batch_for_this_endpoint_stays_whole() {
        assert_eq!(sorted(b"laalbblc", 3), (b"laalbblc".to_vec(), vec![]));
    }

    #[test]
    fn local_segments_close_up_and_a_run_for_a_peer_stays_one_piece() {
        let (kept, acted) = sorted(b"1aalbb1cc1dd2eeldd1f", 3);
        assert_eq!(kept, b"lbbldd");
        let expected = [(0, &b"1aa"[..]), (6, b"1cc1dd"), (12, b"2ee"), (18, b"1f")];
        assert_eq!(acted, owned(expected));
    }

    #[test]
    fn a_run_for_another_worker_stays_one_piece() {
        let (kept, acted) = sorted(b"wawbwclx", 2);
        assert_eq!(kept, b"lx");
        assert_eq!(acted, owned([(0, &b"wawbwc"[..])]));
    }

    #[test]
    fn a_dropped_segment_splits_a_run() {
        let (kept, acted) = sorted(b"1adb1clx", 2);
        assert_eq!(kept, b"lx");
        assert_eq!(acted, owned([(0, &b"1a"[..]), (2, b"db"), (4, b"1c")]));
    }

    #[test]
    fn an_empty_datagram_is_decided_on_like_any_other() {
        assert_eq!(sorted(b"", 1200), (vec![], owned([(0, &b""[..])])));
    }

    #[test]
    fn what_was_passed_on_is_split_only_where_the_verdict_changes() {
        let mut acted = Vec::new();
        split(b"lalbwcdddelf", 2, decide, |_, bytes| {
            acted.push(bytes.to_vec());
        });
        assert_eq!(acted, [&b"lalb"[..], b"wc", b"dd", b"de", b"lf"]);
    }
}
