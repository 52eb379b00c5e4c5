//! Who may do what: tokens with scopes, and short-lived bearer tokens made
//! from them.
//!
//! A scope is guarded as soon as one token grants it; on an address that other
//! machines reach, config demands tokens (or an explicit "none"), and with
//! tokens there every scope is guarded. Only hashes of tokens are known here;
//! comparisons take constant time.

use ring::{digest, hmac, rand};
use std::fmt;
use subtle::ConstantTimeEq;

/// How long a short-lived token is good for.
pub const BEARER_TTL_MS: i64 = 3_600_000;
/// Prefix of our API keys, so that a leaked one is recognised.
const KEY_PREFIX: &str = "sdk_";

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Pages, queries, the scrape page.
    Read,
    /// Sending metrics.
    Write,
    /// Reload and whatever changes settings; includes the other two.
    Admin,
}

impl Scope {
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "read" => Some(Scope::Read),
            "write" => Some(Scope::Write),
            "admin" => Some(Scope::Admin),
            _ => None,
        }
    }
}

/// SHA-256 of a token.
pub type Hash = [u8; 32];

/// A token as the config knows it.
#[derive(Clone, Debug)]
pub struct Token {
    pub name: String,
    pub hash: Hash,
    pub scopes: Vec<Scope>,
}

impl Token {
    fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }
}

/// Reads `sha256:<64 hexadecimal digits>`.
pub fn parse_hash(text: &str) -> Option<Hash> {
    let digits = text.strip_prefix("sha256:")?;
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(hash)
}

/// `sha256:…` of a token, as the config has it.
pub fn format_hash(token: &str) -> String {
    format!("sha256:{}", hex(&sha256(token)))
}

/// A new API key: 32 random bytes.
pub fn new_key() -> Result<String, AuthError> {
    let bytes: rand::Random<[u8; 32]> =
        rand::generate(&rand::SystemRandom::new()).map_err(|_| AuthError::NoRandomness)?;
    Ok(format!("{KEY_PREFIX}{}", hex(&bytes.expose())))
}

/// Checks tokens.
pub struct Auth {
    tokens: Vec<Token>,
    /// Whether a scope without tokens is closed.
    closed: bool,
    signing: hmac::Key,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("tokens", &self.tokens.len()).field("closed", &self.closed).finish()
    }
}

/// Why somebody is not let in, or no token can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("a token is needed: send \"Authorization: Bearer <token>\"")]
    Missing,
    #[error("the token is not known here, or its time is over")]
    Unknown,
    #[error("the token does not allow this")]
    Forbidden,
    #[error("the system has no randomness to give")]
    NoRandomness,
}

impl Auth {
    /// `signing_key` signs short-lived tokens; whoever knows it can make them.
    /// `closed` guards scopes that no token grants as well.
    pub fn new(tokens: Vec<Token>, closed: bool, signing_key: &[u8]) -> Self {
        Auth { tokens, closed, signing: hmac::Key::new(hmac::HMAC_SHA256, signing_key) }
    }

    /// Whether `scope` needs a token at all.
    pub fn guards(&self, scope: Scope) -> bool {
        self.closed || self.tokens.iter().any(|token| token.allows(scope))
    }

    /// Whether the sender of this `Authorization` header may use `scope`.
    pub fn check(&self, scope: Scope, header: Option<&str>, now_ms: i64) -> Result<(), AuthError> {
        if !self.guards(scope) {
            return Ok(());
        }
        let presented = header.and_then(presented).ok_or(AuthError::Missing)?;
        let token = match self.by_key(&presented) {
            Some(token) => token,
            None => self.by_bearer(&presented, now_ms).ok_or(AuthError::Unknown)?,
        };
        if token.allows(scope) { Ok(()) } else { Err(AuthError::Forbidden) }
    }

    /// A short-lived bearer token for an API key. Where nothing is guarded any
    /// key gets one, so that a client need not know the difference.
    pub fn bearer(&self, key: &str, now_ms: i64) -> Result<String, AuthError> {
        let (name, hash) = match self.by_key(key) {
            Some(token) => (token.name.as_str(), &token.hash),
            None if !self.guards(Scope::Write) => ("", &Hash::default()),
            None => return Err(AuthError::Unknown),
        };
        let claim = format!("{name}|{}", now_ms + BEARER_TTL_MS);
        let signature = hmac::sign(&self.signing, &signed(claim.as_bytes(), hash));
        Ok(format!("{}.{}", hex(claim.as_bytes()), hex(signature.as_ref())))
    }

    fn by_key(&self, key: &str) -> Option<&Token> {
        let hash = sha256(key);
        // All are compared, so that the time taken tells nothing.
        let mut found = None;
        for token in &self.tokens {
            if bool::from(token.hash.ct_eq(&hash)) {
                found = Some(token);
            }
        }
        found
    }

    fn by_bearer(&self, bearer: &str, now_ms: i64) -> Option<&Token> {
        let (claim, signature) = bearer.split_once('.')?;
        let (claim, signature) = (unhex(claim)?, unhex(signature)?);
        let (name, until_ms) = std::str::from_utf8(&claim).ok()?.rsplit_once('|')?;
        let token = self.tokens.iter().find(|token| token.name == name)?;
        hmac::verify(&self.signing, &signed(&claim, &token.hash), &signature).ok()?;
        (now_ms < until_ms.parse::<i64>().ok()?).then_some(token)
    }
}

/// What the signature of a bearer token is of: with the key's hash, so that
/// the token ends with its key.
fn signed(claim: &[u8], key_hash: &Hash) -> Vec<u8> {
    [key_hash, claim].concat()
}

/// The token in an `Authorization` header: `Bearer <token>`, or the password
/// of `Basic`, which is what browsers can send.
pub fn presented(header: &str) -> Option<String> {
    let (scheme, value) = header.trim().split_once(' ')?;
    let value = value.trim();
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" | "apikey" | "api-key" | "token" => Some(value.to_owned()),
        "basic" => {
            let decoded = String::from_utf8(unbase64(value)?).ok()?;
            decoded.split_once(':').map(|(_, password)| password.to_owned())
        }
        _ => None,
    }
}

fn sha256(text: &str) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    hash
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).ok()).collect()
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut held) = (0u32, 0u32);
    for c in text.trim_end_matches('=').bytes() {
        let six = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(six)) & 0xff_ffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(closed: bool) -> Auth {
        let token = |name: &str, key, scopes: &[Scope]| Token {
            name: name.into(),
            hash: parse_hash(&format_hash(key)).unwrap(),
            scopes: scopes.to_vec(),
        };
        Auth::new(
            vec![token("etl", "key", &[Scope::Write]), token("ops", "root", &[Scope::Admin])],
            closed,
            b"secret",
        )
    }

    #[test]
    fn tokens_open_what_their_scopes_say() {
        let auth = auth(true);
        let cases = [
            (Scope::Write, None, Err(AuthError::Missing)),
            (Scope::Write, Some("Bearer key"), Ok(())),
            (Scope::Write, Some("bearer  key"), Ok(())),
            (Scope::Write, Some("Basic dXNlcjprZXk="), Ok(())),
            (Scope::Write, Some("Basic !!"), Err(AuthError::Missing)),
            (Scope::Write, Some("Bearer nokey"), Err(AuthError::Unknown)),
            (Scope::Write, Some("Digest key"), Err(AuthError::Missing)),
            (Scope::Read, Some("Bearer key"), Err(AuthError::Forbidden)),
            (Scope::Read, Some("Bearer root"), Ok(())),
        ];
        for (scope, header, expected) in cases {
            assert_eq!(auth.check(scope, header, 0), expected, "{scope:?} {header:?}");
        }
    }

    #[test]
    fn what_no_token_guards_is_open_on_loopback() {
        let auth = Auth::new(vec![], false, b"secret");
        assert_eq!(auth.check(Scope::Admin, None, 0), Ok(()));
        assert!(auth.bearer("whatever", 0).is_ok());
    }

    #[test]
    fn a_bearer_token_works_for_an_hour_and_cannot_be_forged() {
        let auth = auth(false);
        assert_eq!(auth.bearer("nokey", 0), Err(AuthError::Unknown));
        let bearer = auth.bearer("key", 1_000).unwrap();
        let header = format!("Bearer {bearer}");
        assert_eq!(auth.check(Scope::Write, Some(&header), 1_000), Ok(()));
        assert_eq!(auth.check(Scope::Write, Some(&header), 1_000 + BEARER_TTL_MS), Err(AuthError::Unknown));
        assert_eq!(auth.check(Scope::Admin, Some(&header), 1_000), Err(AuthError::Forbidden));
        let forged = header.replacen('6', "7", 1);
        assert_eq!(auth.check(Scope::Write, Some(&forged), 1_000), Err(AuthError::Unknown));
        let mut other = auth;
        other.signing = hmac::Key::new(hmac::HMAC_SHA256, b"other");
        assert_eq!(other.check(Scope::Write, Some(&header), 1_000), Err(AuthError::Unknown));
    }

    #[test]
    fn a_bearer_token_ends_with_its_key() {
        let mut auth = auth(false);
        let header = format!("Bearer {}", auth.bearer("key", 0).unwrap());
        assert_eq!(auth.check(Scope::Write, Some(&header), 1), Ok(()));
        auth.tokens[0].hash = sha256("the key that replaced it");
        assert_eq!(auth.check(Scope::Write, Some(&header), 1), Err(AuthError::Unknown));
    }

    #[test]
    fn keys_are_random_and_their_hash_is_read_back() {
        let (one, two) = (new_key().unwrap(), new_key().unwrap());
        assert_ne!(one, two);
        assert_eq!(parse_hash(&format_hash(&one)), Some(sha256(&one)));
        assert_eq!(parse_hash("sha256:12"), None);
    }
}
