//! Calls between shards, on their own threads.

mod support;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use corelane_runtime::{MeshError, Shard, ShardId, Topology, launch, sleep};
use support::{config, on_shard};

const OTHER: ShardId = ShardId(1);

#[test]
fn a_call_runs_on_the_shard_it_names() {
    let ids = on_shard(config(2), async |shard: Rc<Shard>| {
        let mut ids = Vec::new();
        for target in [ShardId(0), OTHER, OTHER, ShardId(0)] {
            ids.push((target, shard.call(target, Shard::id).await));
        }
        ids
    });
    assert!(ids.iter().all(|(target, id)| *id == Ok(*target)), "{ids:?}");
}

#[test]
fn every_shard_answers_a_gather_in_order() {
    let ids = on_shard(config(2), async |shard: Rc<Shard>| shard.gather(Shard::id).await);
    assert_eq!(ids, Ok(vec![ShardId(0), OTHER]));
}

#[test]
fn there_is_no_shard_with_this_number() {
    on_shard(config(1), async |shard: Rc<Shard>| {
        assert_eq!(shard.call(OTHER, |_| ()).await, Err(MeshError::NoSuchShard));
        assert!(shard.cast(OTHER, |_| ()).is_err());
    });
}

#[test]
fn jobs_of_one_sender_arrive_in_order() {
    let seen = on_shard(config(2), async |shard: Rc<Shard>| {
        for number in 0..1000 {
            let job = move |shard: &Shard| seen_numbers(shard).borrow_mut().push(number);
            shard.cast(OTHER, job).expect("room for all");
        }
        let read = |shard: &Shard| seen_numbers(shard).borrow().clone();
        shard.call(OTHER, read).await.expect("reply")
    });
    assert!(seen.iter().copied().eq(0..1000), "{seen:?}");
}

fn seen_numbers(shard: &Shard) -> Rc<RefCell<Vec<u32>>> {
    shard.local().unwrap_or_else(|| {
        let seen = Rc::default();
        shard.set_local(Rc::clone(&seen));
        seen
    })
}

#[test]
fn a_full_inbox_gives_a_cast_back_and_lets_a_call_wait() {
    let mut config = config(2);
    config.shard.mesh_job_count_max = 4;
    on_shard(config, async |shard: Rc<Shard>| {
        let (release, is_released) = mpsc::channel::<()>();
        let (started, has_started) = mpsc::channel();
        let block = move |_: &Shard| {
            started.send(()).expect("somebody waits");
            // Ends with the sender, too.
            let _ = is_released.recv();
        };
        shard.cast(OTHER, block).expect("an empty inbox");
        has_started.recv().expect("the other shard runs");
        for _ in 0..4 {
            shard.cast(OTHER, |_| ()).expect("room");
        }
        let (unharmed, result) = mpsc::channel();
        let refused = shard.cast(OTHER, move |shard| unharmed.send(shard.id()).expect("receiver"));
        refused.expect_err("the inbox is full").0(&shard);
        assert_eq!(result.recv(), Ok(ShardId(0)));
        let mut call = Box::pin(shard.call(OTHER, Shard::id));
        let waited = futures_util::future::select(&mut call, Box::pin(sleep(Duration::ZERO)));
        assert!(matches!(waited.await, futures_util::future::Either::Right(_)));
        drop(release);
        assert_eq!(call.await, Ok(OTHER));
    });
}

#[test]
fn a_job_that_panics_gives_no_reply_and_harms_nothing() {
    on_shard(config(2), async |shard: Rc<Shard>| {
        for target in [ShardId(0), OTHER] {
            let call = shard.call(target, |_| panic!("expected"));
            assert_eq!(call.await, Err::<(), _>(MeshError::NoReply));
            let panics = shard.call(target, |shard| shard.stats().panics.value());
            assert_eq!(panics.await, Ok(1));
        }
    });
}

#[test]
fn a_shard_that_sleeps_is_woken() {
    on_shard(config(2), async |shard: Rc<Shard>| {
        let stats = |shard: &Shard| Arc::clone(shard.stats());
        let stats = shard.call(OTHER, stats).await.expect("reply");
        for _ in 0..50 {
            let before = stats.parks.value();
            assert_eq!(shard.call(OTHER, Shard::id).await, Ok(OTHER));
            // It parks again some time after the call, and stays so until the next one.
            while stats.parks.value() == before {
                sleep(Duration::from_millis(1)).await;
            }
        }
    });
}

#[test]
fn a_broadcast_reaches_every_shard() {
    on_shard(config(2), async |shard: Rc<Shard>| {
        for _ in 0..3 {
            shard.broadcast(|shard| seen_numbers(shard).borrow_mut().push(1)).await.expect("sent");
        }
        let seen = shard.gather(|shard| seen_numbers(shard).borrow().len()).await;
        assert_eq!(seen, Ok(vec![3, 3]));
    });
}

#[test]
fn a_call_can_use_the_other_shards_state() {
    on_shard(config(2), async |shard: Rc<Shard>| {
        for target in [ShardId(0), OTHER] {
            let keep = |shard: &Shard| drop(shard.set_local(Rc::new(shard.id().0 + 10)));
            shard.call(target, keep).await.expect("reply");
            let state = shard.call_state(target, |state: &usize| *state * 2);
            assert_eq!(state.await, Ok((target.0 + 10) * 2));
            let missing = shard.call_state(target, |state: &String| state.len());
            assert_eq!(missing.await, Err(MeshError::NoSuchState));
        }
    });
}

#[test]
fn a_job_whose_caller_has_gone_still_runs() {
    on_shard(config(2), async |shard: Rc<Shard>| {
        let (sender, ran) = mpsc::channel();
        for number in 0..10 {
            let sender = sender.clone();
            let mut call = Box::pin(shard.call(OTHER, move |_| sender.send(number)));
            assert!(futures_util::FutureExt::now_or_never(&mut call).is_none());
        }
        drop(sender);
        assert!(ran.iter().eq(0..10), "all of them, in order");
    });
}

#[test]
fn other_threads_send_jobs_and_wait_for_results() {
    let config = config(2).checked(&Topology::detect()).expect("config");
    let handle = launch(&config, |_| async { Ok(()) }).expect("launch");
    let mesh = handle.mesh();
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let mesh = mesh.clone();
            std::thread::spawn(move || {
                for number in 0..100 {
                    let target = ShardId(number % 2);
                    assert_eq!(mesh.call(target, Shard::id), Ok(target));
                }
            })
        })
        .collect();
    callers.into_iter().for_each(|caller| caller.join().expect("caller"));
    assert_eq!(mesh.call(ShardId(2), Shard::id), Err(MeshError::NoSuchShard));
    assert_eq!(mesh.call(OTHER, |_| panic!("expected")), Err::<(), _>(MeshError::NoReply));
    handle.stopper().stop();
    handle.join().expect("join");
    assert_eq!(mesh.call(OTHER, Shard::id), Err(MeshError::NoReply));
    let (sender, unharmed) = mpsc::channel();
    assert!(mesh.cast(OTHER, move |_| sender.send(()).expect("receiver")).is_err());
    assert_eq!(unharmed.recv().ok(), None, "the job was given back, and dropped here");
}
