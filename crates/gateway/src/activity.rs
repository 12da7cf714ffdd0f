//! Whether anybody is being served: for a server that ends when nobody is.

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

/// Counts requests. Cheap to clone.
#[derive(Clone, Default)]
pub struct Activity {
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Requests that are not answered to the end.
    under_way: AtomicUsize,
    /// All there ever were.
    ever: AtomicU64,
}

impl Activity {
    /// Requests that are not answered to the end.
    pub fn under_way(&self) -> usize {
        self.counts.under_way.load(Ordering::SeqCst)
    }

    /// All requests there ever were.
    pub fn ever(&self) -> u64 {
        self.counts.ever.load(Ordering::SeqCst)
    }

    /// A request has come.
    pub(crate) fn begin(&self) -> Request {
        self.counts.under_way.fetch_add(1, Ordering::SeqCst);
        self.counts.ever.fetch_add(1, Ordering::SeqCst);
        Request { counts: Arc::clone(&self.counts) }
    }
}

/// A request that is not answered to the end.
pub(crate) struct Request {
    counts: Arc<Counts>,
}

impl Drop for Request {
    fn drop(&mut self) {
        self.counts.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Request {
    /// The answer, whose end is that of the request.
    pub(crate) fn answered<B>(self, response: http::Response<B>) -> http::Response<Answer<B>> {
        response.map(|body| Answer { body, _request: self })
    }
}

/// The body of the answer to a request.
pub(crate) struct Answer<B> {
    body: B,
    _request: Request,
}

impl<B: HttpBody<Data = Bytes, Error = io::Error> + Unpin> HttpBody for Answer<B> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
