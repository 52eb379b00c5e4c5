//! The rows of `tests/lines/*.txt`.

use std::path::Path;

pub struct Row {
    /// File, line and text, for messages.
    pub place: String,
    pub line: Vec<u8>,
    pub statsd: bool,
    pub dogstatsd: bool,
    pub name_tags: bool,
    pub expected: String,
}

/// All rows, file by file.
pub fn all() -> Vec<Row> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lines");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    let mut rows = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        for (at, row) in std::fs::read_to_string(&path).unwrap().lines().enumerate() {
            if row.starts_with('#') || row.trim().is_empty() {
                continue;
            }
            let place = format!("{name}:{}: {row}", at + 1);
            let columns: Vec<&str> = row.split(" ;; ").map(str::trim).collect();
            let [dialect, line, expected] = columns[..] else { panic!("{place}: not three columns") };
            let (dialect, styles) = dialect.split_once('/').unwrap_or((dialect, "all"));
            let (statsd, dogstatsd) = match dialect {
                "both" => (true, true),
                "statsd" => (true, false),
                "dogstatsd" => (false, true),
                other => panic!("{place}: no such dialect: {other}"),
            };
            let (line, name_tags) = (unescape(line), styles != "none");
            rows.push(Row { place, line, statsd, dogstatsd, name_tags, expected: expected.into() });
        }
    }
    rows
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (kind, after) = rest.split_first().expect("a character after the backslash");
        rest = after;
        match kind {
            b'n' => bytes.push(b'\n'),
            b'r' => bytes.push(b'\r'),
            b't' => bytes.push(b'\t'),
            b'\\' => bytes.push(b'\\'),
            b'x' => {
                let digits = std::str::from_utf8(&rest[..2]).expect("two digits");
                bytes.push(u8::from_str_radix(digits, 16).expect("hexadecimal"));
                rest = &rest[2..];
            }
            other => panic!("no such escape: \\{}", char::from(*other)),
        }
    }
    bytes
}
