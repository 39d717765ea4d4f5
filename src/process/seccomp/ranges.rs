//! Makes a program smaller without changing what it answers.
//!
//! libseccomp asks for each number that a profile names by itself, in the leaves of its search tree. Profiles name hundreds
//! of neighbours with one action, so most of the questions can be asked of ranges. A program of a third of the length is
//! what the kernel checks, translates and runs for each of its possible system calls when it is loaded, and what every call
//! of the container goes through later.
//!
//! Only the walk over numbers is made anew: from where a number has been loaded, over comparisons, to the first instruction
//! that is something else. All others stay as they are, in their order.

use std::collections::{BTreeMap, BTreeSet};

use super::program::{AT_NUMBER, JUMP, JUMP_EQUAL, JUMP_GREATER, JUMP_GREATER_OR_EQUAL, LOAD, RETURN};
use crate::sys::seccomp::Instruction;

/// The same program, shorter where that is possible.
pub fn shorten(program: &[Instruction]) -> Vec<Instruction> {
    let targets: BTreeSet<usize> = (0..program.len()).flat_map(|at| jumps_of(program, at)).collect();
    // Whoever jumps there may have loaded something else.
    let begins = (0..program.len()).filter(|at| !targets.contains(at));
    let walks: BTreeMap<usize, Vec<Range>> = begins.filter_map(|at| Some((at, walk_at(program, at)?))).collect();
    let mut short = Emitter { from_end: Vec::new(), places: vec![None; program.len()] };
    // From the end: jumps lead forward only, so their targets are there already.
    for at in reached(program, &walks).into_iter().rev() {
        let place = match walks.get(&at) {
            Some(ranges) => short.search(program, ranges),
            None => short.copy(program, at),
        };
        if let Some(place_of) = short.places.get_mut(at) {
            *place_of = place;
        }
    }
    short.from_end.reverse();
    if short.from_end.len() < program.len() { short.from_end } else { program.to_vec() }
}

/// Numbers from `first` on, up to the next range, and the instruction that they come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u32,
    end: usize,
}

/// Where an instruction that compares or jumps goes on with this number; `None` for any other instruction.
fn step(program: &[Instruction], at: usize, number: u32) -> Option<usize> {
    let one = program.get(at)?;
    let choose = |yes: bool| at + 1 + usize::from(if yes { one.jt } else { one.jf });
    match one.code {
        JUMP => Some(at + 1 + one.k as usize),
        JUMP_EQUAL => Some(choose(number == one.k)),
        JUMP_GREATER => Some(choose(number > one.k)),
        JUMP_GREATER_OR_EQUAL => Some(choose(number >= one.k)),
        _ => None,
    }
}

/// Where an instruction may go on but for the next one.
fn jumps_of(program: &[Instruction], at: usize) -> Vec<usize> {
    let all = match program.get(at) {
        Some(one) if one.code == JUMP => vec![one.k as usize],
        Some(one) if one.is_comparison() => vec![one.jt.into(), one.jf.into()],
        _ => Vec::new(),
    };
    all.into_iter().map(|by| at + 1 + by).collect()
}

/// The ranges of the walk that begins here; `None` where no number has just been loaded, or nothing is asked of it.
fn walk_at(program: &[Instruction], at: usize) -> Option<Vec<Range>> {
    let before = program.get(at.checked_sub(1)?)?;
    if before.code != LOAD || before.k != AT_NUMBER || step(program, at, 0).is_none() {
        return None;
    }
    // Every number at which some question of the walk gets another answer.
    let (mut firsts, mut seen, mut waiting) = (BTreeSet::from([0]), BTreeSet::new(), vec![at]);
    while let Some(here) = waiting.pop() {
        let Some(one) = program.get(here).filter(|_| seen.insert(here)) else { continue };
        let next = one.k.checked_add(1);
        match one.code {
            JUMP_EQUAL => firsts.extend([Some(one.k), next].into_iter().flatten()),
            JUMP_GREATER => firsts.extend(next),
            JUMP_GREATER_OR_EQUAL => firsts.extend([one.k]),
            JUMP => {}
            _ => continue,
        }
        let both = if one.code == JUMP { [one.k as usize; 2] } else { [one.jt.into(), one.jf.into()] };
        waiting.extend(both.map(|by| here + 1 + by));
    }
    let mut ranges: Vec<Range> = Vec::new();
    for first in firsts {
        let mut end = at;
        while let Some(next) = step(program, end, first) {
            end = next;
        }
        if !ranges.last().is_some_and(|last| is_same_end(program, last.end, end)) {
            ranges.push(Range { first, end });
        }
    }
    Some(ranges)
}

/// The instructions that are still come to, in their order.
fn reached(program: &[Instruction], walks: &BTreeMap<usize, Vec<Range>>) -> BTreeSet<usize> {
    let (mut found, mut waiting) = (BTreeSet::new(), vec![0]);
    while let Some(at) = waiting.pop() {
        let Some(one) = program.get(at).filter(|_| found.insert(at)) else { continue };
        match (walks.get(&at), one.code) {
            (Some(ranges), _) => waiting.extend(ranges.iter().map(|range| range.end)),
            (None, RETURN) => {}
            (None, JUMP) => waiting.push(at + 1 + one.k as usize),
            (None, _) => waiting.extend([one.jt, one.jf].map(|by| at + 1 + usize::from(by))),
        }
    }
    found
}

/// A program that grows from its end: a place is a distance from there.
struct Emitter {
    from_end: Vec<Instruction>,
    /// Where the instructions of the old program are.
    places: Vec<Option<usize>>,
}

impl Emitter {
    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> usize {
        self.from_end.push(Instruction { code, jt, jf, k });
        self.from_end.len() - 1
    }

    /// How far a jump that comes next would have to go to reach a place.
    fn distance(&self, place: usize) -> usize {
        self.from_end.len() - 1 - place
    }

    fn near(&self, place: usize, room: usize) -> bool {
        self.distance(place) + room <= usize::from(u8::MAX)
    }

    /// A place that does nothing but go on to another, if that is too far for a comparison: `room` more instructions may
    /// come between.
    fn within_reach(&mut self, place: usize, room: usize) -> usize {
        match self.near(place, room) {
            true => place,
            false => self.push(JUMP, 0, 0, self.distance(place) as u32),
        }
    }

    fn copy(&mut self, program: &[Instruction], at: usize) -> Option<usize> {
        let one = *program.get(at)?;
        let place = |by: usize| self.places.get(at + 1 + by).copied().flatten();
        Some(match one.code {
            RETURN => self.push(RETURN, 0, 0, one.k),
            JUMP => {
                let to = place(one.k as usize)?;
                self.push(JUMP, 0, 0, self.distance(to) as u32)
            }
            // What neither compares nor jumps goes on to the next; so must it here.
            _ if !one.is_comparison() => {
                let next = place(0)?;
                if self.distance(next) != 0 {
                    self.push(JUMP, 0, 0, self.distance(next) as u32);
                }
                self.push(one.code, 0, 0, one.k)
            }
            _ => {
                let (yes, no) = (place(one.jt.into())?, place(one.jf.into())?);
                self.compare(one.code, one.k, yes, no)
            }
        })
    }

    fn compare(&mut self, code: u16, k: u32, yes: usize, no: usize) -> usize {
        let yes = self.within_reach(yes, 1);
        let no = self.within_reach(no, 0);
        let (jt, jf) = (self.distance(yes) as u8, self.distance(no) as u8);
        self.push(code, jt, jf, k)
    }

    /// A binary search over ranges; the place where it begins.
    fn search(&mut self, program: &[Instruction], ranges: &[Range]) -> Option<usize> {
        match ranges {
            [] => None,
            [one] => self.end(program, one.end),
            several => {
                let (left, right) = several.split_at(several.len() / 2);
                let yes = self.search(program, right)?;
                let no = self.search(program, left)?;
                Some(self.compare(JUMP_GREATER_OR_EQUAL, right.first()?.first, yes, no))
            }
        }
    }

    /// A place that is near and comes to the same end: the last return of the kind, or the instruction itself.
    fn end(&mut self, program: &[Instruction], at: usize) -> Option<usize> {
        let one = program.get(at)?;
        if one.code != RETURN {
            return self.places.get(at).copied().flatten();
        }
        // A return is as short as a jump to one.
        const ROOM: usize = 64;
        let near = self.from_end.len().saturating_sub(usize::from(u8::MAX) - ROOM);
        let known = (near..self.from_end.len())
            .rev()
            .find(|&place| self.from_end.get(place).is_some_and(|other| other.code == RETURN && other.k == one.k));
        Some(known.unwrap_or_else(|| self.push(RETURN, 0, 0, one.k)))
    }
}

impl Instruction {
    fn is_comparison(&self) -> bool {
        self.code & 0x07 == JUMP & 0x07 && self.code != JUMP
    }
}

/// Whether it is the same to come to one place or to the other.
fn is_same_end(program: &[Instruction], a: usize, b: usize) -> bool {
    let end = |at: usize| program.get(at).filter(|one| one.code == RETURN).map(|one| one.k);
    a == b || end(a).is_some() && end(a) == end(b)
}

#[cfg(test)]
mod tests {
    use super::super::program::{AT_ARCHITECTURE, JUMP_BITS, Program};
    use super::*;

    const fn one(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
        Instruction { code, jt, jf, k }
    }

    const NUMBER: Instruction = one(LOAD, 0, 0, AT_NUMBER);

    /// What a program answers to a number; arguments are 0, the architecture is 7.
    fn answer(program: &[Instruction], number: u32) -> u32 {
        let (mut at, mut loaded) = (0, 0);
        loop {
            let here = program[at];
            at = match here.code {
                RETURN => return here.k,
                LOAD => {
                    loaded = match here.k {
                        AT_NUMBER => number,
                        AT_ARCHITECTURE => 7,
                        _ => 0,
                    };
                    at + 1
                }
                JUMP_BITS => at + 1 + usize::from(if loaded & here.k != 0 { here.jt } else { here.jf }),
                _ => step(program, at, loaded).unwrap(),
            };
        }
    }

    /// Shortens, and compares every answer; the length.
    fn length(program: &[Instruction]) -> usize {
        let short = shorten(program);
        assert!(Program::new(short.clone()).is_some(), "the kernel would refuse it: {short:?}");
        for number in (0..3000).chain([u32::MAX - 1, u32::MAX]) {
            assert_eq!(answer(program, number), answer(&short, number), "{number}: {program:?} {short:?}");
        }
        assert!(short.len() <= program.len());
        short.len()
    }

    /// A chain of questions, as a leaf has it, with two ends.
    fn chain(numbers: impl DoubleEndedIterator<Item = u32> + Clone) -> Vec<Instruction> {
        let count = numbers.clone().count();
        let ask = |(at, number)| one(JUMP_EQUAL, (count - at) as u8, 0, number);
        let questions = numbers.enumerate().map(ask);
        [NUMBER].into_iter().chain(questions).chain([one(RETURN, 0, 0, 1), one(RETURN, 0, 0, 2)]).collect()
    }

    #[test]
    fn neighbours_with_one_answer_are_one_question() {
        assert_eq!(length(&chain(10..60)), 5, "load, two comparisons, two ends");
        assert_eq!(length(&chain((10..60).rev())), 5);
        assert_eq!(length(&chain(0..60)), 4);
        // Every second: nothing can be gained, and nothing is lost.
        assert!(length(&chain((0..60).step_by(2))) <= 63);
    }

    #[test]
    fn what_is_something_else_stays_as_it_is() {
        let program = [
            one(LOAD, 0, 0, AT_ARCHITECTURE),
            one(JUMP_EQUAL, 1, 0, 7),
            one(RETURN, 0, 0, 9),
            NUMBER,
            one(JUMP_BITS, 0, 1, 1),
            one(RETURN, 0, 0, 8),
            // Reached with the number, but by a jump.
            one(JUMP_GREATER, 3, 0, 100),
            one(JUMP_EQUAL, 2, 0, 50),
            one(LOAD, 0, 0, 16),
            one(JUMP_EQUAL, 0, 0, 0),
            one(RETURN, 0, 0, 3),
        ];
        length(&program);
    }

    #[test]
    fn a_question_that_somebody_else_comes_to_is_left_alone() {
        // With 7 for the architecture the second question is about that, not about the number.
        let program = [
            one(LOAD, 0, 0, AT_ARCHITECTURE),
            one(JUMP_EQUAL, 1, 0, 7),
            NUMBER,
            one(JUMP_EQUAL, 0, 1, 7),
            one(RETURN, 0, 0, 1),
            one(RETURN, 0, 0, 2),
        ];
        assert_eq!(shorten(&program), program);
        assert_eq!(answer(&program, 5), 1);
    }

    /// Ends far away, in both directions of a jump's reach.
    #[test]
    fn ends_that_are_too_far_for_a_comparison_are_reached() {
        let mut program = vec![NUMBER];
        let leaves = 700u32;
        // Each number has an end of its own: a jump, because the ends are too far for any comparison.
        for number in 0..leaves {
            program.push(one(JUMP_EQUAL, 0, 1, number * 3));
            program.push(one(JUMP, 0, 0, 0));
        }
        program.push(one(RETURN, 0, 0, 0));
        for number in 0..leaves {
            let (at, to) = (2 + 2 * number as usize, program.len());
            program[at].k = (to - at - 1) as u32;
            program.push(one(LOAD, 0, 0, 16));
            program.push(one(RETURN, 0, 0, number + 1));
        }
        length(&program);
    }

    proptest::proptest! {
        /// Programs of questions and ends at random.
        #[test]
        fn whatever_the_program_its_answers_stay(
            steps in proptest::collection::vec((0u8..5, 0u8..40, 0u8..40, 0u32..60), 1..120),
        ) {
            let length_of = steps.len();
            let mut program = vec![NUMBER];
            for (at, (kind, jt, jf, k)) in steps.into_iter().enumerate() {
                let left = (length_of - at) as u8;
                let (jt, jf) = (jt % left.max(1), jf % left.max(1));
                program.push(match kind {
                    0 => one(JUMP_EQUAL, jt, jf, k),
                    1 => one(JUMP_GREATER, jt, jf, k),
                    2 => one(JUMP_GREATER_OR_EQUAL, jt, jf, k),
                    3 if k % 3 == 0 => NUMBER,
                    3 => one(JUMP, 0, 0, jt.into()),
                    _ => one(RETURN, 0, 0, k % 4),
                });
            }
            program.push(one(RETURN, 0, 0, 5));
            length(&program);
        }
    }
}
