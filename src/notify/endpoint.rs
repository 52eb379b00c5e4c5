//! Where a receiver is reached: a URL, or a file that holds one and is read
//! anew for each message, so that a changed secret needs no reload. Shown as
//! its host or its file, never as the URL.

use std::fmt;
use std::path::{Path, PathBuf};

use super::secret::Secret;
use hyper::Uri;

/// Longest URL.
pub const URL_BYTES_MAX: usize = 4096;

/// A checked address.
#[derive(Clone)]
pub enum Endpoint {
    Url(Uri),
    File(PathBuf),
}

/// What is wrong with an address. Holds no part of it but the file's path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("not a URL; write it as https://host/path")]
    NotUrl,
    #[error("the URL must begin with https:// or http://")]
    Scheme,
    #[error("the URL has a user name or password in front of the host, which is not supported; remove it")]
    UserInfo,
    #[error("the URL is longer than {URL_BYTES_MAX} bytes")]
    TooLong,
    #[error("cannot read {}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    #[error("{}: {error}", path.display())]
    InFile { path: PathBuf, error: Box<EndpointError> },
}

impl Endpoint {
    pub fn from_url(url: &Secret) -> Result<Self, EndpointError> {
        parse(url.expose()).map(Endpoint::Url)
    }

    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Endpoint::File(path.into())
    }

    /// Reads the file, if there is one, as each message will: for `check`.
    pub fn check(&self) -> Result<(), EndpointError> {
        match self {
            Endpoint::Url(_) => Ok(()),
            Endpoint::File(path) => {
                use std::io::Read;
                let mut bytes = Vec::new();
                std::fs::File::open(path)
                    .and_then(|file| file.take(URL_BYTES_MAX as u64 + 1).read_to_end(&mut bytes))
                    .map_err(|error| EndpointError::File { path: path.clone(), reason: error.to_string() })?;
                parse_file(path, &bytes).map(drop)
            }
        }
    }
}

/// The URL that the file at `path` holds; white space around it is no part of it.
pub(super) fn parse_file(path: &Path, bytes: &[u8]) -> Result<Uri, EndpointError> {
    let wrong = |error| EndpointError::InFile { path: path.into(), error: Box::new(error) };
    let text = std::str::from_utf8(bytes).map_err(|_| wrong(EndpointError::NotUrl))?;
    parse(text.trim()).map_err(wrong)
}

fn parse(text: &str) -> Result<Uri, EndpointError> {
    if text.len() > URL_BYTES_MAX {
        return Err(EndpointError::TooLong);
    }
    let uri: Uri = text.parse().map_err(|_| EndpointError::NotUrl)?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        Some(_) => return Err(EndpointError::Scheme),
        None => return Err(EndpointError::NotUrl),
    }
    let authority = uri.authority().ok_or(EndpointError::NotUrl)?;
    if authority.as_str().contains('@') {
        return Err(EndpointError::UserInfo);
    }
    // What stands behind the host must be a port and nothing else: it is shown.
    let behind = authority.as_str().strip_prefix(authority.host()).unwrap_or("?");
    if authority.host().is_empty() || !(behind.is_empty() || authority.port_u16().is_some()) {
        return Err(EndpointError::NotUrl);
    }
    Ok(uri)
}

/// Host and port, or the file.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Url(uri) => f.write_str(uri.authority().map_or("?", |authority| authority.as_str())),
            Endpoint::File(path) => write!(f, "url_file {}", path.display()),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked_and_never_shown() {
        let cases = [
            ("https://hooks.slack.com/services/T0/B0/secret", Ok("hooks.slack.com")),
            ("http://127.0.0.1:9093/secret?x=secret", Ok("127.0.0.1:9093")),
            ("https://[::1]:1/secret", Ok("[::1]:1")),
            ("hooks.slack.com/services/secret", Err(EndpointError::NotUrl)),
            ("/secret", Err(EndpointError::NotUrl)),
            ("", Err(EndpointError::NotUrl)),
            ("https://", Err(EndpointError::NotUrl)),
            ("https://a b/secret", Err(EndpointError::NotUrl)),
            ("ftp://host/secret", Err(EndpointError::Scheme)),
            ("https://user:secret/path", Err(EndpointError::NotUrl)),
            ("https://user:secret@host/", Err(EndpointError::UserInfo)),
        ];
        for (url, expected) in cases {
            let endpoint = Endpoint::from_url(&Secret::new(url));
            let shown = format!("{endpoint:?} {:?}", Secret::new(url));
            assert!(!shown.contains("secret/") && !shown.contains("/secret"), "{shown}");
            match expected {
                Ok(host) => assert_eq!(endpoint.unwrap().to_string(), host),
                Err(error) => {
                    let found = endpoint.unwrap_err();
                    assert!(!found.to_string().contains("secret"), "{found}");
                    assert_eq!(found, error, "{url}");
                }
            }
        }
    }

    #[test]
    fn a_file_is_checked_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slack");
        let endpoint = Endpoint::from_file(&path);
        assert!(endpoint.check().unwrap_err().to_string().starts_with("cannot read "));
        std::fs::write(&path, "nonsense-secret").unwrap();
        let error = endpoint.check().unwrap_err().to_string();
        assert!(error.ends_with("slack: not a URL; write it as https://host/path"), "{error}");
        std::fs::write(&path, " https://hooks.slack.com/services/x\n").unwrap();
        assert_eq!(endpoint.check(), Ok(()));
    }
}
