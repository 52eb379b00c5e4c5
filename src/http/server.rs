//! The accept loop: bounded connections, time-outs on headers and on answers
//! that nobody reads, a graceful stop. What is answered is the router's business.
//!
//! HTTP/1.1 alone: telling HTTP/2 from it would mean to wait, without a bound,
//! for a client's first bytes. When [`serve`] returns no connection is left,
//! so that nothing can be taken any more.

use super::patience::Patience;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

const HEADERS_MAX: usize = 64;
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Failures to accept come in floods; the log hears of one in this time.
const ACCEPT_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Bounds of the server.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Connections at a time; further ones wait to be accepted.
    pub connections_max: u32,
    /// A client must have sent its headers by then, also those of a further
    /// request on the same connection.
    pub header_timeout: Duration,
    /// A client that takes nothing of its answer, or next to nothing, is waited for so long.
    pub write_timeout: Duration,
    /// Open requests have so long to end once the daemon stops.
    pub stop_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            connections_max: 512,
            header_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(5),
        }
    }
}

/// Serves `router` on `listener` until `stop` turns true.
pub async fn serve(listener: TcpListener, router: Router, options: Options, mut stop: watch::Receiver<bool>) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_timeout)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX);
    let open = Arc::new(Semaphore::new(options.connections_max as usize));
    let graceful = GracefulShutdown::new();
    let (cut, _) = watch::channel(false);
    let mut told: Option<Instant> = None;
    loop {
        // With all connections taken the stop must be heard as well.
        let accepted = tokio::select! {
            accepted = accept(&listener, &open) => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (stream, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, or the client is gone already.
                if told.is_none_or(|told| told.elapsed() >= ACCEPT_LOG_INTERVAL) {
                    told = Some(Instant::now());
                    tracing::warn!(%error, "cannot accept HTTP connections");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        let stream = TokioIo::new(Patience::new(stream, options.write_timeout));
        let connection = graceful.watch(builder.serve_connection(stream, service));
        let mut is_cut = cut.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "HTTP connection ended early");
                },
                _ = is_cut.wait_for(|cut| *cut) => {}
            }
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(options.stop_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!("some HTTP requests were still open and are cut off");
    }
    cut.send_replace(true);
    // All permits are back when the last connection is gone.
    let _ = open.acquire_many(options.connections_max).await;
}

async fn accept(
    listener: &TcpListener,
    open: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = open.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;

    /// A server that has answered once, its address, and what stops it.
    async fn start(options: Options) -> (std::net::SocketAddr, watch::Sender<bool>, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/", get(|| async { "hello" }))
            .route("/large", get(|| async { vec![0; 64 << 20] }))
            .route("/never", get(std::future::pending::<()>));
        let (stop, stops) = watch::channel(false);
        let server = tokio::spawn(serve(listener, router, options, stops));
        (address, stop, server)
    }

    async fn ask(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// A bound on what must end by itself.
    async fn soon<T>(future: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(5), future).await.expect("it ends by itself")
    }

    #[tokio::test]
    async fn connections_that_say_nothing_make_room() {
        let header_timeout = Duration::from_millis(50);
        let (address, _stop, _) =
            start(Options { connections_max: 1, header_timeout, ..Options::default() }).await;
        for begun in ["", "P", "GET / HT"] {
            let mut silent = TcpStream::connect(address).await.unwrap();
            silent.write_all(begun.as_bytes()).await.unwrap();
            assert!(soon(ask(address, "/")).await.ends_with("hello"), "{begun:?}");
        }
    }

    #[tokio::test]
    async fn who_does_not_read_its_answer_makes_room() {
        let write_timeout = Duration::from_millis(50);
        let (address, _stop, _) =
            start(Options { connections_max: 1, write_timeout, ..Options::default() }).await;
        let mut silent = TcpStream::connect(address).await.unwrap();
        silent.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert!(soon(ask(address, "/")).await.ends_with("hello"));
    }

    #[tokio::test]
    async fn a_stop_is_heard_while_all_connections_are_taken_and_leaves_none() {
        let stop_timeout = Duration::from_millis(50);
        let options = Options { connections_max: 1, stop_timeout, ..Options::default() };
        let (address, stop, server) = start(options).await;
        let mut taken = TcpStream::connect(address).await.unwrap();
        taken.write_all(b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let waiting = tokio::spawn(async move { ask(address, "/").await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!waiting.is_finished());
        stop.send_replace(true);
        soon(server).await.unwrap();
        let ended = soon(taken.read_u8()).await;
        assert!(ended.is_err(), "the request that never ends was cut off");
    }
}
