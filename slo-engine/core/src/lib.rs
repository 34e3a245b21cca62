//! From measurements to budgets, burn rates and alerts: the part of the engine that neither reads nor writes anything.
//!
//! Data walks down this list; every function takes values and a timestamp and returns values.
//!
//! | room | what enters | what leaves |
//! |---|---|---|
//! | [`openslo`], [`services`] | YAML text | a [`Catalog`](openslo::Catalog) of checked objectives, or located [diagnostics](diagnostic::Diagnostic) |
//! | [`intake`] | OTLP points of one stream | [increments](intake::Increment), or the reason why a point does not count |
//! | [`ledger`] | increments | counts per series and time bucket, sums over any window |
//! | [`recorder`] | points | intake and ledger joined, with the list of records to save |
//! | [`evaluation`], [`burn`] | an objective and the ledger | burn rates, budget left, the state of every alert tier |
//! | [`alert`] | evaluations | transitions of one incident per objective |
//! | [`notification`] | a transition | the body to send and its idempotency key |

pub mod alert;
mod bucket;
pub mod burn;
pub mod checkpoint;
pub mod diagnostic;
pub mod distribution;
pub mod evaluation;
pub mod intake;
mod journal;
pub mod ledger;
mod measured;
pub mod notification;
pub mod objective;
pub mod openslo;
pub mod recorder;
pub mod series;
pub mod services;
pub mod time;
mod track;
mod wire;
mod yaml;
