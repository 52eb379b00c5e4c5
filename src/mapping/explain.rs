//! Why a name got what it got: the rule that won, and those that matched and
//! lost. Asks every rule by itself, and is for people; and rules that nothing
//! can reach.

use super::mapper::Mapper;
use super::rule::{Flaw, Kind, Matcher, Rule};
use std::fmt;

/// Matches anything, written as people write it.
const CATCH_ALL: [&str; 8] = [".", ".*", ".+", "(.*)", "(.+)", "^.*$", "^.+$", "^(.*)$"];

/// A rule that matched, and its place.
#[derive(Debug)]
pub struct Matched<'m> {
    pub file: &'m str,
    /// Number of the rule in its file, from 0.
    pub number: usize,
    pub rule: &'m Rule,
    pub verdict: Verdict,
}

/// Why a matching rule won or lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    FirstGlob,
    MostSpecificGlob,
    FirstRegex,
    OtherType(Kind),
    EarlierFile,
    GlobsFirst,
    LaterGlob,
    LessSpecific,
    LaterRegex,
}

impl Verdict {
    pub fn has_won(self) -> bool {
        matches!(self, Verdict::FirstGlob | Verdict::MostSpecificGlob | Verdict::FirstRegex)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::FirstGlob => f.write_str("the first glob that matches"),
            Verdict::MostSpecificGlob => f.write_str("the most specific glob that matches"),
            Verdict::FirstRegex => f.write_str("no glob matches, and it is the first regex that does"),
            Verdict::OtherType(kind) => write!(f, "is for type {kind} alone"),
            Verdict::EarlierFile => f.write_str("an earlier file has a mapping that matches"),
            Verdict::GlobsFirst => f.write_str("is a regex: globs are tried first"),
            Verdict::LaterGlob => f.write_str("comes after another glob that matches"),
            Verdict::LessSpecific => f.write_str("is a less specific glob"),
            Verdict::LaterRegex => f.write_str("comes after another regex that matches"),
        }
    }
}

/// Every rule that matches the name, in the order of the files.
pub fn explain<'m>(mapper: &'m Mapper, name: &str, kind: Kind) -> Vec<Matched<'m>> {
    let mut matched = Vec::new();
    let mut earlier_file = false;
    for set in mapper.sets() {
        let winner = set.winner(name, kind);
        let glob_won = winner.and_then(|at| set.rules.get(at)).is_some_and(is_glob);
        for (number, rule) in set.rules.iter().enumerate().filter(|(_, rule)| rule.matches(name)) {
            let verdict = match rule.definition.kind {
                Some(other) if other != kind => Verdict::OtherType(other),
                _ if earlier_file => Verdict::EarlierFile,
                _ => match (winner == Some(number), is_glob(rule)) {
                    (true, true) if set.ordered => Verdict::FirstGlob,
                    (true, true) => Verdict::MostSpecificGlob,
                    (true, false) => Verdict::FirstRegex,
                    (false, false) if glob_won => Verdict::GlobsFirst,
                    (false, false) => Verdict::LaterRegex,
                    (false, true) if set.ordered => Verdict::LaterGlob,
                    (false, true) => Verdict::LessSpecific,
                },
            };
            matched.push(Matched { file: &set.file, number, rule, verdict });
        }
        earlier_file |= winner.is_some();
    }
    matched
}

/// A `match` for people: as it is written, without what would move a terminal's
/// cursor.
pub fn quoted(matching: &str) -> String {
    let plain = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
    format!("\"{}\"", matching.chars().map(plain).collect::<String>())
}

/// Rules of file number `file` that no name can reach, as another one takes
/// all that they match.
pub fn unreachable(mapper: &Mapper, file: usize) -> Vec<Flaw> {
    let Some(set) = mapper.sets().get(file) else { return Vec::new() };
    let mut flaws = Vec::new();
    for (at, rule) in set.rules.iter().enumerate() {
        let takers: Option<Vec<String>> =
            rule.kinds().iter().map(|kind| taker(mapper, file, at, rule, *kind)).collect();
        if let Some(taker) = takers.and_then(|takers| takers.into_iter().next()) {
            let message = format!("{} is never reached: {taker}", quoted(&rule.definition.matching));
            flaws.push(Flaw { rule: at, key: "match".into(), message });
        }
    }
    flaws
}

/// What takes all names of `rule` (number `at` of file number `file`) of one
/// kind, in words.
fn taker(mapper: &Mapper, file: usize, at: usize, rule: &Rule, kind: Kind) -> Option<String> {
    let matching = &rule.definition.matching;
    for set in mapper.sets().get(..=file)? {
        let own = std::ptr::eq(set, mapper.sets().get(file)?);
        let place = |number: usize| {
            let line = set.rules.get(number).map_or(0, |rule| rule.definition.line);
            if own { format!("line {line}") } else { format!("{} line {line}", set.file) }
        };
        let all_that = |number: usize, text: &str| {
            format!("{} in {} takes all that it matches", quoted(text), place(number))
        };
        if is_glob(rule)
            && let Some(number) = set.covering(matching, kind)
            && !(own && number == at)
        {
            return Some(all_that(number, &set.rules.get(number)?.definition.matching));
        }
        // A regex of another file comes before; of the same, when it is earlier
        // and this is one too.
        if own && is_glob(rule) {
            continue;
        }
        for number in set.regexes().filter(|number| !own || *number < at) {
            let Some(other) = set.rules.get(number).filter(|other| other.kinds().contains(&kind)) else {
                continue;
            };
            let text = other.definition.matching.as_str();
            if CATCH_ALL.contains(&text) || (!is_glob(rule) && text == matching) {
                return Some(all_that(number, text));
            }
        }
    }
    None
}

fn is_glob(rule: &Rule) -> bool {
    matches!(rule.matcher, Matcher::Glob(_))
}

#[cfg(test)]
mod tests {
    use super::super::mapper::RuleSet;
    use super::super::rule::{Definition, Style, Treatment};
    use super::*;

    fn glob(matching: &str) -> Definition {
        Definition { matching: matching.into(), name: "x".into(), ..Definition::default() }
    }

    fn regex(matching: &str) -> Definition {
        Definition { style: Style::Regex, ..glob(matching) }
    }

    fn only(kind: Kind, definition: Definition) -> Definition {
        Definition { kind: Some(kind), ..definition }
    }

    fn mapper(files: Vec<(bool, Vec<Definition>)>) -> Mapper {
        let set = |(ordered, mut definitions): (bool, Vec<Definition>)| {
            definitions.iter_mut().enumerate().for_each(|(at, definition)| definition.line = at + 1);
            RuleSet::new("m.yml", ordered, Treatment::default(), definitions).unwrap().0
        };
        Mapper::new(files.into_iter().map(set).collect())
    }

    #[test]
    fn winners_and_losers_have_their_reasons() {
        let check = |files, kind, expected: &[(usize, Verdict)]| {
            let mapper = mapper(files);
            let found: Vec<_> = explain(&mapper, "a.b", kind).iter().map(|m| (m.number, m.verdict)).collect();
            assert_eq!(found, expected);
        };
        use Verdict::*;
        let rules = || {
            vec![
                regex("a"),
                glob("a.*"),
                only(Kind::Gauge, glob("a.b")),
                glob("a.b"),
                glob("b.*"),
                regex("."),
            ]
        };
        let globs_first =
            [(0, GlobsFirst), (1, FirstGlob), (2, OtherType(Kind::Gauge)), (3, LaterGlob), (5, GlobsFirst)];
        check(vec![(true, rules())], Kind::Counter, &globs_first);
        let specific = [
            (0, GlobsFirst),
            (1, LessSpecific),
            (2, OtherType(Kind::Gauge)),
            (3, MostSpecificGlob),
            (5, GlobsFirst),
        ];
        check(vec![(false, rules())], Kind::Counter, &specific);
        check(vec![(true, vec![regex("a"), regex("b")])], Kind::Set, &[(0, FirstRegex), (1, LaterRegex)]);
        let files = vec![(true, vec![regex("a")]), (true, vec![glob("a.b")])];
        check(files, Kind::Gauge, &[(0, FirstRegex), (0, EarlierFile)]);
    }

    #[test]
    fn rules_that_nothing_reaches_are_named() {
        let check = |files: Vec<(bool, Vec<Definition>)>, expected: &[(usize, &str)]| {
            let mapper = mapper(files);
            let flaws = unreachable(&mapper, mapper.sets().len() - 1);
            assert_eq!(flaws.len(), expected.len(), "{flaws:?}");
            for (flaw, (rule, taker)) in flaws.iter().zip(expected) {
                assert_eq!(flaw.rule, *rule, "{flaws:?}");
                assert!(flaw.message.contains(taker), "{flaws:?}");
            }
        };
        check(vec![(true, vec![glob("a.*"), glob("a.b"), glob("a.b.c")])], &[(1, "\"a.*\" in line 1")]);
        check(vec![(false, vec![glob("a.*"), glob("a.b")])], &[]);
        check(vec![(true, vec![glob("a.b"), glob("a.*"), glob("*.*"), glob("a.*")])], &[(3, "line 2")]);
        check(
            vec![(true, vec![glob("a.f*"), glob("a.foo*"), glob("a.foo"), glob("a.*")])],
            &[(1, "a.f*"), (2, "a.f*")],
        );
        check(vec![(true, vec![only(Kind::Gauge, glob("a.*")), glob("a.b")])], &[]);
        check(vec![(true, vec![glob("a.*"), only(Kind::Gauge, glob("a.b"))])], &[(1, "line 1")]);
        check(vec![(true, vec![regex(".*"), regex("a"), glob("a.b")])], &[(1, "\".*\" in line 1")]);
        check(vec![(true, vec![regex("a"), regex("a")])], &[(1, "line 1")]);
        check(vec![(true, vec![regex(".")]), (true, vec![glob("a.b")])], &[(0, "m.yml line 1")]);
        check(vec![(true, vec![glob("a.*")]), (true, vec![glob("a.b"), glob("b")])], &[(0, "m.yml line 1")]);
    }
}
