//! Work off the shards: results, panics, a full queue, callers that go away.

mod support;

use std::sync::mpsc;
use std::time::Duration;

use corelane_runtime::{
    Config, OffloadConfig, OffloadError, OffloadFull, Shard, Topology, launch, offload, sleep,
    try_offload,
};
use futures_util::FutureExt;
use support::{config, eventually, on_shard};

/// One thread, and one job that may wait for it.
fn narrow() -> Config {
    let offload = OffloadConfig { thread_count: 1, job_count_max: 1, ..OffloadConfig::default() };
    Config { offload, ..config(1) }
}

/// A job that says when it begins, and lasts until it is told to end.
fn held_job() -> (impl FnOnce() -> u32 + Send, mpsc::Receiver<()>, mpsc::Sender<u32>) {
    let ((begins, begun), (end, ends)) = (mpsc::channel(), mpsc::channel());
    let job = move || {
        let _ = begins.send(());
        ends.recv().unwrap_or(0)
    };
    (job, begun, end)
}

#[test]
fn a_result_comes_back_from_a_thread_off_the_shards_cpus() {
    let topology = Topology::detect();
    let (name, cpus) = on_shard(config(1), |_| async {
        let job = || {
            let mask = rustix::thread::sched_getaffinity(None).expect("mask");
            let cpus: Vec<_> = (0..1024).filter(|cpu| mask.is_set(*cpu)).collect();
            (std::thread::current().name().map(str::to_owned), cpus)
        };
        offload(job).await.expect("result")
    });
    assert!(name.is_some_and(|name| name.starts_with("offload-")));
    let mut others = topology.cpus();
    if others.len() > 1 {
        others.remove(0);
    }
    assert_eq!(cpus, others);
}

#[test]
fn a_panic_is_an_error_and_the_thread_goes_on() {
    on_shard(narrow(), |_| async {
        for number in 0..3 {
            let panicked = offload(move || assert_eq!(number, 9, "expected")).await;
            let Err(OffloadError::Panicked(text)) = panicked else { panic!("{panicked:?}") };
            assert!(text.contains("expected"), "{text}");
            assert_eq!(offload(move || number).await, Ok(number));
        }
    });
}

#[test]
fn a_full_queue_gives_the_job_back_or_lets_its_caller_wait() {
    on_shard(narrow(), |shard| async move {
        let (running, begun, end) = held_job();
        let running = try_offload(running).expect("an idle thread");
        offload_begun(begun).await;
        let queued = try_offload(|| "queued").expect("room for one");
        let text = "mine".to_owned();
        let Err(OffloadFull(job)) = try_offload(move || text) else { panic!("no room") };
        assert_eq!(job(), "mine", "the job is as it was");
        assert_eq!(shard.stats().offloads_rejected.value(), 1);

        let mut waiting = Box::pin(offload(|| "waited"));
        assert!((&mut waiting).now_or_never().is_none());
        sleep(Duration::from_millis(2)).await;
        assert!((&mut waiting).now_or_never().is_none(), "the shard lives, the caller waits");
        end.send(7).expect("the job waits");
        assert_eq!(running.await, Ok(7));
        assert_eq!(queued.await, Ok("queued"));
        assert_eq!(waiting.await, Ok("waited"));
    });
}

/// Waits for a held job on the shard without blocking it.
async fn offload_begun(begun: mpsc::Receiver<()>) {
    while begun.try_recv().is_err() {
        sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn a_job_whose_caller_has_gone_is_skipped_unless_it_runs() {
    let (sender, results) = mpsc::channel();
    let start = move |shard: std::rc::Rc<Shard>| {
        let sender = sender.clone();
        async move {
            shard.spawn(async move {
                let (running, begun, end) = held_job();
                let dropped = sender.clone();
                let running = try_offload(move || {
                    running();
                    let _ = dropped.send("ran to its end");
                });
                offload_begun(begun).await;
                let skipped = sender.clone();
                let queued = try_offload(move || {
                    let _ = skipped.send("was not skipped");
                });
                let mut never_sent = Box::pin(offload({
                    let sender = sender.clone();
                    move || {
                        let _ = sender.send("was taken back too late");
                    }
                }));
                assert!((&mut never_sent).now_or_never().is_none());
                drop((running.expect("running"), queued.expect("queued"), never_sent));
                end.send(1).expect("the job waits");
            });
            Ok(())
        }
    };
    let checked = narrow().checked(&Topology::detect()).expect("config");
    let handle = launch(&checked, start).expect("launch");
    assert_eq!(results.recv(), Ok("ran to its end"));
    eventually(|| handle.offload_stats().skipped == 1);
    let stats = handle.offload_stats();
    assert_eq!((stats.queued, stats.running, stats.finished, stats.panicked), (0, 0, 1, 0));
    handle.stopper().stop();
    handle.join().expect("join");
    assert_eq!(results.try_recv().ok(), None);
}

#[test]
fn a_job_that_never_ends_does_not_keep_the_runtime() {
    let (running, begun, _end) = held_job();
    let running = std::sync::Mutex::new(Some((running, begun)));
    let running = std::sync::Arc::new(running);
    on_shard(narrow(), move |shard| {
        let (running, begun) = running.lock().expect("lock").take().expect("once");
        shard.spawn(async move {
            let _ = offload(running).await;
        });
        offload_begun(begun)
    });
}

#[test]
fn bounds_are_checked() {
    let check = |offload: OffloadConfig, key: &str| {
        let config = Config { offload, ..config(1) };
        let error = config.checked(&Topology::detect()).expect_err("out of bounds");
        assert_eq!(error.key, key);
    };
    let config = OffloadConfig::default;
    check(OffloadConfig { thread_count: 0, ..config() }, "offload.thread_count");
    check(OffloadConfig { thread_count: 1025, ..config() }, "offload.thread_count");
    check(OffloadConfig { job_count_max: 0, ..config() }, "offload.job_count_max");
    check(OffloadConfig { nice: 20, ..config() }, "offload.nice");
}
