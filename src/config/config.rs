//! What the config means, with every default in place. Nothing acts here.

use super::alert;
use super::error::{Error, Problem};
use super::file::{self, File};
use super::limits::{self, Admin};
use super::listen;
use super::mapping::Mapping;
use super::query::{self, Query};
use super::tier::{self, Tiers};
use super::view;
use crate::alert::Rule;
use crate::dashboard::calendar::Calendar;
use crate::dashboard::view::View;
use crate::http::auth;
use crate::model::duration;
use crate::notify::Target;
use crate::protocol::{Dialect, TagStyles};
use crate::{aggregate, ingest};
use jiff::tz::TimeZone;
use std::io::{self, Read};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use toml::Spanned;

const INTERVAL_MS: std::ops::RangeInclusive<u64> = 100..=3_600_000;
/// Longest `window.lateness`.
const LATENESS_MS_MAX: i64 = 3_600_000;
/// Longest line that can be asked for: one datagram.
const LINE_BYTES_MAX: u64 = 65_507;
const LABELS_MAX: u64 = 256;
/// Bytes of a label that can be asked for; less than 16 would cut all of them.
const LABEL_BYTES: std::ops::RangeInclusive<u64> = 16..=LINE_BYTES_MAX;
/// Longest config file.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Spellings (orders of tags) that each receiver knows of the series together;
/// our own series need none.
const SPELLINGS_PER_SERIES: usize = 2;
const SPELLINGS_SPARE: usize = 1000;

/// The whole config.
#[derive(Clone, Debug)]
pub struct Config {
    pub data_dir: PathBuf,
    pub listeners: Vec<Listener>,
    /// The classic management port; none unless it is asked for.
    pub admin: Option<Admin>,
    pub http: Http,
    pub windows: aggregate::Options,
    /// How long ago a line may have been observed and still count in its own
    /// window, in ms; 0: every line counts in the open one.
    pub lateness_ms: i64,
    pub table: aggregate::table::Options,
    pub series_max: usize,
    /// Limits of prefixes of names.
    pub prefixes: Vec<aggregate::Prefix>,
    /// How long anything is kept: the longest retention of a tier.
    pub retention_ms: i64,
    pub tiers: Tiers,
    /// Bytes beyond which the oldest data is dropped before its time.
    pub max_bytes: Option<u64>,
    pub query: Query,
    /// Time that a block of windows covers, in ms.
    pub block_span_ms: i64,
    /// Who starts the daemon agrees that data leaves which the tiers of the last
    /// time would have kept.
    pub accepts_loss: bool,
    pub mapping: Mapping,
    pub rules: Vec<Rule>,
    pub receivers: Vec<Target>,
    pub views: Vec<View>,
}

#[derive(Clone, Debug)]
pub struct Listener {
    pub socket: ingest::Options,
    pub dialect: Dialect,
    pub tag_styles: TagStyles,
}

#[derive(Clone, Debug)]
pub struct Http {
    pub address: SocketAddr,
    /// Where people reach us, without a slash at the end; for links in notices.
    pub public_url: Option<String>,
    pub tokens: Vec<auth::Token>,
    /// `auth = "none"`: without tokens everyone may do everything, whoever
    /// reaches the address.
    pub open: bool,
    pub connections_max: u32,
    /// Whose pages may read what the API says: an origin, or `*`.
    pub cors_origin: Option<String>,
    /// Zone of the days on pages whose view has none of its own.
    pub calendar: Calendar,
}

impl Config {
    /// Reads a config file (or none: all defaults), then what the environment
    /// overrides.
    pub fn load(path: Option<&Path>, env: &[(String, String)]) -> Result<Self, Error> {
        let text = match path {
            Some(path) => read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?,
            None => String::new(),
        };
        let shown = path.unwrap_or(Path::new("config"));
        let folder = path.and_then(Path::parent).unwrap_or(Path::new(""));
        let own = Config::parse_in(folder, shown, &text, env);
        let merged = match file::overridden(&text, env) {
            Ok(Some(merged)) => merged,
            Ok(None) => return own,
            Err(error) => return own.and(Err(error)),
        };
        // A file may need the environment to be whole; when both are wrong,
        // the file's own problems have the file's lines.
        let merged = Config::parse_in(folder, Path::new("config with environment"), &merged, env);
        merged.or_else(|error| own.and(Err(error)))
    }

    /// What the text of a config file means.
    pub fn parse(path: &Path, text: &str, env: &[(String, String)]) -> Result<Self, Error> {
        Config::parse_in(path.parent().unwrap_or(Path::new("")), path, text, env)
    }

    /// Relative paths in it begin at `folder`; `path` is for messages.
    fn parse_in(folder: &Path, path: &Path, text: &str, env: &[(String, String)]) -> Result<Self, Error> {
        let file = File::parse(path, text)?;
        let mut problems = Vec::new();
        let mapping = file.mapping.load(folder, &mut problems);
        let mut config = build(file, folder, env, &mut problems);
        let invalid = || Error::invalid(&path.display().to_string(), text, &problems);
        match mapping {
            Ok(mapping) if problems.is_empty() => {
                config.mapping = mapping;
                Ok(config)
            }
            Err(error) if problems.is_empty() => Err(error),
            Ok(_) => Err(invalid()),
            Err(error) => Err(Error::Invalid(format!("{}\n{error}", invalid()))),
        }
    }
}

fn build(file: File, folder: &Path, env: &[(String, String)], problems: &mut Vec<Problem>) -> Config {
    let rules = taken(file.alert.rules(), problems);
    let receivers = taken(alert::receivers(&file.receiver, folder), problems);
    let interval_ms = interval(&file.window, problems);
    let windows = windows(&file.window, interval_ms, problems);
    let lateness_ms = lateness(&file.window, problems);
    let written = &file.limits;
    let block_span_ms = tier::block_span_ms(&file.store, problems);
    let tiers = tier::tiers(file.tier.as_deref(), interval_ms, block_span_ms, problems);
    let retention_ms = tiers.retention_ms();
    let longest_expiry =
        [windows.counter_expire_ms, windows.gauge_expire_ms, windows.timer_expire_ms, windows.set_expire_ms]
            .into_iter()
            .max()
            .unwrap_or_default();
    let series_max =
        number(&written.series, "limits.series", 1_000_000, 1..=u64::from(u32::MAX), problems) as usize;
    let table = aggregate::table::Options {
        line_bytes_max: number(&written.line_bytes, "limits.line_bytes", 8192, 1..=LINE_BYTES_MAX, problems)
            as usize,
        labels_max: number(&written.labels, "limits.labels", 32, 0..=LABELS_MAX, problems) as usize,
        label_bytes_max: number(&written.label_bytes, "limits.label_bytes", 1024, LABEL_BYTES, problems)
            as usize,
        // Well before the series itself is forgotten, and its number with it.
        idle_windows_max: (longest_expiry.min(retention_ms / 2) / interval_ms).clamp(1, 100_000) as u32,
        spellings_max: series_max.saturating_mul(SPELLINGS_PER_SERIES).saturating_add(SPELLINGS_SPARE),
    };
    let http = http(&file.http, problems);
    let listeners = listen::listeners(file.listen.as_deref(), table.line_bytes_max, problems);
    let admin = limits::admin(&file.admin, problems);
    refuse_shared_ports(&file, &http, &listeners, admin.as_ref(), problems);
    let rule_names: Vec<&str> = rules.iter().map(|rule| &*rule.name).collect();
    let views = taken(view::views(&file.view, &http.calendar, &rule_names), problems);
    Config {
        data_dir: data_dir(&file, env, problems),
        listeners,
        admin,
        http,
        windows,
        lateness_ms,
        table,
        series_max,
        prefixes: limits::prefixes(&written.prefix, problems),
        retention_ms,
        tiers,
        max_bytes: tier::max_bytes(&file.store, problems),
        query: query::query(&file.query, problems),
        block_span_ms,
        accepts_loss: false,
        mapping: Mapping::default(),
        rules,
        receivers,
        views,
    }
}

/// One TCP port is one section's; the second would find it taken.
fn refuse_shared_ports(
    file: &File,
    http: &Http,
    listeners: &[Listener],
    admin: Option<&Admin>,
    problems: &mut Vec<Problem>,
) {
    let mut taken: Vec<(SocketAddr, String)> = Vec::new();
    for (at, listener) in listeners.iter().enumerate() {
        if let ingest::Address::Tcp(address) = listener.socket.address {
            taken.push((address, format!("listen[{at}].address")));
        }
    }
    let span = |written: &Option<Spanned<String>>| written.as_ref().map(Spanned::span);
    let asked = [
        ("admin.address", admin.map(|admin| admin.address), span(&file.admin.address)),
        ("http.address", Some(http.address), span(&file.http.address)),
    ];
    for (key, address, span) in asked {
        let Some(address) = address.filter(|address| address.port() != 0) else { continue };
        match taken.iter().find(|(other, _)| *other == address) {
            Some((_, holder)) => {
                problems.push(Problem::new(span, key, format!("{holder} is the same; choose another port")));
            }
            None => taken.push((address, key.to_owned())),
        }
    }
}

/// The text of a config file, which may be a pipe, but not without end.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it is longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// What a section means, or nothing and its problems noted.
fn taken<T>(section: Result<Vec<T>, Vec<Problem>>, problems: &mut Vec<Problem>) -> Vec<T> {
    section.unwrap_or_else(|found| {
        problems.extend(found);
        Vec::new()
    })
}

fn data_dir(file: &File, env: &[(String, String)], problems: &mut Vec<Problem>) -> PathBuf {
    if let Some(empty) = file.data_dir.as_ref().filter(|path| path.as_ref().as_os_str().is_empty()) {
        let message = "is empty; name a folder, or leave the key out";
        problems.push(Problem::new(empty.span(), "data_dir", message));
    }
    let state_directory =
        || env.iter().find(|(name, _)| name == "STATE_DIRECTORY").map(|(_, dir)| dir.into());
    file.data_dir
        .as_ref()
        .map(|path| path.as_ref().clone())
        .or_else(state_directory)
        .unwrap_or_else(|| "statsdeck-data".into())
}

fn interval(window: &file::Window, problems: &mut Vec<Problem>) -> i64 {
    let ms = ms(&window.interval, "window.interval", 10_000, problems);
    if INTERVAL_MS.contains(&(ms as u64)) {
        return ms;
    }
    let span = window.interval.as_ref().map(Spanned::span);
    problems.push(Problem::new(span, "window.interval", "must be between 100ms and 1h"));
    10_000
}

fn lateness(window: &file::Window, problems: &mut Vec<Problem>) -> i64 {
    let ms = ms(&window.lateness, "window.lateness", 300_000, problems);
    if (0..=LATENESS_MS_MAX).contains(&ms) {
        return ms;
    }
    let span = window.lateness.as_ref().map(Spanned::span);
    problems.push(Problem::new(span, "window.lateness", "must be between 0s and 1h"));
    300_000
}

fn windows(window: &file::Window, interval_ms: i64, problems: &mut Vec<Problem>) -> aggregate::Options {
    let expire = &window.expire;
    let mut expire_ms = |value: &Option<Spanned<String>>, key: &str, default_ms: i64| {
        let ms = ms(value, key, default_ms.max(interval_ms), problems);
        if ms > 0 && ms < interval_ms {
            let span = value.as_ref().map(Spanned::span);
            problems.push(Problem::new(
                span,
                key,
                "must not be shorter than window.interval (0 means never)",
            ));
        }
        ms
    };
    aggregate::Options {
        interval_ms,
        counter_expire_ms: expire_ms(&expire.counter, "window.expire.counter", 300_000),
        gauge_expire_ms: expire_ms(&expire.gauge, "window.expire.gauge", 3_600_000),
        timer_expire_ms: expire_ms(&expire.timer, "window.expire.timer", 300_000),
        set_expire_ms: expire_ms(&expire.set, "window.expire.set", 300_000),
    }
}

fn http(written: &file::Http, problems: &mut Vec<Problem>) -> Http {
    let default = SocketAddr::from(([127, 0, 0, 1], 8127));
    let address = match &written.address {
        None => default,
        Some(text) => socket_address(text.as_ref(), text, "http.address", problems).unwrap_or(default),
    };
    let tokens = tokens(&written.token, problems);
    let open = match &written.auth {
        None => false,
        Some(word) if word.as_ref() == "none" => true,
        Some(word) => {
            problems.push(Problem::new(
                word.span(),
                "http.auth",
                "the only value is \"none\": everyone may read and write",
            ));
            true
        }
    };
    if !address.ip().is_loopback() && tokens.is_empty() && !open {
        let message = "this address is reached from other machines: add an [[http.token]] \
                       (`statsdeck token new`), or say auth = \"none\" if everyone may read and write";
        problems.push(Problem::new(written.address.as_ref().map(Spanned::span), "http.address", message));
    }
    let public_url = written.public_url.as_ref().and_then(|url| {
        let text = url.as_ref().trim_end_matches('/');
        let valid = text.starts_with("http://") || text.starts_with("https://");
        if !valid {
            problems.push(Problem::new(url.span(), "http.public_url", "must begin with http:// or https://"));
        }
        valid.then(|| text.to_owned())
    });
    let zone = match &written.timezone {
        None => TimeZone::system(),
        Some(zone) => TimeZone::get(zone.as_ref()).unwrap_or_else(|_| {
            let message = "no such time zone; write it as \"Europe/Berlin\"";
            problems.push(Problem::new(zone.span(), "http.timezone", message));
            TimeZone::UTC
        }),
    };
    let connections_max = number(&written.connections, "http.connections", 512, 1..=65_536, problems) as u32;
    let cors_origin = query::cors_origin(written.cors_origin.as_ref(), problems);
    Http { address, public_url, tokens, open, connections_max, cors_origin, calendar: Calendar::new(zone) }
}

fn tokens(written: &[file::Token], problems: &mut Vec<Problem>) -> Vec<auth::Token> {
    let mut tokens: Vec<auth::Token> = Vec::new();
    for (at, token) in written.iter().enumerate() {
        let key = |name: &str| format!("http.token[{at}].{name}");
        let name = token.name.as_ref();
        if name.is_empty() || name.contains('|') || tokens.iter().any(|known| known.name == *name) {
            problems.push(Problem::new(
                token.name.span(),
                key("name"),
                "must be unique, not empty, without '|'",
            ));
        }
        let mut scopes = Vec::new();
        if token.scopes.as_ref().is_empty() {
            let message = "a key without a scope opens nothing; known are \"read\", \"write\", \"admin\"";
            problems.push(Problem::new(token.scopes.span(), key("scopes"), message));
        }
        for scope in token.scopes.as_ref() {
            match auth::Scope::parse(scope) {
                Some(scope) => scopes.push(scope),
                None => {
                    let message =
                        format!("no such scope: {scope:?}; known are \"read\", \"write\", \"admin\"");
                    problems.push(Problem::new(token.scopes.span(), key("scopes"), message));
                }
            }
        }
        match auth::parse_hash(token.hash.as_ref()) {
            Some(hash) => tokens.push(auth::Token { name: name.clone(), hash, scopes }),
            None => {
                let message =
                    "must be \"sha256:\" and 64 hexadecimal digits, as `statsdeck token new` prints it";
                problems.push(Problem::new(token.hash.span(), key("hash"), message));
            }
        }
    }
    tokens
}

/// A duration in ms; problems are noted and the default stands in.
pub(super) fn ms(
    value: &Option<Spanned<String>>,
    key: &str,
    default_ms: i64,
    problems: &mut Vec<Problem>,
) -> i64 {
    let Some(text) = value else { return default_ms };
    match duration::parse_ms(text.as_ref()) {
        Ok(ms) => ms as i64,
        Err(error) => {
            problems.push(Problem::new(text.span(), key, error));
            default_ms
        }
    }
}

/// A number within bounds; problems are noted and the default stands in.
pub(super) fn number(
    value: &Option<Spanned<u64>>,
    key: &str,
    default: u64,
    bounds: std::ops::RangeInclusive<u64>,
    problems: &mut Vec<Problem>,
) -> u64 {
    let Some(value) = value else { return default };
    if bounds.contains(value.as_ref()) {
        return *value.as_ref();
    }
    let message = format!("must be between {} and {}", bounds.start(), bounds.end());
    problems.push(Problem::new(value.span(), key, message));
    default
}

pub(super) fn socket_address(
    text: &str,
    spanned: &Spanned<String>,
    key: &str,
    problems: &mut Vec<Problem>,
) -> Option<SocketAddr> {
    match text.to_socket_addrs().map(|mut found| found.next()) {
        Ok(Some(address)) => Some(address),
        Ok(None) | Err(_) => {
            let message = format!("{text:?} is no address; write host:port, as in \"127.0.0.1:8125\"");
            problems.push(Problem::new(spanned.span(), key, message));
            None
        }
    }
}
