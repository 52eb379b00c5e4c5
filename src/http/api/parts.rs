//! A body in parts, each of which goes out as it was written: millions of points
//! are not copied into one text first. Its length is known, as that of any text
//! in memory.

use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// See the module's head.
pub(super) struct Parts(VecDeque<Bytes>);

impl Parts {
    /// Empty ones are left out.
    pub fn new(texts: Vec<String>) -> Self {
        Parts(texts.into_iter().filter(|text| !text.is_empty()).map(Bytes::from).collect())
    }
}

impl HttpBody for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|part| part.len() as u64).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn parts_are_one_text_of_known_length() {
        for (texts, whole) in [(vec![], ""), (vec![""], ""), (vec!["a"], "a"), (vec!["ab", "", "c"], "abc")] {
            let parts = Parts::new(texts.into_iter().map(str::to_owned).collect());
            assert_eq!(parts.size_hint().exact(), Some(whole.len() as u64));
            assert_eq!(parts.is_end_stream(), whole.is_empty());
            assert_eq!(parts.collect().await.unwrap().to_bytes(), whole);
        }
    }
}
