//! Whether this kernel lets us have a ring, and what it offers: found out before any shard runs.

use std::fmt;
use std::io;

use io_uring::{IoUring, opcode};

use super::places::Places;
use crate::error::RuntimeError;

/// The completion queue holds this many times the submission queue's entries: one multishot
/// operation completes many times.
const COMPLETIONS_PER_ENTRY: u32 = 8;

/// The kernel's limit (`IORING_MAX_CQ_ENTRIES`).
const COMPLETION_ENTRIES_MAX: u32 = 65_536;

/// What glommio 0.9 insists on (`RLIMIT_MEMLOCK`), in bytes.
const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

/// What the ring uses beyond the floor of Linux 6.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// `IORING_SETUP_NO_SQARRAY` (Linux 6.6): one indirection less per submission.
    pub has_no_sqarray: bool,
    /// The ring's descriptor is registered (Linux 5.18): no lookup in each call.
    pub has_registered_fd: bool,
    /// Accepted sockets are in a table of the ring's (direct descriptors, Linux 6.13).
    pub has_direct_descriptors: bool,
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "single_issuer defer_taskrun multishot_accept multishot_recv provided_buffers",
        )?;
        for (name, is_used) in [
            ("no_sqarray", self.has_no_sqarray),
            ("registered_fd", self.has_registered_fd),
            ("direct_descriptors", self.has_direct_descriptors),
        ] {
            if is_used {
                write!(f, " {name}")?;
            }
        }
        Ok(())
    }
}

/// Checks what every shard needs of the machine. glommio would panic where this gives a reason.
pub(crate) fn check_machine() -> Result<(), RuntimeError> {
    probe_ring()?;
    check_memlock()
}

/// Sets a small ring up and frees it again: what a shard's ring could use here.
///
/// # Errors
/// The kernel is too old, or io_uring is denied; the error says by what, and the fix.
pub fn probe_ring() -> Result<Features, RuntimeError> {
    check_release(&release())?;
    let (ring, features) = set_up(8)?;
    check_operations(&ring)?;
    Ok(features)
}

/// Sets a ring up with every flag that this kernel knows.
pub(super) fn set_up(entries: u32) -> Result<(IoUring, Features), RuntimeError> {
    let build = |has_no_sqarray: bool| {
        let mut builder = IoUring::builder();
        builder
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize((entries * COMPLETIONS_PER_ENTRY).min(COMPLETION_ENTRIES_MAX))
            .dontfork();
        if has_no_sqarray {
            builder.setup_no_sqarray();
        }
        let features = Features { has_no_sqarray, ..Features::default() };
        builder.build(entries).map(|ring| (ring, features))
    };
    // EINVAL: a flag that this kernel does not know.
    let built = match build(true) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => build(false),
        built => built,
    };
    built.map_err(|source| RuntimeError::RingDenied { advice: advice(&source), source })
}

fn check_operations(ring: &IoUring) -> Result<(), RuntimeError> {
    let mut probe = io_uring::Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(RuntimeError::Ring)?;
    let needed = [
        opcode::AcceptMulti::CODE,
        opcode::Connect::CODE,
        opcode::RecvMulti::CODE,
        opcode::Send::CODE,
        opcode::Close::CODE,
        opcode::AsyncCancel::CODE,
        opcode::Read::CODE,
        opcode::Timeout::CODE,
    ];
    if needed.iter().all(|code| probe.is_supported(*code)) {
        return Ok(());
    }
    Err(RuntimeError::KernelTooOld { release: release() })
}

/// The cause of a refused ring by its errno, and what to type (`io_uring_setup(2)`).
fn advice(source: &io::Error) -> String {
    let sysctl = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    let sysctl = sysctl.ok().and_then(|value| value.trim().parse().ok());
    advice_for(source.raw_os_error().unwrap_or(0), sysctl)
}

fn advice_for(errno: i32, io_uring_disabled: Option<u32>) -> String {
    match (errno, io_uring_disabled) {
        (libc::EPERM, Some(value @ 1..)) => format!(
            "the sysctl kernel.io_uring_disabled is {value}; as root: \
             sysctl -w kernel.io_uring_disabled=0"
        ),
        (libc::EPERM | libc::EACCES, _) => "a seccomp filter or security policy denies it; \
             Docker: --security-opt seccomp=unconfined (or a profile that allows io_uring_setup, \
             io_uring_enter and io_uring_register); Kubernetes: securityContext.seccompProfile \
             with such a profile; systemd: SystemCallFilter=@aio beside what it has"
            .to_owned(),
        (libc::ENOSYS, _) => "the kernel is built without CONFIG_IO_URING, or a seccomp filter \
             hides it; use a kernel with io_uring, or a profile that allows it"
            .to_owned(),
        (libc::ENOMEM, _) => "locked or kernel memory ran out; shell: ulimit -l 8192; systemd: \
             LimitMEMLOCK=8M; Docker: --ulimit memlock=8388608; Kubernetes: raise the container \
             runtime's LimitMEMLOCK"
            .to_owned(),
        (libc::EMFILE | libc::ENFILE, _) => {
            "the open-file limit is reached; shell: ulimit -n 65535; systemd: LimitNOFILE=65535"
                .to_owned()
        }
        (libc::EINVAL, _) => "this kernel lacks IORING_SETUP_DEFER_TASKRUN, which Linux 6.1 \
             introduced; use a newer kernel"
            .to_owned(),
        _ => "see io_uring_setup(2)".to_owned(),
    }
}

/// Only a release that is certainly older is refused: the probe decides the rest.
fn check_release(release: &str) -> Result<(), RuntimeError> {
    if numbers_of(release).is_some_and(|numbers| numbers < (6, 1)) {
        return Err(RuntimeError::KernelTooOld { release: release.to_owned() });
    }
    Ok(())
}

/// A release's first two numbers, where it begins with them.
fn numbers_of(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// How many direct descriptors each ring has here, `wanted` at most; zero where there are none.
///
/// Before Linux 6.13 a socket that leaves a table is closed only when every operation has ended
/// that began before, on any socket: one idle connection would keep all others half open. What
/// else they need (`IORING_OP_FIXED_FD_INSTALL`, `IORING_ACCEPT_POLL_FIRST`) is older.
pub(crate) fn direct_descriptor_count(wanted: u32) -> u32 {
    let limit = u32::try_from(open_file_limit()).unwrap_or(u32::MAX);
    count_for(&release(), wanted, limit)
}

fn count_for(release: &str, wanted: u32, open_file_limit: u32) -> u32 {
    let closes = numbers_of(release).is_some_and(|numbers| numbers >= (6, 13));
    if closes { wanted.min(open_file_limit).min(Places::COUNT_MAX) } else { 0 }
}

/// The running kernel's release, as `uname -r` prints it.
fn release() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease");
    release.map_or_else(|_| "of an unknown release".to_owned(), |text| text.trim().to_owned())
}

fn check_memlock() -> Result<(), RuntimeError> {
    match soft_limit(libc::RLIMIT_MEMLOCK) {
        Some(limit_bytes) if limit_bytes < MEMLOCK_BYTES_MIN => {
            Err(RuntimeError::MemlockTooLow { limit_bytes, needed_bytes: MEMLOCK_BYTES_MIN })
        }
        _ => Ok(()),
    }
}

/// How many descriptors this process may have open (the soft `RLIMIT_NOFILE`).
pub fn open_file_limit() -> usize {
    let limit = soft_limit(libc::RLIMIT_NOFILE).unwrap_or(1024);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

fn soft_limit(resource: libc::__rlimit_resource_t) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the result.
    let failed = unsafe { libc::getrlimit(resource, &raw mut limit) } != 0;
    (!failed).then_some(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_floor_is_6_1() {
        for release in ["5.15.0-91-generic", "6.0.19", "4.9"] {
            assert!(check_release(release).is_err(), "{release}");
        }
        for release in ["6.1.0-13-amd64", "6.18.44", "10.0", "odd"] {
            assert!(check_release(release).is_ok(), "{release}");
        }
    }

    #[test]
    fn direct_descriptors_need_6_13_and_room() {
        let check = |release, wanted, limit, expected| {
            assert_eq!(count_for(release, wanted, limit), expected, "{release}");
        };
        check("6.12.48", 100, 20_000, 0);
        check("5.15.0-91-generic", 100, 20_000, 0);
        check("odd", 100, 20_000, 0);
        check("6.13.0-rc1", 100, 20_000, 100);
        check("6.18.44", 65_536, 20_000, 20_000);
        check("10.0", u32::MAX, u32::MAX, 1 << 20);
        check("6.18.44", 0, 20_000, 0);
    }

    #[test]
    fn each_refusal_names_its_cause() {
        let check = |errno, sysctl, part: &str| {
            let advice = advice_for(errno, sysctl);
            assert!(advice.contains(part), "{errno}: {advice}");
        };
        check(libc::EPERM, Some(2), "kernel.io_uring_disabled is 2");
        check(libc::EPERM, Some(0), "seccomp");
        check(libc::EPERM, None, "seccomp");
        check(libc::ENOSYS, None, "CONFIG_IO_URING");
        check(libc::ENOMEM, None, "LimitMEMLOCK");
        check(libc::EINVAL, None, "6.1");
    }
}
