//! Which CPUs get a shard: the operator's words, checked against what the process may use.

use std::fmt;
use std::str::FromStr;

use crate::error::ConfigError;
use crate::topology::Topology;

/// Which CPUs get a shard.
///
/// Written as `all`, `physical`, a count such as `4`, or a list such as `0,2-3`. A lone number is
/// a count, save that a lone `0`, which would be no shard at all, is CPU 0; the list with the
/// single CPU 3 is written `3-3` or `3,`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cores {
    /// Every CPU that the process may use.
    #[default]
    All,
    /// One CPU of each physical core.
    Physical,
    /// The first so many allowed CPUs, physical cores before their siblings.
    Count(usize),
    /// Exactly these.
    List(Vec<usize>),
}

/// The key that errors name.
const KEY: &str = "cores";

/// More CPUs than any machine has; keeps a typing error from filling the memory.
const CPU_MAX: usize = 65_535;

impl Cores {
    /// The CPUs to use, in the order of their shards.
    ///
    /// # Errors
    /// A CPU that does not exist or is not allowed, one that is named twice, and a count that is
    /// zero or more than there are.
    pub fn resolve(&self, topology: &Topology) -> Result<Vec<usize>, ConfigError> {
        let allowed = topology.cpus();
        match self {
            Cores::All => Ok(allowed),
            Cores::Physical => Ok(topology.physical_cpus()),
            Cores::Count(count) => first_cpus(*count, topology),
            Cores::List(cpus) => check_list(cpus, topology),
        }
    }
}

fn first_cpus(count: usize, topology: &Topology) -> Result<Vec<usize>, ConfigError> {
    let mut cpus = topology.physical_cpus();
    let siblings = topology.cpus().into_iter().filter(|cpu| !cpus.contains(cpu));
    let siblings: Vec<_> = siblings.collect();
    cpus.extend(siblings);
    if count == 0 || count > cpus.len() {
        let available = cpus.len();
        let problem = format!("{count} shards do not fit; this process may use 1 to {available}");
        return Err(ConfigError::new(KEY, problem));
    }
    cpus.truncate(count);
    Ok(cpus)
}

fn check_list(cpus: &[usize], topology: &Topology) -> Result<Vec<usize>, ConfigError> {
    for (index, cpu) in cpus.iter().enumerate() {
        if !topology.allows(*cpu) {
            let allowed = format_list(&topology.cpus());
            let problem =
                format!("CPU {cpu} does not exist or is not allowed here; allowed: {allowed}");
            return Err(ConfigError::new(KEY, problem));
        }
        if cpus[..index].contains(cpu) {
            let problem = format!("CPU {cpu} is named twice; name it once");
            return Err(ConfigError::new(KEY, problem));
        }
    }
    Ok(cpus.to_vec())
}

impl FromStr for Cores {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Cores, ConfigError> {
        match text.trim() {
            "all" => return Ok(Cores::All),
            "physical" => return Ok(Cores::Physical),
            _ => {}
        }
        match text.trim().parse() {
            Ok(0) => return Ok(Cores::List(vec![0])),
            Ok(count) => return Ok(Cores::Count(count)),
            Err(_) => {}
        }
        let mut cpus = Vec::new();
        // A trailing comma makes a list of a single number.
        for part in text.trim().trim_end_matches(',').split(',') {
            let (first, last) = parse_range(part.trim()).ok_or_else(|| {
                let problem = format!(
                    "{text:?} is not understood; write all, physical, a count such as 2, \
                     or a list such as 0,2-3"
                );
                ConfigError::new(KEY, problem)
            })?;
            // A longer list names one twice: no need to keep it until that is looked for.
            if cpus.len() + (last - first) > CPU_MAX {
                let problem = "it names more CPUs than there can be; name each once";
                return Err(ConfigError::new(KEY, problem));
            }
            cpus.extend(first..=last);
        }
        Ok(Cores::List(cpus))
    }
}

fn parse_range(part: &str) -> Option<(usize, usize)> {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let parse = |number: &str| number.parse::<usize>().ok().filter(|cpu| *cpu <= CPU_MAX);
    let (first, last) = (parse(first)?, parse(last)?);
    (first <= last).then_some((first, last))
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cores::All => f.write_str("all"),
            Cores::Physical => f.write_str("physical"),
            Cores::Count(count) => write!(f, "{count}"),
            Cores::List(cpus) if cpus.len() == 1 => write!(f, "{},", cpus[0]),
            Cores::List(cpus) => f.write_str(&format_list(cpus)),
        }
    }
}

fn format_list(cpus: &[usize]) -> String {
    cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn check(text: &str, expected: Result<&[usize], &str>) {
        let topology = Topology::read([0, 1, 2, 3, 6], Path::new("/nonexistent"));
        let resolved = text.parse::<Cores>().and_then(|cores| cores.resolve(&topology));
        match (resolved, expected) {
            (Ok(cpus), Ok(expected)) => assert_eq!(cpus, expected, "{text}"),
            (Err(error), Err(part)) => {
                assert!(error.to_string().contains(part), "{text}: {error}");
            }
            (resolved, expected) => panic!("{text}: {resolved:?}, not {expected:?}"),
        }
    }

    #[test]
    fn what_operators_write() {
        check("all", Ok(&[0, 1, 2, 3, 6]));
        check("physical", Ok(&[0, 1, 2, 3, 6]));
        check("2", Ok(&[0, 1]));
        check("5", Ok(&[0, 1, 2, 3, 6]));
        check("0,2-3", Ok(&[0, 2, 3]));
        check("3,1", Ok(&[3, 1]));
        check("0", Ok(&[0]));
        check("6-6", Ok(&[6]));
        check("6,", Ok(&[6]));
        check(" 1 , 2 ", Ok(&[1, 2]));
    }

    #[test]
    fn what_can_not_be_obeyed() {
        check("6", Err("1 to 5"));
        check("4-5", Err("CPU 4 does not exist"));
        check("1,1", Err("CPU 1 is named twice"));
        check("0-2,2", Err("CPU 2 is named twice"));
        for text in ["", "-1", "a", "1,,2", "3-1", "1-", "0x1,2", "1.5", "0-99999999999"] {
            check(text, Err("is not understood"));
        }
        // One line, whatever was written.
        check("a\nb", Err("\"a\\nb\" is not understood"));
        check("0-65535,0", Err("more CPUs than there can be"));
    }

    #[test]
    fn is_written_as_it_is_read() {
        for text in ["all", "physical", "3", "1,2", "6,"] {
            assert_eq!(text.parse::<Cores>().map(|cores| cores.to_string()), Ok(text.to_owned()));
        }
    }
}
