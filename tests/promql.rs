//! Runs every script in `tests/promql/` with the library's own runner.

use statsdeck::query::expr::AggregateOp;
use statsdeck::query::function_table::Function;
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
    assert!(evaluations > 500, "only {evaluations} evaluations were run");
}

#[test]
fn no_function_and_no_aggregation_is_left_out() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promql");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let all: String = files.map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let called =
        |name: &str| ["(", " (", " by", " without"].iter().any(|end| all.contains(&format!("{name}{end}")));
    let functions = Function::ALL.iter().map(|function| function.name());
    let aggregations = AggregateOp::ALL.iter().map(|op| op.as_str());
    let missing: Vec<&str> = functions.chain(aggregations).filter(|name| !called(name)).collect();
    assert!(missing.is_empty(), "no script calls {missing:?}");
}
