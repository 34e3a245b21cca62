//! Frames with their times, from files or from interfaces. Nothing here looks into a frame.

pub(crate) mod file;
#[cfg(feature = "live")]
pub(crate) mod filter;
#[cfg(feature = "live")]
pub(crate) mod live;
