//! A body in parts, each of which is written when it is about to be sent: millions
//! of points are never there as text all at once.
//!
//! Parts are written in the background, a few ahead of what was sent. Nothing is
//! at work for a client that does not read. Of more than one part the length is
//! not known before the last.

use crate::workers;
use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::oneshot;

/// Parts that are being written, or are and were not sent.
const AHEAD: usize = 2;

/// See the module's head.
pub(super) struct Parts {
    begin: Bytes,
    rest: VecDeque<Part>,
    at_work: VecDeque<oneshot::Receiver<String>>,
    end: Bytes,
}

/// Text that is not written yet.
pub(super) struct Part {
    bytes_min: u64,
    write: Box<dyn FnOnce() -> String + Send>,
}

impl Part {
    /// What `write` gives, which is `bytes_min` long at least.
    pub fn new(bytes_min: u64, write: impl FnOnce() -> String + Send + 'static) -> Self {
        Part { bytes_min, write: Box::new(write) }
    }
}

impl Parts {
    pub fn new(begin: String, rest: Vec<Part>, end: String) -> Self {
        Parts { begin: begin.into(), rest: rest.into(), at_work: VecDeque::new(), end: end.into() }
    }
}

impl HttpBody for Parts {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        while this.at_work.len() < AHEAD
            && let Some(part) = this.rest.pop_front()
        {
            this.at_work.push_back(workers::in_background(part.write));
        }
        let mut text = std::mem::take(&mut this.begin);
        if text.is_empty()
            && let Some(first) = this.at_work.front_mut()
        {
            let written = ready!(Pin::new(first).poll(context));
            this.at_work.pop_front();
            match written {
                Ok(written) => text = written.into(),
                // What was sent is half an answer: the connection ends.
                Err(_) => return Poll::Ready(Some(Err(io::Error::other("the answer could not be written")))),
            }
        }
        if text.is_empty() {
            text = std::mem::take(&mut this.end);
        }
        Poll::Ready(Some(text).filter(|text| !text.is_empty()).map(|text| Ok(Frame::data(text))))
    }

    fn is_end_stream(&self) -> bool {
        self.begin.is_empty() && self.rest.is_empty() && self.at_work.is_empty() && self.end.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let known = (self.begin.len() + self.end.len()) as u64;
        if self.rest.is_empty() && self.at_work.is_empty() {
            return SizeHint::with_exact(known);
        }
        let mut hint = SizeHint::new();
        hint.set_lower(known + self.rest.iter().map(|part| part.bytes_min).sum::<u64>());
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    fn parts(begin: &str, texts: &[&str], end: &str) -> Parts {
        let part = |text: &&str| {
            let text = (*text).to_owned();
            Part::new(text.len() as u64, move || text)
        };
        Parts::new(begin.to_owned(), texts.iter().map(part).collect(), end.to_owned())
    }

    #[tokio::test]
    async fn parts_are_one_text() {
        for (begin, texts, end) in [
            ("", &[][..], ""),
            ("a", &[], ""),
            ("", &["b"], ""),
            ("a", &["b"], "c"),
            ("a", &["b", "cd", "e", "f", "g"], "h"),
        ] {
            let whole = [&[begin], texts, &[end]].concat().concat();
            let body = parts(begin, texts, end);
            assert_eq!(body.size_hint().lower(), whole.len() as u64);
            assert_eq!(body.size_hint().exact(), texts.is_empty().then_some(whole.len() as u64));
            assert_eq!(body.is_end_stream(), whole.is_empty());
            assert_eq!(body.collect().await.unwrap().to_bytes(), whole);
        }
    }

    #[tokio::test]
    async fn a_part_that_is_not_written_is_an_error() {
        let fails = Part::new(1, || panic!("as is tested"));
        assert!(Parts::new("a".into(), vec![fails], "c".into()).collect().await.is_err());
    }
}
