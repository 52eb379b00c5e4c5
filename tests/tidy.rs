//! Keeps the shape of the source tree: floors, heads, sizes, bans.
//!
//! The rules are those of `ARCHITECTURE.md`. Each is a function from text to
//! findings, tried on bad text below; one test runs all of them over `src/`.
//! What is checked is code: comments and the insides of strings are blanked
//! first, where a rule is not about them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Every top-level module and its floor. A module may name lower floors only.
const FLOORS: [(&str, u8); 24] = [
    ("model", 0),
    ("clock", 0),
    ("lock", 0),
    ("catalogue", 1),
    ("protocol", 1),
    ("exposition", 1),
    ("mapping", 1),
    ("telemetry", 1),
    ("workers", 1),
    ("ingest", 2),
    ("aggregate", 2),
    ("store", 2),
    ("query", 3),
    ("alert", 4),
    ("exchange", 4),
    ("remote_write", 4),
    ("notify", 5),
    ("dashboard", 5),
    ("http", 6),
    ("admin", 6),
    ("config", 7),
    ("daemon", 8),
    ("cli", 9),
    ("main", 10),
];

const MAX_LINES: usize = 600;
const MAX_LINE_CHARS: usize = 120;
/// Files that may be longer for now, with the reason beside each.
const LONG_FILES: [&str; 0] = [];

/// Places whose types have a form outside of the program.
const SERDE: [&str; 7] = [
    "config/",
    "http/api/",
    "notify/slack.rs",
    "notify/webhook.rs",
    "store/state.rs",
    "store/marker_table.rs",
    "dashboard/share.rs",
];
/// Places that wait; everything else is plain functions.
const ASYNC: [&str; 9] = [
    "admin/port.rs",
    "ingest/listener",
    "notify/client",
    "notify/queue",
    "remote_write/",
    "http/",
    "daemon",
    "cli",
    "main.rs",
];
/// Places that speak to the terminal.
const TERMINAL: [&str; 2] = ["cli", "main.rs"];
const CLOCK: [&str; 1] = ["clock.rs"];

const VAGUE_NAMES: [&str; 9] =
    ["utils", "util", "helpers", "helper", "manager", "misc", "common", "stuff", "types"];

#[test]
fn the_source_tree_is_tidy() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let tree = read_tree(&src, "");
    assert!(tree.contains_key("lib.rs"), "no src/lib.rs; is this the right folder?");
    let mut findings = unreachable_files(&tree);
    for (path, text) in &tree {
        findings.extend(check_file(path, text));
    }
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

/// All findings about the file at `path` (relative to `src/`).
fn check_file(path: &str, text: &str) -> Vec<String> {
    let code = blank(text);
    let rules =
        [imports(path, &code), mod_file(path, &code), bans(path, &code), layout(path, text), name(path)];
    rules.into_iter().flatten().map(|finding| format!("src/{path}: {finding}")).collect()
}

/// Names of other top-level modules that are not on a lower floor.
fn imports(path: &str, code: &str) -> Vec<String> {
    if path == "lib.rs" {
        let known = declared_modules(code).into_iter().filter(|module| floor(module).is_none());
        return known.map(|module| format!("`{module}` has no floor in tests/tidy.rs")).collect();
    }
    let own = path.split(['/', '.']).next().unwrap_or_default();
    let Some(own_floor) = floor(own) else {
        return vec![format!("`{own}` has no floor in tests/tidy.rs")];
    };
    let mut findings = BTreeSet::new();
    for module in named_modules(code) {
        match floor(&module) {
            _ if module == own => {}
            Some(other) if other < own_floor => {}
            Some(other) => {
                findings.insert(format!(
                    "floor {own_floor} names `{module}` of floor {other}: only lower floors"
                ));
            }
            None => {
                findings.insert(format!("names `crate::{module}`, which has no floor"));
            }
        }
    }
    findings.into_iter().collect()
}

/// The modules that follow `crate::`, `statsdeck::` or a climb by `super::`.
fn named_modules(code: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for root in ["crate::", "statsdeck::"] {
        for (at, _) in code.match_indices(root) {
            if code[..at].ends_with(is_ident) || code[..at].ends_with('$') {
                continue;
            }
            let rest = &code[at + root.len()..];
            match rest.strip_prefix('{') {
                Some(group) => named.extend(group_heads(group)),
                None => named.extend(first_ident(rest)),
            }
        }
    }
    // `super::super::store` reaches what `crate::store` does.
    for (at, climb) in code.match_indices("super::super::") {
        let rest = code[at + climb.len()..].trim_start_matches("super::");
        named.extend(first_ident(rest).filter(|ident| floor(ident).is_some()));
    }
    named
}

/// First identifier of each entry of a `{a::b, c::{d}, e}` group.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let mut depth = 0;
    let mut entry_starts = true;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => entry_starts = true,
            c if entry_starts && is_ident(c) => {
                entry_starts = false;
                heads.extend(first_ident(&group[at..]));
            }
            _ => {}
        }
    }
    heads
}

/// A `mod.rs` holds declarations and re-exports, nothing else.
fn mod_file(path: &str, code: &str) -> Vec<String> {
    if !path.ends_with("mod.rs") && path != "lib.rs" {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for statement in code.split(';').map(without_attributes).filter(|statement| !statement.is_empty()) {
        let item = match statement.strip_prefix("pub") {
            Some(rest) if rest.starts_with('(') => rest.split_once(')').map_or(rest, |(_, item)| item),
            Some(rest) => rest,
            None => statement,
        };
        let item = item.trim_start();
        let declares = item.strip_prefix("mod ").is_some_and(|name| name.trim().chars().all(is_ident));
        if !declares && !item.starts_with("use ") {
            let first = statement.lines().next().unwrap_or_default();
            findings.push(format!("declares and re-exports only, but holds `{first}`"));
        }
    }
    findings
}

/// Things that stand nowhere, or only where they belong.
fn bans(path: &str, code: &str) -> Vec<String> {
    let within = |places: &[&str]| places.iter().any(|place| path.starts_with(place));
    let mut findings = Vec::new();
    let mut ban = |found: bool, finding: &str| {
        if found {
            findings.push(finding.to_string());
        }
    };
    for what in ["dbg!", "todo!", "unimplemented!"] {
        ban(has_word(code, what), &format!("`{what}` is for drafts"));
    }
    ban(code.contains("#[path"), "`#[path]` hides a file from the tree");
    ban(!within(&CLOCK) && code.contains("SystemTime::now"), "only clock.rs reads the machine's clock");
    for what in ["println!", "print!", "eprintln!", "eprint!"] {
        ban(!within(&TERMINAL) && has_word(code, what), &format!("`{what}` outside cli: use tracing"));
    }
    ban(!within(&SERDE) && derives_serde(code), "derives serde, but has no form outside of the program");
    let waits = has_word(code, "async") || code.contains(".await");
    ban(!within(&ASYNC) && waits, "is async; only the rim may be");
    findings
}

/// Head, length, width, and notes to self (in comments too).
fn layout(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    if path != "main.rs" && !text.starts_with("//! ") {
        findings.push("has no `//!` head".to_string());
    }
    let lines = text.lines().count();
    if lines > MAX_LINES && !LONG_FILES.contains(&path) {
        findings.push(format!("has {lines} lines, more than {MAX_LINES}: split it by concept"));
    }
    for (at, line) in text.lines().enumerate() {
        let width = line.chars().count();
        if width > MAX_LINE_CHARS {
            findings.push(format!("line {} has {width} characters, more than {MAX_LINE_CHARS}", at + 1));
        }
        for note in ["TODO", "FIXME", "XXX", "HACK"] {
            if has_word(line, note) {
                findings.push(format!("line {} says {note}: do it, or file an issue", at + 1));
            }
        }
    }
    findings
}

/// A file is named by its noun.
fn name(path: &str) -> Vec<String> {
    let vague = path.split(['/', '.']).find(|part| VAGUE_NAMES.contains(part));
    vague.map(|part| format!("`{part}` says nothing; name the concept")).into_iter().collect()
}

/// Files of the tree that no `mod` line leads to.
fn unreachable_files(tree: &BTreeMap<String, String>) -> Vec<String> {
    let mut reached = BTreeSet::new();
    let mut todo = vec!["lib.rs".to_string(), "main.rs".to_string()];
    while let Some(path) = todo.pop() {
        let Some(text) = tree.get(&path) else { continue };
        if !reached.insert(path.clone()) {
            continue;
        }
        let folder = match path.strip_suffix("mod.rs") {
            Some(folder) => folder.to_string(),
            None if path == "lib.rs" || path == "main.rs" => String::new(),
            None => format!("{}/", path.trim_end_matches(".rs")),
        };
        for module in declared_modules(&blank(text)) {
            todo.push(format!("{folder}{module}.rs"));
            todo.push(format!("{folder}{module}/mod.rs"));
        }
    }
    let lost = tree.keys().filter(|path| !reached.contains(*path));
    lost.map(|path| format!("src/{path}: no `mod` line leads to it")).collect()
}

/// Modules declared with `mod name;`.
fn declared_modules(code: &str) -> Vec<String> {
    let declarations = code.match_indices("mod ").filter(|(at, _)| !code[..*at].ends_with(is_ident));
    let names = declarations.filter_map(|(at, word)| {
        let rest = &code[at + word.len()..];
        let ident = first_ident(rest)?;
        rest[ident.len()..].trim_start().starts_with(';').then_some(ident)
    });
    names.collect()
}

fn derives_serde(code: &str) -> bool {
    let lists = code.split("derive(").skip(1).filter_map(|rest| rest.split_once(')'));
    lists.into_iter().any(|(list, _)| has_word(list, "Serialize") || has_word(list, "Deserialize"))
}

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

fn is_ident(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn first_ident(text: &str) -> Option<String> {
    let end = text.find(|c| !is_ident(c)).unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_string())
}

/// Whether `word` stands in `text` on its own.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        !text[..at].ends_with(is_ident) && !text[at + word.len()..].starts_with(|c| is_ident(c) && c != '!')
    })
}

fn without_attributes(statement: &str) -> &str {
    let mut rest = statement.trim();
    while rest.starts_with("#[") || rest.starts_with("#![") {
        let mut depth = 0;
        let end = rest.find(|c| {
            depth += i32::from(c == '[') - i32::from(c == ']');
            c == ']' && depth == 0
        });
        rest = end.map_or("", |end| rest[end + 1..].trim());
    }
    rest
}

/// `text` with comments and the insides of strings and chars as blanks; line
/// breaks stay.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let end = match c {
            '/' if chars.get(at + 1) == Some(&'/') => line_end(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => comment_end(&chars, at),
            '"' => string_end(&chars, at, None),
            'r' if !out.ends_with(is_ident) || out.ends_with('b') || out.ends_with('c') => {
                let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
                match chars.get(at + 1 + hashes) {
                    Some('"') => string_end(&chars, at + 1 + hashes, Some(hashes)),
                    _ => at,
                }
            }
            '\'' if chars.get(at + 1) == Some(&'\\') => {
                chars[at + 3..].iter().position(|c| *c == '\'').map_or(chars.len(), |n| at + 4 + n)
            }
            '\'' if chars.get(at + 2) == Some(&'\'') => at + 3,
            _ => at,
        };
        if end == at {
            out.push(c);
            at += 1;
        } else {
            let end = end.min(chars.len());
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

fn line_end(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |n| at + n)
}

fn comment_end(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// End of the string whose quote is at `at`; `hashes` of a raw one.
fn string_end(chars: &[char], mut at: usize, hashes: Option<usize>) -> usize {
    at += 1;
    while at < chars.len() {
        match (chars[at], hashes) {
            ('\\', None) => at += 1,
            ('"', None) => return at + 1,
            ('"', Some(n)) if chars[at + 1..].iter().take_while(|c| **c == '#').count() >= n => {
                return at + 1 + n;
            }
            _ => {}
        }
        at += 1;
    }
    at
}

/// The `.rs` files below `folder`, by their path from there.
fn read_tree(folder: &Path, prefix: &str) -> BTreeMap<String, String> {
    let mut tree = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("src is readable") {
        let entry = entry.expect("src is readable");
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            tree.extend(read_tree(&entry.path(), &format!("{name}/")));
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(entry.path()).expect("a source file is UTF-8");
            tree.insert(name, text);
        }
    }
    tree
}

mod checker {
    use super::{check_file, unreachable_files};

    const HEAD: &str = "//! Head.\n";

    /// `expected` is part of the one finding; none when it is empty.
    fn check(path: &str, text: &str, expected: &str) {
        let findings = check_file(path, &format!("{HEAD}{text}"));
        match expected {
            "" => assert!(findings.is_empty(), "{path} {text:?}: {findings:?}"),
            _ => assert!(
                findings.len() == 1 && findings[0].contains(expected),
                "{path} {text:?}: wanted `{expected}`, found {findings:?}"
            ),
        }
    }

    #[test]
    fn imports_go_downwards_only() {
        check("query/eval.rs", "use crate::model::Labels;\nuse crate::query::value::Value;\n", "");
        check("query/eval.rs", "use crate::alert::Rule;\n", "names `alert` of floor 4");
        check("store/index.rs", "use crate::aggregate::Window;\n", "only lower floors");
        check("store/index.rs", "fn f() -> crate::http::Page { x }\n", "names `http`");
        check("store/index.rs", "use crate::{model::{Labels, Sample}, query, clock};\n", "names `query`");
        check("model/label.rs", "use crate::clock::Clock;\n", "names `clock` of floor 0");
        check("store/index.rs", "use super::super::query::Source;\n", "names `query`");
        check("query/source.rs", "use super::super::model::Labels;\n", "");
        check("model/label.rs", "use crate::nowhere::X;\n", "has no floor");
        check("attic/label.rs", "", "`attic` has no floor");
        check("lib.rs", "pub mod model;\npub mod attic;\n", "`attic` has no floor");
        check("main.rs", "fn main() { statsdeck::cli::main() }\n", "");
        check("cli.rs", "fn f() { statsdeck::main() }\n", "names `main` of floor 10");
        check("store/index.rs", "// as crate::query does\nconst A: &str = \"crate::query\";\n", "");
    }

    #[test]
    fn a_mod_file_only_declares() {
        check("store/mod.rs", "pub mod index;\nmod wal;\npub(crate) mod x;\npub use index::{A, B};\n", "");
        check("store/mod.rs", "#[cfg(test)]\nmod tests;\n#[doc(hidden)]\npub use a::B;\n", "");
        check("store/mod.rs", "pub mod index;\npub struct Store {}\n", "holds `pub struct Store {}`");
        check("store/mod.rs", "mod tests { fn f() {} }\n", "declares and re-exports only");
        check("store/store.rs", "pub struct Store {}\n", "");
    }

    #[test]
    fn drafts_clocks_and_prints_are_banned() {
        check("store/wal.rs", "fn f() { todo!() }\n", "`todo!` is for drafts");
        check("store/wal.rs", "fn f() { dbg!(1); }\n", "`dbg!`");
        check("store/wal.rs", "fn f() { unimplemented!(\"x\") }\n", "`unimplemented!`");
        check("store/wal.rs", "// TODO: later\n", "line 2 says TODO");
        check("store/wal.rs", "// FIXME\n", "says FIXME");
        check("store/wal.rs", "fn f() { std::time::SystemTime::now(); }\n", "only clock.rs");
        check("clock.rs", "fn f() { SystemTime::now(); }\n", "");
        check("store/wal.rs", "fn f() { println!(\"x\"); }\n", "`println!` outside cli");
        check("store/wal.rs", "fn f() { eprintln!(\"x\"); }\n", "`eprintln!` outside cli");
        check("cli.rs", "fn f() { println!(\"x\"); }\n", "");
        check(
            "store/wal.rs",
            "const A: &str = r#\"println!(\"{}\") dbg!\"#; /* todo!() /* nested */ */\n",
            "",
        );
        check("store/wal.rs", "#[path = \"x.rs\"]\nmod x;\n", "hides a file");
    }

    #[test]
    fn forms_and_waiting_have_their_places() {
        check("model/label.rs", "#[derive(Clone, serde::Serialize)]\nstruct A;\n", "derives serde");
        check("exposition/text.rs", "#[derive(\n  Debug,\n  Deserialize,\n)]\nstruct A;\n", "derives serde");
        check("config/file.rs", "#[derive(Clone, Deserialize)]\nstruct A;\n", "");
        check("http/api/query.rs", "#[derive(Serialize)]\nstruct A;\n", "");
        check("http/page.rs", "#[derive(Serialize)]\nstruct A;\n", "derives serde");
        check("store/wal.rs", "async fn f() {}\n", "is async");
        check("store/wal.rs", "fn f() { g().await }\n", "is async");
        check("http/server.rs", "async fn f() { g().await }\n", "");
    }

    #[test]
    fn files_have_a_head_a_noun_and_a_size() {
        let check_whole = |text: &str, expected: &str| {
            let findings = check_file("store/wal.rs", text);
            assert!(findings.len() == 1 && findings[0].contains(expected), "{findings:?}");
        };
        check_whole("use std::fs;\n", "has no `//!` head");
        check_whole(&format!("{HEAD}{}", "// a\n".repeat(600)), "601 lines");
        check_whole(&format!("{HEAD}// {}\n", "é".repeat(118)), "line 2 has 121 characters");
        assert!(check_file("store/wal.rs", &format!("{HEAD}// {}\n", "é".repeat(117))).is_empty());
        check("store/utils.rs", "", "`utils` says nothing");
        check("store/helpers/a.rs", "", "`helpers` says nothing");
        check("alert/manager.rs", "", "`manager` says nothing");
    }

    #[test]
    fn every_file_is_declared() {
        let tree = |files: &[(&str, &str)]| {
            files.iter().map(|(path, text)| (path.to_string(), text.to_string())).collect()
        };
        let whole = [
            ("lib.rs", "pub mod clock;\npub mod store;\n"),
            ("main.rs", "fn main() {}\n"),
            ("clock.rs", ""),
            ("store/mod.rs", "mod wal;\n"),
            ("store/wal.rs", "#[cfg(test)]\nmod crash;\n"),
            ("store/wal/crash.rs", ""),
        ];
        assert_eq!(unreachable_files(&tree(&whole)), Vec::<String>::new());
        let lost = [("lib.rs", "// mod clock;\nconst A: &str = \"mod clock;\";\n"), ("clock.rs", "")];
        assert_eq!(unreachable_files(&tree(&lost)), ["src/clock.rs: no `mod` line leads to it"]);
        let inline = [("lib.rs", "mod clock { }\n"), ("clock.rs", "")];
        assert_eq!(unreachable_files(&tree(&inline)).len(), 1);
    }

    #[test]
    fn chars_and_lifetimes_do_not_open_strings() {
        check("store/wal.rs", "fn f<'a>(c: &'a str) { g('\"', '\\'', b'\"'); dbg!(c) }\n", "`dbg!`");
        check("store/wal.rs", "fn f() { g(\"\\\"\"); dbg!(1) }\n", "`dbg!`");
    }
}
