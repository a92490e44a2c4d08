//! What a route can reach on its shard: the shard itself, and the states of its groups.

use std::any::{Any, TypeId};
use std::rc::Rc;

use corelane_runtime::Shard;

/// States of a route's groups, by type; the innermost group's come first.
#[derive(Clone, Default)]
pub(crate) struct States(pub(crate) Vec<(TypeId, Rc<dyn Any>)>);

impl States {
    fn find<T: 'static>(&self) -> Option<Rc<T>> {
        let (_, value) = self.0.iter().find(|(id, _)| *id == TypeId::of::<T>())?;
        Rc::clone(value).downcast().ok()
    }
}

/// What handlers and middleware of one route can rely on, on one shard.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    pub(crate) shard: &'a Rc<Shard>,
    pub(crate) states: &'a Rc<States>,
}

impl<'a> Scope<'a> {
    /// The shard.
    pub fn shard(&self) -> &'a Rc<Shard> {
        self.shard
    }

    /// The state of this type: of the innermost group that has one, else the application's.
    pub fn state<T: 'static>(&self) -> Option<Rc<T>> {
        self.states.find().or_else(|| self.shard.local())
    }
}

impl std::fmt::Debug for Scope<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scope").field("shard", &self.shard.id()).finish_non_exhaustive()
    }
}
