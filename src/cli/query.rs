//! `statsdeck query`: asks a running daemon and shows the answer as a table or
//! as the JSON it came in. Warnings and infos go to stderr; an error of the text
//! is shown where it is.

use super::client;
use super::exchange::parse_time;
use super::query_text;
use crate::clock::{Clock, SystemClock};
use crate::model::duration;
use clap::Args;
use serde_json::Value as Json;
use std::io::{self, Write};

const EXAMPLES: &str = "\
Times are RFC 3339, dates, Unix seconds, or so long ago: 1h. A token, where one is needed, is taken from
STATSDECK_TOKEN.

Examples:
  statsdeck query 'increase(etl_errors[1h])'
  statsdeck query 'histogram_quantile(0.99, sum(rate(checkout[5m])))' --at 2026-11-24T09:00:00Z
  statsdeck query '{\"etl.errors\"}' --start 6h --step 5m
  statsdeck query up --url https://prometheus.example.org --json";

/// Steps of a range whose step is not said.
const STEPS: i64 = 60;
/// Steps that people read.
const NICE_STEPS_MS: [i64; 14] = [
    1_000, 5_000, 10_000, 15_000, 30_000, 60_000, 300_000, 600_000, 900_000, 1_800_000, 3_600_000,
    21_600_000, 43_200_000, 86_400_000,
];

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct QueryArgs {
    /// PromQL; it may begin with a sign.
    #[arg(allow_hyphen_values = true)]
    expr: String,
    /// When to evaluate it; now.
    #[arg(long, value_name = "TIME", conflicts_with_all = ["start", "end", "step"])]
    at: Option<String>,
    /// Begin of a range.
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// End of the range; now.
    #[arg(long, value_name = "TIME", requires = "start")]
    end: Option<String>,
    /// Step of the range; about 60 steps.
    #[arg(long, value_name = "DURATION", requires = "start")]
    step: Option<String>,
    /// Where a daemon answers, or a Prometheus; else the http.address of the config.
    #[arg(long)]
    pub url: Option<String>,
    /// The answer as it came.
    #[arg(long)]
    json: bool,
}

pub fn query(url: &str, args: &QueryArgs) -> anyhow::Result<()> {
    let path = path(args, SystemClock.now_ms())?;
    let answer = client::get(url, &path)?;
    if args.json {
        writeln!(io::stdout().lock(), "{}", answer.body.trim_end())?;
    }
    if answer.status != 200 {
        let message = answer.json["error"].as_str().unwrap_or_default();
        match query_text::pointed_at(&args.expr, message) {
            Some(shown) => anyhow::bail!("{shown}"),
            None => anyhow::bail!("{}", answer.refusal(url)),
        }
    }
    anyhow::ensure!(answer.json["status"] == "success", "what answers at {url} is no Prometheus API");
    if args.json {
        return Ok(());
    }
    for (kind, list) in [("warning", &answer.json["warnings"]), ("info", &answer.json["infos"])] {
        for text in list.as_array().into_iter().flatten().filter_map(Json::as_str) {
            // Where nobody can be told, the answer is still one.
            let _ = writeln!(io::stderr(), "{kind}: {}", client::printable(text));
        }
    }
    let mut out = io::stdout().lock();
    out.write_all(query_text::text(&answer.json["data"]).as_bytes())?;
    Ok(())
}

/// What is asked for.
fn path(args: &QueryArgs, now_ms: i64) -> anyhow::Result<String> {
    let mut pairs = vec![("query", args.expr.clone())];
    let time = |text: &Option<String>| text.as_deref().map(|text| parse_time(text, now_ms)).transpose();
    let call = match time(&args.start)? {
        Some(start_ms) => {
            let end_ms = time(&args.end)?.unwrap_or(now_ms);
            anyhow::ensure!(start_ms <= end_ms, "--start is after --end");
            let step_ms = match &args.step {
                Some(text) => duration::parse_ms(text)
                    .map_err(|error| anyhow::anyhow!("--step {text:?}: {error}"))?
                    .try_into()?,
                None => nice_step_ms(end_ms - start_ms),
            };
            pairs.push(("start", seconds(start_ms)));
            pairs.push(("end", seconds(end_ms)));
            pairs.push(("step", seconds(step_ms)));
            "query_range"
        }
        None => {
            pairs.extend(time(&args.at)?.map(|at_ms| ("time", seconds(at_ms))));
            "query"
        }
    };
    let pairs = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    Ok(format!("/api/v1/{call}?{pairs}"))
}

fn nice_step_ms(range_ms: i64) -> i64 {
    let at_least = range_ms / STEPS;
    let days_ms = || at_least.div_euclid(86_400_000).saturating_add(1).saturating_mul(86_400_000);
    NICE_STEPS_MS.into_iter().find(|step_ms| *step_ms >= at_least).unwrap_or_else(days_ms)
}

fn seconds(ms: i64) -> String {
    format!("{}{}.{:03}", if ms < 0 { "-" } else { "" }, ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_become_a_call() {
        let asked = |expr: &str| QueryArgs {
            expr: expr.into(),
            at: None,
            start: None,
            end: None,
            step: None,
            url: None,
            json: false,
        };
        let of = |text: &str| Some(text.to_owned());
        let cases = [
            (asked("a + b"), "/api/v1/query?query=a+%2B+b"),
            (QueryArgs { at: of("1h"), ..asked("x") }, "/api/v1/query?query=x&time=96400.000"),
            (
                QueryArgs { start: of("1h"), ..asked("x") },
                "/api/v1/query_range?query=x&start=96400.000&end=100000.000&step=60.000",
            ),
            (
                QueryArgs {
                    start: of("1970-01-01"),
                    end: of("1970-01-02T00:00:00.5Z"),
                    step: of("90s"),
                    ..asked("x")
                },
                "/api/v1/query_range?query=x&start=0.000&end=86400.500&step=90.000",
            ),
        ];
        for (args, expected) in cases {
            assert_eq!(path(&args, 100_000_000).unwrap(), expected);
        }
        assert!(path(&QueryArgs { start: of("1h"), end: of("2h"), ..asked("x") }, 100_000_000).is_err());
        assert_eq!(
            [0, 3_600_000, 86_400_000, 365 * 86_400_000].map(nice_step_ms),
            [1_000, 60_000, 1_800_000, 7 * 86_400_000]
        );
    }
}
