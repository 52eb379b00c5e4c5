//! The config: what is written, what it means, what is said when it is wrong.

use statsdeck::config::Config;
use statsdeck::notify::Receiver;
use std::path::Path;

const EXAMPLE: &str = include_str!("../config.toml.example");

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(Path::new("statsdeck.toml"), text, &[]).map_err(|error| error.to_string())
}

/// The example with its examples taken in: lines that begin with `#` and no blank.
fn uncommented() -> String {
    let take = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') && !rest.is_empty() => rest.to_owned(),
        _ => line.to_owned(),
    };
    EXAMPLE.lines().map(|line| take(line) + "\n").collect()
}

#[test]
fn the_example_says_the_defaults() {
    let example = parse(EXAMPLE).unwrap();
    assert_eq!(format!("{example:#?}"), format!("{:#?}", parse("").unwrap()));
}

#[test]
fn a_spelling_is_forgotten_before_its_series_is() {
    for (expire, retention) in [("5m", "1h"), ("2h", "1h"), ("30d", "2h"), ("30d", "90d")] {
        let text = format!(
            "[window]\nexpire = {{ timer = \"{expire}\" }}\n[[tier]]\nresolution = \"10s\"\nretention = \"{retention}\"\n"
        );
        let config = parse(&text).unwrap();
        let idle_ms = i64::from(config.table.idle_windows_max) * config.windows.interval_ms;
        assert!(idle_ms < config.retention_ms, "{expire} {retention}");
    }
}

#[test]
fn the_examples_in_the_example_are_right() {
    let config = parse(&uncommented()).unwrap();
    assert_eq!((config.rules.len(), config.receivers.len(), config.http.tokens.len()), (2, 2, 1));
    let listeners: Vec<String> = config.listeners.iter().map(|l| l.socket.address.to_string()).collect();
    assert_eq!(
        listeners,
        ["udp://127.0.0.1:8125", "tcp://127.0.0.1:8125", "unixgram:///run/statsdeck/statsd.sock"]
    );
    assert_eq!(config.prefixes.len(), 1);
    assert!(config.admin.is_some());
    assert_eq!((config.views[0].kpis.len(), config.views[0].panels.len()), (3, 4));
}

/// Every key that the reader knows, by table: it names them when it meets one
/// that it does not know.
#[test]
fn the_example_shows_every_key() {
    let tables = [
        "",
        "[[listen]]",
        "[http]",
        "[[http.token]]",
        "[window]",
        "[window.expire]",
        "[limits]",
        "[[limits.prefix]]",
        "[admin]",
        "[[tier]]",
        "[store]",
        "[mapping]",
        "[alert]",
        "[[alert.rule]]",
        "[[receiver]]",
        "[[receiver]]\nname = \"x\"\n[receiver.slack]",
        "[[view]]",
        "[[view]]\nid = \"x\"\n[[view.kpi]]",
        "[[view]]\nid = \"x\"\n[[view.panel]]",
    ];
    for table in tables {
        let error = parse(&format!("{table}\nzzz = 1\n")).unwrap_err();
        let (_, known) =
            error.split_once("unknown field `zzz`, expected ").unwrap_or_else(|| panic!("{error}"));
        let keys: Vec<&str> = known.lines().next().unwrap().split('`').skip(1).step_by(2).collect();
        assert!(!keys.is_empty());
        for key in keys {
            let shown = uncommented().lines().any(|line| {
                let line = line.trim_start();
                line.starts_with(&format!("{key} ="))
                    || line.contains(&format!("{{ {key} ="))
                    || line.contains(&format!(", {key} ="))
                    || line.trim_matches(['[', ']']).split('.').any(|part| part == key)
            });
            assert!(shown, "{table} {key} is not in config.toml.example");
        }
    }
}

fn check(text: &str, expected: &[&str]) {
    let error = parse(text).expect_err(text);
    for part in expected {
        assert!(error.contains(part), "{text}\nexpected {part:?} in:\n{error}");
    }
}

#[test]
fn problems_name_line_key_and_what_to_write() {
    check("dat_dir = 1", &["statsdeck.toml:1", "unknown field `dat_dir`", "did you mean `data_dir`?"]);
    check("[http]\nadress = \"x\"", &["statsdeck.toml:2", "did you mean `address`?", "^^^^^^"]);
    check("[http]\naddress = 5", &["statsdeck.toml:2", "invalid type: integer"]);
    check("[http]\naddress = \"nowhere\"", &["statsdeck.toml:2: http.address", "write host:port"]);
    check(
        "[http]\naddress = \"0.0.0.0:8127\"",
        &["statsdeck.toml:2: http.address", "[[http.token]]", "auth = \"none\""],
    );
    check("[http]\ntimezone = \"Mars/Base\"", &["http.timezone", "no such time zone"]);
    check(
        "[[http.token]]\nname = \"a\"\nhash = \"x\"\nscopes = [\"reed\"]",
        &["http.token[0].hash", "token new", "no such scope: \"reed\""],
    );
    check("[[listen]]\naddress = \"127.0.0.1:8125\"", &["statsdeck.toml:2: listen[0].address", "udp://"]);
    check(
        "[[listen]]\naddress = \"udp://127.0.0.1:1\"\ndialect = \"etsy\"",
        &["statsdeck.toml:3: listen[0].dialect", "dogstatsd"],
    );
    check(
        "[[listen]]\naddress = \"udp://127.0.0.1:1\"\ntag_styles = [\"influx\", \"prom\"]",
        &["statsdeck.toml:3: listen[0].tag_styles", "\"prom\"", "\"graphite\""],
    );
    check(
        "[[listen]]\naddress = \"udp://127.0.0.1:1\"\nreceive_buffer = \"8 MB\"\nthreads = 0",
        &["listen[0].receive_buffer", "8MiB", "listen[0].threads", "between 1 and 64"],
    );
    check(
        "[[listen]]\naddress = \"sctp://127.0.0.1:1\"",
        &["statsdeck.toml:2: listen[0].address", "unixgram://"],
    );
    check("[[listen]]\naddress = \"unix://run/s\"", &["statsdeck.toml:2: listen[0].address", "at the root"]);
    let long = format!("[[listen]]\naddress = \"unixgram:///{}\"", "x".repeat(107));
    check(&long, &["listen[0].address", "107 bytes"]);
    check(
        "[[listen]]\naddress = \"udp://127.0.0.1:1\"\nframing = \"datadog\"\nidle = \"5m\"\nconnections = 9\nmode = \"0600\"",
        &[
            "statsdeck.toml:3: listen[0].framing: has no effect on udp://; it is for tcp:// and unix://",
            "statsdeck.toml:4: listen[0].idle",
            "statsdeck.toml:5: listen[0].connections",
            "statsdeck.toml:6: listen[0].mode: has no effect on udp://; it is for unixgram://",
        ],
    );
    check(
        "[[listen]]\naddress = \"unix:///run/s\"\nallow = [\"::1\"]\nthreads = 2\nreceive_buffer = \"1MiB\"",
        &["statsdeck.toml:3: listen[0].allow", "its mode", "listen[0].threads", "listen[0].receive_buffer"],
    );
    check(
        "[[listen]]\naddress = \"unix:///run/s\"\nframing = \"netstring\"\nmode = \"0988\"\nconnections = 0\nidle = \"soon\"\npacket_bytes = \"1MiB\"",
        &[
            "statsdeck.toml:3: listen[0].framing: must be \"lines\"",
            "statsdeck.toml:4: listen[0].mode: must be octal",
            "statsdeck.toml:5: listen[0].connections: must be between 1 and 65536",
            "statsdeck.toml:6: listen[0].idle",
            "statsdeck.toml:7: listen[0].packet_bytes: must be a size from 512B to 64KiB",
        ],
    );
    check(
        "[[listen]]\naddress = \"udp://127.0.0.1:1\"\nallow = [\n  \"10.0.0.0/8\",\n  \"10.0.0.0/40\",\n]",
        &["statsdeck.toml:5: listen[0].allow: \"10.0.0.0/40\" is no network", "10.0.0.0/8"],
    );
    check("[[listen]]\naddress = \"udp://127.0.0.1:1\"\nallow = []", &["listen[0].allow: allows nobody"]);
    for (one, other) in [("udp://127.0.0.1:1", "udp://127.0.0.1:1"), ("unix:///run/s", "unixgram:///run/s")] {
        check(
            &format!("[[listen]]\naddress = \"{one}\"\n[[listen]]\naddress = \"{other}\""),
            &["statsdeck.toml:4: listen[1].address: another [[listen]] has this address"],
        );
    }
    check(
        "[window]\ninterval = \"1.5s\"",
        &["statsdeck.toml:2: window.interval", "\"1.5s\" is not a duration"],
    );
    check("[window]\ninterval = \"2h\"", &["window.interval", "between 100ms and 1h"]);
    check("[window]\nlateness = \"61m\"", &["window.lateness", "between 0s and 1h"]);
    check("[window]\nexpire = { counter = \"1s\" }", &["window.expire.counter", "not be shorter"]);
    check("[[tier]]\nresolution = \"1m\"\nretention = \"1d\"", &["tier[0].resolution"]);
    check("[[tier]]\nresolution = \"10s\"\nretention = \"1m\"", &["statsdeck.toml:3: tier[0].retention"]);
    let two =
        |second: &str| format!("[[tier]]\nresolution = \"10s\"\nretention = \"2d\"\n[[tier]]\n{second}");
    check(&two("resolution = \"25s\"\nretention = \"3d\""), &["tier[1].resolution", "a multiple"]);
    check(&two("resolution = \"7h\"\nretention = \"3d\""), &["tier[1].resolution", "an hour"]);
    check(&two("resolution = \"1m\"\nretention = \"1d\""), &["statsdeck.toml:6: tier[1].retention"]);
    check("[store]\nmax_bytes = \"lots\"", &["statsdeck.toml:2: store.max_bytes", "GiB"]);
    check("[limits]\nseries = 0", &["limits.series"]);
    check("[limits]\nlabel_bytes = 1", &["limits.label_bytes", "between 16 and"]);
    check(
        "[[limits.prefix]]\nprefix = \"\"\nseries = 0",
        &["statsdeck.toml:2: limits.prefix[0].prefix", "statsdeck.toml:3: limits.prefix[0].series"],
    );
    check(
        "[[limits.prefix]]\nprefix = \"a\"\nseries = 1\n[[limits.prefix]]\nprefix = \"a\"\nseries = 2",
        &["limits.prefix[1].prefix", "must be unique"],
    );
    check("[[limits.prefix]]\nprefix = \"statsdeck_x\"\nseries = 1", &["the daemon's own"]);
    check("[admin]\naddress = \"0.0.0.0:8126\"", &["statsdeck.toml:2: admin.address", "auth = \"none\""]);
    check(
        "[admin]\naddress = \"127.0.0.1:1\"\nauth = \"x\"\nconnections = 0",
        &["statsdeck.toml:3: admin.auth", "admin.connections"],
    );
    check(
        "[[alert.rule]]\nname = \"E\"\nexpr = \"rate(x\"",
        &["statsdeck.toml:3: alert.rule[0].expr", "rule \"E\""],
    );
    check("[[receiver]]\nname = \"a\"", &["receiver[0]", "[receiver.slack]"]);
    check("a = 1\na = 2", &["statsdeck.toml:2", "duplicate key"]);
    check("data_dir = \"\"", &["statsdeck.toml:1: data_dir", "name a folder"]);
    let token = format!("[[http.token]]\nname = \"a\"\nhash = \"sha256:{}\"\nscopes = []", "0".repeat(64));
    check(&token, &["statsdeck.toml:4: http.token[0].scopes", "opens nothing"]);
    check("[[view]]\nid = \"a\"\nrange = \"0s\"", &["statsdeck.toml:3: view[0].range"]);
    let files = "[mapping]\nfiles = [\n  \"/nowhere/a.yml\",\n  \"/nowhere/b.yml\",\n]";
    check(
        files,
        &[
            "statsdeck.toml:3: mapping.files[0]: cannot read /nowhere/a.yml",
            "statsdeck.toml:4: mapping.files[1]",
        ],
    );
}

#[test]
fn two_ports_cannot_have_one_address() {
    let listen = "[[listen]]\naddress = \"tcp://127.0.0.1:9000\"\n";
    let admin = "[admin]\naddress = \"127.0.0.1:9000\"\n";
    let http = "[http]\naddress = \"127.0.0.1:9000\"\n";
    check(&format!("{listen}{http}"), &["statsdeck.toml:4: http.address", "listen[0]"]);
    check(&format!("{admin}{http}"), &["statsdeck.toml:4: http.address", "admin.address"]);
    check(&format!("{listen}{admin}"), &["statsdeck.toml:4: admin.address", "listen[0]"]);
    let free = "[[listen]]\naddress = \"tcp://127.0.0.1:0\"\n[http]\naddress = \"127.0.0.1:0\"\n";
    parse(free).unwrap();
    parse("[[listen]]\naddress = \"udp://127.0.0.1:9000\"\n[http]\naddress = \"127.0.0.1:9000\"\n").unwrap();
}

#[test]
fn a_receivers_url_is_not_shown_however_it_is_misspelt() {
    for line in [
        "url = \"hooks.slack.com/services/hush\"",
        "url=\"hush\"",
        "url = \"https://hooks.slack.com/hush\" x",
        "url = 'hush",
        "url = \"ftp://hush\"",
    ] {
        for text in [format!("[receiver.slack]\n{line}"), format!("slack = {{ {line} }}")] {
            let error = parse(&format!("[[receiver]]\nname = \"a\"\n{text}")).unwrap_err();
            assert!(!error.contains("hush") && error.contains("statsdeck.toml:"), "{text}: {error}");
        }
    }
    // What is no secret is shown.
    check("[http]\npublic_url = \"stats.example.org\"", &["public_url = \"stats.example.org\""]);
    check("[[listen]]\naddress = \"x\"", &["as in \"udp://127.0.0.1:8125\""]);
}

#[test]
fn all_problems_are_told_at_once() {
    let error =
        parse("[http]\naddress = \"x\"\n[window]\ninterval = \"x\"\n[limits]\nlabels = 999").unwrap_err();
    assert!(
        ["http.address", "window.interval", "limits.labels"].iter().all(|key| error.contains(key)),
        "{error}"
    );
}

#[test]
fn the_environment_overrides_a_key() {
    let env = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect::<Vec<_>>()
    };
    let set = env(&[
        ("STATSDECK__HTTP__ADDRESS", "127.0.0.1:9"),
        ("STATSDECK__LIMITS__SERIES", "5"),
        ("STATSDECK__WINDOW__EXPIRE__GAUGE", "2h"),
        ("STATE_DIRECTORY", "/var/lib/x"),
        ("UNRELATED", "1"),
    ]);
    let config = Config::load(None, &set).unwrap();
    assert_eq!(config.http.address.port(), 9);
    assert_eq!(config.series_max, 5);
    assert_eq!(config.windows.gauge_expire_ms, 7_200_000);
    assert_eq!(config.data_dir, Path::new("/var/lib/x"));
    // A file may need the environment to be whole.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("statsdeck.toml");
    let text =
        "[http]\naddress = \"0.0.0.0:1\"\n[[receiver]]\nname = \"a\"\nslack = { url_file = \"slack.url\" }";
    std::fs::write(&path, text).unwrap();
    let auth = env(&[("STATSDECK__HTTP__AUTH", "none")]);
    let config = Config::load(Some(&path), &auth).unwrap();
    // And its paths begin at its folder all the same.
    assert!(
        config.receivers[0]
            .receiver
            .endpoint()
            .to_string()
            .ends_with(path.with_file_name("slack.url").to_str().unwrap())
    );
    // What is wrong in the file is told with the file's own lines.
    std::fs::write(&path, format!("{text}\nzzz = 1")).unwrap();
    let error = Config::load(Some(&path), &auth).unwrap_err().to_string();
    assert!(error.contains("statsdeck.toml:6"), "{error}");
    let error = Config::load(None, &env(&[("STATSDECK__HTTP__ADRESS", "x")])).unwrap_err().to_string();
    assert!(
        error.contains("config with environment") && error.contains("did you mean `address`?"),
        "{error}"
    );
    // Paths begin at the config's folder, overridden or not.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("statsdeck.toml");
    std::fs::write(&path, "[mapping]\nfiles = [\"m.yml\"]\n").unwrap();
    std::fs::write(folder.path().join("m.yml"), "mappings: [{match: a.b, name: ab}]\n").unwrap();
    assert_eq!(Config::load(Some(&path), &set).unwrap().mapping.mapper.sets().len(), 1);
    let error = Config::load(Some(Path::new("/nowhere/at.all")), &[]).unwrap_err().to_string();
    assert!(error.contains("cannot read /nowhere/at.all"), "{error}");
}

#[test]
fn a_key_put_where_its_hash_belongs_is_not_shown_and_addresses_are() {
    for token in [
        "[[http.token]]\nname = \"x\"\nhash = \"sdk_plain\"\nscopes = [\"read\"]\n",
        "[http]\ntoken = [\n\n{ name = \"x\", hash = \"sdk_plain\", scopes = [\"read\"] }]\n",
    ] {
        let error = parse(token).unwrap_err();
        assert!(error.contains("http.token[0].hash") && !error.contains("sdk_plain"), "{error}");
        assert!(error.contains("hash ="), "{error}");
    }
    check(
        "[[listen]]\naddress = \"tcp://127.0.0.1\"\n",
        &["as in \"127.0.0.1:8125\"", "\"tcp://127.0.0.1\""],
    );
}

#[test]
fn an_address_cannot_be_listened_on_twice() {
    let twice = |address: &str| format!("[[listen]]\naddress = \"{address}\"\n").repeat(2);
    check(&twice("udp://127.0.0.1:1"), &["statsdeck.toml:4: listen[1].address: another [[listen]] has this"]);
    // Any free port.
    parse(&twice("udp://127.0.0.1:0")).unwrap();
}

#[test]
fn a_file_without_end_is_refused() {
    let error = Config::load(Some(Path::new("/dev/zero")), &[]).unwrap_err().to_string();
    assert!(error.contains("longer than"), "{error}");
}
