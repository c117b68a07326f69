//! What a connection may hold, and for how long.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_counted() {
    let (mut setup, client) = Setup::new(&[Protocol::Http2]);
    setup.limits.connections = 1;
    let edge = setup.start().await;
    let mut tasks = JoinSet::new();
    let mut first = Sender::connect(&client, edge.address, &mut tasks).await;
    soon(client.connect(edge.address)).await.unwrap_err();
    assert_eq!(edge.refused("connection_limit"), 1);
    assert_eq!(first.get("/facts").await.unwrap().status(), StatusCode::OK);
    drop(first);
    tasks.shutdown().await;
    until(|| edge.open() == 0).await;
    let mut next = Sender::connect(&client, edge.address, &mut tasks).await;
    assert_eq!(next.get("/facts").await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn half_open_connections_beyond_the_limit_are_closed_and_counted() {
    let (mut setup, client) = Setup::new(&[Protocol::Http2]);
    setup.limits.handshakes = 1;
    let edge = setup.start().await;
    let mut tasks = JoinSet::new();
    let mut established = Sender::connect(&client, edge.address, &mut tasks).await;
    let silent = TcpStream::connect(edge.address).await.unwrap();
    soon(client.connect(edge.address)).await.unwrap_err();
    assert_eq!(edge.refused("handshake_limit"), 1);
    let response = established.get("/facts").await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    drop(silent);
    until(|| edge.refused("closed_early") == 1).await;
    Sender::connect(&client, edge.address, &mut tasks).await;
}

#[tokio::test]
async fn a_handshake_that_stalls_is_cut() {
    let (mut setup, _) = Setup::new(&[]);
    setup.timeouts.handshake = SHORT;
    let edge = setup.start().await;
    let mut silent = TcpStream::connect(edge.address).await.unwrap();
    let mut begun = TcpStream::connect(edge.address).await.unwrap();
    begun.write_all(&[22, 3, 1, 2]).await.unwrap();
    for stream in [&mut silent, &mut begun] {
        drop(soon(stream.read(&mut [0; 1])).await);
    }
    until(|| edge.refused("handshake_timeout") == 2).await;
}

#[tokio::test]
async fn a_slow_header_section_gets_408() {
    let (mut setup, client) = Setup::new(&[Protocol::Http1]);
    setup.timeouts.header = SHORT;
    let edge = setup.start().await;
    let mut stream = soon(client.connect(edge.address)).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    until(|| edge.failed("request_timeout") == 1).await;
}

#[tokio::test]
async fn a_slow_second_request_gets_408_after_the_first_response() {
    let (mut setup, client) = Setup::new(&[Protocol::Http1]);
    setup.timeouts.header = SHORT;
    let edge = setup.start().await;
    let mut stream = soon(client.connect(edge.address)).await.unwrap();
    let requests = b"GET /pattern/8 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(requests).await.unwrap();
    let mut answer = vec![0; 8 << 10];
    let length = soon(stream.read(&mut answer)).await.unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 200 "));
    stream.write_all(b"GET /patt").await.unwrap();
    let mut rest = Vec::new();
    soon(stream.read_to_end(&mut rest)).await.unwrap();
    assert!(String::from_utf8_lossy(&rest).contains("HTTP/1.1 408 "));
    until(|| edge.failed("request_timeout") == 1).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_order() {
    for protocols in BOTH {
        let (mut setup, client) = Setup::new(protocols);
        setup.timeouts.idle = SHORT;
        let edge = setup.start().await;
        let mut tasks = JoinSet::new();
        let mut sender = Sender::connect(&client, edge.address, &mut tasks).await;
        assert_eq!(sender.get("/facts").await.unwrap().status(), StatusCode::OK);
        sender.closed().await;
        until(|| edge.open() == 0).await;
        assert_eq!(edge.failed("request_timeout"), 0);
    }
}

#[tokio::test]
async fn a_running_request_keeps_its_connection() {
    for protocols in BOTH {
        let (mut setup, client) = Setup::new(protocols);
        setup.timeouts.idle = SHORT;
        setup.timeouts.header = SHORT;
        let edge = setup.start().await;
        let mut tasks = JoinSet::new();
        let mut sender = Sender::connect(&client, edge.address, &mut tasks).await;
        let origin = edge.origin.clone();
        let outlasted = async {
            until(|| origin.held() == 1).await;
            let mut drivers = JoinSet::new();
            let mut idle = Sender::connect(&client, edge.address, &mut drivers).await;
            idle.closed().await;
            origin.release();
        };
        let (response, ()) = tokio::join!(sender.get("/hold"), outlasted);
        assert_eq!(text(response.unwrap()).await, "held");
    }
}

#[tokio::test]
async fn a_header_section_beyond_the_limit_gets_431() {
    for protocols in BOTH {
        let (mut setup, client) = Setup::new(protocols);
        setup.limits.header_bytes = 4 << 10;
        setup.limits.header_fields = 20;
        let edge = setup.start().await;
        let mut tasks = JoinSet::new();
        let mut large = request("GET", "/facts", Body::empty());
        let value = HeaderValue::try_from("x".repeat(5 << 10)).unwrap();
        large.headers_mut().insert("large", value);
        let mut many = request("GET", "/facts", Body::empty());
        for _ in 0..30 {
            let field = HeaderValue::from_static("x");
            many.headers_mut().append("many", field);
        }
        for request in [large, many] {
            let mut sender = Sender::connect(&client, edge.address, &mut tasks).await;
            let response = sender.send(request).await.unwrap();
            assert_eq!(
                response.status(),
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "{protocols:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_response_that_the_client_does_not_take_is_cut() {
    for protocols in BOTH {
        let (mut setup, client) = Setup::new(protocols);
        setup.timeouts.body_idle = SHORT;
        let edge = setup.start().await;
        let mut tasks = JoinSet::new();
        let mut sender = Sender::connect(&client, edge.address, &mut tasks).await;
        let response = sender.get("/endless").await.unwrap();
        until(|| edge.failed("client_gone") == 1).await;
        if protocols[0] == Protocol::Http2 {
            assert_eq!(sender.get("/facts").await.unwrap().status(), StatusCode::OK);
        }
        let mut body = response.into_body();
        let error = loop {
            match soon(body.frame())
                .await
                .expect("the body never ends cleanly")
            {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(!error.is_user(), "{error:?}");
    }
}
