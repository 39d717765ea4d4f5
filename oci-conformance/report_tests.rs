//! Tests of the driver's pure parts: no root, no programs.

#[allow(dead_code)] // what only the driver asks
mod known;
#[allow(dead_code)]
mod table;
mod tap;

use known::{Known, Outcome};
use table::Column;
use tap::{Assertion, End, Verdict, parse};

const GOOD: End = End::Exited(0);

fn names(assertions: &[Assertion], verdict: Verdict) -> Vec<&str> {
    assertions.iter().filter(|it| it.verdict == verdict).map(|it| it.name.as_str()).collect()
}

fn failed(stdout: &str, end: End) -> Vec<String> {
    names(&parse(stdout, end, "last words"), Verdict::Fail).into_iter().map(str::to_owned).collect()
}

#[test]
fn assertions_are_read_with_their_verdicts() {
    let said = parse("TAP version 13\nok 1 - one\nnot ok 2 - two\n# expected 3\nok 3 # SKIP three\n1..3\n", GOOD, "");
    assert_eq!(names(&said, Verdict::Pass), ["one"]);
    assert_eq!(names(&said, Verdict::Skip), ["three"]);
    assert_eq!(names(&said, Verdict::Fail), ["two"]);
    assert_eq!(said[1].detail, "expected 3");
}

#[test]
fn the_same_words_twice_are_two_assertions() {
    assert_eq!(names(&parse("ok 1 - it\nok 2 - it\n1..2\n", GOOD, ""), Verdict::Pass), ["it", "it (2)"]);
}

#[test]
fn a_program_that_asserts_nothing_is_no_pass() {
    assert_eq!(failed("TAP version 13\n1..0\n", GOOD), [tap::NO_ASSERTION]);
    assert_eq!(failed("", GOOD), [tap::NO_ASSERTION]);
}

#[test]
fn an_error_that_belongs_to_no_assertion_is_no_pass() {
    let block = "  ---\n  {\n    \"error\": \"hooks MUST be called\"\n  }\n  ...\n";
    assert_eq!(failed(&format!("TAP version 13\n{block}1..0\n"), GOOD), [tap::NO_ASSERTION, tap::ERROR]);
    assert_eq!(failed(&format!("ok 1 - it\n{block}1..1\n"), GOOD), [tap::ERROR]);
    let own = "  ---\n  {\n    \"reference\": \"spec\"\n  }\n  ...\n";
    assert_eq!(failed(&format!("ok 1 - it\n{own}{block}1..1\n"), GOOD), [tap::ERROR]);
}

#[test]
fn an_error_that_the_assertion_wanted_is_a_pass() {
    let block = "  ---\n  {\n    \"error\": \"exit status 1\",\n    \"reference\": \"spec\"\n  }\n  ...\n";
    assert_eq!(failed(&format!("ok 1 - it\n{block}1..1\n"), GOOD), [""; 0]);
    let said = parse(&format!("not ok 1 - it\n{block}1..1\n"), GOOD, "");
    assert_eq!((names(&said, Verdict::Fail), said[0].detail.as_str()), (vec!["it"], "exit status 1"));
}

#[test]
fn a_block_that_is_no_json_still_has_its_error() {
    assert_eq!(failed("ok 1 - it\n  ---\n  {\"error\": %!x(MISSING\n  ...\n1..1\n", GOOD), [tap::ERROR]);
}

#[test]
fn a_container_that_reports_nothing_is_no_pass() {
    let run = |stdout: &str| {
        let block = format!("  ---\n  {{\"stderr\": \"\", \"stdout\": \"{stdout}\"}}\n  ...\n");
        failed(&format!("{block}ok 1 - it\n1..1\n"), GOOD)
    };
    assert_eq!(run(r"TAP version 13\nok 1 - inside\n1..1\n"), [""; 0]);
    assert_eq!(run(""), ["it"]);
}

#[test]
fn how_a_program_ends_counts() {
    assert_eq!(failed("ok 1 - it\n1..1\n", End::Exited(1)), [tap::EXIT]);
    assert_eq!(failed("ok 1 - it\n1..1\n", End::Signalled(9)), [tap::EXIT]);
    assert_eq!(failed("ok 1 - it\n", End::TimedOut), [tap::LIMIT]);
    assert_eq!(failed("1..2\nok 1 - it\n", GOOD), [tap::PLAN]);
    assert!(parse("", End::Exited(1), "last words")[1].detail.ends_with("last words"));
}

#[test]
fn two_reports_have_a_plan_each() {
    let two = |last: &str| failed(&format!("TAP version 13\nok 1 - a\n1..1\nTAP version 13\n{last}"), GOOD);
    assert_eq!(two("1..0\n"), [""; 0]);
    assert_eq!(two("ok 1 - b\n1..2\n"), [tap::PLAN]);
}

const LIST: &str = r#"
[[failure]]
program = "p"
assertions = ["two"]
reason = "a bug"

[[failure]]
program = "p"
assertions = ["three"]
reason = "no such controller"
lacks = "v1 hugetlb"

[[failure]]
program = "other"
assertions = ["one"]
reason = "not part of this run"
"#;

fn judge(stdout: &str, facts: &[&str]) -> known::Judgement {
    let result = parse(stdout, GOOD, "");
    let known = Known::parse(LIST).unwrap().on(|fact| facts.contains(&fact));
    known.judge("p", &result)
}

fn owned((name, reason): (&str, &str)) -> (String, String) {
    (name.to_owned(), reason.to_owned())
}

#[test]
fn a_program_is_a_test_that_passes_fails_or_is_left_out_with_its_reasons() {
    let outcome = |stdout: &str, facts: &[&str]| {
        let passed = table::passed(&parse(stdout, GOOD, ""));
        judge(stdout, facts).outcome(passed)
    };
    let both = "not ok 1 - two\nnot ok 2 - three\n1..2\n";
    assert_eq!(outcome(both, &[]), Outcome::Ignored("a bug no such controller".to_owned()));
    assert_eq!(outcome(both, &["v1 hugetlb"]), Outcome::Failed("three: ".to_owned()));
    let stale = "two: known-failures.toml has it, and it didn't fail";
    assert_eq!(outcome("ok 1 - two\nnot ok 2 - three\n1..2\n", &[]), Outcome::Failed(stale.to_owned()));
    let none = Known::parse("").unwrap();
    let of = |stdout: &str| {
        let said = parse(stdout, GOOD, "");
        none.judge("p", &said).outcome(table::passed(&said))
    };
    assert_eq!(of("ok 1 - x\n1..1\n"), Outcome::Passed);
    assert_eq!(of("not ok 1 - x\n# why\n1..1\n"), Outcome::Failed("x: why".to_owned()));
    assert_eq!(of("ok 1 # SKIP x\n1..1\n"), Outcome::Ignored("it skips all that it could assert".to_owned()));
}

#[test]
fn a_known_failure_is_none_of_the_new() {
    let judgement = judge("not ok 1 - one\nnot ok 2 - two\nnot ok 3 - three\n1..3\n", &[]);
    assert_eq!(judgement.new, ["one: "]);
    assert_eq!(judgement.stale, [""; 0]);
    assert_eq!(judgement.known, [("two", "a bug"), ("three", "no such controller")].map(owned));
}

#[test]
fn a_known_failure_that_passes_or_is_not_there_fails_the_run() {
    let stale = |stdout: &str| judge(stdout, &[]).stale;
    let words = "two: known-failures.toml has it, and it";
    assert_eq!(stale("ok 1 - two\nnot ok 2 - three\n1..2\n"), [format!("{words} didn't fail")]);
    assert_eq!(stale("ok 1 # SKIP two\nnot ok 2 - three\n1..2\n"), [format!("{words} didn't fail")]);
    assert_eq!(stale("not ok 1 - three\n1..1\n"), [format!("{words} wasn't seen")]);
}

#[test]
fn an_entry_may_say_all_that_is_wrong() {
    let entry = "[[failure]]\nprogram = 'p'\nassertions = ['x']\nreason = 'a bug'\nsays = 'this'\n";
    let judge = |why: &str| {
        let said = parse(&format!("not ok 1 - x\n# {why}\n1..1\n"), GOOD, "");
        Known::parse(entry).unwrap().judge("p", &said)
    };
    assert_eq!(judge("this").known, [owned(("x", "a bug"))]);
    assert_eq!(judge("this, and that").new, ["x: this, and that"]);
}

#[test]
fn an_entry_counts_only_where_the_machine_lacks_what_it_says() {
    let stdout = "not ok 1 - two\nnot ok 2 - three\n1..2\n";
    assert_eq!(judge(stdout, &["v1 hugetlb"]).new, ["three: "]);
    assert_eq!(
        judge("not ok 1 - two\nok 2 - three\n1..2\n", &["v1 hugetlb"]),
        known::Judgement { known: vec![owned(("two", "a bug"))], ..Default::default() }
    );
}

#[test]
fn the_list_itself_can_be_read_and_gives_reasons() {
    let known = Known::parse(include_str!("known-failures.toml")).unwrap();
    for failure in &known.failure {
        assert!(failure.reason.len() > 40 && !failure.assertions.is_empty(), "{failure:?}");
    }
}

#[test]
fn the_table_counts_programs_and_assertions() {
    let column = |name: &str, outputs: [&str; 3]| Column {
        name: name.to_owned(),
        version: String::new(),
        results: outputs.iter().map(|it| parse(it, GOOD, "")).collect(),
    };
    let columns = [
        column("a", ["ok 1 - x\nok 2 - y\n1..2\n", "ok 1 - x\nnot ok 2 - y\n1..2\n", "1..0\n"]),
        column("b", ["ok 1 # SKIP x\n1..1\n", "  ---\n  {\"error\": \"e\"}\n  ...\n1..0\n", "not ok 1 - x\n"]),
    ];
    let programs = ["one", "two", "three"].map(str::to_owned);
    assert_eq!(
        table::render(&programs, &columns),
        "\
| program               | a            | b        |
| --------------------- | ------------ | -------- |
| one                   | pass 2       | skipped  |
| two                   | FAIL 1/2     | ERROR    |
| three                 | says nothing | FAIL 0/1 |
| programs passed, of 3 | 1            | 0        |
| assertions passed     | 3            | 0        |
| assertions failed     | 1            | 1        |
"
    );
}
