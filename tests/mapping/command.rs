//! `statsdeck test-mapping` and `statsdeck check`, as they print.

use std::process::Command;

fn run(args: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_statsdeck"))
        .args(args)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mapping"))
        .env_remove("STATSDECK_CONFIG")
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

fn test_mapping(args: &[&str]) -> String {
    let (ok, text) = run(&[&["test-mapping", "--mapping", "example.yml"], args].concat());
    assert!(ok, "{text}");
    text
}

#[test]
fn test_mapping_says_what_and_why() {
    let mut told = String::new();
    for args in [
        &["web.api.latency"][..],
        &["web.api.latency", "--type", "observer"],
        &["web.api_v2.latency:320|ms|#route:mine,env:prod"],
        &["web.api.hits:1|c|#route:mine,env:prod"],
        &["web.api.hits,route=mine,env=prod:1|c"],
        &["debug.x"],
        &["unknown.name", "--type", "gauge"],
        &["web.users", "--type", "set"],
    ] {
        told += &format!("$ test-mapping {}\n{}\n", args.join(" "), test_mapping(args));
    }
    insta::with_settings!({snapshot_path => "../golden", prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!("test_mapping", told);
    });
}

#[test]
fn test_mapping_is_told_what_it_lacks() {
    let (ok, text) = run(&["test-mapping", "a.b"]);
    assert!(!ok && text.contains("no mapping file") && text.contains("--mapping"), "{text}");
    let (ok, text) = run(&["test-mapping", "a.b", "--mapping", "nowhere.yml"]);
    assert!(!ok && text.contains("cannot read nowhere.yml"), "{text}");
    let (ok, text) = run(&["test-mapping", "a.b:1|x", "--mapping", "example.yml"]);
    assert!(!ok && text.contains("unknown type"), "{text}");
    let (ok, text) = run(&["test-mapping", "_sc|db|0", "--mapping", "example.yml"]);
    assert!(!ok && text.contains("service checks are not mapped"), "{text}");
}

#[test]
fn check_tells_of_mapping_files() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let config = folder.path().join("statsdeck.toml");
    write("statsdeck.toml", "[mapping]\nfiles = [\"m.yml\"]\n");
    write("m.yml", include_str!("example.yml"));
    let check = || {
        let (ok, text) = run(&["check", config.to_str().unwrap()]);
        (ok, text.replace(&*folder.path().to_string_lossy(), "…"))
    };
    let (ok, text) = check();
    assert!(ok, "{text}");
    let line = text.lines().find(|line| line.contains("maps by")).unwrap();
    assert!(line.starts_with("  maps by …/m.yml: 5 mappings, ") && line.ends_with(" ns a match"), "{line}");
    assert!(
        text.contains("warning: …/m.yml:19: mappings[2].match") && text.contains("never reached"),
        "{text}"
    );

    write(
        "m.yml",
        "mappings:\n- match: a..b\n  name: 0x\n- match: ok\n  name: ok\n  obsever_type: summary\n",
    );
    let (ok, text) = check();
    assert!(!ok && text.contains("…/m.yml:6: yaml: unknown key `obsever_type`"), "{text}");
    write("m.yml", "mappings:\n- match: a..b\n  name: 0x\n  labels: {a: b}\n");
    let (ok, text) = check();
    assert!(!ok);
    insta::with_settings!({snapshot_path => "../golden", prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!("check_mapping_errors", text);
    });
    write("statsdeck.toml", "[limits]\nseries = 0\n[mapping]\nfiles = [\"m.yml\"]\n");
    let (_, text) = check();
    assert!(text.contains("limits.series") && text.contains("mappings[0].match"), "{text}");
}
