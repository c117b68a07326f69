//! Claims about tunnels.

use std::sync::Mutex;

use super::*;
use crate::request::ConnectProtocol;

fn tunnel(fields: &[(&str, &str)], body: Body) -> Request<Body> {
    let mut request = request("CONNECT", "https://gw.test/chat", fields, body);
    let protocol = ConnectProtocol::new(b"websocket").unwrap();
    request.extensions_mut().insert(protocol);
    request
}

fn open(service: &Service) -> i64 {
    service.telemetry.metrics.connect_tunnels.get()
}

fn echo(limits: &Limits) -> Service {
    service(limits, async |request| {
        let mut response = Response::new(request.into_body());
        let length = HeaderValue::from_static("7");
        response.headers_mut().insert("content-length", length);
        Ok(response)
    })
}

#[tokio::test]
async fn a_tunnel_passes_any_number_of_bytes_both_ways() {
    let service = echo(&Limits {
        body_bytes: 1,
        ..Limits::default()
    });
    let pieces = script([data("a"), data("bc")]);
    let response = respond(&service, tunnel(&[], pieces)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(!response.headers().contains_key("content-length"));
    assert_eq!(open(&service), 1);
    let echoed = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&echoed[..], b"abc");
    assert_eq!(open(&service), 0);
    assert_eq!(failures(&service, "client_gone"), 0);
}

#[tokio::test]
async fn connect_without_a_protocol_or_with_a_length_reaches_no_handler() {
    let service = echo(&Limits::default());
    let plain = request("CONNECT", "https://gw.test/chat", &[], Body::empty());
    assert_eq!(respond(&service, plain).await.status(), 501);
    let declared = tunnel(&[("content-length", "0")], Body::empty());
    assert_eq!(respond(&service, declared).await.status(), 400);
    assert_eq!(open(&service), 0);
}

#[tokio::test]
async fn a_tunnel_that_is_refused_has_an_ordinary_response() {
    let service = service(&Limits::default(), async |_request| {
        let mut response = Response::new(Body::full("no"));
        *response.status_mut() = StatusCode::FORBIDDEN;
        Ok(response)
    });
    let response = respond(&service, tunnel(&[], script([PAUSE]))).await;
    assert_eq!(response.status(), 403);
    assert_eq!(open(&service), 0);
    let text = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&text[..], b"no");
}

#[tokio::test]
async fn a_tunnel_is_open_until_both_its_directions_have_ended() {
    let kept: Arc<Mutex<Option<Body>>> = Arc::default();
    let keep = Arc::clone(&kept);
    let service = service(&Limits::default(), move |request: Request<Body>| {
        *keep.lock().unwrap() = Some(request.into_body());
        std::future::ready(Ok(Response::new(Body::empty())))
    });
    let mut response = respond(&service, tunnel(&[], script([data("late")]))).await;
    assert!(next(response.body_mut()).await.is_none());
    drop(response);
    assert_eq!(open(&service), 1, "the client's direction goes on");
    let upload = kept.lock().unwrap().take().unwrap();
    assert_eq!(&upload.collect().await.unwrap().to_bytes()[..], b"late");
    assert_eq!(open(&service), 0);
    assert_eq!(failures(&service, "client_gone"), 0);

    let broken = script([Some(Err(BodyError::ClientGone))]);
    let mut response = respond(&service, tunnel(&[], broken)).await;
    assert!(next(response.body_mut()).await.is_none());
    let upload = kept.lock().unwrap().take().unwrap();
    assert!(upload.collect().await.is_err());
    assert_eq!((open(&service), failures(&service, "client_gone")), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_in_which_nothing_passes_ends() {
    let service = echo(&Limits::default());
    let now = || tokio::time::sleep(Duration::ZERO).deadline();
    let began = now();
    let mut response = respond(&service, tunnel(&[], script([PAUSE]))).await;
    let ended = next(response.body_mut()).await;
    assert!(matches!(ended, Some(Err(BodyError::TimedOut))));
    assert_eq!(now() - began, Timeouts::default().tunnel_idle);
    assert_eq!((open(&service), failures(&service, "body_timeout")), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn either_direction_keeps_the_other_alive() {
    let service = service(&Limits::default(), async |request: Request<Body>| {
        Ok(Response::new(Body::new(Swallow(request.into_body()))))
    });
    let pause = Timeouts::default().tunnel_idle * 2 / 3;
    let body = Body::new(Slow {
        left: 10,
        pause,
        timer: Box::pin(tokio::time::sleep(pause)),
    });
    let response = respond(&service, tunnel(&[], body)).await;
    assert!(response.into_body().collect().await.is_ok());
    assert_eq!(failures(&service, "body_timeout"), 0);
}
