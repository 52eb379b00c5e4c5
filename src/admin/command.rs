//! What one line asks for. Words are separated by blanks; letters count as
//! they are written, but for `up` and `down`.

use crate::model::MetricType;

/// Names that one command may have.
pub const NAMES_MAX: usize = 64;

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Help,
    Config,
    /// Says whether all is well, after setting it if asked to.
    Health(Option<Health>),
    Stats,
    /// Shows the series of a kind.
    Show(Kind),
    /// Ends series of a kind by name, or by folder: `name.*`.
    Delete(Kind, Vec<String>),
    Quit,
    /// Nothing that can be done.
    Unknown,
    /// A request of a browser that was made to call here: not to be served.
    Http,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Up,
    Down,
}

/// What the classic server keeps apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counters,
    Gauges,
    /// Histograms and distributions too.
    Timers,
}

impl Kind {
    /// Whether series of that type are of the kind.
    pub fn has(self, metric_type: MetricType) -> bool {
        match self {
            Kind::Counters => metric_type == MetricType::Counter,
            Kind::Gauges => metric_type == MetricType::Gauge,
            Kind::Timers => metric_type.is_distribution(),
        }
    }
}

impl Command {
    /// Reads a line; what is not UTF-8 is unknown.
    pub fn parse(line: &[u8]) -> Self {
        let Ok(line) = std::str::from_utf8(line) else { return Command::Unknown };
        if ["HTTP/1.0", "HTTP/1.1"].iter().any(|version| line.trim_end().ends_with(version)) {
            return Command::Http;
        }
        let mut words = line.split_whitespace();
        let names = |words: std::str::SplitWhitespace<'_>, kind| {
            let names: Vec<String> = words.map(str::to_owned).collect();
            if names.len() > NAMES_MAX { Command::Unknown } else { Command::Delete(kind, names) }
        };
        match words.next() {
            Some("help") => Command::Help,
            Some("config") => Command::Config,
            Some("health") => match words.next().map(str::to_ascii_lowercase).as_deref() {
                Some("up") => Command::Health(Some(Health::Up)),
                Some("down") => Command::Health(Some(Health::Down)),
                _ => Command::Health(None),
            },
            Some("stats") => Command::Stats,
            Some("counters") => Command::Show(Kind::Counters),
            Some("gauges") => Command::Show(Kind::Gauges),
            Some("timers") => Command::Show(Kind::Timers),
            Some("delcounters") => names(words, Kind::Counters),
            Some("delgauges") => names(words, Kind::Gauges),
            Some("deltimers") => names(words, Kind::Timers),
            Some("quit") => Command::Quit,
            _ => Command::Unknown,
        }
    }
}

/// Whether `name`, as a user wrote it, means the series shown as `key`.
pub fn names(name: &str, key: &str) -> bool {
    let in_folder = |folder: &str| folder.ends_with('.') && key.starts_with(folder);
    name == key || name.strip_suffix('*').is_some_and(in_folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_commands() {
        let many = format!("deltimers{}", " a".repeat(NAMES_MAX + 1));
        let cases = [
            ("help", Command::Help),
            ("  stats \r", Command::Stats),
            ("health", Command::Health(None)),
            ("health DOWN", Command::Health(Some(Health::Down))),
            ("health sideways", Command::Health(None)),
            ("counters", Command::Show(Kind::Counters)),
            ("delgauges a.b c.*", Command::Delete(Kind::Gauges, vec!["a.b".into(), "c.*".into()])),
            ("delcounters", Command::Delete(Kind::Counters, vec![])),
            (&many, Command::Unknown),
            ("STATS", Command::Unknown),
            ("", Command::Unknown),
            ("quit", Command::Quit),
            ("POST / HTTP/1.1\r", Command::Http),
        ];
        for (line, expected) in cases {
            assert_eq!(Command::parse(line.as_bytes()), expected, "{line:?}");
        }
        assert_eq!(Command::parse(b"stats \xff"), Command::Unknown);
    }

    #[test]
    fn a_folder_means_all_that_is_in_it() {
        let cases = [
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
            ("a.*", "a.b.c", true),
            ("a.*", "ab", false),
            ("a*", "ab", false),
            ("*", "a", false),
            ("a.b;k=*", "a.b;k=v", false),
        ];
        for (name, key, expected) in cases {
            assert_eq!(names(name, key), expected, "{name} {key}");
        }
    }
}
