//! What every page says at its top while something is not as it should be.

use crate::telemetry::{Offence, Telemetry};

/// Names that are told of.
const NAMES_MAX: usize = 3;

/// The sentences, at `now_ms`.
pub fn notices(telemetry: &Telemetry, now_ms: i64) -> Vec<String> {
    telemetry.offenders.worst(now_ms).as_ref().map(overflow).into_iter().collect()
}

fn overflow(offence: &Offence) -> String {
    let lines = offence.names.iter().map(|(_, lines)| lines).sum::<u64>() + offence.others;
    let worst: Vec<String> =
        offence.names.iter().take(NAMES_MAX).map(|(name, lines)| format!("{name} ({lines})")).collect();
    let most = if worst.is_empty() { String::new() } else { format!(", most of {}", worst.join(", ")) };
    let values =
        if lines == 1 { "The values of 1 line".into() } else { format!("The values of {lines} lines") };
    format!(
        "{values} went into overflow series, as a limit of series is reached{most}. \
         Nothing is lost of the sums; what they were of is. See who makes the series at /dashboard/series, \
         or raise limits.series or limits.prefix."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_are_named_until_it_is_over() {
        let telemetry = Telemetry::default();
        assert!(notices(&telemetry, 0).is_empty());
        let lines = [("a", 5), ("b.*", 70), ("c", 1), ("d", 9)].map(|(name, lines)| (name.into(), lines));
        telemetry.offenders.note(1_000, lines, 15);
        let told = notices(&telemetry, 2_000);
        assert!(told[0].starts_with("The values of 100 lines went into overflow series"), "{told:?}");
        assert!(told[0].contains("most of b.* (70), d (9), a (5)."), "{told:?}");
        assert!(notices(&telemetry, 9_000_000).is_empty());
    }
}
