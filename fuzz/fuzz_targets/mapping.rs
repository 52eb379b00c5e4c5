//! A mapping file and a name, split by a NUL byte: nothing panics or runs long,
//! and what a file gives to a name is what the floors above rely on.

#![no_main]

use libfuzzer_sys::fuzz_target;
use statsdeck::config::Mapping;
use statsdeck::mapping::explain::{explain, unreachable};
use statsdeck::mapping::{Kind, Resolution};
use statsdeck::model::label::{NAME, escape_name};
use statsdeck::model::{Labels, MetricType};

fuzz_target!(|input: &[u8]| {
    let at = input.iter().position(|b| *b == 0).unwrap_or(input.len());
    let (yaml, name) = (String::from_utf8_lossy(&input[..at]), String::from_utf8_lossy(&input[at..]));
    let Ok(mapping) = Mapping::parse(&[("fuzz.yml".into(), yaml.into_owned())]) else { return };
    let mapper = &mapping.mapper;
    let _ = unreachable(mapper, 0);
    // The rules' own texts are names that often match.
    let own = mapper.sets().iter().flat_map(|set| &set.rules).map(|rule| rule.definition.matching.as_str());
    for name in own.take(20).chain([name.trim_start_matches('\0')]) {
        for metric_type in MetricType::ALL {
            let kind = Kind::of(metric_type);
            let winners =
                explain(mapper, name, kind).iter().filter(|matched| matched.verdict.has_won()).count();
            match mapper.resolve(name, metric_type) {
                Resolution::Unmapped(_) => assert_eq!(winners, 0, "{name:?}"),
                Resolution::Dropped(rule) => {
                    assert!(winners == 1 && rule.definition.drop && rule.matches(name))
                }
                Resolution::Mapped(mapped) => {
                    assert_eq!(winners, 1, "{name:?}");
                    assert!(mapped.rule.matches(name) && mapped.rule.kinds().contains(&kind));
                    assert!(mapped.name.is_empty() || escape_name(&mapped.name) == mapped.name);
                    let labels =
                        mapped.labels(&Labels::from_pairs([(NAME, mapped.name.as_str()), ("tag", "v")]));
                    assert_eq!(labels.name(), mapped.name);
                }
            }
        }
    }
});
