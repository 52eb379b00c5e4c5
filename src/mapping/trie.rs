//! All globs of a file as one trie over dot components: the cost of a match
//! does not grow with the number of globs.
//!
//! A node's edges are literals (one hash lookup), components with `*` inside
//! (one lookup for each pair of lengths of their ends) and `*`. A node is
//! visited at most once, and not at all when nothing below it can win.

use super::glob::{Component, Glob, Part};
use super::rule::Kind;
use foldhash::fast::RandomState;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::ops::Range;

const NONE: u32 = u32::MAX;

/// What the `*` of a glob took of a name.
pub type Captures = SmallVec<[Range<usize>; 8]>;

type ByBytes<T> = HashMap<Box<[u8]>, T, RandomState>;

/// See the module's head.
#[derive(Debug)]
pub struct Trie {
    nodes: Vec<Node>,
    /// The first glob wins; else the most specific.
    ordered: bool,
}

#[derive(Debug)]
struct Node {
    literals: ByBytes<u32>,
    parts: Vec<PartEdge>,
    /// Where the parts are, by their ends; `shapes` are the lengths of these.
    part_ends: ByBytes<ByBytes<Vec<u32>>>,
    shapes: Vec<(usize, usize)>,
    star: u32,
    /// The rule of the globs that end here, by kind.
    accepts: [u32; Kind::COUNT],
    /// The first rule among those that end here or below.
    first: [u32; Kind::COUNT],
    /// Fewest and most components that may follow.
    left: (usize, usize),
}

#[derive(Debug)]
struct PartEdge {
    part: Part,
    node: u32,
}

/// A search under way.
struct Search<'n> {
    name: &'n [u8],
    components: SmallVec<[Range<usize>; 16]>,
    kind: usize,
    captures: Captures,
    found: Option<(u32, Captures)>,
}

impl Trie {
    pub fn new(ordered: bool) -> Self {
        Trie { nodes: vec![Node::new()], ordered }
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.len() == 1
    }

    /// Adds a glob for rule number `rule`; numbers go up. Where a kind has the
    /// same glob already, that stays.
    pub fn add(&mut self, glob: &Glob, kinds: &[Kind], rule: u32) {
        let mut at = 0;
        let mut left = glob.components.len();
        self.pass(at, kinds, rule, left);
        for component in &glob.components {
            at = self.child(at, component);
            left -= 1;
            self.pass(at, kinds, rule, left);
        }
        for kind in kinds {
            let accept = &mut self.nodes[at].accepts[*kind as usize];
            *accept = (*accept).min(rule);
        }
    }

    /// The rule that wins for a name, and what its `*` took.
    pub fn find(&self, name: &str, kind: Kind) -> Option<(u32, Captures)> {
        let root = self.nodes.first()?;
        let name = name.as_bytes();
        let mut components = SmallVec::new();
        let mut start = 0;
        for dot in memchr::memchr_iter(b'.', name) {
            components.push(start..dot);
            start = dot + 1;
            if components.len() >= root.left.1 {
                return None;
            }
        }
        components.push(start..name.len());
        let mut search =
            Search { name, components, kind: kind as usize, captures: Captures::new(), found: None };
        self.visit(0, 0, &mut search);
        search.found
    }

    /// Notes that a glob leads through a node.
    fn pass(&mut self, at: usize, kinds: &[Kind], rule: u32, left: usize) {
        let node = &mut self.nodes[at];
        for kind in kinds {
            let first = &mut node.first[*kind as usize];
            *first = (*first).min(rule);
        }
        node.left = (node.left.0.min(left), node.left.1.max(left));
    }

    fn child(&mut self, at: usize, component: &Component) -> usize {
        let new = self.nodes.len() as u32;
        let node = &mut self.nodes[at];
        let child = match component {
            Component::Literal(text) => *node.literals.entry(text.as_bytes().into()).or_insert(new),
            Component::Star => {
                if node.star == NONE {
                    node.star = new;
                }
                node.star
            }
            Component::Part(part) => node.part_child(part, new),
        };
        if child == new {
            self.nodes.push(Node::new());
        }
        child as usize
    }

    /// Goes below node `at`, whose edges are for component number `depth`.
    /// Says whether the search is over.
    fn visit(&self, at: u32, depth: usize, search: &mut Search<'_>) -> bool {
        let Some(node) = self.nodes.get(at as usize) else { return false };
        let left = search.components.len() - depth;
        let best = search.found.as_ref().map_or(NONE, |(rule, _)| *rule);
        if left < node.left.0 || left > node.left.1 || node.first[search.kind] >= best {
            return false;
        }
        if left == 0 {
            let rule = node.accepts[search.kind];
            if rule < best {
                search.found = Some((rule, search.captures.clone()));
                return !self.ordered;
            }
            return false;
        }
        let Some(range) = search.components.get(depth).cloned() else { return false };
        let text = search.name.get(range.clone()).unwrap_or_default();
        if let Some(child) = node.literals.get(text)
            && self.visit(*child, depth + 1, search)
        {
            return true;
        }
        let taken = search.captures.len();
        for edge in node.parts_for(text) {
            if edge.part.captures(text, range.start, |range| search.captures.push(range))
                && self.visit(edge.node, depth + 1, search)
            {
                return true;
            }
            search.captures.truncate(taken);
        }
        if node.star != NONE {
            search.captures.push(range);
            if self.visit(node.star, depth + 1, search) {
                return true;
            }
            search.captures.truncate(taken);
        }
        false
    }
}

impl Node {
    fn new() -> Self {
        Node {
            literals: HashMap::default(),
            parts: Vec::new(),
            part_ends: HashMap::default(),
            shapes: Vec::new(),
            star: NONE,
            accepts: [NONE; Kind::COUNT],
            first: [NONE; Kind::COUNT],
            left: (usize::MAX, 0),
        }
    }

    fn part_child(&mut self, part: &Part, new: u32) -> u32 {
        let by_suffix = self.part_ends.entry(part.prefix.as_bytes().into()).or_default();
        let same_ends = by_suffix.entry(part.suffix.as_bytes().into()).or_default();
        let mut known = same_ends.iter().filter_map(|at| self.parts.get(*at as usize));
        if let Some(edge) = known.find(|edge| edge.part == *part) {
            return edge.node;
        }
        same_ends.push(self.parts.len() as u32);
        self.parts.push(PartEdge { part: part.clone(), node: new });
        let shape = (part.prefix.len(), part.suffix.len());
        if !self.shapes.contains(&shape) {
            self.shapes.push(shape);
        }
        new
    }

    /// Edges whose ends are those of `text`, the most specific first.
    fn parts_for(&self, text: &[u8]) -> SmallVec<[&PartEdge; 4]> {
        let mut edges: SmallVec<[&PartEdge; 4]> = SmallVec::new();
        for (prefix, suffix) in &self.shapes {
            if prefix + suffix > text.len() {
                continue;
            }
            let (begin, end) = (&text[..*prefix], &text[text.len() - suffix..]);
            if let Some(found) = self.part_ends.get(begin).and_then(|by_suffix| by_suffix.get(end)) {
                edges.extend(found.iter().filter_map(|at| self.parts.get(*at as usize)));
            }
        }
        edges.sort_by_key(|edge| std::cmp::Reverse(edge.part.literal_bytes()));
        edges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn trie_of(globs: &[String], ordered: bool) -> Trie {
        let mut trie = Trie::new(ordered);
        for (at, glob) in globs.iter().enumerate() {
            trie.add(&Glob::parse(glob).unwrap(), &Kind::ALL, at as u32);
        }
        trie
    }

    fn check(globs: &[&str], ordered: bool, name: &str, expected: Option<(u32, &[&str])>) {
        let globs: Vec<String> = globs.iter().map(|glob| (*glob).to_owned()).collect();
        let found = trie_of(&globs, ordered).find(name, Kind::Counter);
        let found =
            found.map(|(rule, ranges)| (rule, ranges.into_iter().map(|r| &name[r]).collect::<Vec<_>>()));
        assert_eq!(found.as_ref().map(|(rule, texts)| (*rule, &texts[..])), expected, "{globs:?} {name}");
    }

    #[test]
    fn the_first_wins_or_the_most_specific() {
        check(&["a.*", "a.b"], true, "a.b", Some((0, &["b"])));
        check(&["a.*", "a.b"], false, "a.b", Some((1, &[])));
        check(&["*.b", "a.*"], true, "a.b", Some((0, &["a"])));
        check(&["*.b", "a.*"], false, "a.b", Some((1, &["b"])));
        check(&["a.b.c", "a.*.d", "*.b.*"], true, "a.b.d", Some((1, &["b"])));
        check(&["a.b.c", "*.b.*"], true, "a.b.x", Some((1, &["a", "x"])));
        check(&["a.b.c", "a.b"], true, "a.b", Some((1, &[])));
        check(&["a.*", "a.f*", "a.foo*", "a.*o"], false, "a.foo1", Some((2, &["1"])));
        check(&["a.*", "a.f*", "a.foo*"], true, "a.foo1", Some((0, &["foo1"])));
        check(&["a.b"], true, "a.b.c.d.e", None);
        check(&["a.*"], true, "", None);
        check(&["*"], true, "", Some((0, &[""])));
    }

    #[test]
    fn kinds_are_kept_apart() {
        let mut trie = Trie::new(true);
        trie.add(&Glob::parse("a.*").unwrap(), &[Kind::Gauge], 0);
        trie.add(&Glob::parse("a.b").unwrap(), &Kind::ALL, 1);
        trie.add(&Glob::parse("a.*").unwrap(), &Kind::ALL, 2);
        let winner = |name, kind| trie.find(name, kind).map(|(rule, _)| rule);
        assert_eq!(winner("a.b", Kind::Gauge), Some(0));
        assert_eq!(winner("a.b", Kind::Observer), Some(1));
        assert_eq!(winner("a.c", Kind::Observer), Some(2));
    }

    /// The plain way: every component, every way in which `*` can take text.
    fn plain_match(glob: &str, name: &str) -> bool {
        fn fits(pattern: &[u8], text: &[u8]) -> bool {
            match pattern.split_first() {
                None => text.is_empty(),
                Some((b'*', rest)) => (0..=text.len()).any(|n| fits(rest, &text[n..])),
                Some((c, rest)) => text.first() == Some(c) && fits(rest, &text[1..]),
            }
        }
        let (globs, names): (Vec<&str>, Vec<&str>) = (glob.split('.').collect(), name.split('.').collect());
        globs.len() == names.len() && globs.iter().zip(&names).all(|(g, n)| fits(g.as_bytes(), n.as_bytes()))
    }

    fn component() -> impl Strategy<Value = String> {
        prop_oneof![3 => "[ab]{1,2}", 2 => Just("*".to_owned()), 2 => "[ab]?\\*[ab]{1,2}(\\*[ab]?)?"]
    }

    fn glob() -> impl Strategy<Value = String> {
        prop::collection::vec(component(), 1..4).prop_map(|components| components.join("."))
    }

    proptest! {
        #[test]
        fn the_trie_finds_what_a_plain_matcher_finds_first(
            globs in prop::collection::vec(glob(), 1..30),
            names in prop::collection::vec("[ab]{0,4}(\\.[ab]{0,4}){0,3}", 1..20),
        ) {
            let trie = trie_of(&globs, true);
            let most_specific = trie_of(&globs, false);
            for name in &names {
                let expected = globs.iter().position(|glob| plain_match(glob, name));
                let found = trie.find(name, Kind::Gauge);
                prop_assert_eq!(found.as_ref().map(|(rule, _)| *rule as usize), expected, "{} {:?}", name, globs);
                if let Some((rule, captures)) = found {
                    let glob = &globs[rule as usize];
                    // Put back in place of the stars, the captures give the name.
                    let mut pieces = glob.split('*');
                    let mut again = pieces.next().unwrap().to_owned();
                    for (range, piece) in captures.iter().zip(pieces) {
                        again += &name[range.clone()];
                        again += piece;
                    }
                    prop_assert_eq!(&again, name);
                    prop_assert_eq!(captures.to_vec(), Glob::parse(glob).unwrap().captures(name).unwrap());
                }
                let specific = most_specific.find(name, Kind::Gauge);
                prop_assert_eq!(specific.is_some(), expected.is_some());
                if let Some((rule, _)) = specific {
                    prop_assert!(plain_match(&globs[rule as usize], name));
                }
            }
        }
    }
}
