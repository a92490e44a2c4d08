//! Values that middleware attaches to a request, for the handler and other middleware.

use std::any::{Any, TypeId, type_name};
use std::ops::Deref;
use std::rc::Rc;

use http::StatusCode;

use super::{Exchange, FromRequest};
use crate::problem::Problem;

/// One value per type, made by [`Exchange::insert`]. Without any, which is nearly always, there is
/// no list to be made or dropped.
#[derive(Default)]
pub(crate) struct Extensions(Option<Box<List>>);

type List = Vec<(TypeId, Rc<dyn Any>)>;

impl Extensions {
    pub(crate) fn insert(&mut self, id: TypeId, value: Rc<dyn Any>) {
        let list = self.0.get_or_insert_default();
        list.retain(|(known, _)| *known != id);
        list.push((id, value));
    }

    pub(crate) fn find<T: 'static>(&self) -> Option<Rc<T>> {
        let (_, value) = self.0.as_ref()?.iter().find(|(id, _)| *id == TypeId::of::<T>())?;
        Rc::clone(value).downcast().ok()
    }
}

/// A value that middleware attached to this request with [`Exchange::insert`].
///
/// A handler that takes one which nobody attached is answered with 500, and the log says which.
/// Take `Option<Extension<T>>` where it may be missing.
#[derive(Debug)]
pub struct Extension<T>(
    /// The value, shared with whoever else holds it.
    pub Rc<T>,
);

impl<T> Clone for Extension<T> {
    fn clone(&self) -> Extension<T> {
        Extension(Rc::clone(&self.0))
    }
}

impl<T> Deref for Extension<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: 'static> FromRequest for Extension<T> {
    type Rejection = Problem;

    fn from_request(exchange: &mut Exchange<'_>) -> Result<Extension<T>, Problem> {
        exchange.extension::<T>().map(Extension).ok_or_else(|| {
            tracing::error!(r#type = type_name::<T>(), "no middleware attached this extension");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR)
        })
    }
}
