//! What the program does besides serving: look at a running engine, and try objectives on recorded data.

mod ask;
mod explain;
mod replay;
mod status;
mod table;

pub(crate) use explain::explain;
pub(crate) use replay::replay;
pub(crate) use status::status;
