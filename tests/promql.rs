//! Runs every script in `tests/promql/` with the library's own runner.

use statsdeck::query::testlang;
use std::path::Path;

#[test]
fn every_script_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promql");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let (mut evaluations, mut failures) = (0, Vec::new());
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "test")) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        match testlang::run(&std::fs::read_to_string(file).unwrap()) {
            Ok(count) => evaluations += count,
            Err(found) => failures.extend(found.iter().map(|failure| format!("{name}: {failure}"))),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(evaluations > 200, "only {evaluations} evaluations were run");
}
