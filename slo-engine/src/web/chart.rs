//! The chart of one objective: share of bad events by the step.

use super::format::percent;
use maud::{Markup, html};
use pqscope_slo_core::evaluation::ChartPoint;
use pqscope_slo_core::time::Timestamp;

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 52.0;
const BOTTOM: f64 = 20.0;
const TOP: f64 = 10.0;
/// Height of the mark of a step that had events and no bad one.
const CLEAN_HEIGHT: f64 = 2.5;

/// Draws the steps, with a dashed line at `threshold`, the share of bad events at which somebody is paged.
pub(super) fn error_ratio(points: &[ChartPoint], threshold: Option<f64>, now: Timestamp) -> Markup {
    let Some(first) = points.first() else { return html! {} };
    let worst = points.iter().filter_map(share).fold(0.0, f64::max);
    let scale = round_up(worst.max(threshold.unwrap_or(0.0) * 1.25).max(0.001));
    let bottom = HEIGHT - BOTTOM;
    let height_of = |share: f64| (share / scale).clamp(0.0, 1.0) * (bottom - TOP);
    let step = (WIDTH - LEFT) / float(points.len());
    let minutes = (now.since(first.from).as_secs() + 30) / 60;
    let summary = format!("Share of bad events over the last {minutes} minutes, at most {}.", percent(worst));
    html! {
        svg.chart viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(summary) preserveAspectRatio="none" {
            @for part in [0.0, 0.5, 1.0] {
                @let y = bottom - part * (bottom - TOP);
                line.grid x1=(LEFT) x2=(WIDTH) y1=(tenth(y)) y2=(tenth(y)) {}
                text.label x=(LEFT - 6.0) y=(tenth(y + 3.5)) text-anchor="end" { (percent(part * scale)) }
            }
            @for (position, point) in points.iter().enumerate() {
                @let x = LEFT + float(position) * step;
                @match share(point) {
                    None => {}
                    Some(share) if share == 0.0 => rect.clean x=(tenth(x)) y=(tenth(bottom - CLEAN_HEIGHT)) width=(tenth(step * 0.8)) height=(CLEAN_HEIGHT) {}
                    Some(share) => {
                        @let height = height_of(share).max(CLEAN_HEIGHT);
                        rect.bad x=(tenth(x)) y=(tenth(bottom - height)) width=(tenth(step * 0.8)) height=(tenth(height)) {
                            title { (point.from) ": " (percent(share)) " bad, " (point.tally.bad) " of " (point.tally.total) }
                        }
                    }
                }
            }
            @if let Some(threshold) = threshold.filter(|threshold| *threshold <= scale) {
                @let y = tenth(bottom - height_of(threshold));
                line.threshold x1=(LEFT) x2=(WIDTH) y1=(y) y2=(y) {}
            }
            text.label x=(LEFT) y=(HEIGHT - 4.0) { (minutes) " min ago" }
            text.label x=(WIDTH) y=(HEIGHT - 4.0) text-anchor="end" { "now" }
        }
    }
}

fn share(point: &ChartPoint) -> Option<f64> {
    point.tally.good_share().map(|good| (1.0 - good).clamp(0.0, 1.0))
}

/// The next of 1, 2, 5, 10 times a power of ten, at most 1.
fn round_up(share: f64) -> f64 {
    let magnitude = 10_f64.powf(share.log10().floor());
    let rounded = [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * magnitude).find(|step| *step >= share);
    rounded.unwrap_or(1.0).min(1.0)
}

fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[expect(clippy::cast_precision_loss, reason = "a chart has some dozens of steps")]
const fn float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use pqscope_slo_core::burn::Tally;

    fn points(tallies: &[(u64, u64)]) -> Vec<ChartPoint> {
        let point = |(minute, (good, total)): (usize, &(u64, u64))| ChartPoint {
            from: Timestamp::from_seconds(60 * minute as u64),
            tally: Tally::of_good(*good, *total),
        };
        tallies.iter().enumerate().map(point).collect()
    }

    #[test]
    fn a_step_without_events_leaves_a_gap() {
        let now = Timestamp::from_seconds(240);
        let drawn =
            error_ratio(&points(&[(10, 10), (0, 0), (7, 10), (0, 0)]), Some(0.0144), now).into_string();
        assert_eq!(drawn.matches("<rect").count(), 2);
        assert_eq!(drawn.matches("class=\"bad\"").count(), 1);
        assert!(drawn.contains("30 % bad, 3 of 10"));
        assert!(drawn.contains("threshold"));
        assert_eq!(error_ratio(&[], None, now).into_string(), "");
    }

    #[test]
    fn the_scale_is_round_and_never_above_one() {
        assert!((round_up(0.3) - 0.5).abs() < 1e-12);
        assert!((round_up(0.018) - 0.02).abs() < 1e-12);
        assert!((round_up(0.97) - 1.0).abs() < 1e-12);
        assert!((round_up(1.0) - 1.0).abs() < 1e-12);
    }
}
