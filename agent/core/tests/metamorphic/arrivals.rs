//! The ways in which one conversation may arrive.

use crate::likeness::{Freedom, differences, only};
use crate::sessions::{self, Named};
use pqscope_lab::capture::{Endpoints, Link, Packet, Segment, Session, Wire, copies, merge, transform};
use std::time::Duration;

/// A capture with its link layer.
type Capture = (Link, Vec<Packet>);

/// One way, what it may change, and how it is made.
type Arrival = (&'static str, Freedom, fn(&Session) -> Capture);

fn carried(session: &Session, change: impl Fn(&mut Wire)) -> Capture {
    let mut wire = Wire::default();
    change(&mut wire);
    (wire.link, wire.packets(&wire.segments(session)))
}

fn disturbed(session: &Session, disturb: impl Fn(&[Segment]) -> Vec<Segment>) -> Capture {
    let wire = Wire { segment_bytes: 400, ..Wire::default() };
    (wire.link, wire.packets(&disturb(&wire.segments(session))))
}

fn copied(session: &Session, link: Link, copy: impl Fn(&[Packet]) -> Vec<Packet>) -> Capture {
    let (link, packets) = carried(session, |wire| wire.link = link);
    (link, copy(&packets))
}

const MICROSECOND: Duration = Duration::from_micros(1);

const WRAPPED: &[Arrival] = &[
    ("a VLAN", Freedom::Wrapping, |s| carried(s, |wire| wire.vlans = vec![10])),
    ("QinQ", Freedom::Wrapping, |s| carried(s, |wire| wire.vlans = vec![20, 10])),
    ("four tags", Freedom::Wrapping, |s| carried(s, |wire| wire.vlans = vec![1, 2, 3, 4])),
    ("cooked", Freedom::Wrapping, |s| carried(s, |wire| wire.link = Link::LinuxCooked)),
    ("cooked, version 2", Freedom::Wrapping, |s| carried(s, |wire| wire.link = Link::LinuxCooked2)),
    ("raw IP", Freedom::Wrapping, |s| carried(s, |wire| wire.link = Link::RawIp)),
    ("BSD loopback", Freedom::Wrapping, |s| carried(s, |wire| wire.link = Link::Null)),
    ("IPv6", Freedom::Wrapping, |s| carried(s, |wire| wire.endpoints = Endpoints::v6(40_000))),
    ("IPv6 in QinQ", Freedom::Wrapping, |s| {
        carried(s, |wire| (wire.endpoints, wire.vlans) = (Endpoints::v6(40_000), vec![20, 10]))
    }),
    ("IPv6 cooked", Freedom::Wrapping, |s| {
        carried(s, |wire| (wire.endpoints, wire.link) = (Endpoints::v6(40_000), Link::LinuxCooked2))
    }),
    ("TCP timestamps and options", Freedom::Wrapping, |s| carried(s, |wire| wire.tcp_options = true)),
    ("the client's numbers wrap", Freedom::Wrapping, |s| {
        carried(s, |wire| wire.client_first_sequence = u32::MAX - 300)
    }),
    ("the server's numbers wrap", Freedom::Wrapping, |s| {
        carried(s, |wire| wire.server_first_sequence = u32::MAX - 500)
    }),
    ("both wrap within the SYN", Freedom::Wrapping, |s| {
        carried(s, |wire| (wire.client_first_sequence, wire.server_first_sequence) = (u32::MAX, u32::MAX))
    }),
    ("padding", Freedom::Wrapping, |s| copied(s, Link::Ethernet, copies::padded)),
    ("checksums not filled in", Freedom::Wrapping, |s| copied(s, Link::Ethernet, copies::without_checksums)),
];

const DISTURBED: &[Arrival] = &[
    ("small segments", Freedom::Timing, |s| disturbed(s, <[Segment]>::to_vec)),
    ("segments of one byte", Freedom::Timing, |s| disturbed(s, |all| transform::split(all, 1))),
    ("one large segment for each flight", Freedom::Timing, |s| {
        disturbed(s, |all| transform::coalesce(all, 60_000))
    }),
    ("reordered", Freedom::Timing, |s| disturbed(s, |all| transform::reorder(all, 3))),
    ("reversed", Freedom::Timing, |s| disturbed(s, transform::reverse)),
    ("reversed segments of one byte", Freedom::Timing, |s| {
        disturbed(s, |all| transform::reverse(&transform::split(all, 17)))
    }),
    ("duplicated", Freedom::Timing, |s| disturbed(s, transform::duplicate)),
    ("sent again a little later", Freedom::Timing, |s| {
        disturbed(s, |all| transform::retransmit(all, Duration::from_millis(30)))
    }),
    ("overlapping", Freedom::Timing, |s| disturbed(s, |all| transform::overlap(all, 150))),
    ("overlapping and reordered", Freedom::Timing, |s| {
        disturbed(s, |all| transform::reorder(&transform::overlap(all, 99), 8))
    }),
    ("keepalives", Freedom::Timing, |s| disturbed(s, transform::keepalives)),
    ("every packet captured twice", Freedom::Timing, |s| copied(s, Link::Ethernet, copies::captured_twice)),
    ("forwarded, seen on `any`", Freedom::Timing, |s| {
        copied(s, Link::LinuxCooked, |all| copies::forwarded(Link::LinuxCooked, all, MICROSECOND))
    }),
    ("forwarded, seen on `any`, version 2", Freedom::Timing, |s| {
        copied(s, Link::LinuxCooked2, |all| copies::forwarded(Link::LinuxCooked2, all, MICROSECOND))
    }),
    ("forwarded, seen on a bridge", Freedom::Timing, |s| {
        copied(s, Link::Ethernet, |all| copies::forwarded(Link::Ethernet, all, Duration::from_micros(40)))
    }),
    ("a hello in records of 33 bytes", Freedom::Records, |s| {
        carried(&s.clone().with_hello_in_records_of(33), |_| ())
    }),
    ("everything at the same time", Freedom::Timing, |s| {
        disturbed(s, |all| {
            let at = all[0].at;
            all.iter().map(|segment| Segment { at, ..segment.clone() }).collect()
        })
    }),
];

fn hold(arrivals: &[Arrival]) {
    let mut wrong = Vec::new();
    for (name, session) in sessions::ALL.iter() {
        let (link, packets) = carried(session, |_| ());
        let plain = only(link, &packets, name);
        for (arrival, freedom, make) in arrivals {
            let about = format!("{name}, {arrival}");
            let (link, packets) = make(session);
            let other = only(link, &packets, &about);
            wrong.extend(differences(&plain, &other, *freedom).into_iter().map(|d| format!("{about}: {d}")));
        }
    }
    assert!(wrong.is_empty(), "{} differences\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_wrapping_of_packets_changes_nothing_else() {
    hold(WRAPPED);
}

#[test]
fn the_way_in_which_segments_arrive_changes_only_times() {
    hold(DISTURBED);
}

#[test]
fn the_disorder_of_several_capture_queues_changes_only_times() {
    let mut wrong = Vec::new();
    for (name, session) in sessions::ALL.iter() {
        let wire = Wire { segment_bytes: 500, round_trip: Duration::from_micros(200), ..Wire::default() };
        let segments = wire.segments(session);
        // Opening and end stay where they are: an acknowledgement of a FIN that comes before it passes for one of a
        // byte that the capture missed, and makes vaguer.
        let (opening, rest) = segments.split_at(3);
        let ends = |segment: &Segment| segment.flags.fin || segment.flags.reset;
        let (rest, end) = rest.split_at(rest.iter().position(ends).unwrap_or(rest.len()));
        let plain = only(wire.link, &wire.packets(&segments), name);
        for seed in 0..12 {
            for window in [2, 4, 8] {
                let shuffled = [opening, &transform::shuffle(rest, window, seed), end].concat();
                let about = format!("{name}, window {window}, seed {seed}");
                let other = only(wire.link, &wire.packets(&shuffled), &about);
                let found = differences(&plain, &other, Freedom::Timing);
                wrong.extend(found.into_iter().map(|d| format!("{about}: {d}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differences\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn interleaved_conversations_do_not_mix() {
    let wire = |port: usize| {
        let client_port = u16::try_from(20_000 + port).unwrap();
        Wire { endpoints: Endpoints::v4(client_port), segment_bytes: 300, ..Wire::default() }
    };
    let capture = |(number, (_, session)): (usize, &Named)| {
        let wire = wire(number);
        wire.packets(&wire.segments(session))
    };
    let all = merge(sessions::ALL.iter().enumerate().map(capture).collect());
    let seen = crate::observe::observe(Link::Ethernet, &all);
    assert_eq!(seen.len(), sessions::ALL.len());
    for (number, (name, session)) in sessions::ALL.iter().enumerate() {
        let port = 20_000 + number;
        let together = seen.iter().find(|seen| usize::from(seen.client.port) == port).unwrap();
        let together = serde_json::to_value(together).unwrap();
        let wire = wire(number);
        let alone = only(Link::Ethernet, &wire.packets(&wire.segments(session)), name);
        // At the end of the capture all that is open ends, and that may be later.
        let found = differences(&alone, &together, Freedom::Timing);
        assert!(found.is_empty(), "{name}: {found:?}");
    }
}
