use super::*;

const HTTP1: UpstreamProtocol = UpstreamProtocol::Http1;

/// A request on its way to a backend that has seen its header section.
struct Begun {
    call: Call,
    peer: Peer,
    head: String,
}

async fn begin(bridge: &Arc<Bridge>, backend: &Backend, request: Request<Body>) -> Begun {
    let call = Call::start(bridge, request);
    let mut peer = backend.accept().await;
    let head = peer.hear("\r\n\r\n").await;
    Begun { call, peer, head }
}

async fn begin_alone(request: Request<Body>) -> Begun {
    let backend = Backend::bind().await;
    begin(&bridge(&backend, HTTP1), &backend, request).await
}

/// What a request without a body gets from an upstream that says this and closes.
async fn answered(method: &str, answer: &str) -> Result<Response<Body>, RequestError> {
    let mut begun = begin_alone(request(method, Body::empty())).await;
    begun.peer.say(answer).await;
    drop(begun.peer);
    begun.call.answer().await
}

#[tokio::test]
async fn the_upstream_gets_a_plain_request_with_the_clients_facts() {
    let mut begun = begin_alone(request("GET", Body::empty())).await;
    assert_eq!(
        begun.head,
        "GET /path?query HTTP/1.1\r\n\
         forwarded: for=192.0.2.7;host=\"gw.test\";proto=https\r\n\
         x-forwarded-for: 192.0.2.7\r\n\
         x-forwarded-host: gw.test\r\n\
         x-forwarded-proto: https\r\n\
         via: 3 wayhold\r\n\
         host: gw.test\r\n\r\n"
    );
    begun
        .peer
        .say(
            "HTTP/1.1 200 OK\r\nvia: 1.0 before\r\nalt-svc: h3=\":1\"\r\nkeep-alive: x\r\n\
             content-length: 2\r\n\r\nhi",
        )
        .await;
    let response = begun.call.answer().await.unwrap();
    let via: Vec<_> = response.headers().get_all("via").iter().collect();
    assert_eq!(via, ["1.0 before", "1.1 wayhold"]);
    assert!(!response.headers().contains_key("alt-svc"));
    assert!(!response.headers().contains_key("keep-alive"));
    assert_eq!(text(response).await, "hi");
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request() {
    let backend = Backend::bind().await;
    let bridge = bridge(&backend, HTTP1);
    let mut begun = begin(&bridge, &backend, request("GET", Body::empty())).await;
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na";
    begun.peer.say(answer).await;
    assert_eq!(text(begun.call.answer().await.unwrap()).await, "a");
    let call = Call::start(&bridge, request("GET", Body::empty()));
    begun.peer.hear("\r\n\r\n").await;
    begun.peer.say(answer).await;
    assert_eq!(text(call.answer().await.unwrap()).await, "a");
}

#[tokio::test]
async fn a_kept_connection_that_the_upstream_closed_costs_no_request() {
    let backend = Backend::bind().await;
    let bridge = bridge(&backend, HTTP1);
    for method in ["GET", "POST", "HEAD"] {
        let mut begun = begin(&bridge, &backend, request(method, Body::empty())).await;
        // It announces nothing, so the connection goes into the pool before it ends.
        begun
            .peer
            .say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await;
        drop(begun.peer);
        let response = begun.call.answer().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{method}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_the_upstream_closes_meanwhile_costs_no_safe_request() {
    let backend = Backend::bind().await;
    let bridge = bridge(&backend, HTTP1);
    let mut begun = begin(&bridge, &backend, request("GET", Body::empty())).await;
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    begun.peer.say(answer).await;
    text(begun.call.answer().await.unwrap()).await;
    let call = Call::start(&bridge, request("GET", Body::empty()));
    begun.peer.hear("\r\n\r\n").await;
    drop(begun.peer);
    backend.accept().await.say(answer).await;
    let response = call.answer().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_request_that_may_have_had_effects_is_sent_once() {
    let backend = Backend::bind().await;
    let bridge = bridge(&backend, HTTP1);
    let begun = begin(&bridge, &backend, request("POST", Body::empty())).await;
    drop(begun.peer);
    let answer = begun.call.answer().await.map(drop);
    assert_eq!(answer, Err(RequestError::UpstreamBroken));
    let none = timeout(Duration::from_millis(50), backend.0.accept()).await;
    assert!(none.is_err());
}

#[tokio::test]
async fn an_empty_get_is_not_announced_as_a_body() {
    let (sender, body) = pieces();
    sender.send(data("")).await.unwrap();
    drop(sender);
    let begun = begin_alone(request("GET", body)).await;
    assert!(!begun.head.contains("transfer-encoding"), "{}", begun.head);
    assert!(!begun.head.contains("content-length"), "{}", begun.head);
}

#[tokio::test]
async fn a_get_with_a_body_keeps_it() {
    let (sender, body) = pieces();
    sender.send(data("abc")).await.unwrap();
    let mut begun = begin_alone(request("GET", body)).await;
    assert!(
        begun.head.contains("transfer-encoding: chunked"),
        "{}",
        begun.head
    );
    assert_eq!(begun.peer.hear("abc\r\n").await, "3\r\nabc\r\n");
}

#[tokio::test]
async fn a_content_length_is_kept_and_else_the_body_is_chunked() {
    let (sender, body) = pieces();
    let mut sized = request("POST", body);
    sized.headers_mut().insert("content-length", 5.into());
    sender.send(data("hello")).await.unwrap();
    let mut begun = begin_alone(sized).await;
    assert!(
        begun.head.contains("content-length: 5\r\n"),
        "{}",
        begun.head
    );
    assert!(!begun.head.contains("transfer-encoding"), "{}", begun.head);
    assert_eq!(begun.peer.hear("hello").await, "hello");

    let (sender, body) = pieces();
    sender.send(data("hello")).await.unwrap();
    drop(sender);
    let mut begun = begin_alone(request("POST", body)).await;
    assert!(
        begun.head.contains("transfer-encoding: chunked\r\n"),
        "{}",
        begun.head
    );
    assert_eq!(
        begun.peer.hear("0\r\n\r\n").await,
        "5\r\nhello\r\n0\r\n\r\n"
    );
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let (sender, body) = pieces();
    let mut request = request("POST", body);
    let fields = request.headers_mut();
    fields.insert("trailer", HeaderValue::from_static("x-sum"));
    fields.insert("te", HeaderValue::from_static("trailers"));
    sender.send(data("a")).await.unwrap();
    let mut begun = begin_alone(request).await;
    assert!(begun.head.contains("te: trailers\r\n"), "{}", begun.head);
    sender
        .send(Ok(Frame::trailers(trailers("x-sum", "7"))))
        .await
        .unwrap();
    drop(sender);
    assert_eq!(
        begun.peer.hear("\r\n\r\n").await,
        "1\r\na\r\n0\r\nx-sum: 7\r\n\r\n"
    );
    begun
        .peer
        .say(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
             1\r\nb\r\n0\r\nx-back: 8\r\n\r\n",
        )
        .await;
    let response = begun.call.answer().await.unwrap();
    let collected = within(response.into_body().collect()).await.unwrap();
    assert_eq!(collected.trailers(), Some(&trailers("x-back", "8")));
    assert_eq!(collected.to_bytes(), "b");
}

#[tokio::test]
async fn a_client_that_leaves_before_the_response_closes_the_connection() {
    let begun = begin_alone(request("GET", Body::empty())).await;
    drop(begun.call);
    assert_eq!(begun.peer.hear_end().await, b"");
}

#[tokio::test]
async fn a_client_that_leaves_within_its_upload_closes_the_connection() {
    let (sender, body) = pieces();
    sender.send(data("abc")).await.unwrap();
    let begun = begin_alone(request("POST", body)).await;
    drop(begun.call);
    assert_eq!(
        begun.peer.hear_end().await,
        b"3\r\nabc\r\n",
        "never ended cleanly"
    );
    drop(sender);
}

#[tokio::test]
async fn a_client_that_leaves_within_the_response_closes_the_connection() {
    let (sender, upload) = pieces();
    for body in [Body::empty(), upload] {
        let mut begun = begin_alone(request("POST", body)).await;
        begun
            .peer
            .say("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nfirst")
            .await;
        let mut body = begun.call.answer().await.unwrap().into_body();
        let first = next(&mut body).await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "first");
        drop(body);
        begun.peer.hear_end().await;
    }
    drop(sender);
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_never_ended() {
    let (sender, body) = pieces();
    sender.send(data("abc")).await.unwrap();
    let begun = begin_alone(request("POST", body)).await;
    sender.send(Err(BodyError::ClientGone)).await.unwrap();
    assert_eq!(begun.peer.hear_end().await, b"3\r\nabc\r\n");
    assert!(begun.call.answer().await.is_err());
}

#[tokio::test]
async fn a_response_that_breaks_off_is_an_error() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n",
    ] {
        let mut body = answered("GET", answer).await.unwrap().into_body();
        let first = next(&mut body).await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "hello", "{answer}");
        let end = next(&mut body).await.unwrap().map(drop);
        assert_eq!(end, Err(BodyError::UpstreamGone), "{answer}");
    }
}

#[tokio::test]
async fn responses_that_cannot_be_passed_on_are_bad_gateways() {
    for (answer, error) in [
        ("", RequestError::UpstreamBroken),
        ("HTTP/1.1 200 OK\r\nx: y\r\n", RequestError::UpstreamBroken),
        ("nonsense\r\n\r\n", RequestError::UpstreamMalformed),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
            RequestError::UpstreamMalformed,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 1, 1\r\n\r\nx",
            RequestError::UpstreamMalformed,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n\
             0\r\n\r\n",
            RequestError::UpstreamMalformed,
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
            RequestError::UpstreamMalformed,
        ),
    ] {
        assert_eq!(
            answered("GET", answer).await.map(drop),
            Err(error),
            "{answer:?}"
        );
    }
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(100_000));
    let mut begun = begin_alone(request("GET", Body::empty())).await;
    // The bridge closes before it has read all of it.
    let _broken = begun.peer.stream.write_all(endless.as_bytes()).await;
    let answer = begun.call.answer().await.map(drop);
    assert_eq!(answer, Err(RequestError::UpstreamHeaders));
}

#[tokio::test]
async fn interim_responses_are_not_the_response() {
    let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n\
                  HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
    let response = answered("GET", answer).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(!response.headers().contains_key("link"));
    assert_eq!(text(response).await, "hi");
}

#[tokio::test]
async fn responses_without_content_have_none() {
    for (method, answer) in [
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 10\r\n\r\n",
        ),
    ] {
        assert_eq!(
            text(answered(method, answer).await.unwrap()).await,
            "",
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_upstream() {
    let mut begun = begin_alone(request("GET", Body::empty())).await;
    begun.peer.say("HTTP/1.1 200 OK\r\n\r\n").await;
    let mut body = begun.call.answer().await.unwrap().into_body();
    let mut written = 0;
    while let Some(bytes) = write_some(&mut begun.peer).await {
        written += bytes;
        assert!(written < 64 << 20, "the upstream is never stopped");
    }
    // All but what the bridge itself holds is in the buffers of the kernel.
    let mut read = 0;
    while read < written {
        read += next(&mut body)
            .await
            .unwrap()
            .unwrap()
            .into_data()
            .unwrap()
            .len();
    }
    assert!(write_some(&mut begun.peer).await.is_some(), "it goes on");
}

/// Writes what the bridge takes; none if it takes nothing for a while.
async fn write_some(peer: &mut Peer) -> Option<usize> {
    let write = peer.stream.write(&[0; 8 << 10]);
    timeout(Duration::from_millis(300), write)
        .await
        .ok()
        .map(Result::unwrap)
}

#[tokio::test]
async fn an_upstream_that_refuses_is_a_bad_gateway() {
    let backend = Backend::bind().await;
    let bridge = bridge(&backend, HTTP1);
    drop(backend);
    let error = ask(&bridge, request("GET", Body::empty()))
        .await
        .unwrap_err();
    assert_eq!(error, RequestError::UpstreamConnect);
    assert!(error.retryable());
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_a_gateway_timeout() {
    let backend = Backend::bind().await;
    let timeouts = Timeouts {
        first_byte: Duration::from_millis(50),
        ..Timeouts::default()
    };
    let upstreams = vec![backend.upstream(HTTP1)];
    let bridge = bridge_to(upstreams, &Limits::default(), &timeouts);
    let begun = begin(&bridge, &backend, request("GET", Body::empty())).await;
    let answer = begun.call.answer().await.map(drop);
    assert_eq!(answer, Err(RequestError::UpstreamTimeout));
    begun.peer.hear_end().await;
}

#[tokio::test]
async fn the_upstreams_time_does_not_run_while_the_client_sends() {
    let backend = Backend::bind().await;
    let limit = Duration::from_millis(200);
    let timeouts = Timeouts {
        first_byte: limit,
        ..Timeouts::default()
    };
    let upstreams = vec![backend.upstream(HTTP1)];
    let bridge = bridge_to(upstreams, &Limits::default(), &timeouts);
    let (sender, body) = pieces();
    let mut begun = begin(&bridge, &backend, request("POST", body)).await;
    tokio::time::sleep(2 * limit).await;
    sender.send(data("late")).await.unwrap();
    drop(sender);
    begun.peer.hear("0\r\n\r\n").await;
    begun.peer.say("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert!(begun.call.answer().await.is_ok());
}
