//! What time it is, as a value that is handed around. The only clock that reads the machine's is made in `app`.

use pqscope_slo_core::time::Timestamp;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Tells the time, and how much of it has passed.
#[derive(Clone)]
pub(crate) struct Clock {
    wall: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    elapsed: Arc<dyn Fn() -> Duration + Send + Sync>,
}

impl Clock {
    /// A clock that asks `wall` for the time, and `elapsed` for the time since some beginning, which nobody can set.
    pub(crate) fn new(
        wall: impl Fn() -> Timestamp + Send + Sync + 'static,
        elapsed: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        Self { wall: Arc::new(wall), elapsed: Arc::new(elapsed) }
    }

    /// The time.
    pub(crate) fn now(&self) -> Timestamp {
        (self.wall)()
    }

    /// Time since some beginning.
    pub(crate) fn running(&self) -> Duration {
        (self.elapsed)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
