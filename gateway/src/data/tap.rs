//! A connection whose incoming bytes somebody else hears too.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Who hears what comes in, and what becomes of the connection.
pub trait Ear {
    /// Bytes that have just been read; never none.
    fn hear(&mut self, bytes: &[u8]);

    /// Somebody read, and has to wait for more or not.
    fn read(&self, _waits: bool) {}

    /// Somebody wrote, and has to wait until it is sent or not.
    fn wrote(&self, _waits: bool) {}

    /// Somebody wants to send no more. Whether the other end is to be told.
    fn closes(&self) -> bool {
        true
    }
}

/// A connection and who hears what comes in on it.
#[derive(Debug)]
pub struct Tap<S, E> {
    pub stream: S,
    pub ear: E,
    /// Bytes that were read before and heard, and are to be read again first.
    early: Bytes,
}

impl<S, E> Tap<S, E> {
    pub fn new(stream: S, ear: E) -> Self {
        Self { stream, ear, early: Bytes::new() }
    }

    /// Give back what was read last. Copied, so that no large buffer is kept for a few bytes.
    pub fn unread(&mut self, bytes: &[u8]) {
        self.early = Bytes::from([bytes, &self.early[..]].concat());
    }

    /// What is to be read again.
    pub fn early(&self) -> &[u8] {
        &self.early
    }
}

impl<S: AsyncRead + Unpin, E: Ear + Unpin> AsyncRead for Tap<S, E> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.early.is_empty() {
            let count = this.early.len().min(buf.remaining());
            buf.put_slice(&this.early[..count]);
            this.early.advance(count);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        this.ear.read(polled.is_pending());
        if buf.filled().len() > before {
            this.ear.hear(&buf.filled()[before..]);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin, E: Ear + Unpin> AsyncWrite for Tap<S, E> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.ear.wrote(polled.is_pending());
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.ear.wrote(polled.is_pending());
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ear.closes() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.ear.wrote(polled.is_pending());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    impl Ear for Vec<u8> {
        fn hear(&mut self, bytes: &[u8]) {
            self.extend_from_slice(bytes);
        }
    }

    #[tokio::test]
    async fn what_is_given_back_is_read_first_and_heard_once() {
        let mut tap = Tap::new(&b"abcdef"[..], Vec::new());
        let mut read = [0; 4];
        tap.read_exact(&mut read).await.unwrap();
        tap.unread(&read[1..]);
        tap.unread(b"A");
        assert_eq!(tap.early(), b"Abcd");
        let mut rest = [0; 3];
        tap.read_exact(&mut rest).await.unwrap();
        let mut text = rest.to_vec();
        tap.read_to_end(&mut text).await.unwrap();
        assert_eq!((&text[..], &tap.ear[..]), (&b"Abcdef"[..], &b"abcdef"[..]));
    }
}
