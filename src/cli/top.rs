//! `statsdeck top`: who makes the series of a running daemon, as a table.

use super::client::{self, printable};
use serde_json::Value as Json;

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
    let answer = client::get(url, &path)?;
    anyhow::ensure!(answer.status == 200, answer.refusal(url));
    Ok(table(&answer.json["data"], by))
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
