//! How the states of a shard are made: those of the application and those of its routers.

use std::any::{Any, TypeId};
use std::pin::Pin;
use std::rc::Rc;

use corelane_runtime::Shard;

use crate::error::BoxError;

type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// A state and its type.
pub(crate) type MadeState = (TypeId, Rc<dyn Any>);

/// Makes one kind of state on a shard.
pub(crate) type StateMaker =
    Box<dyn Fn(Rc<Shard>, Reach) -> LocalFuture<Result<MadeState, BoxError>> + Send + Sync>;

/// Who can see a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Everybody on the shard, calls from other shards included.
    Shard,
    /// The routes of one router.
    Router,
}

pub(crate) fn state_maker<T, F>(make: impl Fn(Rc<Shard>) -> F + Send + Sync + 'static) -> StateMaker
where
    T: 'static,
    F: Future<Output = Result<T, BoxError>> + 'static,
{
    Box::new(move |shard, reach| {
        let made = make(Rc::clone(&shard));
        Box::pin(async move {
            let value = Rc::new(made.await?);
            if reach == Reach::Shard {
                shard.set_local(Rc::clone(&value));
            }
            Ok((TypeId::of::<T>(), value as Rc<dyn Any>))
        })
    })
}
