//! Where another thread of this process is: its backtrace, taken by a signal.
//!
//! ```text
//!   watching thread                 the other thread
//!   Wanted ── SIGURG ────────────►  handler: walks the stack, writes the addresses
//!     ▲                                │
//!     └───────── Taken ◄───────────────┘      then the watching thread looks names up
//! ```
//!
//! The handler allocates nothing, takes no lock, and touches atomics only. It walks the stack with
//! the unwinder of the language (`_Unwind_Backtrace`), which finds its tables without a lock since
//! glibc 2.35 (`_dl_find_object`). Names and lines are looked up by the thread that asked.
//!
//! SIGURG, as in Go's runtime: it is ignored where nobody handles it, debuggers pass it on, and
//! hardly anybody uses it. A handler that was there before is called as well.

use std::fmt::Write;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use signal_hook::consts::SIGURG;

/// Frames that are kept; the innermost ones.
const FRAME_COUNT_MAX: usize = 64;

/// How long the other thread may take to answer: it may have been denied its CPU.
const PATIENCE: Duration = Duration::from_millis(100);

/// The thread whose backtrace is wanted, zero for none; and what it wrote.
static WANTED: AtomicI32 = AtomicI32::new(0);
static FRAMES: [AtomicUsize; FRAME_COUNT_MAX] = [const { AtomicUsize::new(0) }; FRAME_COUNT_MAX];
static FRAME_COUNT: AtomicUsize = AtomicUsize::new(0);

/// One question at a time.
static ASKING: Mutex<()> = Mutex::new(());

/// The backtrace of a thread of this process, in words; `None` where it did not answer.
pub(crate) fn of_thread(thread: i32) -> Option<String> {
    let asking = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
    static HANDLER: Once = Once::new();
    HANDLER.call_once(|| {
        // SAFETY: `on_signal` is safe in a signal handler: see there. Where it can not be
        // installed the signal is ignored, and nobody answers.
        let _ = unsafe { signal_hook::low_level::register(SIGURG, on_signal) };
    });
    WANTED.store(thread, Ordering::Release);
    // SAFETY: a system call on numbers. Where the thread has gone the call fails; where its number
    // was used again, by a thread of this process, that one answers.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, SIGURG) };
    let start = Instant::now();
    while WANTED.load(Ordering::Acquire) != 0 {
        if start.elapsed() > PATIENCE {
            // From here on the thread no longer answers; unless it is just doing so.
            let _ = WANTED.compare_exchange(thread, 0, Ordering::AcqRel, Ordering::Acquire);
            return None;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    let count = FRAME_COUNT.load(Ordering::Acquire).min(FRAME_COUNT_MAX);
    let frames: Vec<_> = FRAMES[..count].iter().map(|f| f.load(Ordering::Relaxed)).collect();
    drop(asking);
    Some(describe(&frames))
}

/// Runs on the thread that was asked, at whatever point of its code.
fn on_signal() {
    // SAFETY: gettid(2) touches no memory, and `__errno_location` gives this thread's own errno,
    // which the interrupted code must find as it was.
    let (thread, errno) = unsafe { (libc::gettid(), *libc::__errno_location()) };
    if WANTED.load(Ordering::Acquire) != thread {
        return;
    }
    let mut count = 0;
    let keep = |frame: &backtrace::Frame| {
        FRAMES[count].store(frame.ip() as usize, Ordering::Relaxed);
        count += 1;
        count < FRAME_COUNT_MAX
    };
    // SAFETY: not synchronised with other traces: the lock that `trace` takes may be held by the
    // interrupted code, and only guards the lookup of names, which is not done here.
    unsafe { backtrace::trace_unsynchronized(keep) };
    FRAME_COUNT.store(count, Ordering::Release);
    WANTED.store(0, Ordering::Release);
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// One line a frame, from where the signal came in to where the shard polls its tasks.
fn describe(frames: &[usize]) -> String {
    let mut lines = Vec::new();
    for (index, address) in frames.iter().enumerate() {
        // A return address may lie behind the last byte of its caller; the call does not.
        let address = address.wrapping_sub(usize::from(index > 0));
        backtrace::resolve(address as *mut std::ffi::c_void, |symbol| {
            let Some(name) = symbol.name() else { return };
            let mut line = format!("{name:#}");
            if let (Some(file), Some(number)) = (symbol.filename(), symbol.lineno()) {
                let _ = write!(line, " ({}:{number})", file.display());
            }
            lines.push(line);
        });
    }
    give_tables_back();
    let is_handler = |line: &String| line.contains("signal_hook_registry");
    let first = lines.iter().rposition(is_handler).map_or(0, |index| index + 1);
    let is_shard = |line: &String| line.contains("task::Tasks::run_next");
    let last = lines.iter().position(is_shard).unwrap_or(lines.len());
    lines.get(first..last).unwrap_or(&lines).join("\n    in ")
}

/// The tables of names take tens of megabytes, and the next stall may be far away.
fn give_tables_back() {
    backtrace::clear_symbol_cache();
    // glibc keeps what a thread has freed for that thread, which need not ask again for hours.
    // SAFETY: takes a number (malloc_trim(3)). Where another allocator serves the program there is
    // nothing to be trimmed.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
