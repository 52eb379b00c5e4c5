//! Receivers against a server that answers as Slack documents, and the whole
//! way from samples to notices: each notice arrives once, across failures and
//! restarts, and no secret is ever shown.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use statsdeck::alert::{Definition, Rule, Ruler};
use statsdeck::clock::{Clock, ManualClock};
use statsdeck::model::{Labels, MetricType};
use statsdeck::notify::{
    AnyReceiver, Client, ClientOptions, Endpoint, Link, Message, Notice, Notifier, Options, Pacing, Receiver,
    Secret, Slack, Target, Verdict, Webhook,
};
use statsdeck::query::{Engine, MemorySource};
use statsdeck::store::state::StateStore;

const SECRET: &str = "hidden-token";
/// 2023-11-14T22:13:20Z
const START_MS: i64 = 1_700_000_000_000;

type Reply = (u16, &'static [(&'static str, &'static str)], &'static str);
const OK: Reply = (200, &[], "ok");

/// Answers what it is told to, one reply a request, then `200 ok`. Status 0 is
/// no answer, 1 an `ok` that takes its time.
#[derive(Clone)]
struct Server {
    port: u16,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    received: Arc<Mutex<Vec<Received>>>,
}

#[derive(Clone, Debug)]
struct Received {
    target: String,
    content_type: String,
    body: serde_json::Value,
}

impl Server {
    async fn start() -> Self {
        Log::start();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server {
            port: listener.local_addr().unwrap().port(),
            replies: Arc::default(),
            received: Arc::default(),
        };
        let shared = server.clone();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let shared = shared.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| shared.clone().answer(request));
                    let builder = hyper::server::conn::http1::Builder::new();
                    // A client that goes away is part of some tests.
                    let _ = builder.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        server
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        assert_eq!(request.method(), "POST");
        let target = request.uri().to_string();
        let content_type = request.headers()["content-type"].to_str().unwrap().to_owned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or_default();
        self.received.lock().unwrap().push(Received { target, content_type, body });
        let (status, headers, body) = self.replies.lock().unwrap().pop_front().unwrap_or(OK);
        match status {
            0 => std::future::pending::<()>().await,
            1 => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                return Ok(Response::new(Full::new(Bytes::from_static(b"ok"))));
            }
            _ => {}
        }
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        Ok(response.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap())
    }

    fn script(&self, replies: &[Reply]) {
        self.replies.lock().unwrap().extend(replies);
    }

    fn url(&self) -> Secret {
        Secret::new(format!("http://127.0.0.1:{}/services/{SECRET}?key={SECRET}", self.port))
    }

    fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    async fn wait_for(&self, requests: usize) {
        within_seconds(&format!("{requests} requests"), || self.received().len() >= requests).await;
    }
}

/// Waits for something that other tasks do; the time is only a limit.
async fn within_seconds(what: &str, done: impl Fn() -> bool) {
    let limit = tokio::time::Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(tokio::time::Instant::now() < limit, "{what} did not happen within 10 s");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn kinds(endpoint: &Endpoint) -> [AnyReceiver; 2] {
    let endpoint = endpoint.clone();
    [AnyReceiver::Slack(Slack { endpoint: endpoint.clone() }), AnyReceiver::Webhook(Webhook { endpoint })]
}

fn client(timeout_ms: u64) -> Client {
    Client::new(ClientOptions { timeout: Duration::from_millis(timeout_ms) }).unwrap()
}

async fn attempt(receiver: &AnyReceiver, timeout_ms: u64) -> Verdict {
    let body = receiver.body(&message(1, 0), Link::default());
    match client(timeout_ms).post(receiver.endpoint(), body).await {
        Ok(reply) => receiver.judge(&reply),
        Err(verdict) => verdict,
    }
}

fn notice(n: usize, resolved: bool) -> Notice {
    let host = format!("etl-{n}");
    Notice {
        fingerprint: n as u64,
        labels: Labels::from_pairs([("alertname", "EtlErrors"), ("host", &*host), ("severity", "page")]),
        annotations: Labels::from_pairs([
            ("summary", format!("ETL on {host} has errors")),
            ("description", "load <daily> & \"hourly\" failed".to_owned()),
            ("runbook_url", "https://wiki.example.org/etl?a=1&b=2".to_owned()),
        ]),
        value: 3.5,
        fired_at_ms: START_MS,
        resolved_at_ms: resolved.then_some(START_MS + 3_723_000),
    }
}

fn message(firing: usize, resolved: usize) -> Message {
    Message {
        rule: "EtlErrors".into(),
        expr: Some("increase(etl_errors[1h]) > 0".into()),
        firing: (0..firing).map(|n| notice(n, false)).collect(),
        resolved: (firing..firing + resolved).map(|n| notice(n, true)).collect(),
    }
}

#[tokio::test]
async fn each_answer_is_retried_or_given_up_as_documented() {
    // answer, (Slack, webhook): delivered, retry[ after ms], give up, broken
    let cases: [(Reply, [&str; 2]); 16] = [
        (OK, ["delivered"; 2]),
        ((204, &[], ""), ["delivered"; 2]),
        ((200, &[], "{\"ok\":false,\"error\":\"invalid_blocks\"}"), ["give up", "delivered"]),
        ((302, &[("location", "http://h/hidden-token")], ""), ["broken"; 2]),
        ((400, &[], "invalid_payload"), ["give up"; 2]),
        ((400, &[], "user_not_found"), ["broken", "give up"]),
        ((403, &[], "action_prohibited"), ["broken"; 2]),
        ((404, &[], "channel_not_found"), ["broken"; 2]),
        ((404, &[], "no_service"), ["broken"; 2]),
        ((410, &[], "channel_is_archived"), ["broken"; 2]),
        ((413, &[], "see /services/hidden-token"), ["give up"; 2]),
        ((429, &[("retry-after", "7")], "{\"ok\":false,\"error\":\"rate_limited\"}"), ["retry 7000"; 2]),
        ((429, &[("retry-after", "soon")], ""), ["retry"; 2]),
        ((500, &[], "rollup_error"), ["retry"; 2]),
        ((503, &[("retry-after", "2")], "/services/hidden-token"), ["retry 2000"; 2]),
        ((408, &[], ""), ["retry"; 2]),
    ];
    let server = Server::start().await;
    for (reply, expected) in cases {
        let endpoint = Endpoint::from_url(&server.url()).unwrap();
        for (receiver, expected) in kinds(&endpoint).iter().zip(expected) {
            server.script(&[reply]);
            let verdict = attempt(receiver, 5_000).await;
            let found = match &verdict {
                Verdict::Delivered => "delivered".to_owned(),
                Verdict::Retry { after_ms: None, .. } => "retry".to_owned(),
                Verdict::Retry { after_ms: Some(after_ms), .. } => format!("retry {after_ms}"),
                Verdict::GiveUp { broken: false, .. } => "give up".to_owned(),
                Verdict::GiveUp { broken: true, .. } => "broken".to_owned(),
            };
            assert_eq!(found, expected, "{} {reply:?}", receiver.kind());
            assert!(!format!("{verdict:?} {receiver:?}").contains(SECRET), "{verdict:?} {receiver:?}");
        }
    }
    let received = server.received();
    assert_eq!(received.len(), 32, "a redirect was followed, or a request repeated");
    assert_eq!(received[0].target, format!("/services/{SECRET}?key={SECRET}"));
    assert_eq!(received[0].content_type, "application/json");
}

#[tokio::test]
async fn what_does_not_answer_is_retried_and_no_reason_shows_the_url() {
    let silent = Server::start().await;
    silent.script(&[(0, &[], ""), (0, &[], "")]);
    let rude = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rude_port = rude.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            drop(rude.accept().await);
        }
    });
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed_port = closed.local_addr().unwrap().port();
    drop(closed);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    std::fs::write(&file, SECRET).unwrap();
    let url = |start: String| Endpoint::from_url(&Secret::new(format!("{start}/{SECRET}"))).unwrap();
    let cases = [
        (Endpoint::from_url(&silent.url()).unwrap(), "no answer within 0.3 s"),
        (url(format!("http://127.0.0.1:{rude_port}")), "the connection failed"),
        (url(format!("http://127.0.0.1:{closed_port}")), "cannot connect: "),
        // No TLS on that port.
        (url(format!("https://127.0.0.1:{}", silent.port)), "cannot connect: "),
        (url("http://no-such-host.invalid".into()), "cannot connect: "),
        (Endpoint::from_file(folder.path().join("none")), "cannot read "),
        (Endpoint::from_file(&file), "url: not a URL"),
    ];
    for (endpoint, expected) in cases {
        for receiver in kinds(&endpoint) {
            let Verdict::Retry { after_ms: None, reason } = attempt(&receiver, 300).await else {
                panic!("{endpoint}: not retried")
            };
            // A resolver may take longer than the limit to say no.
            let slow_resolver = endpoint.to_string().contains("invalid") && reason.contains("no answer");
            assert!(reason.contains(expected) || slow_resolver, "{reason}");
            assert!(!format!("{reason} {receiver:?}").contains(SECRET), "{reason} {receiver:?}");
        }
    }
}

#[test]
fn bodies_are_as_documented() {
    let endpoint = Endpoint::from_url(&Secret::new("https://hooks.slack.com/x")).unwrap();
    let linked = Link { receiver: "on-call", public_url: Some("https://stats.example.org") };
    let plain = Link { receiver: "on-call", public_url: None };
    let cases = [
        ("firing", message(1, 0), linked),
        ("resolved", message(0, 1), linked),
        ("both_without_link", message(2, 1), plain),
        ("many", message(60, 0), linked),
    ];
    for (name, message, link) in cases {
        for receiver in kinds(&endpoint) {
            // The long body of the webhook holds all 60; its shape is in the others.
            if name == "many" && receiver.kind() == "webhook" {
                let body: serde_json::Value = serde_json::from_slice(&receiver.body(&message, link)).unwrap();
                assert_eq!(body["alerts"].as_array().unwrap().len(), 60);
                continue;
            }
            let body: serde_json::Value = serde_json::from_slice(&receiver.body(&message, link)).unwrap();
            let text = serde_json::to_string_pretty(&body).unwrap();
            insta::with_settings!({ snapshot_path => "golden", prepend_module_to_snapshot => false, omit_expression => true }, {
                insta::assert_snapshot!(format!("notify_{}_{name}", receiver.kind()), text);
            });
        }
    }
}

/// Samples, rules and notifier of one daemon; the folder outlives restarts.
struct Daemon {
    source: Arc<MemorySource>,
    engine: Engine,
    ruler: Ruler,
    notifier: Notifier,
    clock: Arc<ManualClock>,
}

impl Daemon {
    fn start(folder: &Path, targets: Vec<Target>, at_ms: i64) -> Self {
        let store = Arc::new(StateStore::open(&folder.join("state.redb")).unwrap());
        let definition = Definition {
            name: "EtlErrors".into(),
            expr: "etl_failed > 0".into(),
            annotations: vec![("summary".into(), "{{ $value }} failed on {{ $labels.host }}".into())],
            ..Default::default()
        };
        let source = Arc::new(MemorySource::new());
        let clock = Arc::new(ManualClock::at(at_ms));
        let options = Options {
            public_url: Some("https://stats.example.org/".into()),
            client: ClientOptions { timeout: Duration::from_secs(5) },
            pacing: Pacing { backoff_first_ms: 5, backoff_max_ms: 20, ..Pacing::default() },
        };
        let shared_clock: Arc<dyn Clock> = clock.clone();
        Daemon {
            engine: Engine::new(source.clone(), Default::default()),
            ruler: Ruler::open(vec![Rule::new(&definition).unwrap()], store.clone(), at_ms).unwrap(),
            notifier: Notifier::start(targets, &options, &store, &shared_clock).unwrap(),
            source,
            clock,
        }
    }

    /// A flush 10 s later with these values of `etl.failed`, and its evaluation.
    fn flush(&mut self, values: &[(&str, f64)]) {
        self.clock.advance(10_000);
        let now_ms = self.clock.now_ms();
        for (host, value) in values {
            let labels = Labels::from_pairs([("__name__", "etl.failed"), ("host", *host)]);
            self.source.push(&labels, Some(MetricType::Gauge), now_ms, *value);
        }
        self.ruler.evaluate(now_ms, &self.engine);
        self.notifier.update(self.ruler.board().snapshot());
    }

    async fn stop(self) -> i64 {
        assert!(self.notifier.stop(Duration::from_secs(10)).await, "workers did not end");
        self.clock.now_ms()
    }
}

fn webhook(server: &Server) -> Vec<Target> {
    let endpoint = Endpoint::from_url(&server.url()).unwrap();
    vec![Target { name: "hook".into(), receiver: AnyReceiver::Webhook(Webhook { endpoint }) }]
}

/// `firing a` for each request: status and hosts of its alerts.
fn told(server: &Server) -> Vec<String> {
    let of_request = |request: Received| {
        let alerts = request.body["alerts"].as_array().unwrap().clone();
        let mut parts: Vec<String> = alerts
            .iter()
            .map(|alert| {
                format!("{} {}", alert["status"].as_str().unwrap(), alert["labels"]["host"].as_str().unwrap())
            })
            .collect();
        parts.sort();
        parts.join(", ")
    };
    server.received().into_iter().map(of_request).collect()
}

#[tokio::test]
async fn a_rule_that_fires_and_ends_makes_two_posts_across_restarts() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(folder.path(), webhook(&server), START_MS);
    daemon.flush(&[("a", 0.0)]);
    daemon.flush(&[("a", 2.0)]);
    daemon.flush(&[("a", 3.0)]);
    let at_ms = daemon.stop().await;
    assert_eq!(told(&server), ["firing a"]);

    let mut daemon = Daemon::start(folder.path(), webhook(&server), at_ms);
    daemon.flush(&[("a", 3.0)]);
    daemon.flush(&[("a", 3.0)]);
    let at_ms = daemon.stop().await;
    assert_eq!(told(&server), ["firing a"], "repeated after a restart");

    // It ends while we are down: told at the first evaluation.
    let mut daemon = Daemon::start(folder.path(), webhook(&server), at_ms + 60_000);
    daemon.flush(&[("a", 0.0)]);
    daemon.flush(&[("a", 0.0)]);
    let at_ms = daemon.stop().await;
    assert_eq!(told(&server), ["firing a", "resolved a"]);
    let resolved = &server.received()[1].body["alerts"][0];
    assert_eq!(resolved["startsAt"], "2023-11-14T22:13:40Z");
    assert_eq!(resolved["annotations"]["summary"], "3 failed on a");

    let mut daemon = Daemon::start(folder.path(), webhook(&server), at_ms);
    daemon.flush(&[("a", 0.0)]);
    daemon.stop().await;
    assert_eq!(server.received().len(), 2);
}

#[tokio::test]
async fn changes_are_told_as_they_happen() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(folder.path(), webhook(&server), START_MS);
    let status = daemon.notifier.statuses().remove(0);
    let expected = ["firing a", "firing b", "resolved a", "firing a, resolved b"];
    for (n, (a, b)) in [(1.0, 0.0), (1.0, 1.0), (0.0, 1.0), (1.0, 0.0)].into_iter().enumerate() {
        daemon.flush(&[("a", a), ("b", b)]);
        within_seconds("a notice", || status.view().sent == n as u64 + 1).await;
        // Let the worker come to rest, so that the next change must wake it.
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        assert_eq!(told(&server), expected[..=n]);
    }
    daemon.stop().await;
    assert_eq!(told(&server), expected);
}

#[tokio::test]
async fn while_the_receiver_is_down_nothing_is_lost_and_nothing_told_twice() {
    let server = Server::start().await;
    server.script(&[(500, &[], ""), (503, &[], ""), (502, &[], "")]);
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(folder.path(), webhook(&server), START_MS);
    daemon.flush(&[("a", 1.0)]);
    server.wait_for(4).await;
    let status = daemon.notifier.statuses().remove(0);
    within_seconds("delivery", || status.view().sent == 1).await;
    let view = status.view();
    assert_eq!((view.retried, view.failed, view.broken, view.last_error), (3, 0, false, None));
    daemon.flush(&[("a", 1.0)]);
    daemon.stop().await;
    assert_eq!(server.received().len(), 4);
}

#[tokio::test]
async fn a_message_on_its_way_when_we_stop_is_not_sent_again() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    server.script(&[(1, &[], "")]);
    let mut daemon = Daemon::start(folder.path(), webhook(&server), START_MS);
    daemon.flush(&[("a", 1.0)]);
    server.wait_for(1).await;
    assert!(!daemon.notifier.stop(Duration::from_millis(1)).await, "in time it was not");
    let at_ms = daemon.clock.now_ms();
    drop((daemon.ruler, daemon.engine));
    let mut daemon = Daemon::start(folder.path(), webhook(&server), at_ms);
    daemon.flush(&[("a", 1.0)]);
    daemon.stop().await;
    assert_eq!(told(&server), ["firing a"]);
}

#[tokio::test]
async fn what_could_not_be_told_before_a_restart_is_told_after_it() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    server.script(&[(429, &[("retry-after", "3600")], "")]);
    let mut daemon = Daemon::start(folder.path(), webhook(&server), START_MS);
    daemon.flush(&[("a", 1.0), ("b", 1.0)]);
    server.wait_for(1).await;
    let at_ms = daemon.stop().await;
    let mut daemon = Daemon::start(folder.path(), webhook(&server), at_ms);
    // b ended meanwhile and was never told.
    daemon.flush(&[("a", 1.0), ("b", 0.0)]);
    daemon.stop().await;
    assert_eq!(told(&server), ["firing a, firing b", "firing a"]);
}

#[tokio::test]
async fn fifty_alerts_of_a_rule_are_one_message_and_each_receiver_gets_it() {
    let (first, second) = (Server::start().await, Server::start().await);
    let folder = tempfile::tempdir().unwrap();
    let slack = AnyReceiver::Slack(Slack { endpoint: Endpoint::from_url(&second.url()).unwrap() });
    let mut targets = webhook(&first);
    targets.push(Target { name: "slack".into(), receiver: slack });
    let mut daemon = Daemon::start(folder.path(), targets, START_MS);
    let hosts: Vec<String> = (0..50).map(|n| format!("h{n:02}")).collect();
    let values: Vec<(&str, f64)> = hosts.iter().map(|host| (host.as_str(), 1.0)).collect();
    daemon.flush(&values);
    daemon.stop().await;
    assert_eq!((first.received().len(), second.received().len()), (1, 1));
    assert_eq!(told(&first)[0].split(", ").count(), 50);
    assert!(second.received()[0].body["text"].as_str().unwrap().contains("[FIRING:50] EtlErrors"));
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_shown_as_broken_and_the_others_go_on() {
    let (gone, fine) = (Server::start().await, Server::start().await);
    gone.script(&[(404, &[], "no_service")]);
    let folder = tempfile::tempdir().unwrap();
    let slack = AnyReceiver::Slack(Slack { endpoint: Endpoint::from_url(&gone.url()).unwrap() });
    let mut targets = webhook(&fine);
    targets.push(Target { name: "gone".into(), receiver: slack });
    let mut daemon = Daemon::start(folder.path(), targets, START_MS);
    daemon.flush(&[("a", 1.0)]);
    gone.wait_for(1).await;
    let statuses = daemon.notifier.statuses();
    within_seconds("giving up", || statuses[1].view().failed == 1).await;
    let view = statuses[1].view();
    assert!(view.broken);
    assert_eq!(view.last_error, Some((START_MS + 10_000, "answered 404 no_service".into())));
    daemon.flush(&[("a", 1.0)]);
    daemon.stop().await;
    assert_eq!((gone.received().len(), fine.received().len()), (1, 1));
    assert!(!statuses[0].view().broken);
}

#[tokio::test]
async fn a_url_file_is_read_for_each_message() {
    let (before, after) = (Server::start().await, Server::start().await);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("url");
    std::fs::write(&path, before.url().expose()).unwrap();
    let receiver = AnyReceiver::Webhook(Webhook { endpoint: Endpoint::from_file(&path) });
    let mut daemon = Daemon::start(folder.path(), vec![Target { name: "r".into(), receiver }], START_MS);
    daemon.flush(&[("a", 1.0)]);
    before.wait_for(1).await;
    std::fs::write(&path, format!("{}\n", after.url().expose())).unwrap();
    daemon.flush(&[("a", 1.0), ("b", 1.0)]);
    daemon.stop().await;
    assert_eq!((told(&before), told(&after)), (vec!["firing a".into()], vec!["firing b".into()]));
}

/// The log of all tests of this file.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Set up before anything is logged: each test begins with it.
    fn start() -> &'static Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        LOG.get_or_init(|| {
            let log = Log::default();
            let writer = log.clone();
            let subscriber = tracing_subscriber::fmt()
                .with_max_level(tracing::Level::TRACE)
                .with_ansi(false)
                .with_writer(move || writer.clone())
                .finish();
            tracing::subscriber::set_global_default(subscriber).unwrap();
            log
        })
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_says_what_happened_and_never_where_exactly() {
    let server = Server::start().await;
    server.script(&[(500, &[], "at /services/hidden-token"), OK, (410, &[], "channel_is_archived")]);
    let folder = tempfile::tempdir().unwrap();
    let mut targets = webhook(&server);
    targets[0].name = "logged".into();
    let mut daemon = Daemon::start(folder.path(), targets, START_MS);
    daemon.flush(&[("a", 1.0)]);
    server.wait_for(2).await;
    let status = daemon.notifier.statuses().remove(0);
    within_seconds("delivery", || status.view().sent == 1).await;
    daemon.flush(&[("a", 0.0)]);
    server.wait_for(3).await;
    within_seconds("giving up", || status.view().failed == 1).await;
    daemon.stop().await;

    let text = Log::start().text();
    let ours: Vec<&str> = text.lines().filter(|line| line.contains("receiver=\"logged\"")).collect();
    for expected in ["will be tried again", "notice sent", "notice given up"] {
        assert!(ours.iter().any(|line| line.contains(expected)), "{expected}:\n{}", ours.join("\n"));
    }
    let leaks: Vec<&str> = text.lines().filter(|line| line.contains(SECRET)).collect();
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
}
