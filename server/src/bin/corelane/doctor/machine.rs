//! What the checks read: the kernel's files, below a root that tests replace.

use std::path::{Path, PathBuf};

/// More CPUs than any machine has; keeps an odd file from filling the memory.
const CPU_MAX: usize = 65_535;

/// A machine, or a tree of files that looks like one.
pub(super) struct Machine {
    root: PathBuf,
    /// What the ring uses, or why there is none; `None` where only files are looked at.
    pub(super) ring: Option<Result<String, String>>,
}

impl Machine {
    /// The files below `root`; where that is `/`, the kernel is asked for a ring as well.
    pub(super) fn below(root: &Path) -> Machine {
        let probe = || corelane::runtime::probe_ring();
        let ring = (root == Path::new("/")).then(probe).map(|probed| {
            probed.map(|features| features.to_string()).map_err(|error| error.to_string())
        });
        Machine { root: root.to_owned(), ring }
    }

    /// A file's text without the blanks around it; `None` where it can not be read.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.root.join(path)).ok()?;
        Some(text.trim().to_owned())
    }

    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// The names in a directory, sorted; none where there is no such directory.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.join(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// A value of `/proc/self/status` (`proc_pid_status(5)`).
    pub(super) fn status(&self, key: &str) -> Option<String> {
        let text = self.text("proc/self/status")?;
        let value = |line: &str| Some(line.strip_prefix(key)?.strip_prefix(':')?.trim().to_owned());
        text.lines().find_map(value)
    }

    /// A soft limit of `/proc/self/limits` (`proc_pid_limits(5)`); `u64::MAX` is none.
    pub(super) fn soft_limit(&self, name: &str) -> Option<u64> {
        let text = self.text("proc/self/limits")?;
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        match rest.split_whitespace().next()? {
            "unlimited" => Some(u64::MAX),
            number => number.parse().ok(),
        }
    }

    /// The CPUs that the process may use.
    pub(super) fn allowed_cpus(&self) -> Vec<usize> {
        self.status("Cpus_allowed_list").map(|list| parse_cpus(&list)).unwrap_or_default()
    }

    pub(super) fn online_cpus(&self) -> Vec<usize> {
        self.text("sys/devices/system/cpu/online").map(|list| parse_cpus(&list)).unwrap_or_default()
    }

    /// A file of the process's cgroup (version 2) and of each one above it, innermost first.
    pub(super) fn cgroup_texts(&self, file: &str) -> Vec<String> {
        // Beside version 1, version 2 is mounted one level deeper.
        let mounts = ["sys/fs/cgroup", "sys/fs/cgroup/unified"];
        let is_mounted = |mount: &&str| self.text(&format!("{mount}/cgroup.controllers")).is_some();
        let Some(mount) = mounts.into_iter().find(is_mounted) else { return Vec::new() };
        let cgroups = self.text("proc/self/cgroup").unwrap_or_default();
        let own = cgroups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        // From within a namespace, what lies outside of it is named by dots.
        let outside = |part: &std::path::Component<'_>| part.as_os_str() != "..";
        let own: PathBuf = Path::new(own).components().filter(outside).collect();
        let of = |cgroup: &Path| self.text(&format!("{mount}/{}/{file}", cgroup.display()));
        own.ancestors().filter_map(of).collect()
    }
}

/// A list as the kernel writes it, such as `0-3,8`.
pub(super) fn parse_cpus(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        (last <= CPU_MAX).then_some(first..=last)
    };
    list.split(',').map(str::trim).filter_map(range).flatten().collect()
}

/// As the kernel writes it.
pub(super) fn format_cpus(cpus: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for cpu in cpus {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == *cpu => *last = *cpu,
            _ => parts.push((*cpu, *cpu)),
        }
    }
    let part = |(first, last): &(usize, usize)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    parts.iter().map(part).collect::<Vec<_>>().join(",")
}
