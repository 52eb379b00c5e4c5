//! Asks a running daemon, or whatever else speaks Prometheus' API, over HTTP or
//! HTTPS. A token is taken from the environment, so that no list of processes
//! shows it.

use crate::notify::{Client, ClientOptions};
use hyper::Uri;
use hyper::header::HeaderValue;
use serde_json::Value as Json;
use std::time::Duration;

/// Longer than a query may take by default.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Most that is read of an answer.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// Holds a token with the scope "read", where the daemon asks for one.
pub const TOKEN_VARIABLE: &str = "STATSDECK_TOKEN";

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
    /// Null where it is none.
    pub json: Json,
}

impl Answer {
    /// Why there is no result, for people.
    pub fn refusal(&self, url: &str) -> String {
        let said = self.json["error"].as_str().unwrap_or(self.body.trim());
        let hint = match self.status {
            401 => format!("; put a token into {TOKEN_VARIABLE}"),
            _ => String::new(),
        };
        format!("the daemon at {url} says {}: {}{hint}", self.status, printable(said))
    }
}

/// The answer to a GET of `path` below `url`.
pub fn get(url: &str, path: &str) -> anyhow::Result<Answer> {
    anyhow::ensure!(
        url.starts_with("http://") || url.starts_with("https://"),
        "{url:?} must begin with http:// or https://, as in http://127.0.0.1:8127"
    );
    let uri: Uri = format!("{}{path}", url.trim_end_matches('/'))
        .parse()
        .map_err(|error| anyhow::anyhow!("{url:?} is no address: {error}"))?;
    let token = std::env::var(TOKEN_VARIABLE).ok();
    let authorization = token.map(|token| {
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))
            .map_err(|_| anyhow::anyhow!("{TOKEN_VARIABLE} holds no token"))?;
        value.set_sensitive(true);
        anyhow::Ok(value)
    });
    let client = Client::new(ClientOptions { timeout: TIMEOUT })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answered = runtime.block_on(client.get(uri, authorization.transpose()?, ANSWER_BYTES_MAX));
    let (status, body) =
        answered.map_err(|reason| anyhow::anyhow!("no daemon answers at {url}: {reason}"))?;
    let body = String::from_utf8_lossy(&body).into_owned();
    let json = serde_json::from_str(&body).unwrap_or(Json::Null);
    Ok(Answer { status, body, json })
}

/// Names come from whoever sends: no control character reaches the terminal.
pub fn printable(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}
