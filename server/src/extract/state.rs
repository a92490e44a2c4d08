//! The shard's own state.

use std::any::type_name;
use std::ops::Deref;
use std::rc::Rc;

use corelane_runtime::ConfigError;
use http::StatusCode;

use super::{Exchange, FromRequest, Scope};
use crate::problem::Problem;

/// The value that [`App::state`](crate::App::state) or [`Router::state`](crate::Router::state) made
/// on this shard; that of the innermost router wins. Cloning it is cheap, and it may be kept across
/// `.await`; interior changes go through `Cell` or `RefCell`.
#[derive(Debug)]
pub struct State<T>(
    /// The value, shared with every other handler of this shard.
    pub Rc<T>,
);

impl<T> Clone for State<T> {
    fn clone(&self) -> State<T> {
        State(Rc::clone(&self.0))
    }
}

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: 'static> FromRequest for State<T> {
    type Rejection = Problem;

    fn from_request(exchange: &mut Exchange<'_>) -> Result<State<T>, Problem> {
        let state = exchange.state().map(State);
        // Checked when the shard started; gone only where the application replaced it since.
        state.ok_or_else(|| Problem::new(StatusCode::INTERNAL_SERVER_ERROR))
    }

    fn check(scope: &Scope<'_>) -> Result<(), ConfigError> {
        if scope.state::<T>().is_some() {
            return Ok(());
        }
        let name = type_name::<T>();
        let problem = format!("a handler takes State<{name}>; make one with App::state");
        Err(ConfigError::new("state", problem))
    }
}
