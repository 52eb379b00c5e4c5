//! The classic management port, as scripts speak to it.

mod harness;

use harness::{Running, start, wait_until};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\nconnections = 2\n";

fn connect(daemon: &Running) -> TcpStream {
    let stream = TcpStream::connect(daemon.admin.unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// As `echo … | nc`: all that is said, then the end.
fn say(daemon: &Running, text: &str) -> String {
    let mut stream = connect(daemon);
    stream.write_all(text.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}

#[test]
fn commands_are_answered_as_the_classic_server_does() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = start(dir.path(), ADMIN);
    daemon.send("a.b:3|c\na.c:2|c|#job:x\nplain:1|c\ntemp:21.5|g\ntook:100|ms\ntook:320|ms\nsize:7|h\nbad");
    daemon.await_query("plain", 1.0);
    for (command, expected) in [
        ("counters\n", "{ 'a.b': 3, 'a.c;job=x': 2, plain: 1 }\nEND\n\n"),
        ("gauges\n", "{ temp: 21.5 }\nEND\n\n"),
        ("timers\n", "{ size: { count: 1, sum: 7 }, took: { count: 2, sum: 420 } }\nEND\n\n"),
        ("health\n", "health: up\nEND\n\n"),
        ("nonsense\n", "ERROR\n"),
        ("delcounters nowhere no.*\n", "metric nowhere not found\nmetric no.* not found\nEND\n\n"),
        // Several at once, and one without its end.
        ("health\r\nhealth", "health: up\nEND\n\nhealth: up\nEND\n\n"),
        ("quit\nhealth\n", ""),
    ] {
        assert_eq!(say(&daemon, command), expected, "{command:?}");
    }
    let help = say(&daemon, "help\n");
    for word in "stats counters timers gauges delcounters deltimers delgauges health config quit".split(' ') {
        assert!(help.starts_with("Commands: ") && help.contains(word), "{help}");
    }
    let stats = say(&daemon, "stats\n");
    for line in ["uptime: ", "messages.last_msg_seen: ", "messages.bad_lines_seen: 1\n", "store.last_flush: "]
    {
        assert!(stats.contains(line), "{line} is not in {stats}");
    }
    assert!(stats.ends_with("END\n\n"));
    let config = say(&daemon, "config\n");
    assert!(config.contains("\nwindow > interval: 200ms\n") && config.ends_with("END\n\n"), "{config}");
    daemon.stop();
}

#[test]
fn deleted_series_end_and_begin_anew_when_they_are_heard() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = start(dir.path(), ADMIN);
    daemon.send("f.a:1|c\nf.b:1|c\nfab:1|c\ng:5|g\nt:1|ms");
    daemon.await_query("count({__name__=~\"f.a|f.b|fab|g\"})", 4.0);
    // Those of the open window would bring them back: a window later they do not.
    wait_until(|| daemon.scraped("statsdeck_flushes_total").is_some_and(|n| n > 3.0)).unwrap();
    assert_eq!(say(&daemon, "delcounters f.*\n"), "deleted: f.a\ndeleted: f.b\nEND\n\n");
    assert_eq!(say(&daemon, "delgauges g g\n"), "deleted: g\nEND\n\n");
    assert_eq!(say(&daemon, "deltimers t\n"), "deleted: t\nEND\n\n");
    assert_eq!(say(&daemon, "counters\ngauges\ntimers\n"), "{ fab: 1 }\nEND\n\n{}\nEND\n\n{}\nEND\n\n");
    wait_until(|| daemon.query("g").is_none() && daemon.query("{\"f.a\"}").is_none()).unwrap();
    daemon.send("g:+2|g\nf.a:1|c");
    daemon.await_query("g", 2.0);
    daemon.await_query("{\"f.a\"}", 2.0);
    daemon.stop();
}

#[test]
fn who_is_set_down_is_not_ready() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = start(dir.path(), ADMIN);
    assert_eq!(say(&daemon, "health down\n"), "health: down\nEND\n\n");
    let answer = daemon.get("/-/ready");
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("health up"), "{}", answer.body);
    assert_eq!(daemon.get("/-/healthy").status, 200);
    assert_eq!(say(&daemon, "health UP"), "health: up\nEND\n\n");
    assert_eq!(daemon.get("/-/ready").status, 200);
    daemon.stop();
}

#[test]
fn a_command_without_its_end_is_answered_while_the_connection_stays() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = start(dir.path(), ADMIN);
    let mut stream = connect(&daemon);
    for _ in 0..2 {
        stream.write_all(b"health").unwrap();
        let mut reply = [0; 16];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"health: up\nEND\n\n");
    }
    daemon.stop();
}

#[test]
fn connections_and_lines_are_bounded_and_browsers_are_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = start(dir.path(), ADMIN);
    let (mut one, mut two) = (connect(&daemon), connect(&daemon));
    for stream in [&mut one, &mut two] {
        stream.write_all(b"health\n").unwrap();
        stream.read_exact(&mut [0; 16]).unwrap();
    }
    let mut refused = connect(&daemon);
    assert!(matches!(refused.read(&mut [0; 1]), Ok(0) | Err(_)), "it is closed at once");
    daemon.await_scraped("statsdeck_admin_connections_refused_total", 1.0);
    drop((one, two));
    wait_until(|| {
        let mut stream = connect(&daemon);
        stream.write_all(b"health\n").is_ok() && stream.read_exact(&mut [0; 16]).is_ok()
    })
    .unwrap();
    daemon.send("kept:1|c");
    daemon.await_query("kept", 1.0);
    let from_a_page = "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\ndelcounters kept\n";
    let mut stream = connect(&daemon);
    stream.write_all(from_a_page.as_bytes()).unwrap();
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    assert_eq!(reply, b"");
    assert_eq!(say(&daemon, "counters\n"), "{ kept: 1 }\nEND\n\n");
    let mut stream = connect(&daemon);
    let _ = stream.write_all(&[b'x'; 6000]);
    let mut reply = [0; 6];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"ERROR\n");
    daemon.await_scraped("statsdeck_admin_connections_cut_total", 2.0);
    // An open connection does not hold up the stop.
    let _open = connect(&daemon);
    daemon.stop();
}

#[test]
fn a_health_check_does_not_wait_for_one_who_does_not_read_its_reply() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = start(dir.path(), ADMIN);
    for at in 0..1000 {
        daemon.send(&format!("{}.{at}:1|c", "long".repeat(50)));
    }
    daemon.await_query(&format!(r#"{{"{}.999"}}"#, "long".repeat(50)), 1.0);
    let mut deaf = connect(&daemon);
    deaf.set_nonblocking(true).unwrap();
    // 200 kB each: more than fits between the two.
    deaf.write_all("counters\n".repeat(200).as_bytes()).unwrap();
    let asked = |daemon: &Running| daemon.scraped("statsdeck_admin_commands_total").unwrap_or_default();
    let mut before = asked(&daemon);
    // The reply is stuck once no further command is taken.
    wait_until(|| {
        std::thread::sleep(Duration::from_millis(300));
        let now = asked(&daemon);
        std::mem::replace(&mut before, now) == now && now > 1.0
    })
    .unwrap();
    assert!(before < 200.0, "all was taken: {before}");
    assert_eq!(say(&daemon, "health\n"), "health: up\nEND\n\n");
    drop(deaf);
    daemon.stop();
}
