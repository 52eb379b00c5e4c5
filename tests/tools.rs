//! The tools beside the daemon where something is not as it should be: a wrong
//! path, a config that is not the daemon's, a disk that fails, files cut short.

use statsdeck::catalogue::Catalogue;
use statsdeck::model::batch::GaugeValue;
use statsdeck::model::{FlushBatch, Labels, MetricType, SeriesId, SeriesKey};
use statsdeck::store::{FsBackend, Maintained, Options, Store, Tier};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

const DAY_MS: i64 = 86_400_000;
const YEAR_MS: i64 = 365 * DAY_MS;

fn run_with(dir: &Path, input: &[u8], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_statsdeck"));
    command.current_dir(dir).args(arguments).env_remove("STATSDECK_CONFIG");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // Who does not read its input must not keep us.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    output
}

/// Exit code, and all that was said.
fn says(dir: &Path, arguments: &[&str]) -> (i32, String) {
    let output = run_with(dir, b"", arguments);
    let text = [&*output.stdout, &*output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8_lossy(&text).into_owned())
}

/// What is on stdout, when all went well.
fn ok(dir: &Path, arguments: &[&str]) -> String {
    let output = run_with(dir, b"", arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn now_ms() -> i64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64
}

fn names(dir: &Path) -> Vec<String> {
    let files = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        files.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A gauge in `dir/data`, a window every `every_ms` of `span_ms` up to a minute
/// ago; returns how many there are.
fn fill(dir: &Path, span_ms: i64, every_ms: i64, tiers: Vec<Tier>) -> usize {
    let options = Options::new(dir.join("data")).with_retention(20 * YEAR_MS).with_tiers(tiers);
    let catalogue = Arc::new(Catalogue::new(10));
    let last_ms = (now_ms() - 60_000) / 10_000 * 10_000;
    let (store, _) = Store::open(options, FsBackend, catalogue.clone(), last_ms).unwrap();
    let key = SeriesKey { labels: Labels::of_name("depth"), metric_type: MetricType::Gauge };
    catalogue.restore(vec![(SeriesId(0), key)], 0);
    let mut count = 0;
    for back_ms in (0..=span_ms / every_ms).rev().map(|at| at * every_ms) {
        let end_ms = (last_ms - back_ms) / 10_000 * 10_000;
        let gauge = GaugeValue { id: SeriesId(0), last: 1.5, min: 1.5, max: 1.5 };
        let start_ms = end_ms - 10_000;
        store.append(&FlushBatch { start_ms, end_ms, gauges: vec![gauge], ..FlushBatch::default() }).unwrap();
        count += 1;
    }
    while store.maintain(last_ms).unwrap() != Maintained::default() {}
    store.note_tiers().unwrap();
    count
}

#[test]
fn an_export_without_the_config_has_all_that_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let count = fill(dir.path(), 7 * YEAR_MS, 20 * DAY_MS, Vec::new());
    assert_eq!(ok(dir.path(), &["export", "--data-dir", "data"]).lines().count(), 1 + count);
    let text = ok(dir.path(), &["export", "--data-dir", "data", "--format", "openmetrics"]);
    assert_eq!(text.lines().filter(|line| line.starts_with("depth ")).count(), count);
    let old = ok(dir.path(), &["export", "--data-dir", "data", "--to", "1825d"]);
    assert!((35..40).contains(&old.lines().count()), "{old}");
}

/// The last window in the log is where every daemon's data ends, running or not.
#[test]
fn what_only_reads_takes_a_log_with_windows_and_changes_nothing_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let count = fill(dir.path(), 60_000, 10_000, Vec::new());
    let log = dir.path().join("data").join("wal-0000000000.log");
    let before = std::fs::read(&log).unwrap();
    assert!(before.len() > 16, "no window is in the log");
    for format in ["csv", "jsonl", "openmetrics"] {
        let text = ok(dir.path(), &["export", "--data-dir", "data", "--format", format]);
        assert!(text.lines().count() >= count, "{text}");
    }
    let text = ok(dir.path(), &["check", "--data-dir", "data"]);
    assert!(!text.contains("cannot say"), "{text}");
    assert_eq!(std::fs::read(&log).unwrap(), before);
}

/// As who may read the directory and not write to it; `root` becomes nobody.
#[test]
fn a_directory_that_may_only_be_read_is_verified_and_exported() {
    let dir = tempfile::tempdir().unwrap();
    let windows = fill(dir.path(), DAY_MS, 600_000, vec![]);
    let program = dir.path().join("statsdeck");
    std::fs::copy(env!("CARGO_BIN_EXE_statsdeck"), &program).unwrap();
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let data = dir.path().join("data");
    for name in names(&data) {
        mode(&data.join(name), 0o444);
    }
    mode(&data, 0o555);
    mode(dir.path(), 0o555);
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.current_dir("/").arg("--data-dir").arg(&data).args(arguments).env_remove("STATSDECK_CONFIG");
        if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.uid(65534).gid(65534);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["store", "verify"]);
    run(&["store", "stats"]);
    assert_eq!(run(&["export"]).lines().count(), windows + 1);
    mode(dir.path(), 0o755);
    mode(&data, 0o755);
}

#[test]
fn an_import_without_the_config_drops_nothing_of_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let day = |resolution_ms, days: i64| Tier { resolution_ms, retention_ms: days * DAY_MS };
    let count = fill(dir.path(), 10 * DAY_MS, DAY_MS / 4, vec![day(60_000, 7400), day(900_000, 7400)]);
    let before = names(&dir.path().join("data"));
    let line = format!("old 1 {}\n", now_ms() / 1000 - 15 * 86_400);
    std::fs::write(dir.path().join("in.prom"), line).unwrap();
    let (code, said) = says(dir.path(), &["import", "--data-dir", "data", "in.prom"]);
    assert_eq!(code, 1, "{said}");
    for part in ["windows from", "will be dropped", "--config"] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    assert_eq!(names(&dir.path().join("data")), before);
    assert_eq!(ok(dir.path(), &["export", "--data-dir", "data"]).lines().count(), 1 + count);
}

#[test]
fn a_mistyped_data_dir_is_an_error_that_names_it_and_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("other")).unwrap();
    std::fs::write(dir.path().join("other/notes.txt"), "no data").unwrap();
    for path in ["nowhere", "other"] {
        for arguments in [
            &["export"][..],
            &["export", "-o", "out.csv"],
            &["store", "stats"],
            &["store", "verify"],
            &["store", "repair"],
            &["query", "--url", "http://127.0.0.1:1", "up"],
            &["top", "--url", "http://127.0.0.1:1"],
            &["healthcheck", "--address", "127.0.0.1:1"],
            &["check"],
        ] {
            let (code, said) = says(dir.path(), &[&["--data-dir", path], arguments].concat());
            if matches!(arguments[0], "export" | "store") {
                assert_eq!(code, 1, "{arguments:?}: {said}");
                assert!(said.contains(path) && said.contains("--data-dir"), "{arguments:?}: {said}");
            }
            assert_eq!(names(dir.path()), ["other"], "{arguments:?}");
            assert_eq!(names(&dir.path().join("other")), ["notes.txt"], "{arguments:?}");
        }
    }
}

#[test]
fn an_export_is_under_its_name_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let count = fill(dir.path(), DAY_MS, 600_000, Vec::new());
    let before = names(dir.path());
    let export =
        |arguments: &[&str]| says(dir.path(), &[&["--data-dir", "data", "export"], arguments].concat());
    // It fails once the file is open: there is no timer.
    let (code, said) = export(&["--format", "hdr", "-o", "out"]);
    assert_eq!((code, names(dir.path())), (1, before.clone()), "{said}");
    std::fs::write(dir.path().join("out"), "as it was").unwrap();
    let (code, _) = export(&["--format", "hdr", "-o", "out"]);
    assert_eq!(code, 1);
    assert_eq!(std::fs::read_to_string(dir.path().join("out")).unwrap(), "as it was");
    let (code, said) = export(&["-o", "out"]);
    assert_eq!(code, 0, "{said}");
    let text = std::fs::read_to_string(dir.path().join("out")).unwrap();
    assert_eq!(text.lines().count(), count + 1);
    assert_eq!(names(dir.path()), ["data", "out"]);
    // A link stays one, and a device is written to.
    std::os::unix::fs::symlink("out", dir.path().join("link")).unwrap();
    std::fs::write(dir.path().join("out"), "").unwrap();
    assert_eq!(export(&["-o", "link"]).0, 0);
    assert!(dir.path().join("link").is_symlink());
    assert_eq!(std::fs::read_to_string(dir.path().join("out")).unwrap(), text);
    assert_eq!(export(&["-o", "/dev/null"]).0, 0);
    assert!(!Path::new("/dev/null").is_file());
    let (code, said) = export(&["-o", "/dev/full"]);
    assert!(code == 1 && said.contains("No space left"), "{said}");
    let (code, said) = export(&["-o", "-"]);
    assert!(code == 0 && said.starts_with(&text), "{said}");
    assert_eq!(names(dir.path()), ["data", "link", "out"]);
}

#[test]
fn an_export_does_not_write_over_the_data_that_it_reads() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 60_000, 10_000, Vec::new());
    let log = dir.path().join("data").join("wal-0000000000.log");
    let before = (names(&dir.path().join("data")), std::fs::read(&log).unwrap());
    std::os::unix::fs::symlink(&log, dir.path().join("link")).unwrap();
    for output in ["data/wal-0000000000.log", "data/all.csv", "./data/../data/all.csv", "link"] {
        let (code, said) = says(dir.path(), &["export", "--data-dir", "data", "-o", output]);
        assert!(code == 1 && said.contains("is in the data directory"), "{output}: {said}");
    }
    assert_eq!((names(&dir.path().join("data")), std::fs::read(&log).unwrap()), before);
}

#[test]
fn what_is_packed_by_gzip_comes_and_goes_also_through_a_pipe() {
    let dir = tempfile::tempdir().unwrap();
    let last_s = now_ms() / 1000 - 20 * 3600;
    let lines: String = (0..300).map(|at| format!("up{{job=\"a\"}} {at} {}\n", last_s - at * 60)).collect();
    let text = lines + "# EOF\n";
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(text.as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    // As gzip, and `cat` of several.
    let output = run_with(dir.path(), &packed, &["--data-dir", "data", "import", "-"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let plain = ok(dir.path(), &["--data-dir", "data", "export", "--format", "openmetrics"]);
    assert_eq!(plain.lines().count(), 302);
    ok(dir.path(), &["--data-dir", "data", "export", "--format", "openmetrics", "-o", "out.om.gz"]);
    let file = std::fs::File::open(dir.path().join("out.om.gz")).unwrap();
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain);
    // The name does not matter, nor does where it comes from.
    for (file, bytes) in
        [("in.gz", packed.clone()), ("in.om", packed.clone()), ("plain.gz", text.into_bytes())]
    {
        std::fs::write(dir.path().join(file), bytes).unwrap();
        ok(dir.path(), &["--data-dir", &format!("of-{file}"), "import", file]);
        let found =
            ok(dir.path(), &["--data-dir", &format!("of-{file}"), "export", "--format", "openmetrics"]);
        assert_eq!(found, plain, "{file}");
    }
    // Cut off, it is not taken for a whole one.
    let output = run_with(dir.path(), &packed[..packed.len() - 9], &["--data-dir", "cut", "import", "-"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("cannot read -"), "{said}");
    let zstd = [0x28, 0xb5, 0x2f, 0xfd, 4, 0, 0x80];
    let output = run_with(dir.path(), &zstd, &["--data-dir", "cut", "import", "-"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("-:1: the line is no UTF-8; of what is packed"),
        "{said}"
    );
}

#[test]
fn text_that_may_be_cut_off_is_told_or_refused() {
    let last_s = now_ms() / 1000 - 20 * 3600;
    let bucket = |le: &str, n: &str| format!("took_bucket{{le=\"{le}\"}} {n} {last_s}\n");
    let whole = format!(
        "# TYPE took histogram\n{}{}took_sum +Inf {last_s}\ntook_count 5 {last_s}\n",
        bucket("0.5", "4"),
        bucket("+Inf", "5")
    );
    let of_prometheus = format!("up 1 {last_s}000\n");
    let import = |text: &str| {
        let dir = tempfile::tempdir().unwrap();
        let output =
            run_with(dir.path(), text.as_bytes(), &["--data-dir", "data", "import", "--sampled", "-"]);
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let (is_ok, said) = import(&format!("{whole}# EOF\n"));
    assert!(is_ok && said.contains("imported 4 points of 4 series") && !said.contains("EOF"), "{said}");
    let (is_ok, said) = import(&whole);
    assert!(is_ok && said.contains("imported 4 points of 4 series"), "{said}");
    assert!(
        said.contains("-: there is no '# EOF' at its end, as OpenMetrics has it: is it whole?"),
        "{said}"
    );
    let (is_ok, said) = import(&of_prometheus);
    assert!(is_ok && !said.contains("EOF"), "{said}");
    // A number that is cut off is another number.
    for text in [whole.trim_end(), of_prometheus.trim_end()] {
        let (is_ok, said) = import(text);
        assert!(!is_ok && said.contains("the last line has no end"), "{said}");
    }
    let (is_ok, said) = import(&format!("{whole}# EOF"));
    assert!(is_ok && !said.contains("EOF"), "{said}");
}

#[test]
fn a_folder_where_a_block_should_be_is_told_and_all_else_is_read() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), DAY_MS, 600_000, Vec::new());
    let blocks = |name: &String| name.starts_with("block-");
    let block = names(&dir.path().join("data")).into_iter().find(blocks).unwrap();
    for folder in ["block-0-000000000000001.sd", "wal-9999999999.log"] {
        std::fs::create_dir(dir.path().join("data").join(folder)).unwrap();
    }
    let check = |arguments: &[&str], parts: &[&str]| {
        let (code, said) = says(dir.path(), &[&["--data-dir", "data", "store"], arguments].concat());
        assert_eq!(code, 1, "{said}");
        for part in ["block-0-000000000000001.sd: ", "Is a directory"].iter().chain(parts) {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
    };
    check(&["verify"], &["2 files cannot be read in data"]);
    check(&["stats"], &["2 files cannot be read in data", &block]);
    check(&["repair"], &["0 files are repaired", "2 cannot be read"]);
    let path = dir.path().join("data").join(&block);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    check(&["verify"], &["1 place is damaged in data, and 2 files cannot be read", &block]);
    check(&["repair"], &["1 file is repaired", &format!("{block}: kept as data/damaged/{block}")]);
    check(&["verify"], &["2 files cannot be read in data"]);
}

/// Nothing takes what is in it away, so that one must hear of it.
#[test]
fn what_was_put_aside_is_told_with_its_size() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), DAY_MS / 4, 60_000, Vec::new());
    let aside = dir.path().join("data/damaged");
    for command in ["stats", "verify"] {
        assert!(!ok(dir.path(), &["--data-dir", "data", "store", command]).contains("damaged"));
    }
    std::fs::create_dir(&aside).unwrap();
    std::fs::write(aside.join("wal-0000000003.log"), [0; 1000]).unwrap();
    std::fs::write(aside.join("block-0-001700006400000.sd"), [0; 500]).unwrap();
    for command in ["stats", "verify"] {
        let said = ok(dir.path(), &["--data-dir", "data", "store", command]);
        assert!(said.contains("damaged/: 2 files, 1500 bytes"), "{command}: {said}");
        assert!(
            said.contains("counted in no limit; delete them when nobody needs them"),
            "{command}: {said}"
        );
    }
}
#[test]
fn a_link_to_a_block_that_is_not_there_is_told() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), DAY_MS, 600_000, Vec::new());
    let data = dir.path().join("data");
    let block = names(&data).into_iter().find(|name| name.starts_with("block-")).unwrap();
    std::fs::remove_file(data.join(&block)).unwrap();
    std::os::unix::fs::symlink("/nowhere/block", data.join(&block)).unwrap();
    for command in ["verify", "repair"] {
        let (code, said) = says(dir.path(), &["store", command, "--data-dir", "data"]);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(&block) && said.contains("No such file"), "{said}");
    }
}

#[test]
fn a_segment_that_has_the_last_number_of_all_is_none_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 0, 10_000, Vec::new());
    let stray = dir.path().join("data").join(format!("wal-{}.log", u64::MAX));
    std::fs::write(&stray, b"").unwrap();
    let options = Options::new(dir.path().join("data"));
    let (store, recovered) = Store::open(options, FsBackend, Arc::new(Catalogue::new(10)), now_ms()).unwrap();
    assert_eq!(recovered.series.len(), 1);
    drop(store);
    assert!(stray.exists());
}
