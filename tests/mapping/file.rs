//! What is said of a mapping file that is wrong, or odd.

use statsdeck::config::Mapping;

fn parse(yaml: &str) -> Result<Mapping, String> {
    Mapping::parse(&[("mapping.yml".into(), yaml.into())]).map_err(|error| error.to_string())
}

/// A file with one mapping that has these lines more.
fn with(lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("  {line}\n")).collect();
    format!("mappings:\n- match: a.*\n  name: x\n{lines}")
}

fn check(yaml: &str, expected: &[&str]) {
    let error = parse(yaml).expect_err(yaml);
    for part in expected {
        assert!(error.contains(part), "{yaml}\nexpected {part:?} in:\n{error}");
    }
}

#[test]
fn problems_name_line_key_and_what_to_write() {
    check(
        &with("lables: {}"),
        &["mapping.yml:4: yaml", "unknown key `lables`", "did you mean `labels`?", "^^^^^^"],
    );
    check(&with("timer_type: summary"), &["mapping.yml:4", "observer_type now"]);
    check(&with("buckets: [1]"), &["belongs into histogram_options"]);
    check("default: {}\n", &["mapping.yml:1", "did you mean `defaults`?"]);
    check(&with("name: y"), &["mapping.yml:4", "duplicate mapping key: name"]);
    check("mappings:\n- name: x\n", &["mapping.yml:2: mappings[0].match", "empty component"]);
    check("mappings:\n- match: a.b\n", &["mapping.yml:2: mappings[0].name", "is missing"]);
    check("mappings:\n- match: a.b\n  action: drop\n", &["mappings[0].name", "even for action: drop"]);
    check("mappings:\n- match: *.b\n  name: x\n", &["mapping.yml:2", "put the match in quotes"]);
    check("mappings:\n- match: \"a\\.b\"\n  name: x\n", &["mapping.yml:2", "backslash is written twice"]);
    check("mappings:\n- match: a!b.*\n  name: x\n", &["mapping.yml:2: mappings[0].match", "'!'", "^^^^^"]);
    check(&with("match_type: regexp"), &["mapping.yml:4: mappings[0].match_type", "did you mean \"regex\"?"]);
    check(&with("action: delete"), &["mappings[0].action", "map, drop"]);
    check(&with("match_metric_type: timer"), &["mappings[0].match_metric_type", "counter, gauge, observer"]);
    check(&with("observer_type: histo"), &["mappings[0].observer_type", "summary, histogram"]);
    check(&with("ttl: 5"), &["mapping.yml:4: mappings[0].ttl", "\"30s\""]);
    check(&with("ttl: 1d"), &["mappings[0].ttl", "no duration"]);
    check(&with("scale: big"), &["mapping.yml:4", "invalid floating point"]);
    check(&with("labels: {a: x}"), &["mapping.yml:4: mappings[0].labels.a", "two characters"]);
    check("mappings:\n- match: '(a'\n  match_type: regex\n  name: x\n", &["mapping.yml:2", "unclosed group"]);
    check(
        "mappings:\n- match: '(a{1000}){1000}'\n  match_type: regex\n  name: x\n",
        &["mappings[0].match", "too large a regex"],
    );
    check(
        &with("summary_options: {quantiles: [{quantile: 95}]}"),
        &["quantiles[0].quantile", "within 0 and 1"],
    );
    check(
        &with("observer_type: histogram\nhistogram_options: {buckets: [2, 1]}"),
        &["histogram_options.buckets", "larger than the one before"],
    );
    check("defaults: {observer_type: gauge}\n", &["mapping.yml:1: defaults.observer_type"]);
    check("defaults: {ttl: soon}\n", &["defaults.ttl"]);
    check("a: 1\n---\nb: 2\n", &["mapping.yml"]);
}

#[test]
fn summary_and_histogram_options_do_not_mix() {
    let both = "histogram_options: {buckets: [1]}\nobserver_type: summary";
    check(&with(both), &["mapping.yml:4: mappings[0].histogram_options", "write summary_options"]);
    let both = "summary_options: {max_age: 1m}\nobserver_type: histogram";
    check(&with(both), &["mappings[0].summary_options", "write histogram_options"]);
    let by_default =
        format!("defaults: {{observer_type: histogram}}\n{}", with("summary_options: {max_age: 1m}"));
    check(&by_default, &["mappings[0].summary_options", "(by defaults)"]);
}

#[test]
fn all_problems_are_told_at_once_and_in_order() {
    let yaml = "mappings:\n- match: a..b\n  name: x\n  ttl: x\n- match: b\n  name: 0\n";
    let error = parse(yaml).unwrap_err();
    let lines: Vec<&str> = error.lines().filter(|line| line.starts_with("mapping.yml:")).collect();
    assert_eq!(lines.len(), 3, "{error}");
    let places: Vec<&str> = lines.iter().map(|line| line.split(": ").nth(1).unwrap()).collect();
    assert_eq!(places, ["mappings[0].match", "mappings[0].ttl", "mappings[1].name"]);
}

#[test]
fn files_that_are_large_or_unfold_into_much_are_refused() {
    check(&format!("# {}\n", "x".repeat(1 << 20)), &["at most 1024 KiB"]);
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for at in 1..10 {
        let aliases = vec![format!("*a{}", at - 1); 10].join(", ");
        bomb += &format!("a{at}: &a{at} [{aliases}]\n");
    }
    assert!(parse(&format!("{bomb}mappings: *a9\n")).is_err());
    assert!(parse(&format!("mappings: {}", "[".repeat(10_000))).is_err());
    let many: String = (0..20_001).map(|at| format!("- {{match: a.m{at}, name: x}}\n")).collect();
    check(&format!("mappings:\n{many}"), &["at most 20000"]);
}

#[test]
fn a_file_as_large_as_may_be_is_read_in_time() {
    let globs: String = (0..18_000).map(|at| format!("- {{match: a.*.m{at}_*, name: x}}\n")).collect();
    let regexes: String =
        (0..1_500).map(|at| format!("- {{match: 'r{at}.*', match_type: regex, name: x}}\n")).collect();
    let begun = std::time::Instant::now();
    let mapping = parse(&format!("mappings:\n{globs}{regexes}")).unwrap();
    assert_eq!((mapping.mapper.sets()[0].rules.len(), mapping.warnings.len()), (19_500, 0));
    // Minutes when anything in it is quadratic.
    assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[test]
fn an_anchor_may_serve_many_mappings() {
    let mut yaml = String::from("defaults:\n  histogram_options:\n    buckets: &b [0.1, 1, 10]\nmappings:\n");
    for at in 0..1000 {
        yaml += &format!(
            "- {{match: a.m{at}, name: x, observer_type: histogram, histogram_options: {{buckets: *b}}}}\n"
        );
    }
    let mapping = parse(&yaml).unwrap();
    assert_eq!(mapping.mapper.sets()[0].rules.len(), 1000);
}

#[test]
fn empty_files_map_nothing() {
    for yaml in ["", "---\n", "# nothing\n", "mappings:\n", "mappings: []\n", "defaults:\nmappings:\n"] {
        let mapping = parse(yaml).unwrap_or_else(|error| panic!("{yaml:?}: {error}"));
        assert_eq!(mapping.mapper.sets()[0].rules.len(), 0);
    }
}

#[test]
fn what_works_otherwise_than_one_may_think_is_a_warning() {
    let check = |yaml: &str, expected: &[&str]| {
        let warnings = parse(yaml).unwrap_or_else(|error| panic!("{yaml}: {error}")).warnings;
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        expected.iter().for_each(|part| assert!(warnings[0].contains(part), "{part:?} in {}", warnings[0]));
    };
    check(
        "mappings:\n- {match: a.*, name: x}\n- {match: a.b, name: y}\n",
        &["mapping.yml:3: mappings[1].match", "never reached", "\"a.*\" in line 2"],
    );
    check(
        &with("labels: {code: $1_x}"),
        &["mapping.yml:4: mappings[0].labels.code", "becomes empty", "write ${1}"],
    );
    check(&with("histogram_options: {buckets: [1]}"), &["no effect without observer_type: histogram"]);
    assert!(parse(&with("labels: {code: \"${1}_x\"}")).unwrap().warnings.is_empty());
}
