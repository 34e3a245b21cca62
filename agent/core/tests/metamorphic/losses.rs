//! With packets missing, cut or stopped short, an observation says the same or less.

use crate::likeness::{contradiction, only};
use crate::observe::observe;
use crate::sessions;
use pqscope_lab::capture::{Packet, Segment, Wire, transform};
use proptest::prelude::*;

fn wire() -> Wire {
    Wire { segment_bytes: 600, ..Wire::default() }
}

/// How the attempts that a capture shows contradict the whole. Two attempts of one conversation would be two stories.
fn contradictions(session: usize, wire: &Wire, packets: &[Packet]) -> Vec<String> {
    let (name, session) = &sessions::ALL[session];
    let plain = self::wire();
    let whole = only(plain.link, &plain.packets(&plain.segments(session)), name);
    let seen = observe(wire.link, packets);
    let mut found: Vec<String> = seen
        .iter()
        .filter_map(|part| {
            let part = serde_json::to_value(part).unwrap();
            let found = contradiction(&part, &whole)?;
            Some(format!("{name}: {found}\npart:  {part}\nwhole: {whole}"))
        })
        .collect();
    if seen.len() > 1 {
        found.push(format!("{name}: {} attempts", seen.len()));
    }
    found
}

fn hold(variants: impl Fn(&Wire, &[Segment]) -> Vec<(String, Wire, Vec<Segment>)>) {
    let mut wrong = Vec::new();
    for (number, (_, session)) in sessions::ALL.iter().enumerate() {
        let plain = wire();
        for (about, wire, segments) in variants(&plain, &plain.segments(session)) {
            let found = contradictions(number, &wire, &wire.packets(&segments));
            wrong.extend(found.into_iter().map(|found| format!("{about}: {found}")));
        }
    }
    assert!(wrong.is_empty(), "{} contradictions\n{}", wrong.len(), wrong.join("\n\n"));
}

#[test]
fn one_packet_missing_only_makes_vaguer() {
    hold(|wire, all| {
        let one = |gone: usize| (format!("without {gone}"), wire.clone(), transform::without(all, &[gone]));
        (0..all.len()).map(one).collect()
    });
}

#[test]
fn a_burst_missing_only_makes_vaguer() {
    hold(|wire, all| {
        let bursts = (2..=6).flat_map(|length| (0..all.len()).map(move |from| (from, length)));
        bursts
            .map(|(from, length)| {
                let gone: Vec<usize> = (from..from + length).collect();
                (format!("without {gone:?}"), wire.clone(), transform::without(all, &gone))
            })
            .collect()
    });
}

#[test]
fn a_snapshot_length_only_makes_vaguer() {
    hold(|wire, all| {
        [0, 14, 40, 54, 58, 59, 60, 64, 68, 96, 128, 200, 256, 320, 512, 600, 640]
            .map(|bytes| {
                let wire = Wire { snap_length: Some(bytes), ..wire.clone() };
                (format!("{bytes} bytes"), wire, all.to_vec())
            })
            .to_vec()
    });
}

#[test]
fn a_capture_that_begins_late_or_ends_early_contradicts_nothing() {
    hold(|wire, all| {
        let prefixes = (0..all.len()).map(|end| (format!("up to {end}"), wire.clone(), all[..end].to_vec()));
        let suffixes =
            (1..all.len()).map(|from| (format!("from {from}"), wire.clone(), all[from..].to_vec()));
        prefixes.chain(suffixes).collect()
    });
}

#[test]
fn directions_out_of_step_only_make_vaguer() {
    hold(|wire, all| {
        let cases = (0..8).flat_map(|seed| [2, 4, 8, 16].map(|window| (window, seed)));
        let shuffled = |(window, seed)| {
            (format!("window {window}, seed {seed}"), wire.clone(), transform::interleave(all, window, seed))
        };
        cases.map(shuffled).collect()
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn any_packets_may_be_missing_from_a_disordered_capture(
        which in 0..sessions::ALL.len(),
        gone in prop::collection::vec(0..60usize, 0..8),
        seed: Option<u64>,
        snap_length in prop::option::weighted(0.2, 60..700usize),
    ) {
        let wire = Wire { snap_length, ..wire() };
        let mut segments = transform::without(&wire.segments(&sessions::ALL[which].1), &gone);
        if let Some(seed) = seed {
            segments = transform::reorder(&segments, seed);
        }
        let found = contradictions(which, &wire, &wire.packets(&segments));
        prop_assert!(found.is_empty(), "{}", found.join("\n"));
    }
}
