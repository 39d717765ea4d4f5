//! The judgement of scenarios, without any engine: no root needed.

// The driver uses all of both.
#[allow(dead_code)]
mod report;
#[allow(dead_code)]
mod verdict;

use report::{Outcome, Report};
use verdict::{Verdict, judge};

fn report(result: Outcome) -> Option<Report> {
    Some(Report { name: "it".to_owned(), result, text: "said".to_owned(), milliseconds: 1 })
}

fn verdict(reference: Outcome, tested: Outcome, known: Option<&str>) -> Verdict {
    judge(report(reference).as_ref(), report(tested).as_ref(), known, "runc", "corten")
}

#[test]
fn what_passes_counts_whatever_the_other_runtime_does() {
    for reference in [Outcome::Passed, Outcome::Failed, Outcome::Skipped] {
        assert_eq!(verdict(reference, Outcome::Passed, None), Verdict::Passed);
    }
}

#[test]
fn what_passes_with_the_other_runtime_must_pass() {
    assert!(matches!(verdict(Outcome::Passed, Outcome::Failed, None), Verdict::Failed(_)));
    assert!(matches!(verdict(Outcome::Passed, Outcome::Failed, Some("known")), Verdict::Failed(_)));
    assert!(matches!(verdict(Outcome::Passed, Outcome::Skipped, None), Verdict::Failed(_)));
}

#[test]
fn what_fails_with_both_must_be_known_to() {
    assert!(matches!(verdict(Outcome::Failed, Outcome::Failed, None), Verdict::Failed(_)));
    assert!(
        matches!(verdict(Outcome::Failed, Outcome::Failed, Some("known")), Verdict::Skipped(why) if why.contains("known"))
    );
}

#[test]
fn what_is_known_to_fail_and_passes_is_out_of_date() {
    assert!(matches!(verdict(Outcome::Failed, Outcome::Passed, Some("known")), Verdict::Failed(_)));
}

#[test]
fn a_scenario_without_a_report_failed() {
    assert!(matches!(judge(report(Outcome::Passed).as_ref(), None, None, "runc", "corten"), Verdict::Failed(_)));
}

#[test]
fn without_another_runtime_a_failure_is_a_failure() {
    assert!(matches!(judge(None, report(Outcome::Failed).as_ref(), Some("known"), "", "corten"), Verdict::Failed(_)));
    assert!(matches!(judge(None, report(Outcome::Skipped).as_ref(), None, "", "corten"), Verdict::Skipped(_)));
}
