//! The engine's own page.

use crate::keeper::View;
use crate::notify::DeliveryFigures;
use maud::{DOCTYPE, Markup, html};
use pqscope_slo_core::time::Timestamp;

pub(crate) const STYLE: &str = "";

pub(crate) fn page(view: &View, deliveries: &DeliveryFigures, now: Timestamp) -> Markup {
    let _ = (view, deliveries, now);
    html! { (DOCTYPE) html {} }
}
