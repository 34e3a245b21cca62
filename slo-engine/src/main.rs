//! Service level objectives, error budgets and pages for post-quantum migrations.

mod arguments;
mod ingest;
mod store;

fn main() {}
