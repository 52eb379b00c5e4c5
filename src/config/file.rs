//! The config as it is written in TOML: every key optional, nothing checked
//! beyond its type. What it means is `config.rs`.

use super::alert::{AlertSection, ReceiverSection};
use super::error::{Error, nearest};
use super::mapping::MappingSection;
use super::view::ViewSection;
use serde::Deserialize;
use std::path::Path;
use toml::Spanned;

/// Prefix of environment variables that override a key:
/// `STATSDECK__HTTP__ADDRESS` is `http.address`.
pub const ENV_PREFIX: &str = "STATSDECK__";

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    pub data_dir: Option<Spanned<std::path::PathBuf>>,
    pub listen: Option<Vec<Listen>>,
    pub admin: Admin,
    pub http: Http,
    pub window: Window,
    pub limits: Limits,
    pub tier: Option<Vec<Tier>>,
    pub store: Store,
    pub query: Query,
    pub mapping: MappingSection,
    pub alert: AlertSection,
    pub receiver: Vec<ReceiverSection>,
    pub view: Vec<ViewSection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    pub address: Spanned<String>,
    pub dialect: Option<Spanned<String>>,
    pub tag_styles: Option<Spanned<Vec<String>>>,
    pub allow: Option<Spanned<Vec<Spanned<String>>>>,
    pub receive_buffer: Option<Spanned<String>>,
    pub threads: Option<Spanned<u64>>,
    pub packet_bytes: Option<Spanned<String>>,
    pub framing: Option<Spanned<String>>,
    pub mode: Option<Spanned<String>>,
    pub connections: Option<Spanned<u64>>,
    pub idle: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    pub address: Option<Spanned<String>>,
    pub public_url: Option<Spanned<String>>,
    pub auth: Option<Spanned<String>>,
    pub timezone: Option<Spanned<String>>,
    pub connections: Option<Spanned<u64>>,
    pub cors_origin: Option<Spanned<String>>,
    pub token: Vec<Token>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    pub name: Spanned<String>,
    pub hash: Spanned<String>,
    pub scopes: Spanned<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Window {
    pub interval: Option<Spanned<String>>,
    pub lateness: Option<Spanned<String>>,
    pub expire: Expire,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expire {
    pub counter: Option<Spanned<String>>,
    pub gauge: Option<Spanned<String>>,
    pub timer: Option<Spanned<String>>,
    pub set: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    pub series: Option<Spanned<u64>>,
    pub line_bytes: Option<Spanned<u64>>,
    pub labels: Option<Spanned<u64>>,
    pub label_bytes: Option<Spanned<u64>>,
    pub prefix: Vec<LimitPrefix>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitPrefix {
    pub prefix: Spanned<String>,
    pub series: Spanned<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    pub address: Option<Spanned<String>>,
    pub auth: Option<Spanned<String>>,
    pub connections: Option<Spanned<u64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    pub resolution: Spanned<String>,
    pub retention: Spanned<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    pub max_bytes: Option<Spanned<String>>,
    pub block_span: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Query {
    pub timeout: Option<Spanned<String>>,
    pub lookback: Option<Spanned<String>>,
    pub steps: Option<Spanned<u64>>,
    pub series: Option<Spanned<u64>>,
    pub samples: Option<Spanned<u64>>,
    pub running: Option<Spanned<u64>>,
    pub waiting: Option<Spanned<u64>>,
}

impl File {
    /// Reads the text of a config file; `path` is for messages.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        toml::from_str(text).map_err(|error| invalid(&path.display().to_string(), text, &error))
    }
}

/// `text` with the keys that the environment overrides set to what it says;
/// `None` when it overrides nothing.
pub fn overridden(text: &str, env: &[(String, String)]) -> Result<Option<String>, Error> {
    let overrides: Vec<(Vec<String>, &str)> = env
        .iter()
        .filter_map(|(name, value)| {
            let keys = name.strip_prefix(ENV_PREFIX)?;
            Some((keys.split("__").map(str::to_ascii_lowercase).collect(), value.as_str()))
        })
        .collect();
    if overrides.is_empty() {
        return Ok(None);
    }
    let mut table: toml::Table = toml::from_str(text).map_err(|error| invalid("config", text, &error))?;
    for (keys, value) in overrides {
        set(&mut table, &keys, value)?;
    }
    toml::to_string(&table).map(Some).map_err(|error| Error::Invalid(format!("environment: {error}")))
}

fn set(table: &mut toml::Table, keys: &[String], text: &str) -> Result<(), Error> {
    let Some((last, path)) = keys.split_last() else { return Ok(()) };
    let mut at = table;
    for key in path {
        let entry = at.entry(key.clone()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        at = entry.as_table_mut().ok_or_else(|| {
            Error::Invalid(format!(
                "environment: {ENV_PREFIX}{}: {key} is no table",
                keys.join("__").to_uppercase()
            ))
        })?;
    }
    // A number, a list or a boolean as TOML writes it; anything else is text.
    let value = toml::from_str::<toml::Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| toml::Value::String(text.to_owned()));
    at.insert(last.clone(), value);
    Ok(())
}

/// The error of the TOML reader with file, line, and the key that was meant.
fn invalid(path: &str, text: &str, error: &toml::de::Error) -> Error {
    let mut message = error.message().to_owned();
    if let Some(rest) = message.strip_prefix("unknown field `")
        && let Some((wrong, known)) = rest.split_once('`')
    {
        let known = known.split('`').skip(1).step_by(2);
        if let Some(near) = nearest(wrong, known) {
            message = format!("{message}; did you mean `{near}`?");
        }
    }
    let problem = super::Problem::new(error.span(), "toml", message);
    Error::invalid(path, text, &[problem])
}
