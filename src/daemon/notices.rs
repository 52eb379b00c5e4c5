//! What every page says at its top while something is not as it should be.

use crate::model::duration::format_ms;
use crate::telemetry::{Offence, Telemetry};

/// Names that are told of.
const NAMES_MAX: usize = 3;

const MINUTE_MS: i64 = 60_000;

/// The sentences, at `now_ms`.
pub fn notices(telemetry: &Telemetry, now_ms: i64) -> Vec<String> {
    let overflows = telemetry.offenders.worst(now_ms).as_ref().map(overflow);
    unwritten(telemetry, now_ms).into_iter().chain(overflows).collect()
}

/// That windows wait to be written, how many, and since when.
fn unwritten(telemetry: &Telemetry, now_ms: i64) -> Option<String> {
    let since_ms = Some(telemetry.store_failing_since_ms.value()).filter(|since_ms| *since_ms > 0)?;
    let ago_ms = (now_ms - since_ms).max(0);
    let unit_ms = if ago_ms < 2 * MINUTE_MS { 1_000 } else { MINUTE_MS };
    let time = format_ms((ago_ms / unit_ms * unit_ms).max(1_000).unsigned_abs());
    let (what, remedy) = match telemetry.disk_is_full.value() {
        0 => ("Nothing could be written", "The log says why."),
        _ => ("The disk has been full", "Make room, and all goes on by itself."),
    };
    let windows = match telemetry.windows_retrying.value() {
        1 => "1 window waits in memory to be written; it is shown here and alerts see it, but a crash would \
              lose it."
            .to_owned(),
        windows => format!(
            "{windows} windows wait in memory to be written; they are shown here and alerts see them, but a \
             crash would lose them."
        ),
    };
    Some(format!("{what} for {time}: {windows} {remedy}"))
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
    fn a_full_disk_is_told_of_until_all_is_written() {
        let telemetry = Telemetry::default();
        let check = |since_ms, full, windows, now_ms, words: &[&str]| {
            telemetry.store_failing_since_ms.set(since_ms);
            telemetry.disk_is_full.set(full);
            telemetry.windows_retrying.set(windows);
            let told = notices(&telemetry, now_ms);
            assert_eq!(told.len(), usize::from(!words.is_empty()), "{told:?}");
            words.iter().for_each(|word| assert!(told[0].contains(word), "{told:?}"));
        };
        check(0, 0, 0, 9_000, &[]);
        check(9_000, 1, 1, 9_000, &["disk has been full for 1s:", "1 window waits", "Make room"]);
        check(9_000, 1, 9, 99_500, &["disk has been full for 1m30s:", "9 windows wait", "Make room"]);
        check(
            9_000,
            0,
            9,
            9_000 + 3_659_000,
            &["Nothing could be written for 1h:", "9 windows wait", "log says why"],
        );
        check(0, 0, 0, 9_000_000, &[]);
    }

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
