//! Claims about responses that are streams of messages.

use super::*;

/// A service that echoes with this content type, after so long a silence.
fn echo(kind: &'static str) -> Service {
    service(&Limits::default(), move |request| async move {
        let mut response = Response::new(request.into_body());
        let kind = HeaderValue::from_static(kind);
        response.headers_mut().insert("content-type", kind);
        Ok(response)
    })
}

/// Two messages with a silence between them.
fn with_pause(pause: Duration) -> Body {
    Body::new(Slow {
        left: 2,
        pause,
        timer: Box::pin(tokio::time::sleep(pause)),
    })
}

#[tokio::test(start_paused = true)]
async fn streams_of_messages_may_be_silent_for_as_long_as_tunnels_both_ways() {
    let Timeouts {
        body_idle,
        tunnel_idle,
        ..
    } = Timeouts::default();
    for (kind, pause, whole) in [
        ("text/event-stream", tunnel_idle * 9 / 10, true),
        (
            "Text/Event-Stream; charset=utf-8",
            tunnel_idle * 9 / 10,
            true,
        ),
        ("application/grpc", tunnel_idle * 9 / 10, true),
        ("application/grpc+proto", tunnel_idle * 9 / 10, true),
        ("text/event-stream", tunnel_idle * 11 / 10, false),
        ("application/grpc", tunnel_idle * 11 / 10, false),
        ("text/event-streams", body_idle * 11 / 10, false),
        ("text/plain", body_idle * 11 / 10, false),
        ("text/plain", body_idle * 9 / 10, true),
    ] {
        let service = echo(kind);
        let request = request("POST", "https://gw.test/", &[], with_pause(pause));
        let response = respond(&service, request).await;
        let end = response.into_body().collect().await;
        assert_eq!(end.is_ok(), whole, "{kind} after {pause:?}");
        let timeouts = failures(&service, "body_timeout");
        assert_eq!(timeouts, u64::from(!whole), "{kind} after {pause:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_waits_already_is_given_the_time_of_a_stream_when_it_turns_out_to_be_one() {
    let Timeouts {
        body_idle,
        tunnel_idle,
        ..
    } = Timeouts::default();
    let late = body_idle / 2;
    let service = service(&Limits::default(), move |request| async move {
        let mut body = request.into_body();
        // The wait for the first message begins as for any upload.
        let early = tokio::time::timeout(late, poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)));
        assert!(early.await.is_err());
        let mut response = Response::new(body);
        let kind = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert("content-type", kind);
        Ok(response)
    });
    let body = with_pause(tunnel_idle * 9 / 10);
    let response = respond(&service, request("POST", "https://gw.test/", &[], body)).await;
    let content = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(content, "xx");
}
