//! What the parts of a request cost, against the obvious alternatives.
//!
//! A plain harness. criterion and divan measure time, which is noise on a shared machine; gungraun
//! counts instructions, but through a runner that has to be installed in the same version. Here
//! each case is a function of how often it is done: `scripts/instructions --micro` runs it N and
//! 2N times under callgrind, and the difference is what it costs.
//!
//! ```text
//!   corelane-micro --list       GROUP/NAME of every case, one a line
//!   corelane-micro CASE COUNT   does it so often
//!   corelane-micro              nanoseconds of each, for a quiet machine
//! ```

mod encode;
mod head;
mod json;
mod routing;
mod slots;
mod timers;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

/// One way of doing something.
struct Case {
    /// What is done: all cases of a group have the same result.
    group: &'static str,
    /// By whom.
    name: &'static str,
    /// Does it so often and returns a sum over the results.
    run: fn(u64) -> u64,
}

fn cases() -> impl Iterator<Item = &'static Case> {
    [head::CASES, encode::CASES, routing::CASES, json::CASES, timers::CASES, slots::CASES]
        .into_iter()
        .flatten()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => print_times(),
        ["--list"] => cases().for_each(|case| println!("{}/{}", case.group, case.name)),
        [name, count] => {
            let case = cases().find(|case| format!("{}/{}", case.group, case.name) == name);
            let (Some(case), Ok(count)) = (case, count.parse()) else {
                eprintln!("corelane-micro: no case {name}, or no count {count}; see --list");
                return ExitCode::from(2);
            };
            black_box((case.run)(count));
        }
        _ => {
            eprintln!("usage: corelane-micro [--list | CASE COUNT]");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn print_times() {
    const COUNT: u64 = 20_000;
    const ROUNDS: usize = 5;
    for case in cases() {
        let mut times: Vec<f64> = (0..ROUNDS).map(|_| nanoseconds(case, COUNT)).collect();
        times.sort_by(f64::total_cmp);
        println!("{:>12.1} ns  {}/{}", times[ROUNDS / 2], case.group, case.name);
    }
}

/// Of one time; what is made ready before the first cancels out.
fn nanoseconds(case: &Case, count: u64) -> f64 {
    let time = |count| {
        let begin = Instant::now();
        black_box((case.run)(black_box(count)));
        begin.elapsed().as_nanos() as f64
    };
    (time(2 * count) - time(count)) / count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn all_ways_of_a_group_have_the_same_result() {
        let mut results = HashMap::new();
        for case in cases() {
            let sum = (case.run)(7);
            assert_ne!(sum, 0, "{}/{} does nothing", case.group, case.name);
            assert_eq!(
                *results.entry(case.group).or_insert(sum),
                sum,
                "{}/{}",
                case.group,
                case.name
            );
        }
    }

    #[test]
    fn each_name_is_there_once() {
        let mut names: Vec<_> = cases().map(|case| (case.group, case.name)).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
