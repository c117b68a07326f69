//! Claims about clients that break the rules of HTTP/3.

use crate::raw::{CONTROL, DATA, Ended, HEADERS, Raw, ended, frame, head, header, status, varint};
use crate::stage::{Solo, until};
use crate::wild::Wild;

/// HEADERS with nothing but `:status: 431`.
const TOO_LARGE: [u8; 10] = [0x01, 0x08, 0x00, 0x00, 0x5f, 0x09, 0x03, b'4', b'3', b'1'];

const H3_FRAME_UNEXPECTED: u64 = 0x105;
const H3_FRAME_ERROR: u64 = 0x106;
const H3_EXCESSIVE_LOAD: u64 = 0x107;
const H3_MISSING_SETTINGS: u64 = 0x10a;
const H3_REQUEST_INCOMPLETE: u64 = 0x10d;
const H3_MESSAGE_ERROR: u64 = 0x10e;

async fn start(more: &str) -> (Solo, Raw) {
    let solo = Solo::start(more, Wild::default()).await;
    let raw = Raw::connect(&solo.directory, solo.node.address).await;
    raw.one_way(&CONTROL).await;
    (solo, raw)
}

async fn still_serves(raw: &Raw) {
    assert_eq!(status(raw.send(&head("GET", "/", &[])).await).await, 200);
}

#[tokio::test]
async fn a_header_section_over_the_limit_is_refused_before_it_comes() {
    let (solo, raw) = start("").await;
    let (_open, response) = raw.begin(&header(HEADERS, 200 << 20)).await;
    assert_eq!(ended(response).await, Ended::Cleanly(TOO_LARGE.to_vec()));
    until(|| solo.node.failed("headers_too_large") == 1).await;
    still_serves(&raw).await;
}

#[tokio::test]
async fn more_fields_than_a_header_map_holds_are_refused() {
    let (solo, raw) = start("").await;
    let one_byte_fields = |count: usize| {
        let mut section = vec![0, 0];
        section.resize(2 + count, 0xc2);
        frame(HEADERS, &section)
    };
    let response = raw.send(&one_byte_fields(24_577)).await;
    assert_eq!(ended(response).await, Ended::Cleanly(TOO_LARGE.to_vec()));
    // Few enough bytes, and still too many fields.
    let response = raw.send(&one_byte_fields(23_998)).await;
    assert_eq!(ended(response).await, Ended::Cleanly(TOO_LARGE.to_vec()));
    until(|| solo.node.failed("headers_too_large") == 2).await;
    assert_eq!(solo.node.metrics.panics.get(), 0);
    still_serves(&raw).await;
}

#[tokio::test]
async fn an_unknown_frame_is_skipped_and_never_held() {
    let (_solo, raw) = start("").await;
    let (mut giant, _response) = raw.begin(&header(0x21, 1 << 30)).await;
    // Several times what a stream or a connection may hold.
    for _ in 0..12 {
        giant.write_all(&vec![0; 1 << 20]).await.unwrap();
    }
    let small = [
        frame(0x21, b"ignored"),
        head("GET", "/", &[]),
        frame(0x40, b""),
    ]
    .concat();
    assert_eq!(status(raw.send(&small).await).await, 200);
    giant.reset(0_u32.into()).unwrap();
    still_serves(&raw).await;
}

#[tokio::test]
async fn an_empty_data_frame_does_not_end_a_body() {
    let (_solo, raw) = start("").await;
    let mut request = head("POST", "/read", &[]);
    for piece in ["ab", "", "", "cd", ""] {
        request.extend(frame(DATA, piece.as_bytes()));
    }
    let Ended::Cleanly(response) = ended(raw.send(&request).await).await else {
        panic!("the stream was reset");
    };
    assert!(response.ends_with(b"abcd"), "{response:?}");
}

#[tokio::test]
async fn a_frame_of_another_stream_ends_the_connection() {
    let (solo, raw) = start("").await;
    for kind in [0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0d] {
        let bad = Raw::connect(&solo.directory, solo.node.address).await;
        let request = [head("POST", "/read", &[]), frame(kind, b"x")].concat();
        let _open = bad.begin(&request).await;
        assert_eq!(bad.closed().await, H3_FRAME_UNEXPECTED, "{kind:#x}");
    }
    let bad = Raw::connect(&solo.directory, solo.node.address).await;
    let _open = bad.begin(&frame(DATA, b"a body before its head")).await;
    assert_eq!(bad.closed().await, H3_FRAME_UNEXPECTED);
    still_serves(&raw).await;
}

#[tokio::test]
async fn a_control_stream_is_held_to_its_frames_however_its_type_is_written() {
    let (solo, raw) = start("").await;
    let of_any_length: [&[u8]; 3] = [&[0], &[0x40, 0], &varint(0)];
    for kind in of_any_length {
        for (frame, code) in [
            (header(0x04, 1 << 20), H3_EXCESSIVE_LOAD),
            (frame(DATA, b"x"), H3_MISSING_SETTINGS),
            (
                [frame(0x04, b""), frame(DATA, b"x")].concat(),
                H3_FRAME_UNEXPECTED,
            ),
        ] {
            let bad = Raw::connect(&solo.directory, solo.node.address).await;
            bad.one_way(&[kind, &frame].concat()).await;
            assert_eq!(bad.closed().await, code, "{kind:?} {frame:?}");
        }
    }
    still_serves(&raw).await;
}

#[tokio::test]
async fn a_stream_that_ends_within_a_frame_ends_the_connection() {
    let (solo, raw) = start("").await;
    let head = head("POST", "/read", &[]);
    let cut = [
        head[..head.len() - 1].to_vec(),
        [&head[..], &header(DATA, 10), b"abc"].concat(),
        [&head[..], &header(0x21, 10), b"abc"].concat(),
        [&head[..], &[0x40]].concat(),
    ];
    for bytes in cut {
        let bad = Raw::connect(&solo.directory, solo.node.address).await;
        bad.send(&bytes).await;
        assert_eq!(bad.closed().await, H3_FRAME_ERROR, "{bytes:?}");
    }
    still_serves(&raw).await;
}

#[tokio::test]
async fn a_request_that_never_finishes_its_head_is_cut() {
    let (solo, raw) = start("timeouts.header = \"100ms\"").await;
    let head = head("GET", "/", &[]);
    let (_open, response) = raw.begin(&head[..head.len() / 2]).await;
    assert!(matches!(ended(response).await, Ended::Reset(_)));
    until(|| solo.node.failed("request_timeout") == 1).await;
    still_serves(&raw).await;
}

#[tokio::test]
async fn a_body_of_another_length_than_announced_is_refused() {
    let (solo, raw) = start("").await;
    for (round, body) in ["123", "1234567"].into_iter().enumerate() {
        let head = head("POST", "/read", &[("content-length", "5")]);
        let request = [head, frame(DATA, body.as_bytes())].concat();
        let malformed = Ended::Reset(H3_MESSAGE_ERROR);
        assert_eq!(ended(raw.send(&request).await).await, malformed, "{body}");
        let counted = u64::try_from(round).unwrap() + 1;
        until(|| solo.node.failed("length_mismatch") == counted).await;
    }
    still_serves(&raw).await;
}

#[tokio::test]
async fn what_is_no_request_is_reset_alone() {
    let (solo, raw) = start("").await;
    let upper = head("GET", "/", &[("Upper", "x")]);
    let empty = frame(HEADERS, &[0, 0]);
    for request in [upper, empty] {
        let malformed = Ended::Reset(H3_MESSAGE_ERROR);
        assert_eq!(ended(raw.send(&request).await).await, malformed);
    }
    let incomplete = Ended::Reset(H3_REQUEST_INCOMPLETE);
    assert_eq!(ended(raw.send(&[]).await).await, incomplete);
    until(|| solo.node.failed("malformed") == 3).await;
    still_serves(&raw).await;
}
