//! Whether the kernel lets the server have its rings: what stops it stands here.

use super::finding::{Check, Fix, Seen};
use super::machine::Machine;

/// io_uring with DEFER_TASKRUN (`io_uring_setup(2)`).
const RELEASE_MIN: (u32, u32) = (6, 1);

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "kernel",
        why: "the ring is built on what io_uring can do since Linux 6.1",
        fix: Fix {
            shell: "apt install linux-image-amd64 (Debian 12: 6.1), then reboot",
            systemd: "as in a shell: the kernel is the machine's",
            docker: "update the host's kernel: a container has no other",
            kubernetes: "a node image with Linux 6.1 or newer; nodeSelector keeps pods on it",
        },
        look: kernel,
    },
    Check {
        name: "io_uring",
        why: "without a ring no shard starts",
        fix: Fix {
            shell: "see the sentence above: it names the cause by the kernel's own answer",
            systemd: "SystemCallFilter=@aio beside what it has: io_uring is part of that group",
            docker: "--security-opt seccomp=scripts/deploy/seccomp.json",
            kubernetes: "securityContext.seccompProfile: {type: Localhost, localhostProfile: \
                 corelane.json}, with scripts/deploy/seccomp.json in the kubelet's seccomp folder",
        },
        look: ring,
    },
    Check {
        name: "io_uring_disabled",
        why: "2 denies io_uring to everybody, 1 to all but one group and privileged processes",
        fix: Fix {
            shell: "sysctl -w kernel.io_uring_disabled=0",
            systemd: "echo kernel.io_uring_disabled=0 >/etc/sysctl.d/90-corelane.conf; \
                 systemctl restart systemd-sysctl",
            docker: "set it on the host: it is not the container's own",
            kubernetes: "set it on the node: it is not the pod's own",
        },
        look: io_uring_disabled,
    },
    Check {
        name: "seccomp",
        why: "a filter can deny io_uring: Docker's and containerd's own do",
        fix: Fix {
            shell: "start the server outside of the sandbox that set the filter",
            systemd: "SystemCallFilter=@system-service, of which io_uring is a part",
            docker: "--security-opt seccomp=scripts/deploy/seccomp.json",
            kubernetes: "securityContext.seccompProfile: {type: Localhost, localhostProfile: \
                 corelane.json}",
        },
        look: seccomp,
    },
];

fn kernel(machine: &Machine) -> Seen {
    let Some(release) = machine.text("proc/sys/kernel/osrelease") else {
        return Seen::note("the kernel does not say its release");
    };
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) < RELEASE_MIN => {
            Seen::stop(format!("Linux {release} is older than 6.1"))
        }
        (Some(Ok(_)), Some(Ok(_))) => Seen::ok(format!("Linux {release}")),
        _ => Seen::note(format!("Linux {release}: no release that can be compared")),
    }
}

fn ring(machine: &Machine) -> Seen {
    match &machine.ring {
        Some(Ok(features)) => Seen::ok(features),
        Some(Err(error)) => Seen::stop(error),
        None => Seen::note("not asked: these are another machine's files"),
    }
}

fn io_uring_disabled(machine: &Machine) -> Seen {
    let is_denied = matches!(machine.ring, Some(Err(_)));
    match machine.number("proc/sys/kernel/io_uring_disabled") {
        Some(0) => Seen::ok("kernel.io_uring_disabled is 0"),
        None => Seen::ok("this kernel has no such switch (it came with Linux 6.6)"),
        Some(1) if !is_denied => Seen::note(
            "kernel.io_uring_disabled is 1: only processes with CAP_SYS_ADMIN or in the group \
             kernel.io_uring_group get a ring",
        ),
        Some(value) => Seen::stop(format!("kernel.io_uring_disabled is {value}")),
    }
}

fn seccomp(machine: &Machine) -> Seen {
    // proc_pid_status(5): 0 is none, 1 strict, 2 a filter.
    match (machine.status("Seccomp").as_deref(), &machine.ring) {
        (Some("0"), _) => Seen::ok("no filter"),
        (None, _) => Seen::ok("this kernel has no filters"),
        (Some(_), Some(Ok(_))) => Seen::ok("a filter is active, and lets io_uring through"),
        (Some(_), Some(Err(_))) => Seen::stop("a filter is active, and io_uring is denied"),
        (Some(_), None) => Seen::note("a filter is active; whether it denies io_uring is unknown"),
    }
}
