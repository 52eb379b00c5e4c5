//! The page of a fresh start: commands that send a first metric to *this*
//! host and port, and what has come in so far.

use crate::dashboard::markup::{Markup, put};
use crate::dashboard::number;

/// What has come in, and where to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FirstRun {
    /// Lines received, good and bad, since the start.
    pub received: u64,
    /// Lines rejected, by reason.
    pub rejected: Vec<(String, u64)>,
    /// UDP addresses listened on, `host:port`.
    pub udp: Vec<String>,
    /// This HTTP server as the browser reached it, `host:port`.
    pub http: String,
}

impl FirstRun {
    fn rejects(&self) -> u64 {
        self.rejected.iter().map(|(_, count)| count).sum()
    }

    /// "received 3 lines, 1 rejected: bad type".
    pub fn words(&self) -> String {
        let lines = |n: u64| if n == 1 { "line" } else { "lines" };
        if self.received == 0 {
            return "nothing received yet".into();
        }
        let mut words = format!("received {} {}", number::exact(self.received as f64), lines(self.received));
        if self.rejects() > 0 {
            let reasons: Vec<&str> =
                self.rejected.iter().filter(|(_, n)| *n > 0).map(|(reason, _)| reason.as_str()).collect();
            let rejects = number::exact(self.rejects() as f64);
            words.push_str(&format!(", {rejects} rejected: {}", reasons.join(", ")));
        }
        words
    }
}

/// The page's content. `window` is the length of a window in words.
pub fn first_run(facts: &FirstRun, window: &str) -> Markup {
    let mut out = Markup::new();
    put!(
        out,
        "<section class=\"first\"><h1>Send a first metric</h1><p class=\"lead\">statsdeck is running and listens. \
         Run one of these in a terminal; its charts appear here by themselves, with nothing to set up.</p>",
    );
    put_heard(&mut out, facts, window);
    let udp = facts.udp.iter().find_map(|address| address_parts(address));
    if let Some((host, port)) = &udp {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let lines = r"hello.visits:1|c\nhello.load:0.7|g\nhello.duration:320|ms\n";
        put_command(&mut out, "netcat", &format!("printf '{lines}' | nc -u -w1 {host} {port}"));
        put_command(&mut out, "bash alone", &format!("printf '{lines}' > /dev/udp/{host}/{port}"));
        let family = if host.contains(':') { "AF_INET6" } else { "AF_INET" };
        let python = format!(
            "python3 -c \"import socket; socket.socket(socket.{family}, socket.SOCK_DGRAM).sendto(b'{lines}', \
             ('{host}', {port}))\""
        );
        put_command(&mut out, "Python", &python);
    }
    if let Some((host, port)) = address_parts(&facts.http) {
        let body = r#"{"metric": "hello.visits", "value": 1, "type": "count"}"#;
        let curl =
            format!("curl -H \"Authorization: Bearer $TOKEN\" -d '{body}' http://{host}:{port}/metrics");
        put_command(&mut out, "JSON over HTTP, where tokens are set up", &curl);
    }
    put!(
        out,
        "<p class=\"hint\">Any StatsD or DogStatsD client works: give it this host and port. Counters \
         (<code>|c</code>), gauges (<code>|g</code>), timers (<code>|ms</code>), histograms (<code>|h</code>, \
         <code>|d</code>) and sets (<code>|s</code>) each get the chart that suits them.</p></section>",
    );
    out
}

fn put_heard(out: &mut Markup, facts: &FirstRun, window: &str) {
    let accepted = facts.received.saturating_sub(facts.rejects());
    put!(out, "<p class=\"heard");
    match (facts.received, accepted) {
        (0, _) => put!(out, "\">"),
        (_, 0) => put!(out, " bad\">"),
        _ => put!(out, " good\">"),
    };
    put!(out, "<span class=\"dot\"></span><b>", facts.words(), "</b>");
    if accepted > 0 {
        put!(out, " <span>The first chart comes at the end of this window, within ", window, ".</span>");
    } else if facts.received > 0 {
        put!(
            out,
            " <span>A line reads <code>name:value|type</code>, such as <code>hello.visits:1|c</code>.</span>"
        );
    }
    put!(out, "</p>");
}

fn put_command(out: &mut Markup, title: &str, command: &str) {
    put!(out, "<div class=\"command\"><h2>", title, "</h2><pre><code>", command, "</code></pre>");
    put!(out, "<button type=\"button\" class=\"copy scripted\">Copy</button></div>");
}

/// Host and port of an address that may stand in a shell command: the browser
/// chose it, so that it must not bring anything else along.
fn address_parts(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let is_plain =
        host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']'));
    let port = port.parse().ok()?;
    (is_plain && !host.is_empty()).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_in_is_told_in_words() {
        let reason = |reason: &str, n| (reason.to_owned(), n);
        let cases = [
            (0, vec![], "nothing received yet"),
            (1, vec![], "received 1 line"),
            (3, vec![reason("bad type", 1), reason("no value", 0)], "received 3 lines, 1 rejected: bad type"),
        ];
        for (received, rejected, expected) in cases {
            assert_eq!(FirstRun { received, rejected, ..FirstRun::default() }.words(), expected);
        }
    }

    #[test]
    fn a_command_takes_no_shell_from_the_browser() {
        let facts = |http: &str| FirstRun { http: http.into(), ..FirstRun::default() };
        let page = |http: &str| first_run(&facts(http), "10 s").into_string();
        assert!(page("stats.example:8127").contains("http://stats.example:8127/metrics"));
        assert!(page("[::1]:8127").contains("http://[::1]:8127/metrics"));
        for http in ["$(reboot):1", "a;b:1", "a b:1", "'x:1", "host", ":1", "host:99999"] {
            assert!(!page(http).contains("curl"), "{http}");
        }
    }
}
