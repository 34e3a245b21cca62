//! Error figures of what the agent infers: pairs of truth and record enter, counts leave; limits are checked on the counts. Pure.

use crate::stack::Stack;
use crate::truth::{End, Truth};
use crate::wire::Phase;
use serde_json::Value;
use std::collections::BTreeMap;

/// Counts over the full TLS 1.3 handshakes of one server's stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Handshakes with an uncompressed chain.
    pub(crate) handshakes: u32,
    /// Signature family: right.
    pub(crate) right: u32,
    /// Not told.
    pub(crate) unknown: u32,
    /// Wrong.
    pub(crate) wrong: u32,
    /// Message length within one per cent.
    pub(crate) message_near: u32,
    /// Message length told.
    pub(crate) message_told: u32,
    /// Bounds told.
    pub(crate) bounds_told: u32,
    /// Bounds that hold the chain.
    pub(crate) bounds_hold: u32,
    /// Bounds wider than 64 bytes and 2 % where the client did not ask for an OCSP response.
    pub(crate) too_wide: u32,
    /// Widths of the bounds where the client did not ask for an OCSP response.
    pub(crate) widths: Vec<u64>,
    /// Widths where it did, so that a response may be part of the message.
    pub(crate) widths_with_ocsp: Vec<u64>,
    /// Records in the server's flight, by number.
    pub(crate) records: BTreeMap<usize, u32>,
}

/// Counts of the encrypted-alert inference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Alerts {
    /// TLS 1.3 attempts that failed by an encrypted alert.
    pub(crate) failures: u32,
    /// TLS 1.3 attempts that were served.
    pub(crate) successes: u32,
    /// Failures told as such.
    pub(crate) found: u32,
    /// Failures left `ambiguous`.
    pub(crate) ambiguous: u32,
    /// Failures told as something else.
    pub(crate) missed: u32,
    /// Successes told as encrypted alerts.
    pub(crate) invented: u32,
    /// Successes left `ambiguous`.
    pub(crate) ambiguous_successes: u32,
}

/// All figures.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// By the server's stack.
    pub(crate) sizes: BTreeMap<Stack, Sizes>,
    /// Of alerts.
    pub(crate) alerts: Alerts,
}

/// Widest that bounds may be for a chain, where no OCSP response may hide in them.
fn allowed_width(chain: u64) -> u64 {
    (chain / 50).max(64)
}

impl Figures {
    /// Counts one connection to a server. `asked_for_ocsp`: the client would have taken an OCSP response.
    pub(crate) fn add(&mut self, server: Stack, asked_for_ocsp: bool, truth: &Truth, record: &Value) {
        if truth.modern {
            self.alerts.add(truth, record);
        }
        let Some(chain) = &truth.certificates else { return };
        let Some(lengths) = &chain.lengths else { return };
        if !truth.modern || truth.end != End::Completed {
            return;
        }
        let sizes = self.sizes.entry(server).or_default();
        sizes.handshakes += 1;
        match record["certificate_verify"]["family"].as_str() {
            None | Some("unknown") => sizes.unknown += 1,
            Some(family) if Some(family) == chain.family => sizes.right += 1,
            Some(_) => sizes.wrong += 1,
        }
        let said = &record["certificates"];
        if let Some(told) = said["message_bytes"].as_f64() {
            sizes.message_told += 1;
            sizes.message_near +=
                u32::from((told - f64::from(chain.message)).abs() <= f64::from(chain.message) / 100.0);
        }
        if let Some((low, high)) = said["low"].as_u64().zip(said["high"].as_u64()) {
            let bytes = lengths.iter().copied().map(u64::from).sum::<u64>();
            let width = high.saturating_sub(low);
            sizes.bounds_told += 1;
            sizes.bounds_hold += u32::from((low..=high).contains(&bytes));
            sizes.too_wide += u32::from(width > allowed_width(bytes) && !asked_for_ocsp);
            if asked_for_ocsp { &mut sizes.widths_with_ocsp } else { &mut sizes.widths }.push(width);
        }
        if let Some(flight) = &truth.flight {
            *sizes.records.entry(flight.len()).or_default() += 1;
        }
    }

    /// What misses its limit, in words. Limits on the share that is told hold for stacks that send separate records.
    pub(crate) fn missed_limits(&self) -> Vec<String> {
        let mut missed = Vec::new();
        for (stack, sizes) in &self.sizes {
            let name = stack.name();
            if sizes.wrong > 0 {
                missed.push(format!("{name}: {} signature families are wrong", sizes.wrong));
            }
            if sizes.bounds_hold < sizes.bounds_told {
                missed.push(format!(
                    "{name}: {} bounds do not hold the chain",
                    sizes.bounds_told - sizes.bounds_hold
                ));
            }
            if stack.separates() {
                let mut least = |what: &str, count: u32| {
                    if u64::from(count) * 100 < u64::from(sizes.handshakes) * 99 {
                        missed.push(format!(
                            "{name}: {what} on {count} of {} handshakes, less than 99 %",
                            sizes.handshakes
                        ));
                    }
                };
                least("the signature family is right", sizes.right);
                least("message_bytes is within 1 %", sizes.message_near);
                if sizes.bounds_told < sizes.handshakes {
                    missed.push(format!(
                        "{name}: bounds on {} of {} handshakes",
                        sizes.bounds_told, sizes.handshakes
                    ));
                }
                if sizes.too_wide > 0 {
                    missed.push(format!("{name}: {} bounds are wider than 64 bytes and 2 %", sizes.too_wide));
                }
            }
        }
        missed.extend(self.alerts.missed_limits());
        missed
    }

    /// Too few connections for the figures to mean anything, in words.
    pub(crate) fn too_few(&self) -> Vec<String> {
        let handshakes = |separate: bool| -> u32 {
            let stacks = self.sizes.iter().filter(|(stack, _)| stack.separates() == separate);
            stacks.map(|(_, sizes)| sizes.handshakes).sum()
        };
        [
            ("full handshakes of stacks that send separate records", handshakes(true), 500),
            ("full handshakes of stacks that coalesce", handshakes(false), 200),
            ("failures by an encrypted alert", self.alerts.failures, 300),
            ("successes", self.alerts.successes, 300),
        ]
        .into_iter()
        .filter(|(_, count, least)| count < least)
        .map(|(name, count, least)| format!("{count} {name}, of at least {least}"))
        .collect()
    }
}

impl Alerts {
    fn add(&mut self, truth: &Truth, record: &Value) {
        let told = record["failure"]["cause"] == "encrypted_alert";
        let ambiguous = record["incomplete_reason"] == "ambiguous";
        match truth.end {
            End::Alert { phase, .. } if phase != Phase::Clear => {
                self.failures += 1;
                self.found += u32::from(told);
                self.ambiguous += u32::from(ambiguous);
                self.missed += u32::from(!told && !ambiguous);
            }
            End::Completed => {
                self.successes += 1;
                self.invented += u32::from(told);
                self.ambiguous_successes += u32::from(ambiguous);
            }
            _ => {}
        }
    }

    /// Of those told as encrypted alerts, how many were.
    pub(crate) fn precision(&self) -> f64 {
        share(self.found, self.found + self.invented)
    }

    /// Of the encrypted alerts that were not left ambiguous, how many were told.
    pub(crate) fn recall(&self) -> f64 {
        share(self.found, self.found + self.missed)
    }

    fn missed_limits(&self) -> Vec<String> {
        let low = |name: &str, value: f64| {
            (value < 0.98).then(|| format!("encrypted alerts: {name} {value:.3}, less than 0.98"))
        };
        [low("precision", self.precision()), low("recall", self.recall())].into_iter().flatten().collect()
    }
}

/// A share; 1 of nothing.
pub(crate) fn share(part: u32, whole: u32) -> f64 {
    if whole == 0 { 1.0 } else { f64::from(part) / f64::from(whole) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_wrong_family_misses_the_limit() {
        let sizes = Sizes {
            handshakes: 1000,
            right: 999,
            wrong: 1,
            message_near: 1000,
            bounds_told: 1000,
            bounds_hold: 1000,
            ..Sizes::default()
        };
        let figures = Figures { sizes: BTreeMap::from([(Stack::Go, sizes)]), alerts: Alerts::default() };
        assert_eq!(figures.missed_limits(), ["go: 1 signature families are wrong"]);
    }

    #[test]
    fn a_coalescing_stack_may_leave_everything_open_but_nothing_wrong() {
        let sizes = Sizes { handshakes: 10, unknown: 10, ..Sizes::default() };
        let open = |stack| {
            Figures { sizes: BTreeMap::from([(stack, sizes.clone())]), alerts: Alerts::default() }
                .missed_limits()
        };
        assert!(open(Stack::Rustls).is_empty());
        assert_eq!(open(Stack::Node).len(), 3);
        let sizes = Sizes { handshakes: 10, bounds_told: 10, bounds_hold: 9, ..Sizes::default() };
        let figures = Figures { sizes: BTreeMap::from([(Stack::Rustls, sizes)]), alerts: Alerts::default() };
        assert_eq!(figures.missed_limits().len(), 1);
    }

    #[test]
    fn precision_and_recall_are_limited() {
        let alerts = Alerts { found: 97, missed: 3, ..Alerts::default() };
        assert_eq!(alerts.missed_limits(), ["encrypted alerts: recall 0.970, less than 0.98"]);
        let alerts = Alerts { found: 97, invented: 3, ..Alerts::default() };
        assert_eq!(alerts.missed_limits(), ["encrypted alerts: precision 0.970, less than 0.98"]);
    }

    #[test]
    fn short_chains_may_have_bounds_of_64_bytes_and_long_ones_of_two_per_cent() {
        assert_eq!(allowed_width(900), 64);
        assert_eq!(allowed_width(10_000), 200);
    }
}
