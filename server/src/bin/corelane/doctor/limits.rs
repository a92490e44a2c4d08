//! The limits of the process: memory that is locked, files that are open.

use super::finding::{Check, Fix, Seen};
use super::machine::Machine;

/// What glommio 0.9 insists on, in bytes.
const MEMLOCK_MIN: u64 = 512 * 1024;

/// Descriptors that the server keeps for files, rings and logs.
const DESCRIPTORS_RESERVED: u64 = 64;

/// What a busy service wants: as many connections as an address and port can have from one peer.
const OPEN_FILES_ADVISED: u64 = 65_535;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "memlock",
        why: "each shard's executor locks memory for its rings, and refuses to start without",
        fix: Fix {
            shell: "ulimit -l 8192",
            systemd: "LimitMEMLOCK=8M",
            docker: "--ulimit memlock=8388608",
            kubernetes: "LimitMEMLOCK=8M in the unit of the container runtime on the node",
        },
        look: memlock,
    },
    Check {
        name: "open_files",
        why: "each connection is an open file; what comes beyond the limit waits in the kernel",
        fix: Fix {
            shell: "ulimit -n 65535",
            systemd: "LimitNOFILE=65535",
            docker: "--ulimit nofile=65535:65535",
            kubernetes: "LimitNOFILE=65535 in the unit of the container runtime on the node",
        },
        look: open_files,
    },
];

fn memlock(machine: &Machine) -> Seen {
    match machine.soft_limit("Max locked memory") {
        Some(u64::MAX) => Seen::ok("unlimited"),
        Some(bytes) if bytes < MEMLOCK_MIN => {
            Seen::stop(format!("{} KiB; at least {} are needed", bytes >> 10, MEMLOCK_MIN >> 10))
        }
        Some(bytes) => Seen::ok(format!("{} KiB", bytes >> 10)),
        None => Seen::note("the kernel does not say"),
    }
}

fn open_files(machine: &Machine) -> Seen {
    let Some(limit) = machine.soft_limit("Max open files") else {
        return Seen::note("the kernel does not say");
    };
    let shards = machine.allowed_cpus().len().max(1) as u64;
    let text = if limit == u64::MAX { "unlimited".to_owned() } else { limit.to_string() };
    if limit < DESCRIPTORS_RESERVED + shards {
        Seen::stop(format!("{text}: {DESCRIPTORS_RESERVED} and one for each shard are needed"))
    } else if limit < OPEN_FILES_ADVISED {
        Seen::warning(format!("{text}; at least {OPEN_FILES_ADVISED} are advised"))
    } else {
        Seen::ok(text)
    }
}
