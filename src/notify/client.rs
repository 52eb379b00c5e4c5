//! One HTTP POST or GET with a time limit: no redirects, a bounded answer, and
//! errors that name the host at most.

use std::error::Error as _;
use std::time::Duration;

use super::endpoint::{Endpoint, URL_BYTES_MAX, parse_file};
use super::receiver::{Reply, Verdict};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{HeaderMap, Method, Request, Uri};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use tokio::io::AsyncReadExt;

const OWN_NAME: &str = concat!("statsdeck/", env!("CARGO_PKG_VERSION"));
/// What is read of an answer.
const REPLY_BYTES_MAX: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// From the reading of a URL's file to the end of the answer.
    pub timeout: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions { timeout: Duration::from_secs(10) }
    }
}

/// Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    client: HyperClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
    options: ClientOptions,
}

impl Client {
    /// Trusts the certificates of the system, or of `$SSL_CERT_FILE`. Reads
    /// them from disk.
    pub fn new(options: ClientOptions) -> Result<Self, rustls::Error> {
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?;
        let tls = match tls.clone().with_native_roots() {
            Ok(tls) => tls.with_no_client_auth(),
            Err(error) => {
                tracing::warn!(%error, "no CA certificates on this system: https:// receivers can not be reached");
                tls.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
            }
        };
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        let client = HyperClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(1)
            .build(connector);
        Ok(Client { client, options })
    }

    /// Posts JSON; an answer of any status, or why there is none.
    pub async fn post(&self, endpoint: &Endpoint, body: Vec<u8>) -> Result<Reply, Verdict> {
        let exchange = async {
            let uri = match endpoint {
                Endpoint::Url(uri) => uri.clone(),
                // When it is not there someone may be about to put it there.
                Endpoint::File(path) => {
                    let read = read_bounded(path).await;
                    let bytes = read.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                    parse_file(path, &bytes).map_err(|error| error.to_string())?
                }
            };
            self.exchange(uri, body).await
        };
        let answer = tokio::time::timeout(self.options.timeout, exchange).await;
        let answer = answer
            .unwrap_or_else(|_| Err(format!("no answer within {} s", self.options.timeout.as_secs_f64())));
        answer.map_err(|reason| Verdict::Retry { after_ms: None, reason })
    }

    /// Status and body of a GET with an `Authorization` or none.
    ///
    /// # Errors
    /// Why there is no answer, or that it is longer than `bytes_max`.
    pub async fn get(
        &self,
        uri: Uri,
        authorization: Option<HeaderValue>,
        bytes_max: usize,
    ) -> Result<(u16, Bytes), String> {
        let mut request = Request::builder().uri(uri).header(USER_AGENT, OWN_NAME);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request =
            request.body(Full::default()).map_err(|_| "the request could not be built".to_owned())?;
        let exchange = async {
            let answer = self.client.request(request).await.map_err(|error| chain(&error))?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), bytes_max).collect().await;
            let body = body.map_err(|error| match error.is::<LengthLimitError>() {
                true => format!("the answer is longer than {bytes_max} bytes"),
                false => format!("the answer broke off: {error}"),
            })?;
            Ok((status, body.to_bytes()))
        };
        let answer = tokio::time::timeout(self.options.timeout, exchange).await;
        answer.unwrap_or_else(|_| Err(format!("no answer within {} s", self.options.timeout.as_secs_f64())))
    }

    async fn exchange(&self, uri: Uri, body: Vec<u8>) -> Result<Reply, String> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, OWN_NAME)
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| "the request could not be built".to_owned())?;
        let answer = self.client.request(request).await.map_err(|error| chain(&error))?;
        let status = answer.status().as_u16();
        let retry_after_ms = retry_after_ms(answer.headers());
        // A body that is too long or breaks off is no reason to send again: the status says it all.
        let body = Limited::new(answer.into_body(), REPLY_BYTES_MAX).collect().await;
        let body =
            body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
        Ok(Reply { status, retry_after_ms, body })
    }
}

async fn read_bounded(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = tokio::fs::File::open(path).await?;
    file.take(URL_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// Whole seconds; the form with a date is not used by those we send to.
fn retry_after_ms(headers: &HeaderMap) -> Option<i64> {
    let seconds: u32 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(i64::from(seconds) * 1_000)
}

/// The error with its causes: the outer one alone says "client error".
fn chain(error: &hyper_util::client::legacy::Error) -> String {
    let mut text =
        if error.is_connect() { "cannot connect".to_owned() } else { "the connection failed".to_owned() };
    let mut cause = error.source();
    // Bounded: causes could form a ring.
    for _ in 0..8 {
        let Some(error) = cause else { break };
        let part = error.to_string();
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}
