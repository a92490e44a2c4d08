//! What the kernel knows of this process.

use std::time::Duration;

/// Figures of `/proc/self`; zero where one can not be read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Process {
    pub(super) open_fds: usize,
    pub(super) fds_max: usize,
    pub(super) resident_bytes: u64,
    pub(super) virtual_bytes: u64,
    pub(super) threads: u64,
    pub(super) cpu: Duration,
    /// When it was started, in seconds since the Unix epoch.
    pub(super) started: f64,
}

impl Process {
    pub(super) fn now() -> Process {
        // Reading the directory is one descriptor of its own.
        let fds = std::fs::read_dir("/proc/self/fd").map_or(0, |fds| fds.count().saturating_sub(1));
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let system = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let booted = system.lines().find_map(|line| line.strip_prefix("btime "));
        let booted = booted.and_then(|seconds| seconds.parse::<f64>().ok()).unwrap_or_default();
        let fds_max = corelane_runtime::open_file_limit();
        Process { open_fds: fds, fds_max, ..Process::of(&stat, booted) }
    }

    /// By the fields of proc_pid_stat(5), whose second one, the name, may hold anything.
    fn of(stat: &str, booted: f64) -> Process {
        let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let fields: Vec<u64> =
            behind_name.split_ascii_whitespace().map(|text| text.parse().unwrap_or(0)).collect();
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or_default();
        let ticks = rustix::param::clock_ticks_per_second().max(1);
        let seconds = |count: u64| count as f64 / ticks as f64;
        Process {
            cpu: Duration::from_secs_f64(seconds(field(14) + field(15))),
            threads: field(20),
            started: booted + seconds(field(22)),
            virtual_bytes: field(23),
            resident_bytes: field(24) * rustix::param::page_size() as u64,
            ..Process::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "7 (a) R 1 (b) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 9 0 1000 4096 3 0";
        let process = Process::of(stat, 100.0);
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        assert_eq!(process.cpu.as_secs_f64(), 200.0 / ticks);
        assert_eq!((process.threads, process.virtual_bytes), (9, 4096));
        assert_eq!(process.resident_bytes, 3 * rustix::param::page_size() as u64);
        assert_eq!(process.started, 100.0 + 1000.0 / ticks);
        assert_eq!(Process::of("", 0.0).threads, 0);
    }

    #[test]
    fn this_process_is_there() {
        let process = Process::now();
        assert!(process.open_fds >= 3 && process.fds_max >= process.open_fds, "{process:?}");
        assert!(process.resident_bytes > 100_000 && process.threads >= 1, "{process:?}");
        assert!(process.started > 1e9, "{process:?}");
    }
}
