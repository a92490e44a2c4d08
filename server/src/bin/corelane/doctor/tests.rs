//! Each check against a tree of files, with each of its outcomes.

use std::collections::BTreeSet;
use std::path::Path;

use super::finding::Finding;
use super::finding::Level::{self, Note, Stop, Warning};
use super::machine::{Machine, format_cpus, parse_cpus};
use super::{CHECKS, examine, print};

const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units
Max locked memory         8388608              8388608              bytes
Max open files            65535                1048576              files
";

/// A machine with four CPUs, about which nothing is to be said.
const HEALTHY: &[(&str, &str)] = &[
    ("proc/sys/kernel/osrelease", "6.18.1-generic\n"),
    ("proc/sys/kernel/io_uring_disabled", "0\n"),
    ("proc/self/status", "Name:\tcorelane\nSeccomp:\t0\nCpus_allowed_list:\t0-3\n"),
    ("proc/self/limits", LIMITS),
    ("proc/self/cgroup", "0::/system.slice/corelane.service\n"),
    ("sys/fs/cgroup/cgroup.controllers", "cpuset cpu\n"),
    ("sys/fs/cgroup/system.slice/corelane.service/cpu.max", "max 100000\n"),
    ("sys/devices/system/cpu/online", "0-3\n"),
    ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n"),
    ("sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "0\n"),
    ("sys/class/net/eth0/device/msi_irqs/24", "msix\n"),
    ("sys/class/net/eth0/device/msi_irqs/25", "msix\n"),
    ("proc/irq/24/smp_affinity_list", "0\n"),
    ("proc/irq/25/smp_affinity_list", "1\n"),
    ("proc/sys/net/core/somaxconn", "4096\n"),
    ("proc/sys/net/ipv4/tcp_max_syn_backlog", "4096\n"),
    ("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
    ("proc/sys/net/ipv4/tcp_slow_start_after_idle", "0\n"),
    ("proc/sys/net/ipv4/tcp_migrate_req", "1\n"),
    ("proc/sys/net/netfilter/nf_conntrack_max", "262144\n"),
    ("proc/sys/net/netfilter/nf_conntrack_count", "100\n"),
];

const MISSING: &str = "";

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    if text == MISSING {
        std::fs::remove_file(path).expect("remove");
    } else {
        std::fs::write(path, text).expect("write");
    }
}

/// Examines the healthy machine with these files changed.
fn with(changes: &[(&str, &str)], ring: Option<Result<&str, &str>>) -> Vec<Finding> {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, text) in HEALTHY.iter().chain(changes) {
        write(folder.path(), path, text);
    }
    let mut machine = Machine::below(folder.path());
    machine.ring = ring.map(|ring| ring.map(str::to_owned).map_err(str::to_owned));
    examine(&machine)
}

const RING: Option<Result<&str, &str>> = Some(Ok("defer_taskrun"));
const DENIED: Option<Result<&str, &str>> = Some(Err("io_uring is not available: seccomp"));

#[test]
fn a_healthy_machine_has_nothing_to_fix() {
    for Finding { check, level, found, fix, .. } in with(&[], RING) {
        assert_eq!(level, Level::Ok, "{check}: {found}");
        assert!(fix.is_none(), "{check}");
    }
}

const CPU_MAX: &str = "sys/fs/cgroup/system.slice/corelane.service/cpu.max";

/// Which check says what after which change; everything else stays as it was.
const CHANGES: &[(&str, &str, &str, Level, &str)] = &[
    ("kernel", "proc/sys/kernel/osrelease", "6.0.9", Stop, "Linux 6.0.9 is older"),
    ("kernel", "proc/sys/kernel/osrelease", "5.15.0-91", Stop, "5.15"),
    ("kernel", "proc/sys/kernel/osrelease", "6.1.0", Level::Ok, "6.1.0"),
    ("kernel", "proc/sys/kernel/osrelease", "odd", Note, "odd"),
    ("kernel", "proc/sys/kernel/osrelease", MISSING, Note, "does not say"),
    ("io_uring_disabled", "proc/sys/kernel/io_uring_disabled", "2", Stop, "is 2"),
    ("io_uring_disabled", "proc/sys/kernel/io_uring_disabled", "1", Note, "group"),
    ("io_uring_disabled", "proc/sys/kernel/io_uring_disabled", MISSING, Level::Ok, "6.6"),
    (
        "seccomp",
        "proc/self/status",
        "Seccomp:\t2\nCpus_allowed_list:\t0-3",
        Level::Ok,
        "lets io_uring through",
    ),
    ("memlock", "proc/self/limits", "Max locked memory  524287  8388608  bytes", Stop, "511 KiB"),
    (
        "memlock",
        "proc/self/limits",
        "Max locked memory  unlimited  8388608  bytes",
        Level::Ok,
        "unlimited",
    ),
    ("memlock", "proc/self/limits", "odd", Note, "does not say"),
    (
        "open_files",
        "proc/self/limits",
        "Max open files  67  1048576  files",
        Stop,
        "67: 64 and one",
    ),
    (
        "open_files",
        "proc/self/limits",
        "Max open files  68  1048576  files",
        Warning,
        "68; at least",
    ),
    ("open_files", "proc/self/limits", "Max open files  65534  1048576  files", Warning, "65534;"),
    (
        "open_files",
        "proc/self/limits",
        "Max open files  unlimited  1048576  files",
        Level::Ok,
        "unlimited",
    ),
    ("somaxconn", "proc/sys/net/core/somaxconn", "4095", Warning, "is 4095; 4096"),
    ("somaxconn", "proc/sys/net/core/somaxconn", MISSING, Note, "can not be read"),
    (
        "tcp_max_syn_backlog",
        "proc/sys/net/ipv4/tcp_max_syn_backlog",
        "512",
        Warning,
        "is 512; 4096 is advised",
    ),
    (
        "ip_local_port_range",
        "proc/sys/net/ipv4/ip_local_port_range",
        "50000 60000",
        Warning,
        "10001 ports",
    ),
    ("ip_local_port_range", "proc/sys/net/ipv4/ip_local_port_range", "1", Note, "read"),
    (
        "tcp_slow_start_after_idle",
        "proc/sys/net/ipv4/tcp_slow_start_after_idle",
        "1",
        Warning,
        "is 1; 0 is advised",
    ),
    ("tcp_migrate_req", "proc/sys/net/ipv4/tcp_migrate_req", "0", Warning, "is 0; 1"),
    ("conntrack", "proc/sys/net/netfilter/nf_conntrack_count", "209715", Warning, "nearly full"),
    ("conntrack", "proc/sys/net/netfilter/nf_conntrack_max", "65536", Warning, "room for 262144"),
    ("conntrack", "proc/sys/net/netfilter/nf_conntrack_max", MISSING, Level::Ok, "not tracked"),
    ("cpu_quota", CPU_MAX, "350000 100000", Warning, "3.50 CPUs for 4 shards"),
    ("cpu_quota", CPU_MAX, "400000 100000", Level::Ok, "4.00"),
    // The tightest of the whole path counts.
    ("cpu_quota", "sys/fs/cgroup/cpu.max", "100000 100000", Warning, "1.00 CPUs"),
    ("cpuset", "proc/self/status", "Seccomp:\t0\nCpus_allowed_list:\t1-2", Note, "CPUs 1-2 of 0-3"),
    (
        "governor",
        "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor",
        "powersave",
        Warning,
        "powersave on CPUs 1",
    ),
    (
        "smt_siblings",
        "sys/devices/system/cpu/cpu0/topology/thread_siblings_list",
        "0,2",
        Note,
        "CPUs 0 share",
    ),
    (
        "smt_siblings",
        "sys/devices/system/cpu/cpu0/topology/thread_siblings_list",
        "0,4",
        Level::Ok,
        "no two",
    ),
    ("irq_spread", "proc/irq/25/smp_affinity_list", "0", Warning, "all 2 interrupts"),
    ("irq_spread", "proc/irq/25/smp_affinity_list", "0-3", Level::Ok, "more than one"),
];

#[test]
fn each_check_notices_what_it_is_for() {
    let mut noticed = BTreeSet::from(["io_uring"]);
    for (name, path, text, level, part) in CHANGES {
        let findings = with(&[(path, text)], RING);
        let finding = findings.iter().find(|finding| finding.check == *name).expect("a check");
        assert_eq!(finding.level, *level, "{name} with {text:?}: {}", finding.found);
        assert!(finding.found.contains(part), "{name} with {text:?}: {}", finding.found);
        assert_eq!(finding.fix.is_some(), *level != Level::Ok, "{name}");
        if *level != Level::Ok {
            noticed.insert(name);
        } else if *name == "seccomp" {
            noticed.insert("seccomp");
        }
    }
    let all: BTreeSet<&str> = CHECKS.iter().copied().flatten().map(|check| check.name).collect();
    assert_eq!(noticed, all);
}

#[test]
fn every_check_says_why_and_what_to_do_everywhere() {
    for check in CHECKS.iter().copied().flatten() {
        assert!(!check.why.is_empty(), "{}", check.name);
        for (place, text) in check.fix.places() {
            assert!(!text.is_empty(), "{} in {place}", check.name);
        }
    }
}

#[test]
fn a_ring_that_is_denied_stops_the_server() {
    let level = |findings: &[Finding], name: &str| {
        findings.iter().find(|finding| finding.check == name).map(|finding| finding.level)
    };
    let filtered = [("proc/self/status", "Seccomp:\t2\nCpus_allowed_list:\t0-3\n")];
    let findings = with(&filtered, DENIED);
    assert_eq!(level(&findings, "io_uring"), Some(Level::Stop));
    assert_eq!(level(&findings, "seccomp"), Some(Level::Stop));
    assert_eq!(level(&with(&filtered, None), "seccomp"), Some(Level::Note));
    let only_a_group = [("proc/sys/kernel/io_uring_disabled", "1")];
    assert_eq!(level(&with(&only_a_group, DENIED), "io_uring_disabled"), Some(Level::Stop));
    assert_eq!(level(&with(&[], None), "io_uring"), Some(Level::Note));
}

#[test]
fn the_last_line_counts() {
    let last = |findings: &[Finding]| {
        let mut out = Vec::new();
        print::text(&mut out, findings).expect("a vector takes it");
        String::from_utf8(out).expect("text").lines().last().map(str::to_owned)
    };
    let healthy = with(&[], RING);
    let count = healthy.len();
    let expected = format!("{count} checks: {count} ok, 0 to note, 0 to fix; the server can start");
    assert_eq!(last(&healthy), Some(expected));
    let ill = with(&[("proc/sys/net/core/somaxconn", "1")], DENIED);
    let ok = count - 2;
    let expected = format!("{count} checks: {ok} ok, 0 to note, 1 to fix; 1 stops the server");
    assert_eq!(last(&ill), Some(expected));
}

#[test]
fn lists_of_cpus() {
    for (list, cpus) in [("0-3,8", &[0, 1, 2, 3, 8][..]), ("5", &[5]), ("", &[])] {
        assert_eq!(parse_cpus(list), cpus);
        assert_eq!(format_cpus(cpus), list);
    }
    assert!(parse_cpus("0-99999999999,x,3-1").is_empty());
}
