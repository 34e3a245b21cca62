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
//! | [`coverage`] | the services file, and what was heard of | what should be measured and is not |
//! | [`adapter`] | lines of other programs' logs | events and handshakes that they report |
//! | [`event`] | events that senders tell | counts, each event once; outcomes of planned rotations |
//! | [`measure`], [`slices`], [`exclusion`] | an objective and the ledger | the events of each of its windows |
//! | [`evaluation`], [`burn`], [`spike`] | an objective and its measurements | burn rates, budget left, the verdict of every alert condition |
//! | [`alert`] | evaluations | transitions of one incident per objective |
//! | [`promql`] | an indicator | queries for a PromQL back end |
//! | [`rules`] | an objective | recording and alerting rules for Prometheus |
//! | [`notification`] | a transition | the body to send and its idempotency key |

pub mod adapter;
pub mod alert;
mod bucket;
pub mod burn;
pub mod checkpoint;
pub mod coverage;
pub mod detection;
pub mod diagnostic;
pub mod distribution;
pub mod evaluation;
pub mod event;
pub mod exclusion;
pub mod intake;
mod journal;
pub mod ledger;
pub mod measure;
mod measured;
pub mod notification;
pub mod objective;
pub mod openslo;
pub mod period;
pub mod promql;
pub mod quantile;
pub mod recorder;
pub mod replay;
pub mod rules;
pub mod selection;
pub mod series;
pub mod services;
pub mod slices;
pub mod spike;
pub mod time;
mod track;
mod wire;
mod yaml;
