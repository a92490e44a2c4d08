//! Disk files: what they read and write, what their errors say, and that they block nobody.

mod support;

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use corelane_runtime::fs::{File, FileError, OpenOptions, READ_BYTES_MAX};
use corelane_runtime::{Config, sleep};
use support::{config, on_shard, pattern};

/// Far beyond the bound of any test: whoever waits for it has failed.
const FOREVER: Duration = Duration::from_secs(3600);

fn file_with(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("file");
    std::fs::write(&path, bytes).expect("write");
    (directory, path)
}

/// A configuration in which glommio is looked at for the sake of files alone.
fn patient_config() -> Config {
    let mut config = config(1);
    (config.shard.block_max, config.shard.reactor_period) = (FOREVER, FOREVER);
    config
}

#[test]
fn reads_are_cut_off_at_the_end_of_the_file_and_at_the_bound() {
    let bytes = pattern(1, READ_BYTES_MAX + 5000);
    let (_directory, path) = file_with(&bytes);
    on_shard(patient_config(), move |_| {
        let (path, bytes) = (path.clone(), bytes.clone());
        async move {
            let file = File::open(&path).await.expect("open");
            let size = bytes.len();
            assert_eq!(file.size().expect("size"), size as u64);
            let cases = [(0, 10), (4095, 2), (1, 100_000), (size - 3, 10), (size, 1), (7, 0)];
            for (offset, count) in cases {
                let read = file.read_at(offset as u64, count).await.expect("read");
                assert_eq!(*read, bytes[offset..size.min(offset + count)], "{count} at {offset}");
            }
            let read = file.read_at(3, usize::MAX).await.expect("read");
            assert_eq!(*read, bytes[3..READ_BYTES_MAX + 3]);
            file.close().await.expect("close");
        }
    });
}

#[test]
fn what_is_written_is_read_again() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("new");
    on_shard(config(1), move |_| {
        let path = path.clone();
        async move {
            let file = OpenOptions::new().read().write().create_new().mode(0o600);
            let file = file.open(&path).await.expect("create");
            assert_eq!(file.write_at(3, b"body".to_vec()).await.expect("write"), 4);
            assert_eq!(file.write_at(0, b"the".to_vec()).await.expect("write"), 3);
            file.sync().await.expect("sync");
            assert_eq!(*file.read_at(0, 100).await.expect("read"), *b"thebody");
            assert_eq!(file.size().expect("size"), 7);
            file.close().await.expect("close");

            let log = OpenOptions::new().append().open(&path).await.expect("open");
            log.write_at(0, b"!".to_vec()).await.expect("append");
            assert_eq!(std::fs::read(&path).expect("read"), b"thebody!");
            drop(File::create(&path).await.expect("create"));
            assert_eq!(std::fs::read(&path).expect("read"), b"");
        }
    });
}

fn check_error(error: FileError, path: &Path, text: &str, errno: Option<i32>) {
    let expected = format!("can not {text}").replace("PATH", &path.display().to_string());
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert_eq!((error.path(), error.errno()), (path, errno));
}

#[test]
fn errors_name_the_operation_and_the_path() {
    let (directory, path) = file_with(b"x");
    let folder = directory.path().to_owned();
    on_shard(config(1), move |_| {
        let (directory, path) = (folder.clone(), path.clone());
        async move {
            let missing = directory.join("missing");
            let error = File::open(&missing).await.expect_err("missing");
            check_error(error, &missing, "open PATH: No such file", Some(libc::ENOENT));
            let file = File::open(&path).await.expect("open");
            let error = file.write_at(0, vec![1]).await.expect_err("read only");
            check_error(error, &path, "write PATH: Bad file descriptor", Some(libc::EBADF));
            let folder = File::open(&directory).await.expect("open");
            let error = folder.read_at(0, 1).await.expect_err("a directory");
            check_error(error, &directory, "read PATH: Is a directory", Some(libc::EISDIR));
            let zero = Path::new("a\0b");
            let error = File::open(zero).await.expect_err("a zero byte");
            check_error(error, zero, "open PATH: the path has a zero byte", None);
            let error = OpenOptions::new().open(&path).await.expect_err("neither way");
            check_error(error, &path, "open PATH: Invalid argument", Some(libc::EINVAL));
        }
    });
}

/// A pipe is the coldest file there is: a read of it lasts until somebody writes.
fn cold_file() -> (File, std::io::PipeWriter) {
    let (reader, writer) = std::io::pipe().expect("pipe");
    (File::from_descriptor(OwnedFd::from(reader), "pipe"), writer)
}

#[test]
fn a_read_that_waits_blocks_neither_the_shard_nor_other_reads() {
    let (_directory, path) = file_with(b"warm");
    on_shard(config(1), move |shard| {
        let path = path.clone();
        async move {
            let (cold, mut writer) = cold_file();
            let (sender, receiver) = futures_channel::oneshot::channel();
            shard.spawn(async move {
                let _ = sender.send(cold.read_at(0, 4).await.expect("read").to_vec());
            });
            shard.yield_now().await;
            for _ in 0..100 {
                let warm = File::open(&path).await.expect("open");
                assert_eq!(*warm.read_at(0, 10).await.expect("read"), *b"warm");
                warm.close().await.expect("close");
            }
            sleep(Duration::from_millis(3)).await;
            writer.write_all(b"cold").expect("write");
            assert_eq!(receiver.await.expect("the task ended"), b"cold");
        }
    });
}

/// Reads from the disk itself: the cache is emptied first. Had the shard waited for the disk, the
/// read that began first would have ended first.
#[test]
fn a_warm_read_overtakes_a_cold_one() {
    const COLD_BYTES: usize = 64 << 20;
    let (_warm_directory, warm) = file_with(b"warm");
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("directory");
    let path = directory.path().join("cold");
    let cold = std::fs::File::create_new(&path).expect("create");
    for offset in (0..COLD_BYTES).step_by(1 << 20) {
        cold.write_all_at(&pattern(offset, 1 << 20), offset as u64).expect("write");
    }
    cold.sync_all().expect("sync");
    rustix::fs::fadvise(&cold, 0, None, rustix::fs::Advice::DontNeed).expect("forget");
    on_shard(config(1), move |shard| {
        let (warm, path) = (warm.clone(), path.clone());
        async move {
            let warm = File::open(&warm).await.expect("open");
            let cold = Rc::new(File::open(&path).await.expect("open"));
            let reads = (0..COLD_BYTES).step_by(1 << 20).map(|offset| {
                let cold = Rc::clone(&cold);
                async move { cold.read_at(offset as u64, 1 << 20).await.map(|read| read.len()) }
            });
            let (sender, mut receiver) = futures_channel::oneshot::channel();
            let reads = futures_util::future::try_join_all(reads);
            shard.spawn(async move {
                let _ = sender.send(reads.await.expect("read"));
            });
            shard.yield_now().await;
            assert_eq!(*warm.read_at(0, 10).await.expect("read"), *b"warm");
            assert_eq!(receiver.try_recv(), Ok(None), "the cold read ended first");
            let sizes = receiver.await.expect("the task ended");
            assert_eq!(sizes.iter().sum::<usize>(), COLD_BYTES);
        }
    });
}

#[test]
fn a_busy_shard_attends_to_its_files() {
    let (_directory, path) = file_with(b"warm");
    on_shard(patient_config(), move |shard| {
        let path = path.clone();
        let spinner = Rc::clone(&shard);
        shard.spawn(async move {
            loop {
                spinner.yield_now().await;
            }
        });
        async move {
            let file = File::open(&path).await.expect("open");
            assert_eq!(*file.read_at(0, 10).await.expect("read"), *b"warm");
        }
    });
}

/// glommio wakes it while the shard sleeps, before the shard has read its clock again.
#[test]
fn a_task_that_a_file_wakes_sees_the_present() {
    const NAP: Duration = Duration::from_millis(20);
    on_shard(config(1), |shard| async move {
        let (cold, mut writer) = cold_file();
        let start = shard.now();
        std::thread::spawn(move || {
            std::thread::sleep(NAP);
            writer.write_all(b"x").expect("write");
        });
        assert_eq!(*cold.read_at(0, 9).await.expect("read"), *b"x");
        assert!(shard.now() - start >= NAP, "{:?}", shard.now() - start);
    });
}

#[test]
fn a_read_that_is_given_up_harms_nobody() {
    on_shard(config(1), |_| async {
        for _ in 0..10 {
            let (cold, mut writer) = cold_file();
            let patience = Box::pin(sleep(Duration::from_millis(2)));
            let read = Box::pin(cold.read_at(0, 4096));
            drop(futures_util::future::select(read, patience).await);
            writer.write_all(&[1; 4096]).expect("write");
            drop(cold);
        }
    });
}

/// The shard ends although nobody ever writes to the pipe.
#[test]
fn a_shard_ends_with_a_read_under_way() {
    on_shard(config(1), |shard| async move {
        let (cold, writer) = cold_file();
        shard.spawn(async move {
            let _ = cold.read_at(0, 4096).await;
            drop(writer);
        });
        sleep(Duration::from_millis(2)).await;
    });
}
