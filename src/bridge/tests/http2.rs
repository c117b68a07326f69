use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::*;

const HTTP2: UpstreamProtocol = UpstreamProtocol::Http2;

/// Serves one connection after the other with hyper, and says how many there were.
fn serve<F, R>(backend: Backend, answer: F) -> (JoinSet<()>, Arc<AtomicU64>)
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    let connections = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&connections);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (stream, _) = backend.0.accept().await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answer = answer(request);
                async { Ok::<_, BodyError>(answer.await) }
            });
            // Some tests break the connection.
            let _broken = Builder::new(Tasks::default())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    });
    (tasks, connections)
}

/// Tells when it is dropped, and how many bytes were taken from it.
struct Endless {
    taken: Arc<AtomicU64>,
    dropped: mpsc::Sender<()>,
}

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.taken.fetch_add(1 << 10, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; 1 << 10])))))
    }
}

/// Waits for the end of the upload, and tells when it is dropped.
struct Waits {
    upload: Incoming,
    ended: mpsc::Sender<()>,
}

impl http_body::Body for Waits {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.upload).poll_frame(cx);
        polled.map(|_end| Some(Err(BodyError::ClientGone)))
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.ended.try_send(()).unwrap();
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.dropped.try_send(()).unwrap();
    }
}

#[tokio::test]
async fn the_authority_is_the_clients_and_the_connection_is_shared() {
    let backend = Backend::bind().await;
    let bridge = bridge(&backend, HTTP2);
    let (_tasks, connections) = serve(backend, async |request| {
        assert_eq!(request.uri(), "http://gw.test/path?query");
        assert!(!request.headers().contains_key("host"));
        assert_eq!(request.headers()["x-forwarded-for"], "192.0.2.7");
        Response::new(Body::full("hi"))
    });
    let calls: Vec<Call> = (0..10)
        .map(|_| Call::start(&bridge, request("GET", Body::empty())))
        .collect();
    for call in calls {
        let response = call.answer().await.unwrap();
        assert_eq!(response.headers()["via"], "2 wayhold");
        assert_eq!(text(response).await, "hi");
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn bodies_and_trailers_pass_both_ways() {
    let backend = Backend::bind().await;
    let bridge = bridge(&backend, HTTP2);
    let (_tasks, _) = serve(backend, async |request| {
        assert_eq!(request.headers()["te"], "trailers");
        let body = request.into_body();
        Response::new(Body::new(body.map_err(|_error| BodyError::ClientGone)))
    });
    let (sender, body) = pieces();
    let mut request = request("POST", body);
    let te = HeaderValue::from_static("trailers");
    request.headers_mut().insert("te", te);
    let call = Call::start(&bridge, request);
    sender.send(data("ping")).await.unwrap();
    let mut body = call.answer().await.unwrap().into_body();
    let first = next(&mut body).await.unwrap().unwrap();
    assert_eq!(
        first.into_data().unwrap(),
        "ping",
        "before the upload ended"
    );
    sender
        .send(Ok(Frame::trailers(trailers("x-sum", "7"))))
        .await
        .unwrap();
    drop(sender);
    let last = next(&mut body).await.unwrap().unwrap();
    assert_eq!(last.into_trailers().unwrap(), trailers("x-sum", "7"));
    assert!(next(&mut body).await.is_none());
}

#[tokio::test]
async fn a_client_that_leaves_resets_the_stream_and_nothing_else() {
    let backend = Backend::bind().await;
    let bridge = bridge(&backend, HTTP2);
    let (events, mut seen) = mpsc::channel(4);
    let (_tasks, connections) = serve(backend, move |request| {
        let events = events.clone();
        async move {
            if request.method() == Method::GET {
                return Response::new(Body::empty());
            }
            events.send("began").await.unwrap();
            let end = request.into_body().collect().await;
            events
                .send(if end.is_err() { "reset" } else { "clean" })
                .await
                .unwrap();
            std::future::pending().await
        }
    });
    let (sender, body) = pieces();
    let call = Call::start(&bridge, request("POST", body));
    assert_eq!(within(seen.recv()).await, Some("began"));
    drop(call);
    assert_eq!(within(seen.recv()).await, Some("reset"));
    drop(sender);
    let next = ask(&bridge, request("GET", Body::empty())).await;
    assert_eq!(next.unwrap().status(), StatusCode::OK);
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_client_that_leaves_within_response_and_upload_ends_both() {
    let backend = Backend::bind().await;
    let bridge = bridge(&backend, HTTP2);
    let (ended, mut end) = mpsc::channel(1);
    let (_tasks, _) = serve(backend, move |request| {
        let upload = request.into_body();
        let ended = ended.clone();
        async { Response::new(Body::new(Waits { upload, ended })) }
    });
    let (sender, body) = pieces();
    let response = ask(&bridge, request("POST", body)).await.unwrap();
    drop(response);
    within(end.recv()).await;
    drop(sender);
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_upstream_and_no_other_client() {
    let backend = Backend::bind().await;
    let bridge = bridge(&backend, HTTP2);
    let taken = Arc::new(AtomicU64::new(0));
    let (dropped, mut gone) = mpsc::channel(1);
    let counter = Arc::clone(&taken);
    let (_tasks, _) = serve(backend, move |request| {
        let body = if request.method() == Method::POST {
            Body::new(Endless {
                taken: Arc::clone(&counter),
                dropped: dropped.clone(),
            })
        } else {
            Body::full("hi")
        };
        async { Response::new(body) }
    });
    let stalled = ask(&bridge, request("POST", Body::empty())).await.unwrap();
    // Each answer shows that the connection has had its turn since.
    for _ in 0..20 {
        let response = ask(&bridge, request("GET", Body::empty())).await.unwrap();
        assert_eq!(text(response).await, "hi");
    }
    let held = taken.load(Ordering::Relaxed);
    assert!(held < 1 << 20, "{held} bytes");
    drop(stalled);
    assert_eq!(within(gone.recv()).await, Some(()));
}

#[tokio::test]
async fn a_response_that_is_reset_is_an_error() {
    let backend = Backend::bind().await;
    let bridge = bridge(&backend, HTTP2);
    let (sender, body) = pieces();
    let body = Arc::new(Mutex::new(Some(body)));
    let (_tasks, _) = serve(backend, move |_request| {
        let body = body.lock().unwrap().take().unwrap();
        async { Response::new(body) }
    });
    let response = ask(&bridge, request("GET", Body::empty())).await;
    let mut body = response.unwrap().into_body();
    sender.send(data("first")).await.unwrap();
    let first = next(&mut body).await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "first");
    sender.send(Err(BodyError::Internal)).await.unwrap();
    let end = next(&mut body).await.unwrap().map(drop);
    assert_eq!(end, Err(BodyError::UpstreamGone));
}

#[tokio::test]
async fn an_upstream_that_closed_its_connection_gets_another() {
    let backend = Backend::bind().await;
    let bridge = bridge(&backend, HTTP2);
    let mut answered = 0;
    while answered < 2 {
        let call = Call::start(&bridge, request("GET", Body::empty()));
        let stream = within(backend.0.accept()).await.unwrap().0;
        let service = service_fn(async |_request: Request<Incoming>| {
            Ok::<_, BodyError>(Response::new(Body::full("hi")))
        });
        let mut connection = std::pin::pin!(
            Builder::new(Tasks::default()).serve_connection(TokioIo::new(stream), service)
        );
        let response = tokio::select! {
            _ = &mut connection => unreachable!("the bridge keeps the connection"),
            response = call.answer() => response.unwrap(),
        };
        connection.as_mut().graceful_shutdown();
        let (body, _end) = tokio::join!(text(response), connection);
        assert_eq!(body, "hi");
        answered += 1;
    }
}

#[tokio::test]
async fn an_upstream_without_http2_is_a_bad_gateway() {
    let backend = Backend::bind().await;
    let bridge = bridge(&backend, HTTP2);
    let call = Call::start(&bridge, request("POST", Body::empty()));
    let mut peer = backend.accept().await;
    peer.say("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let answer = call.answer().await.map(drop);
    assert_eq!(answer, Err(RequestError::UpstreamMalformed));
}

#[tokio::test]
async fn an_upstream_that_refuses_is_a_bad_gateway() {
    let backend = Backend::bind().await;
    let bridge = bridge(&backend, HTTP2);
    drop(backend);
    let answer = ask(&bridge, request("GET", Body::empty())).await.map(drop);
    assert_eq!(answer, Err(RequestError::UpstreamConnect));
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let backend = Backend::bind().await;
    let timeouts = Timeouts {
        upstream_idle: Duration::from_millis(50),
        ..Timeouts::default()
    };
    let bridge = bridge_to(vec![backend.upstream(HTTP2)], &Limits::default(), &timeouts);
    let (_tasks, connections) = serve(backend, async |_request| Response::new(Body::empty()));
    // The backend serves one connection after the other: it takes the second when the first ended.
    for _ in 0..20 {
        if within(Box::pin(connections_after(&bridge, &connections))).await > 1 {
            return;
        }
    }
    panic!("it is kept");
}

async fn connections_after(bridge: &Bridge, connections: &AtomicU64) -> u64 {
    ask(bridge, request("GET", Body::empty())).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    connections.load(Ordering::Relaxed)
}
