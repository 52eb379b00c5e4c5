//! What an import does with text as it is found in the wild.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn import(dir: &Path, input: &[u8], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_statsdeck"));
    command.current_dir(dir).env_remove("STATSDECK_CONFIG").args(["--data-dir", "data"]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Who refuses what comes reads no more of it.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// A second well within what is kept, whose block is over.
fn moment_s() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() - 20 * 3600
}

/// What an import from stdin into a new directory says, and what an export has then.
fn imported(input: &[u8], arguments: &[&str]) -> (bool, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let output = import(dir.path(), input, &[arguments, &["import", "-"]].concat());
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let exported = import(dir.path(), b"", &["export", "--format", "jsonl"]);
    (output.status.success(), said, String::from_utf8(exported.stdout).unwrap())
}

#[test]
fn a_point_that_comes_again_is_counted_and_the_last_one_stays() {
    let at = moment_s();
    let (is_ok, said, rows) = imported(format!("a 1 {at}\na 2 {at}\nb 5 {at}\na 3 {at}.0\n").as_bytes(), &[]);
    assert!(is_ok && said.contains("imported 2 points of 2 series into 1 block"), "{said}");
    assert!(said.contains("left out: 2 points, of a series and time that came again later"), "{said}");
    assert!(rows.contains("\"value\":3}") && rows.contains("\"value\":5}"), "{rows}");
}

/// As when the program before the pipe failed.
#[test]
fn an_import_of_nothing_is_no_success() {
    for text in ["", "\n\n", "# EOF\n", "# TYPE a gauge\n# EOF\n"] {
        let (is_ok, said, _) = imported(text.as_bytes(), &[]);
        assert!(!is_ok && said.contains("nothing was imported"), "{text:?}: {said}");
    }
}

#[test]
fn a_label_that_comes_twice_is_told() {
    let (is_ok, said, _) = imported(format!("a{{b=\"1\",b=\"2\"}} 1 {}\n", moment_s()).as_bytes(), &[]);
    assert!(
        !is_ok && said.contains("-:1: no name and labels such as name{label=\"value\"}, each once"),
        "{said}"
    );
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_name() {
    let at = moment_s();
    for text in [format!("\u{feff}up 1 {at}\n"), format!("\u{feff}# TYPE up gauge\nup 1 {at}\n")] {
        let (is_ok, said, rows) = imported(text.as_bytes(), &[]);
        assert!(is_ok && rows.contains("\"name\":\"up\",\"labels\":{},\"type\":\"gauge\""), "{said} {rows}");
    }
}

#[test]
fn the_limits_of_labels_hold_for_an_import() {
    let at = moment_s();
    let labels = |count: usize| (0..count).map(|i| format!("l{i}=\"v\"")).collect::<Vec<_>>().join(",");
    let long = "x".repeat(1025);
    let fits = format!("fits{{{},a=\"{}\"}} 1 {at}\n", labels(31), "x".repeat(1024));
    let wide = format!("wide{{{}}} 1 {at}\nwide{{{}}} 1 {at}\n", labels(33), labels(3000));
    let long = format!("{long} 1 {at}\nb{{{long}=\"v\"}} 1 {at}\nc{{l=\"{long}\"}} 1 {at}\n");
    for arguments in [&[][..], &["--sampled"]] {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("{fits}{wide}{long}");
        let output = import(dir.path(), text.as_bytes(), &[&["import", "-"], arguments].concat());
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(said.contains("imported 1 point of 1 series"), "{said}");
        assert!(said.contains("left out: 2 points, of series with more labels than limits.labels"), "{said}");
        assert!(
            said.contains("left out: 3 points, of names or labels longer than limits.label_bytes"),
            "{said}"
        );
    }
    // As the config has them.
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.toml"), "[limits]\nlabels = 1\nlabel_bytes = 100\n").unwrap();
    let text = format!("a{{b=\"1\",c=\"2\"}} 1 {at}\nd{{b=\"{}\"}} 1 {at}\n", "x".repeat(101));
    let output = import(dir.path(), text.as_bytes(), &["--config", "a.toml", "import", "-"]);
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(said.contains("1 point, of series with more labels"), "{said}");
    assert!(said.contains("1 point, of names or labels longer"), "{said}");
}

#[test]
fn what_stands_behind_the_end_is_told_by_its_line() {
    let at = moment_s();
    let (is_ok, said, rows) = imported(format!("a 1 {at}\n# EOF\n\nb 2 {at}\n").as_bytes(), &[]);
    assert!(is_ok && rows.contains("\"name\":\"b\""), "{said}");
    assert!(said.contains("-:4: there is more behind the '# EOF' of line 2; it is taken as well"), "{said}");
    assert!(!said.contains("is it whole"), "{said}");
    let (_, said, _) = imported(format!("a 1 {at}\n# EOF\n\n \n").as_bytes(), &[]);
    assert!(!said.contains("EOF"), "{said}");
    let (_, said, _) = imported(format!("a 1 {at}\n# EOF\nb 1 {at}\n# EOF\n").as_bytes(), &[]);
    assert!(said.contains("-:3: there is more"), "{said}");
}
