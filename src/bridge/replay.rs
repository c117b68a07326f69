use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};

use crate::request::{Body, BodyError};

/// A request body that can be sent again while what has been read of it is kept.
#[derive(Debug)]
pub(super) struct Replay(Content);

#[derive(Debug)]
enum Content {
    Empty,
    Source(Arc<Mutex<Source>>),
}

#[derive(Debug)]
struct Source {
    body: Body,
    hint: SizeHint,
    /// None once it was more than the limit.
    kept: Option<Vec<Bytes>>,
    /// Bytes that may still be kept.
    room: usize,
    trailers: Option<HeaderMap>,
    ended: bool,
    /// Which of the copies may read on: the last.
    copy: u64,
}

/// A body that has ended and does not say that it was empty: a content-length of 0 would be what some
/// clients said and others did not.
#[derive(Debug)]
struct Nothing;

/// The body from its beginning.
#[derive(Debug)]
struct Copy {
    source: Arc<Mutex<Source>>,
    number: u64,
    /// Kept pieces that it has given.
    given: usize,
    bytes: u64,
    ended: bool,
}

impl Replay {
    /// Keeps up to `limit` bytes.
    pub(super) fn new(body: Body, limit: usize) -> Self {
        if body.is_end_stream() {
            return Self(Content::Empty);
        }
        Self(Content::Source(Arc::new(Mutex::new(Source {
            hint: body.size_hint(),
            body,
            kept: Some(Vec::new()),
            room: limit,
            trailers: None,
            ended: false,
            copy: 0,
        }))))
    }

    /// Whether another body can be made.
    pub(super) fn is_whole(&self) -> bool {
        match &self.0 {
            Content::Empty => true,
            Content::Source(source) => lock(source).kept.is_some(),
        }
    }

    /// Makes a body that begins at the beginning. Those made before end.
    pub(super) fn body(&self) -> Body {
        match &self.0 {
            Content::Empty => Body::new(Nothing),
            Content::Source(source) => {
                let number = {
                    let mut source = lock(source);
                    source.copy += 1;
                    source.copy
                };
                Body::new(Copy {
                    source: Arc::clone(source),
                    number,
                    given: 0,
                    bytes: 0,
                    ended: false,
                })
            }
        }
    }
}

impl Source {
    fn keep(&mut self, data: &Bytes) {
        let room = self.room.checked_sub(data.len());
        self.room = room.unwrap_or(0);
        match (&mut self.kept, room) {
            (Some(kept), Some(_)) => kept.push(data.clone()),
            _ => self.kept = None,
        }
    }
}

impl Copy {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut source = lock(&self.source);
        if source.copy != self.number {
            return Poll::Ready(Some(Err(BodyError::ClientGone)));
        }
        if let Some(data) = source.kept.as_ref().and_then(|kept| kept.get(self.given)) {
            self.given += 1;
            return Poll::Ready(Some(Ok(Frame::data(data.clone()))));
        }
        if source.ended {
            let trailers = source.trailers.clone();
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let Some(frame) = ready!(Pin::new(&mut source.body).poll_frame(cx)) else {
            source.ended = true;
            return Poll::Ready(None);
        };
        let frame = frame.inspect_err(|_failed| source.kept = None)?;
        match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => {
                source.keep(data);
                self.given += 1;
            }
            (None, Some(trailers)) => {
                source.trailers = Some(trailers.clone());
                source.ended = true;
            }
            (None, None) => {}
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

impl http_body::Body for Copy {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let frame = ready!(this.poll(cx));
        match &frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                this.bytes += u64::try_from(length).unwrap_or(u64::MAX);
                this.ended = frame.is_trailers();
            }
            Some(Err(_)) | None => this.ended = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        if self.ended {
            return true;
        }
        let source = lock(&self.source);
        let all = source
            .kept
            .as_ref()
            .is_none_or(|kept| kept.len() == self.given);
        let over = source.ended || source.body.is_end_stream();
        all && over && source.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let source = lock(&self.source);
        match source.hint.exact() {
            Some(all) => SizeHint::with_exact(all.saturating_sub(self.bytes)),
            None => SizeHint::default(),
        }
    }
}

impl http_body::Body for Nothing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

fn lock(source: &Mutex<Source>) -> MutexGuard<'_, Source> {
    source.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use http_body_util::BodyExt;

    use super::*;

    type Piece = Result<Frame<Bytes>, BodyError>;

    struct Frames(VecDeque<Piece>);

    impl http_body::Body for Frames {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Piece>> {
            Poll::Ready(self.0.pop_front())
        }
    }

    fn body(pieces: &[&'static str], trailers: Option<HeaderMap>) -> Body {
        let data = pieces
            .iter()
            .map(|piece| Frame::data(Bytes::from_static(piece.as_bytes())));
        let frames = data.chain(trailers.map(Frame::trailers)).map(Ok);
        Body::new(Frames(frames.collect()))
    }

    async fn read(body: Body) -> Result<(Bytes, Option<HeaderMap>), BodyError> {
        let collected = body.collect().await?;
        let trailers = collected.trailers().cloned();
        Ok((collected.to_bytes(), trailers))
    }

    #[tokio::test]
    async fn what_fits_is_given_again_with_its_trailers() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", http::HeaderValue::from_static("7"));
        let replay = Replay::new(body(&["ab", "cd"], Some(trailers.clone())), 4);
        for _ in 0..3 {
            assert!(replay.is_whole());
            let (data, sum) = read(replay.body()).await.unwrap();
            assert_eq!((&data[..], sum.as_ref()), (&b"abcd"[..], Some(&trailers)));
        }
    }

    #[tokio::test]
    async fn a_copy_goes_on_where_the_last_one_was_cut() {
        let replay = Replay::new(body(&["ab", "cd", "ef"], None), 100);
        let mut first = replay.body();
        assert_eq!(
            first.frame().await.unwrap().unwrap().into_data().unwrap(),
            "ab"
        );
        let second = replay.body();
        assert_eq!(
            first.frame().await.unwrap().unwrap_err(),
            BodyError::ClientGone
        );
        assert_eq!(read(second).await.unwrap().0, "abcdef");
    }

    #[tokio::test]
    async fn what_does_not_fit_is_given_once() {
        let replay = Replay::new(body(&["ab", "cd"], None), 3);
        assert!(replay.is_whole());
        assert_eq!(read(replay.body()).await.unwrap().0, "abcd");
        assert!(!replay.is_whole());
    }

    #[tokio::test]
    async fn nothing_is_given_again_as_often_as_is_asked() {
        let replay = Replay::new(Body::empty(), 0);
        for _ in 0..2 {
            assert!(replay.is_whole());
            assert!(replay.body().is_end_stream());
        }
    }
}
