//! The kernel's settings for listening and connecting. `scripts/tune` sets the same values.

use super::finding::{Check, Fix, Seen};
use super::machine::Machine;

/// The server's own backlog for each listening socket.
const BACKLOG: u64 = 4096;

/// What the kernel's own default range has, about (`ip(7)`).
const PORTS_MIN: u64 = 28_000;

/// Entries below which a busy server fills the table in seconds: each lasts for two minutes.
const CONNTRACK_MIN: u64 = 262_144;

const SLOW_START: &str = "proc/sys/net/ipv4/tcp_slow_start_after_idle";
const CONNTRACK: &str = "proc/sys/net/netfilter/nf_conntrack";

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "somaxconn",
        why: "the kernel cuts each listen queue to it; what comes while it is full is dropped, \
              and tried again after a second",
        fix: Fix {
            shell: "sysctl -w net.core.somaxconn=4096",
            systemd: "net.core.somaxconn=4096 in /etc/sysctl.d/90-corelane.conf",
            docker: "--sysctl net.core.somaxconn=4096",
            kubernetes: "securityContext.sysctls: [{name: net.core.somaxconn, value: \"4096\"}] \
                 (kubelet --allowed-unsafe-sysctls)",
        },
        look: |machine| at_least(machine, "net.core.somaxconn", BACKLOG),
    },
    Check {
        name: "tcp_max_syn_backlog",
        why: "handshakes that are under way; beyond it SYNs are dropped, or answered by cookies",
        fix: Fix {
            shell: "sysctl -w net.ipv4.tcp_max_syn_backlog=4096",
            systemd: "net.ipv4.tcp_max_syn_backlog=4096 in /etc/sysctl.d/90-corelane.conf",
            docker: "--sysctl net.ipv4.tcp_max_syn_backlog=4096",
            kubernetes: "securityContext.sysctls: [{name: net.ipv4.tcp_max_syn_backlog, value: \
                 \"4096\"}] (kubelet --allowed-unsafe-sysctls)",
        },
        look: |machine| at_least(machine, "net.ipv4.tcp_max_syn_backlog", BACKLOG),
    },
    Check {
        name: "ip_local_port_range",
        why: "each connection to a database or a peer takes a port, and keeps it for a minute \
              after its end",
        fix: Fix {
            shell: "sysctl -w net.ipv4.ip_local_port_range='10240 65535'",
            systemd: "net.ipv4.ip_local_port_range=10240 65535 in /etc/sysctl.d/90-corelane.conf",
            docker: "--sysctl net.ipv4.ip_local_port_range='10240 65535'",
            kubernetes: "securityContext.sysctls: [{name: net.ipv4.ip_local_port_range, value: \
                 \"10240 65535\"}]",
        },
        look: port_range,
    },
    Check {
        name: "tcp_slow_start_after_idle",
        why: "a connection that rested sends its next large answer as slowly as a new one",
        fix: Fix {
            shell: "sysctl -w net.ipv4.tcp_slow_start_after_idle=0",
            systemd: "net.ipv4.tcp_slow_start_after_idle=0 in /etc/sysctl.d/90-corelane.conf",
            docker: "--sysctl net.ipv4.tcp_slow_start_after_idle=0",
            kubernetes: "securityContext.sysctls: [{name: net.ipv4.tcp_slow_start_after_idle, \
                 value: \"0\"}] (kubelet --allowed-unsafe-sysctls)",
        },
        look: slow_start,
    },
    Check {
        name: "tcp_migrate_req",
        why: "without it, a listener that closes resets the clients that are in its queue, though \
              another shard or process listens there",
        fix: Fix {
            shell: "sysctl -w net.ipv4.tcp_migrate_req=1",
            systemd: "net.ipv4.tcp_migrate_req=1 in /etc/sysctl.d/90-corelane.conf",
            docker: "--sysctl net.ipv4.tcp_migrate_req=1",
            kubernetes: "securityContext.sysctls: [{name: net.ipv4.tcp_migrate_req, value: \
                 \"1\"}] (kubelet --allowed-unsafe-sysctls)",
        },
        look: |machine| at_least(machine, "net.ipv4.tcp_migrate_req", 1),
    },
    Check {
        name: "conntrack",
        why: "a full table drops new connections, and says so in the kernel's log only",
        fix: Fix {
            shell: "sysctl -w net.netfilter.nf_conntrack_max=1048576, or do not track: nft add \
                 rule ip raw prerouting tcp dport 8080 notrack",
            systemd: "net.netfilter.nf_conntrack_max=1048576 in /etc/sysctl.d/90-corelane.conf",
            docker: "set it on the host, or run with --network host where nothing tracks",
            kubernetes: "kube-proxy: conntrack.maxPerCore and conntrack.min",
        },
        look: conntrack,
    },
];

fn at_least(machine: &Machine, name: &str, advised: u64) -> Seen {
    match machine.number(&format!("proc/sys/{}", name.replace('.', "/"))) {
        Some(value) if value < advised => {
            Seen::warning(format!("{name} is {value}; {advised} is advised"))
        }
        Some(value) => Seen::ok(format!("{name} is {value}")),
        None => Seen::note(format!("{name} can not be read here")),
    }
}

fn slow_start(machine: &Machine) -> Seen {
    match machine.number(SLOW_START) {
        Some(0) => Seen::ok("net.ipv4.tcp_slow_start_after_idle is 0"),
        Some(value) => {
            Seen::warning(format!("net.ipv4.tcp_slow_start_after_idle is {value}; 0 is advised"))
        }
        None => Seen::note("net.ipv4.tcp_slow_start_after_idle can not be read here"),
    }
}

fn port_range(machine: &Machine) -> Seen {
    let text = machine.text("proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ports = text.split_whitespace().map(str::parse::<u64>);
    let (Some(Ok(first)), Some(Ok(last))) = (ports.next(), ports.next()) else {
        return Seen::note("net.ipv4.ip_local_port_range can not be read here");
    };
    let count = (last + 1).saturating_sub(first);
    let text = format!("{count} ports for connections to others, {first} to {last}");
    if count < PORTS_MIN { Seen::warning(text) } else { Seen::ok(text) }
}

fn conntrack(machine: &Machine) -> Seen {
    let Some(most) = machine.number(&format!("{CONNTRACK}_max")) else {
        return Seen::ok("connections are not tracked here");
    };
    let count = machine.number(&format!("{CONNTRACK}_count")).unwrap_or(0);
    let text = format!("{count} of {most} tracked connections");
    // Above four fifths a burst fills the rest.
    if count / 4 >= most / 5 {
        Seen::warning(format!("{text}: nearly full"))
    } else if most < CONNTRACK_MIN {
        Seen::warning(format!("{text}; room for {CONNTRACK_MIN} is advised"))
    } else {
        Seen::ok(text)
    }
}
