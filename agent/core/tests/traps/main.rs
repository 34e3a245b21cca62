//! Situations on the wire that some established tool reads wrongly, each under its name. What no TLS library makes is put
//! together by hand ([`pqscope_lab::synthesis`]).
//!
//! `segmentation` is about TCP, `capture` about what a capture makes of packets, `negotiation` about hellos, `endings`
//! about alerts and what ends an attempt, `certificates` about what is shown.
//!
//! Traps that other tests hold, so that nobody writes them twice:
//!
//! | trap | held by |
//! |---|---|
//! | a hello cut anywhere, into single bytes too | `cuts`, `arrivals` in `metamorphic` |
//! | sequence numbers that wrap within the hello or the SYN | `arrivals` in `metamorphic` |
//! | Ethernet padding, checksums left to the network card, coalesced segments, TCP options | `arrivals` in `metamorphic` |
//! | the same packet on two interfaces of `any`, on a bridge, or captured twice | `arrivals` in `metamorphic`, `packets_seen_twice_count_once` in `observer` |
//! | both directions out of step | `arrivals` and `losses` in `metamorphic` |
//! | loss, snapshot length, a capture that begins late or ends early | `losses` in `metamorphic`, `captures` in the black-box tests |
//! | a port used again while the old connection lingers | `a_port_used_again_is_another_attempt` in `observer` |
//! | segments, closes and resets with numbers of nobody | `segments_with_other_numbers_change_nothing` in `observer` |
//! | a clock that steps back between connections | `a_clock_that_steps_back_loses_no_attempt` in `observer` |
//! | the group that counts stands in the final ServerHello | `the_group_that_counts_is_the_one_of_the_final_server_hello` in `observer` |
//! | an attempt that ends after a retry | `with_only_the_retry_there_is_no_group_yet` in `observer` |
//! | nested VLAN tags | unit tests of `decode`, `arrivals` in `metamorphic` |
//! | drafts of TLS 1.3 without session id, and with a retry of their own | unit tests of `server_hello` |
//! | floods | `memory` among the tests of the agent |

#![expect(clippy::unwrap_used, reason = "a test stops at whatever it does not expect")]

mod capture;
mod certificates;
mod endings;
mod negotiation;
#[path = "../observe/mod.rs"]
mod observe;
mod segmentation;
mod stories;
