//! A second parser, written from the wire's grammar alone: it splits, copies and
//! looks again, and is there to be right. It says what a line becomes, or that
//! it is not taken; the reason is the table's business.

use super::taken::{Marked, Seen, Taken};
use std::collections::BTreeMap;

/// Key and value of a tag.
type Pair = (Vec<u8>, Vec<u8>);

/// What the line of a packet becomes; `None` when it is not taken.
pub fn parse(raw: &[u8], dogstatsd: bool, name_tags: bool, labels_max: usize) -> Option<Taken> {
    let is_blank = |b: &u8| b" \t\r\n\x0c".contains(b);
    let mut line = raw.to_vec();
    if !line.starts_with(b"_e{") {
        while line.last().is_some_and(is_blank) {
            line.pop();
        }
        while line.first().is_some_and(is_blank) {
            line.remove(0);
        }
    }
    if line.starts_with(b"_e{") {
        return event(&line).map(Taken::Marker);
    }
    if line.starts_with(b"_sc|") {
        return check(&line, labels_max);
    }
    metric(&line, dogstatsd, name_tags, labels_max)
}

fn metric(line: &[u8], dogstatsd: bool, name_tags: bool, labels_max: usize) -> Option<Taken> {
    let pieces = split(line, b'|');
    let (name, first) = cut(&pieces[0], b':')?;
    if name.is_empty() {
        return None;
    }
    let mut observations = Vec::new();
    let mut values = first;
    let mut at = 1;
    // Samples: values, type and perhaps a rate; a `:` behind one begins the next.
    loop {
        let (word, mut next) = match cut(pieces.get(at)?, b':') {
            Some((word, next)) => (word, Some(next)),
            None => (pieces[at].clone(), None),
        };
        at += 1;
        let mut rate = b"1".to_vec();
        if next.is_none()
            && let Some(text) = pieces.get(at).and_then(|piece| piece.strip_prefix(b"@"))
        {
            at += 1;
            match cut(text, b':') {
                Some((text, after)) => (rate, next) = (text, Some(after)),
                None => rate = text.to_vec(),
            }
        }
        observations.extend(sample(&values, &word, weight(&rate)?, dogstatsd)?);
        match next {
            Some(more) => values = more,
            None => break,
        }
    }
    let samples_before_last = {
        // How many observations the last sample made: those a late rate weighs.
        let mut before = observations.len();
        let last = split(&values, b':').into_iter().filter(|text| !text.is_empty()).count();
        before -= if observations.last().is_some_and(|seen| seen.kind == 's') { 1 } else { last };
        before
    };
    let mut tags = Vec::new();
    let mut at_ms = None;
    let mut sections = 0;
    for field in pieces.get(at..).unwrap_or_default() {
        match field.first() {
            Some(b'@') => {
                let weight = weight(&field[1..])?;
                observations[samples_before_last..].iter_mut().for_each(|seen| seen.weight = weight);
            }
            Some(b'#') if field.len() > 1 => {
                sections += 1;
                tags.extend(pairs(&split(&field[1..], b','), b':'));
            }
            Some(b'T') => at_ms = Some(time(&field[1..])?),
            _ => {}
        }
    }
    if sections > 4 {
        return None;
    }
    let (name, mut all) = match name_tags.then(|| named(&name)).flatten() {
        Some(split) => split,
        None => (name, Vec::new()),
    };
    all.extend(tags);
    Some(Taken::Metric { labels: labels(&name, &all, labels_max)?, observations, at_ms })
}

fn sample(values: &[u8], word: &[u8], weight: f64, dogstatsd: bool) -> Option<Vec<Seen>> {
    let kind = match word {
        b"c" | b"m" => 'c',
        b"g" => 'g',
        b"ms" => 't',
        b"h" | b"d" => 'h',
        b"s" => 's',
        _ => return None,
    };
    if kind == 's' {
        let member = values.to_vec();
        return (!member.is_empty()).then(|| vec![Seen { kind, number: 0.0, member, weight }]);
    }
    let mut seen = Vec::new();
    for text in split(values, b':') {
        if text.is_empty() {
            continue;
        }
        let signed = text[0] == b'+' || text[0] == b'-';
        let kind = if kind == 'g' && signed && !dogstatsd { '±' } else { kind };
        seen.push(Seen { kind, number: number(&text)?, member: Vec::new(), weight });
    }
    (!seen.is_empty()).then_some(seen)
}

fn weight(rate: &[u8]) -> Option<f64> {
    let rate = number(rate)?;
    (rate > 0.0 && rate <= 1.0).then(|| (1.0 / rate).min(1e9))
}

/// `[+-] ( digits [ "." [ digits ] ] / "." digits ) [ e [+-] digits ]`, finite.
fn number(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mantissa_good = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    let exponent_good = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        digits(exponent) && !exponent.is_empty()
    });
    if !mantissa_good || !exponent_good || text.len() > 400 {
        return None;
    }
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn time(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let good = text.chars().all(|c| c.is_ascii_digit()) && text.len() <= 12;
    text.parse().ok().filter(|seconds: &i64| good && *seconds > 0).map(|seconds| seconds * 1000)
}

/// The name and the tags in it, when every element is one.
fn named(name: &[u8]) -> Option<(Vec<u8>, Vec<Pair>)> {
    for at in 0..name.len() {
        let (before, rest) = (&name[..at], &name[at + 1..]);
        // Only the first of each kind begins tags.
        if before.contains(&name[at]) {
            continue;
        }
        let (section, after, between) = match name[at] {
            b',' | b'#' => (rest.to_vec(), Vec::new(), b','),
            b';' => (rest.to_vec(), Vec::new(), b';'),
            b'[' => match cut(rest, b']') {
                Some((section, after)) => (section, after, b','),
                None => continue,
            },
            _ => continue,
        };
        let elements: Vec<Vec<u8>> = split(&section, between);
        let elements: Vec<Vec<u8>> = elements.iter().map(|e| e.trim_ascii().to_vec()).collect();
        let elements: Vec<Vec<u8>> = elements.into_iter().filter(|e| !e.is_empty()).collect();
        let all_tags = elements.iter().all(|e| e.contains(&b'=') && e[0] != b'=');
        let name = [before, &after].concat();
        if all_tags && !elements.is_empty() && !name.is_empty() {
            return Some((name, pairs(&elements, b'=')));
        }
    }
    None
}

fn pairs(elements: &[Vec<u8>], between: u8) -> Vec<Pair> {
    let trimmed = elements.iter().map(|element| element.trim_ascii().to_vec());
    let pair = |element: Vec<u8>| cut(&element, between).unwrap_or((element, Vec::new()));
    trimmed.map(pair).filter(|(key, _)| !key.is_empty()).collect()
}

fn labels(name: &[u8], tags: &[Pair], labels_max: usize) -> Option<BTreeMap<String, String>> {
    let mut name = text(name);
    let is_ours = |name: &str| {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        name.chars().map(plain).collect::<String>().starts_with("statsdeck_")
    };
    if is_ours(&name) {
        name = format!("exported_{name}");
    }
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, value) in tags {
        let mut key = text(key);
        if key == "__name__" || is_ours(&key) {
            key = format!("exported_{key}");
        }
        values.entry(key).or_default().push(text(value));
    }
    if values.len() > labels_max {
        return None;
    }
    let mut labels: BTreeMap<String, String> = BTreeMap::from([("__name__".into(), name)]);
    for (key, values) in values {
        let mut joined = values[0].clone();
        for value in &values[1..] {
            if *value != joined {
                joined = format!("{joined},{value}");
            }
        }
        labels.insert(key, joined);
    }
    Some(labels)
}

fn event(line: &[u8]) -> Option<Marked> {
    let (lengths, _) = cut(&line[3..], b'}')?;
    let (title_length, text_length) = cut(&lengths, b',')?;
    let length = |text: &[u8]| -> Option<usize> {
        let good = text.iter().all(u8::is_ascii_digit) && text.len() <= 8;
        std::str::from_utf8(text).ok()?.parse().ok().filter(|_| good)
    };
    let (title_length, text_length) = (length(&title_length)?, length(&text_length)?);
    let body = line.get(3 + lengths.len() + 1..)?.strip_prefix(b":")?;
    let title = body.get(..title_length).filter(|title| !title.is_empty())?;
    let body = body.get(title_length..)?.strip_prefix(b"|")?;
    let (content, after) = (body.get(..text_length)?, body.get(text_length..)?.trim_ascii());
    let shown = |bytes: &[u8]| text(bytes).replace("\\n", "\n");
    let mut marker =
        Marked { kind: "info".into(), title: shown(title), text: shown(content), ..Marked::default() };
    if after.is_empty() {
        return Some(marker);
    }
    let mut sections = 0;
    for field in split(after.strip_prefix(b"|")?, b'|') {
        let field_text = text(&field);
        let has = |prefix: &str| field_text.strip_prefix(prefix).map(str::to_owned);
        if field.starts_with(b"d:") {
            marker.at_ms = Some(time(&field[2..])?);
        } else if let Some(host) = has("h:") {
            marker.host = host;
        } else if let Some(key) = has("k:") {
            marker.key = key;
        } else if let Some(source) = has("s:") {
            marker.source = source;
        } else if let Some(priority) = has("p:") {
            marker.low = priority == "low";
        } else if let Some(kind) = has("t:") {
            let known = ["error", "warning", "success"].contains(&kind.as_str());
            marker.kind = if known { kind } else { "info".into() };
        } else if field.first() == Some(&b'#') && field.len() > 1 {
            sections += 1;
            let tags = pairs(&split(&field[1..], b','), b':');
            marker.tags.extend(tags.iter().map(|(key, value)| (text(key), text(value))));
        }
    }
    (sections <= 4).then_some(marker)
}

fn check(line: &[u8], labels_max: usize) -> Option<Taken> {
    // A message runs to the end; it cannot be the name or the status.
    let mut pieces = split(&line[4..], b'|');
    if let Some(message) = pieces.iter().skip(2).position(|piece| piece.starts_with(b"m:")) {
        pieces.truncate(message + 2);
    }
    let name = pieces.first().filter(|name| !name.is_empty())?;
    let number = match pieces.get(1)?.as_slice() {
        b"0" => 0.0,
        b"1" => 1.0,
        b"2" => 2.0,
        b"3" => 3.0,
        _ => return None,
    };
    let (mut at_ms, mut host, mut tags, mut sections) = (None, Vec::new(), Vec::new(), 1);
    for field in &pieces[2..] {
        if field.starts_with(b"d:") {
            at_ms = Some(time(&field[2..])?);
        } else if field.starts_with(b"h:") {
            host = field[2..].to_vec();
        } else if field.first() == Some(&b'#') && field.len() > 1 {
            sections += 1;
            tags.extend(pairs(&split(&field[1..], b','), b':'));
        }
    }
    let trimmed = |text: &[u8], key: &[u8]| {
        let whole = [key, b":", text].concat().trim_ascii().to_vec();
        (key.to_vec(), whole[key.len() + 1..].to_vec())
    };
    let mut all = vec![trimmed(name, b"check")];
    if !host.is_empty() {
        sections += 1;
        all.push(trimmed(&host, b"host"));
    }
    all.extend(tags);
    if sections > 4 {
        return None;
    }
    let observations = vec![Seen { kind: 'g', number, member: Vec::new(), weight: 1.0 }];
    Some(Taken::Metric { labels: labels(b"service_check", &all, labels_max)?, observations, at_ms })
}

fn split(text: &[u8], at: u8) -> Vec<Vec<u8>> {
    text.split(|b| *b == at).map(<[u8]>::to_vec).collect()
}

fn cut(text: &[u8], at: u8) -> Option<(Vec<u8>, Vec<u8>)> {
    let place = text.iter().position(|b| *b == at)?;
    Some((text[..place].to_vec(), text[place + 1..].to_vec()))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
