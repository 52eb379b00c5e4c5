//! Our answers beside those of a real Prometheus over the same samples, value
//! by value. Needs `prometheus` and `promtool` in the path (Debian package
//! `prometheus`); says that it was skipped where they are missing.
//!
//! No range begins or ends on a sample, so that the answer does not depend on
//! whether ranges are open or closed, which changed with Prometheus 3.

use serde_json::Value as Json;
use statsdeck::model::Labels;
use statsdeck::query::{Engine, MemorySource, Options, Value};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// A multiple of an hour, so that steps of subqueries fall on samples.
const START_S: i64 = 1_700_002_800;
const SAMPLES: i64 = 360;
const INTERVAL_S: i64 = 10;

type Answer = Result<BTreeMap<String, Vec<(i64, f64)>>, String>;

#[test]
fn answers_agree_with_prometheus() {
    let found = ["prometheus", "promtool"]
        .map(|program| Command::new(program).arg("--version").output().is_ok_and(|out| out.status.success()));
    if found != [true, true] {
        eprintln!("skipped: prometheus and promtool are not in the path");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let series = series();
    let prometheus = Prometheus::start(folder.path(), &series);
    let source = MemorySource::new();
    for (labels, points) in &series {
        for (at_s, value) in points {
            source.push(labels, None, at_s * 1000, *value);
        }
    }
    let engine = Engine::new(Arc::new(source), Options::default());
    let mut wrong = Vec::new();
    let expressions = expressions();
    for expression in &expressions {
        let (start, end, step) = (START_S + 603, START_S + 3403, 70);
        let theirs = prometheus.range(expression, start, end, step);
        let ours = engine.range(expression, start * 1000, end * 1000, step * 1000);
        let ours = ours.map(|result| answer_of(result.value)).map_err(|error| error.to_string());
        if let Some(difference) = difference(&ours, &theirs) {
            wrong.push(format!("{expression}\n    {difference}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} expressions differ:\n{}",
        wrong.len(),
        expressions.len(),
        wrong.join("\n")
    );
}

/// Counters that reset and rest, gauges with gaps and NaN, classic histograms.
fn series() -> Vec<(Labels, Vec<(i64, f64)>)> {
    let mut all = Vec::new();
    let mut noise = 12345u64;
    let mut random = move || {
        noise = noise.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (noise >> 33) as f64 / f64::from(1u32 << 31)
    };
    let mut add = |pairs: &[(&str, &str)], value: &mut dyn FnMut(i64) -> Option<f64>| {
        let labels = Labels::from_pairs(pairs.iter().copied());
        let points = (0..SAMPLES).filter_map(|at| Some((START_S + at * INTERVAL_S, value(at)?)));
        all.push((labels, points.collect()));
    };
    for (job, instance, reset_each) in
        [("api", "a", 1000), ("api", "b", 97), ("web", "a", 41), ("web", "c", 1000)]
    {
        let mut total = 5000.0;
        add(&[("__name__", "requests"), ("job", job), ("instance", instance)], &mut |at| {
            total = if at % reset_each == reset_each - 1 { 300.0 } else { total + (random() * 20.0).floor() };
            Some(total)
        });
        add(&[("__name__", "errors"), ("job", job), ("instance", instance)], &mut |at| {
            Some(100.0 + (at / 7) as f64)
        });
        add(&[("__name__", "temperature"), ("job", job), ("instance", instance)], &mut |at| {
            // A gap longer than the lookback, and now and then no sample.
            let gap = (100..150).contains(&at) && instance == "a";
            (!gap && at % 13 != 5).then(|| if at % 50 == 9 { f64::NAN } else { random() * 40.0 - 10.0 })
        });
        add(&[("__name__", "info"), ("job", job), ("instance", instance), ("version", "1.2")], &mut |_| {
            Some(1.0)
        });
        for (le, share) in [("0.1", 1.0), ("0.5", 3.0), ("1", 4.0), ("2.5", 9.0), ("+Inf", 10.0)] {
            let name = "seconds_bucket";
            add(&[("__name__", name), ("job", job), ("instance", instance), ("le", le)], &mut |at| {
                Some(1000.0 * share + at as f64 * share * if job == "web" { 2.0 } else { 1.0 })
            });
        }
    }
    add(&[("__name__", "limit"), ("job", "api")], &mut |_| Some(6000.0));
    add(&[("__name__", "limit"), ("job", "web")], &mut |at| Some(5000.0 + at as f64));
    all
}

fn expressions() -> Vec<String> {
    let mut all: Vec<String> = [
        "requests",
        "requests{job=\"api\"}",
        "requests{job=~\"a.*\",instance!=\"b\"}",
        "requests offset 5m",
        "requests offset -2m",
        "temperature",
        "temperature > 10",
        "10 < temperature",
        "temperature > bool 10",
        "temperature == temperature",
        "-temperature",
        "temperature % 7",
        "temperature ^ 2",
        "2 ^ temperature",
        "1 - temperature",
        "temperature / 0",
        "sum(requests)",
        "sum by (job) (requests)",
        "sum without (instance) (requests)",
        "avg by (job) (temperature)",
        "min(temperature)",
        "max(temperature)",
        "count(temperature)",
        "count by (job, instance) (temperature)",
        "group(temperature)",
        "stddev by (job) (requests)",
        "stdvar(requests)",
        "topk(2, requests)",
        "bottomk(1, requests) by (job)",
        "topk by (instance) (1, temperature)",
        "quantile(0.3, requests)",
        "quantile by (job) (0.9, temperature)",
        "count_values(\"v\", errors)",
        "count_values by (job) (\"v\", errors > bool 120)",
        "errors / requests",
        "errors / on(job, instance) requests",
        "errors / ignoring(version) requests",
        "requests / on(job) group_left limit",
        "requests > on(job) group_left limit",
        "limit < on(job) group_right requests",
        "limit * on(job) group_right(nope) errors",
        "errors * on(job, instance) group_left(version) info",
        "requests and on(job) limit",
        "requests and errors > 120",
        "requests unless errors > 120",
        "temperature or requests",
        "temperature > 20 or errors",
        "requests > bool on(job) group_left limit",
        "errors == bool errors",
        "errors / on(instance) requests",
        "errors / on(job) group_left requests",
        "limit + on(job) requests",
        "1 + 2 * 3",
        "time()",
        "vector(time())",
        "scalar(sum(requests))",
        "scalar(requests)",
        "pi()",
        "timestamp(requests)",
        "timestamp(requests * 1)",
        "timestamp(timestamp(errors))",
        "absent(nope{job=\"x\"})",
        "absent(requests)",
        "absent(temperature{instance=\"a\"})",
        "absent_over_time(temperature{instance=\"a\"}[1m])",
        "minute()",
        "hour(vector(0))",
        "day_of_week()",
        "day_of_month(requests * 1e6)",
        "day_of_year()",
        "days_in_month(requests * 1e5)",
        "month(requests * 1e6)",
        "year(requests * 1e6)",
        "clamp(temperature, 0, 10)",
        "clamp_min(temperature, 5)",
        "clamp_max(temperature, 5)",
        "clamp(temperature, 10, 0)",
        "round(temperature)",
        "round(temperature, 0.1)",
        "round(temperature, 5)",
        "label_replace(requests, \"who\", \"$1-$2\", \"job\", \"(.)(.*)\")",
        "label_replace(requests, \"job\", \"\", \"job\", \".*\")",
        "label_replace(requests, \"instance\", \"same\", \"instance\", \".*\")",
        "label_join(requests, \"both\", \"/\", \"job\", \"instance\")",
        "histogram_quantile(0.9, seconds_bucket)",
        "histogram_quantile(0.5, rate(seconds_bucket[65s]))",
        "histogram_quantile(0.99, sum by (le) (rate(seconds_bucket[5m])))",
        "histogram_quantile(0.2, sum by (job, le) (rate(seconds_bucket[5m])))",
        "histogram_quantile(1.2, seconds_bucket)",
        "histogram_quantile(-1, seconds_bucket)",
        "histogram_quantile(0.5, requests)",
        "sum(rate(requests[2m])) by (job)",
        "sum by (job) (rate(errors[5m])) / sum by (job) (rate(requests[5m]))",
        "rate(requests[5m] offset 3m)",
        "rate(requests[5m] @ end())",
        "requests @ start()",
        "requests @ 1700004000",
        "requests - requests @ start()",
        "increase(requests[20m] @ 1700005003)",
        "max_over_time(rate(requests[65s])[10m:30s])",
        "sum_over_time(temperature[5m:20s])",
        "avg_over_time(sum(requests)[5m:])",
        "min_over_time(requests[4m:70s] offset 1m)",
        "rate(sum(errors)[5m:15s])",
        "last_over_time(requests[5m:1m] @ end())",
        "deriv(rate(requests[65s])[5m:30s])",
        "quantile_over_time(0.5, rate(requests[65s])[5m:30s])",
        "count_over_time(vector(1)[5m:30s])",
        "predict_linear(temperature[5m], 600)",
        "predict_linear(errors[10m], -60)",
        "predict_linear(errors[5m] offset 1m, 60)",
        "quantile_over_time(0.25, temperature[5m])",
        "quantile_over_time(1.5, temperature[5m])",
        "sort(requests)",
        "requests{job=\"nope\"}",
        "abs({job=\"api\"})",
        "sum({__name__=~\"requests|errors\"})",
        "sum by (__name__) ({__name__=~\"requests|errors\"})",
        "rate({__name__=~\"requests|errors\"}[2m])",
        "ln(temperature)",
        "sqrt(temperature)",
        "exp(temperature)",
        "sgn(temperature)",
        "deg(temperature)",
        "rad(temperature)",
    ]
    .map(String::from)
    .to_vec();
    let over_time = "rate increase delta irate idelta avg_over_time min_over_time max_over_time \
        sum_over_time count_over_time \
        last_over_time present_over_time stddev_over_time stdvar_over_time changes resets deriv";
    for function in over_time.split_whitespace() {
        for range in ["5s", "15s", "1m", "5m", "30m"] {
            all.push(format!("{function}(requests[{range}])"));
            // The Prometheus of Debian 12 stretches a counter that starts near 0 otherwise than newer ones.
            if !matches!(function, "rate" | "increase") {
                all.push(format!("{function}(temperature[{range}])"));
            }
        }
    }
    for function in "abs ceil floor log2 log10 sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh"
        .split_whitespace()
    {
        all.push(format!("{function}(temperature / 20)"));
    }
    all
}

/// A Prometheus over blocks made of our series; killed when dropped.
struct Prometheus {
    child: Child,
    address: SocketAddr,
}

impl Prometheus {
    fn start(folder: &std::path::Path, series: &[(Labels, Vec<(i64, f64)>)]) -> Self {
        let mut text = String::new();
        for (labels, points) in series {
            for (at_s, value) in points {
                writeln!(text, "{} {value} {at_s}", labels.to_string().replace(", ", ",")).unwrap();
            }
        }
        text.push_str("# EOF\n");
        let (input, data, config) =
            (folder.join("in.om"), folder.join("data"), folder.join("prometheus.yml"));
        std::fs::write(&input, text).unwrap();
        std::fs::write(&config, "scrape_configs: []\n").unwrap();
        let made = Command::new("promtool")
            .args(["tsdb", "create-blocks-from", "openmetrics"])
            .args([&input, &data])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--web.listen-address={address}"))
            .args(["--storage.tsdb.retention.time=100y", "--log.level=error"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let prometheus = Prometheus { child, address };
        for _ in 0..200 {
            if prometheus.fetch("/-/ready").is_some_and(|body| body.contains("Ready")) {
                return prometheus;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("prometheus did not become ready");
    }

    fn fetch(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer.split_once("\r\n\r\n")?.1.to_owned())
    }

    fn range(&self, expression: &str, start: i64, end: i64, step: i64) -> Answer {
        let query: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let path = format!("/api/v1/query_range?query={query}&start={start}&end={end}&step={step}");
        let json: Json = serde_json::from_str(&self.fetch(&path).unwrap()).unwrap();
        if json["status"] != "success" {
            return Err(json["error"].to_string());
        }
        let mut answer = BTreeMap::new();
        for series in json["data"]["result"].as_array().unwrap() {
            let pairs = series["metric"].as_object().unwrap();
            let labels = Labels::from_pairs(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str().unwrap())));
            let points = series["values"].as_array().unwrap().iter().map(|point| {
                let value = point[1].as_str().unwrap();
                let at_ms = (point[0].as_f64().unwrap() * 1000.0) as i64;
                (at_ms, statsdeck::query::number::parse_float(value).unwrap())
            });
            answer.insert(labels.to_string(), points.collect());
        }
        Ok(answer)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn answer_of(value: Value) -> BTreeMap<String, Vec<(i64, f64)>> {
    let Value::Matrix(series) = value else { panic!("a range query gives a matrix") };
    let points_of = |points: statsdeck::query::MatrixPoints| {
        points.iter().map(|(at_ms, number)| (at_ms, number.as_float().unwrap())).collect()
    };
    series.into_iter().map(|series| (series.labels.to_string(), points_of(series.points))).collect()
}

fn difference(ours: &Answer, theirs: &Answer) -> Option<String> {
    let (ours, theirs) = match (ours, theirs) {
        (Err(_), Err(_)) => return None,
        (Ok(ours), Ok(theirs)) => (ours, theirs),
        (Err(ours), Ok(_)) => return Some(format!("ours fails: {ours}")),
        (Ok(_), Err(theirs)) => return Some(format!("theirs fails: {theirs}")),
    };
    if !ours.keys().eq(theirs.keys()) {
        return Some(format!("ours has {:?}, theirs {:?}", ours.keys(), theirs.keys()));
    }
    for (labels, ours) in ours {
        let theirs = &theirs[labels];
        let times = |points: &[(i64, f64)]| points.iter().map(|(at_ms, _)| *at_ms).collect::<Vec<_>>();
        if times(ours) != times(theirs) {
            return Some(format!("{labels}: ours has {} points, theirs {}", ours.len(), theirs.len()));
        }
        for ((at_ms, ours), (_, theirs)) in ours.iter().zip(theirs) {
            let scale = ours.abs().max(theirs.abs()).max(1e-9);
            let same =
                ours == theirs || (ours.is_nan() && theirs.is_nan()) || (ours - theirs).abs() <= 1e-9 * scale;
            if !same {
                return Some(format!("{labels} at {at_ms}: ours {ours}, theirs {theirs}"));
            }
        }
    }
    None
}
