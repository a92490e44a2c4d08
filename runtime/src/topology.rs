//! Which CPUs this process may use, and which of them share a physical core.
//!
//! Read once, before any thread is pinned: a pinned thread's children inherit its mask, and would
//! see one CPU only.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The CPUs that the process may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Allowed CPUs in ascending order, each with the name of its physical core.
    cpus: BTreeMap<usize, PhysicalCore>,
}

/// Names a physical core: its package, and its number there.
type PhysicalCore = (usize, usize);

impl Topology {
    /// Reads the calling thread's affinity mask (`sched_getaffinity(2)`), which already reflects
    /// the cgroup's cpuset, and the sibling information below `/sys/devices/system/cpu`.
    pub fn detect() -> Topology {
        let allowed = core_affinity::get_core_ids().unwrap_or_default();
        let allowed = allowed.into_iter().map(|core| core.id);
        Topology::read(allowed, Path::new("/sys/devices/system/cpu"))
    }

    /// As [`detect`](Topology::detect), with the mask and the directory given.
    pub fn read(allowed: impl IntoIterator<Item = usize>, sys: &Path) -> Topology {
        let core = |cpu: usize| {
            let number = |name: &str| {
                let path = sys.join(format!("cpu{cpu}/topology/{name}"));
                fs::read_to_string(path).ok()?.trim().parse::<usize>().ok()
            };
            // Where the kernel does not say (some containers), each CPU counts as its own core.
            match (number("physical_package_id"), number("core_id")) {
                (Some(package), Some(core)) => (package, core),
                _ => (usize::MAX, cpu),
            }
        };
        Topology { cpus: allowed.into_iter().map(|cpu| (cpu, core(cpu))).collect() }
    }

    /// Every allowed CPU, ascending.
    pub fn cpus(&self) -> Vec<usize> {
        self.cpus.keys().copied().collect()
    }

    /// One CPU of each physical core: the lowest-numbered one that is allowed.
    pub fn physical_cpus(&self) -> Vec<usize> {
        let mut seen = std::collections::BTreeSet::new();
        let first = |(_, core): &(&usize, &PhysicalCore)| seen.insert(**core);
        self.cpus.iter().filter(first).map(|(cpu, _)| *cpu).collect()
    }

    /// Whether the process may use this CPU.
    pub fn allows(&self, cpu: usize) -> bool {
        self.cpus.contains_key(&cpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_siblings(cores: &[(usize, usize, usize)]) -> Topology {
        Topology {
            cpus: cores.iter().map(|(cpu, package, core)| (*cpu, (*package, *core))).collect(),
        }
    }

    #[test]
    fn one_cpu_of_each_physical_core() {
        let topology = with_siblings(&[(0, 0, 0), (1, 0, 1), (2, 0, 0), (3, 0, 1), (4, 1, 0)]);
        assert_eq!(topology.physical_cpus(), [0, 1, 4]);
        assert_eq!(topology.cpus(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn without_sibling_information_each_cpu_is_a_core() {
        let topology = Topology::read([5, 2], Path::new("/nonexistent"));
        assert_eq!(topology.physical_cpus(), [2, 5]);
        assert!(topology.allows(5) && !topology.allows(0));
    }
}
