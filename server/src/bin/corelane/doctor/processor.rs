//! The CPUs: how many there are for the shards, how fast, and who else is on them.

use std::collections::BTreeSet;

use super::finding::{Check, Fix, Seen};
use super::machine::{Machine, format_cpus, parse_cpus};

const CPUS: &str = "sys/devices/system/cpu";

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "cpu_quota",
        why: "with a quota below the shards' CPUs the kernel stops all of them for the rest of \
              each period: pauses of tens of milliseconds",
        fix: Fix {
            shell: "as many shards as the quota has CPUs: --cores N",
            systemd: "AllowedCPUs=0-1 in the place of CPUQuota=200%",
            docker: "--cpuset-cpus 0-1 in the place of --cpus 2",
            kubernetes: "whole CPUs as both request and limit, and the kubelet's \
                 cpuManagerPolicy: static; or no CPU limit",
        },
        look: quota,
    },
    Check {
        name: "cpuset",
        why: "every CPU that the process may use gets a shard; two programs that are pinned to \
              one CPU halve it",
        fix: Fix {
            shell: "taskset --cpu-list 0-7 corelane serve, or --cores",
            systemd: "AllowedCPUs=",
            docker: "--cpuset-cpus",
            kubernetes: "the kubelet's cpuManagerPolicy: static gives a pod CPUs of its own",
        },
        look: cpuset,
    },
    Check {
        name: "governor",
        why: "a CPU that slows down when idle takes milliseconds to be fast again: the tail of \
              a lightly loaded server",
        fix: Fix {
            shell: "cpupower frequency-set --governor performance",
            systemd: "ExecStartPre=+/usr/bin/cpupower frequency-set --governor performance",
            docker: "set it on the host",
            kubernetes: "set it on the node, such as by tuned's profile latency-performance",
        },
        look: governor,
    },
    Check {
        name: "smt_siblings",
        why: "two shards on one physical core take turns in it: more requests in all, and a \
              longer tail for each",
        fix: Fix {
            shell: "--cores physical",
            systemd: "ExecStart=... --cores physical",
            docker: "--cpuset-cpus with one CPU of each core, or --cores physical",
            kubernetes: "the kubelet's cpuManagerPolicyOptions: full-pcpus-only, and --cores \
                 physical",
        },
        look: siblings,
    },
    Check {
        name: "irq_spread",
        why: "the CPU that takes all of a network device's interrupts does the kernel's work for \
              every shard",
        fix: Fix {
            shell: "apt install irqbalance; or echo CPU >/proc/irq/IRQ/smp_affinity_list, and \
                 for a device with one queue: echo ff >/sys/class/net/DEV/queues/rx-0/rps_cpus",
            systemd: "systemctl enable --now irqbalance",
            docker: "on the host",
            kubernetes: "on the node",
        },
        look: interrupts,
    },
];

/// CPUs that the tightest quota is worth (`cpu.max` of cgroup-v2(7)), where there is one.
fn quota_cpus(machine: &Machine) -> Option<f64> {
    let cpus = |text: &String| {
        let (quota, period) = text.split_once(' ')?;
        let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
        (period > 0.0).then_some(quota / period)
    };
    machine.cgroup_texts("cpu.max").iter().filter_map(cpus).reduce(f64::min)
}

fn quota(machine: &Machine) -> Seen {
    let shards = machine.allowed_cpus().len();
    match quota_cpus(machine) {
        Some(cpus) if cpus < shards as f64 => {
            Seen::warning(format!("a quota of {cpus:.2} CPUs for {shards} shards"))
        }
        Some(cpus) => Seen::ok(format!("a quota of {cpus:.2} CPUs")),
        None => Seen::ok("no quota"),
    }
}

fn cpuset(machine: &Machine) -> Seen {
    let (allowed, online) = (machine.allowed_cpus(), machine.online_cpus());
    let list = format_cpus(&allowed);
    match allowed.len() {
        0 => Seen::note("the kernel does not say which CPUs the process may use"),
        count if count < online.len() => {
            Seen::note(format!("CPUs {list} of {} get a shard", format_cpus(&online)))
        }
        _ => Seen::ok(format!("all CPUs get a shard: {list}")),
    }
}

fn governor(machine: &Machine) -> Seen {
    let governor = |cpu: &usize| {
        let text = machine.text(&format!("{CPUS}/cpu{cpu}/cpufreq/scaling_governor"))?;
        Some((*cpu, text))
    };
    let governors: Vec<(usize, String)> =
        machine.allowed_cpus().iter().filter_map(governor).collect();
    let slow: Vec<usize> = governors
        .iter()
        .filter(|(_, governor)| governor != "performance")
        .map(|(cpu, _)| *cpu)
        .collect();
    match (governors.first(), slow.first()) {
        (None, _) => Seen::ok("nothing here sets the CPUs' frequency"),
        (_, None) => Seen::ok("performance"),
        (_, Some(first)) => {
            let named = governors.iter().find(|(cpu, _)| cpu == first);
            let name = named.map_or("another", |(_, governor)| governor);
            Seen::warning(format!("{name} on CPUs {}", format_cpus(&slow)))
        }
    }
}

fn siblings(machine: &Machine) -> Seen {
    let allowed = machine.allowed_cpus();
    let sharing = |cpu: &&usize| {
        let path = format!("{CPUS}/cpu{cpu}/topology/thread_siblings_list");
        let siblings = parse_cpus(&machine.text(&path).unwrap_or_default());
        siblings.iter().any(|sibling| sibling != *cpu && allowed.contains(sibling))
    };
    let sharing: Vec<usize> = allowed.iter().filter(sharing).copied().collect();
    if sharing.is_empty() {
        return Seen::ok("no two of the CPUs share a core");
    }
    Seen::note(format!("CPUs {} share cores with each other", format_cpus(&sharing)))
}

fn interrupts(machine: &Machine) -> Seen {
    let mut is_any_seen = false;
    for device in machine.names("sys/class/net") {
        // Behind virtio, the interrupts belong to the device above.
        let places = ["device", "device/.."];
        let irqs = places
            .map(|place| machine.names(&format!("sys/class/net/{device}/{place}/msi_irqs")))
            .concat();
        let affinity = |irq: &String| machine.text(&format!("proc/irq/{irq}/smp_affinity_list"));
        let affinities: Vec<Vec<usize>> =
            irqs.iter().filter_map(affinity).map(|list| parse_cpus(&list)).collect();
        let cpus: BTreeSet<usize> = affinities.iter().flatten().copied().collect();
        is_any_seen |= !affinities.is_empty();
        if affinities.len() > 1 && cpus.len() == 1 && machine.online_cpus().len() > 1 {
            let (count, cpus) =
                (affinities.len(), format_cpus(&cpus.into_iter().collect::<Vec<_>>()));
            return Seen::warning(format!("all {count} interrupts of {device} go to CPU {cpus}"));
        }
    }
    Seen::ok(match is_any_seen {
        true => "the network's interrupts go to more than one CPU",
        false => "no network device shows interrupts of its own",
    })
}
