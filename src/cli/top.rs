//! `statsdeck top`: who makes the series of a running daemon, as a table.

use serde_json::Value as Json;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(30);
/// Most that is read of an answer.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// Holds a token with the scope "read", where the daemon asks for one.
pub const TOKEN_VARIABLE: &str = "STATSDECK_TOKEN";

/// What makers are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum By {
    /// The metric's name.
    Name,
    /// The name up to its first dot.
    Prefix,
    /// The label: how many values it has.
    Label,
    /// The listener that takes them.
    Source,
}

impl By {
    fn as_str(self) -> &'static str {
        match self {
            By::Name => "name",
            By::Prefix => "prefix",
            By::Label => "label",
            By::Source => "source",
        }
    }
}

/// Asks the daemon at `url` and gives the table.
pub fn top(url: &str, by: By, limit: u16) -> anyhow::Result<String> {
    let path = format!("/api/v1/status/top?by={}&n={limit}", by.as_str());
    let (status, body) = get(url, &path)?;
    let answer: Json = serde_json::from_str(&body).unwrap_or(Json::Null);
    if status != 200 {
        let said = answer["error"].as_str().unwrap_or(body.trim());
        let hint = if status == 401 { format!("; put a token into {TOKEN_VARIABLE}") } else { String::new() };
        anyhow::bail!("the daemon at {url} says {status}: {}{hint}", printable(said));
    }
    Ok(table(&answer["data"], by))
}

/// Status and body of a GET.
fn get(url: &str, path: &str) -> anyhow::Result<(u16, String)> {
    let Some(rest) = url.strip_prefix("http://") else {
        anyhow::bail!("{url:?} must begin with http://, as in http://127.0.0.1:8127");
    };
    let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = if prefix.is_empty() { String::new() } else { format!("/{}", prefix.trim_end_matches('/')) };
    let named = if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let address = named.to_socket_addrs()?.next();
    let address = address.ok_or_else(|| anyhow::anyhow!("{host:?} has no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)
        .map_err(|error| anyhow::anyhow!("no daemon answers at {url}: {error}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let token = std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.contains(['\r', '\n']));
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    // With 1.0 the body ends with the connection.
    let request = format!("GET {prefix}{path} HTTP/1.0\r\nHost: {host}\r\n{authorization}\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| anyhow::anyhow!("what answers at {url} does not speak HTTP"))?;
    Ok((status, body.to_owned()))
}

fn table(data: &Json, by: By) -> String {
    let number = |value: &Json| value.as_u64().unwrap_or_default();
    let all = number(&data["series"]);
    let mut out = format!(
        "{} series of at most {}, {} of them new since {}\n",
        grouped(all),
        grouped(number(&data["seriesLimit"])),
        grouped(number(&data["new"])),
        time_of_day(&data["newSince"]),
    );
    for limit in data["prefixLimits"].as_array().into_iter().flatten() {
        out += &format!(
            "{} of at most {} begin with {}\n",
            grouped(number(&limit["series"])),
            grouped(number(&limit["limit"])),
            printable(limit["prefix"].as_str().unwrap_or_default()),
        );
    }
    let overflowed = &data["overflowed"];
    for offender in overflowed["names"].as_array().into_iter().flatten().take(3) {
        out += &format!(
            "over a limit since {}: {} ({} lines)\n",
            time_of_day(&overflowed["since"]),
            printable(offender["name"].as_str().unwrap_or_default()),
            grouped(number(&offender["lines"])),
        );
    }
    let mut rows: Vec<Vec<String>> = vec![match by {
        By::Name => ["SERIES", "SHARE", "NEW", "NAME"].map(String::from).to_vec(),
        By::Prefix => ["SERIES", "SHARE", "NEW", "PREFIX"].map(String::from).to_vec(),
        By::Label => ["VALUES", "SERIES", "NEW", "LABEL"].map(String::from).to_vec(),
        By::Source => ["SERIES", "SOURCE"].map(String::from).to_vec(),
    }];
    let list = match by {
        By::Name => &data["byName"],
        By::Prefix => &data["byPrefix"],
        By::Label => &data["byLabel"],
        By::Source => &data["bySource"],
    };
    for maker in list.as_array().into_iter().flatten() {
        let series = number(&maker["series"]);
        let name = printable(maker["name"].as_str().unwrap_or_default());
        let share = format!("{:.1} %", 100.0 * series as f64 / all.max(1) as f64);
        rows.push(match by {
            By::Name | By::Prefix => vec![grouped(series), share, grouped(number(&maker["new"])), name],
            By::Label => {
                let example = printable(maker["example"].as_str().unwrap_or_default());
                let values = grouped(number(&maker["values"]));
                vec![values, grouped(series), grouped(number(&maker["new"])), format!("{name}={example}")]
            }
            By::Source => vec![grouped(series), name],
        });
    }
    out.push('\n');
    out + &aligned(&rows)
}

/// Columns to the right, but for the last.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let cell = |row: &Vec<String>, at: usize| row.get(at).map_or(0, |text| text.chars().count());
    let widths: Vec<usize> =
        (0..columns).map(|at| rows.iter().map(|row| cell(row, at)).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        for (at, text) in row.iter().enumerate() {
            if at + 1 == columns {
                out += text;
            } else {
                out += &format!("{text:>width$}  ", width = widths.get(at).copied().unwrap_or(0));
            }
        }
        out.push('\n');
    }
    out
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Names come from whoever sends: no control character reaches the terminal.
fn printable(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

/// Of Unix seconds, in UTC.
fn time_of_day(seconds: &Json) -> String {
    let seconds = seconds.as_f64().unwrap_or_default() as i64;
    let time = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    time.strftime("%H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn makers_are_a_table() {
        let data = json!({
            "series": 1200, "seriesLimit": 1_000_000, "new": 7, "newSince": 3600.0,
            "prefixLimits": [{"prefix": "shop.", "series": 9, "limit": 10}],
            "overflowed": {"since": 3725.0, "names": [{"name": "a\u{1b}[31m", "lines": 5}]},
            "byName": [{"name": "shop.cart", "series": 1150, "new": 7}, {"name": "up", "series": 50, "new": 0}],
            "byLabel": [{"name": "user", "values": 1100, "series": 1150, "new": 0, "example": "u1"}],
            "bySource": [{"name": "udp://127.0.0.1:8125", "series": 1200}],
        });
        let head = "1,200 series of at most 1,000,000, 7 of them new since 01:00:00 UTC\n\
                    9 of at most 10 begin with shop.\n\
                    over a limit since 01:02:05 UTC: a\\u{1b}[31m (5 lines)\n\n";
        let cases = [
            (
                By::Name,
                "SERIES   SHARE  NEW  NAME\n 1,150  95.8 %    7  shop.cart\n    50   4.2 %    0  up\n",
            ),
            (By::Prefix, "SERIES  SHARE  NEW  PREFIX\n"),
            (By::Label, "VALUES  SERIES  NEW  LABEL\n 1,100   1,150    0  user=u1\n"),
            (By::Source, "SERIES  SOURCE\n 1,200  udp://127.0.0.1:8125\n"),
        ];
        for (by, expected) in cases {
            assert_eq!(table(&data, by), format!("{head}{expected}"), "{by:?}");
        }
    }
}
