//! Conversations by hand that go as they should, to be changed in one place, and what is seen of them.

use crate::observe::observe;
use pqscope_agent_core::observation::Observation;
use pqscope_lab::capture::{Ending, Packet, Segment, Session, Wire};
use pqscope_lab::plan::Side::{Client, Server};
use pqscope_lab::synthesis::{
    ClientHello, ServerHello, certificates, change_cipher_spec, client_key_exchange, conversation, encrypted,
    encrypted_handshake, handshake_records, named_curve, server_hello_done,
};

/// Length of a Finished record with SHA-256 in TLS 1.3.
pub(crate) const FINISHED: usize = 53;

/// A TLS 1.3 handshake with these hellos, and a request and a response.
pub(crate) fn tls13(hello: &ClientHello, answer: &ServerHello) -> Session {
    let flights = vec![
        (Client, hello.record()),
        (Server, [answer.record(), change_cipher_spec(), encrypted(900)].concat()),
        (Client, [change_cipher_spec(), encrypted(FINISHED), encrypted(120)].concat()),
        (Server, encrypted(300)),
    ];
    conversation(flights, Ending::Closed(Client))
}

/// The server's messages of a TLS 1.2 handshake.
pub(crate) fn flight12(answer: &ServerHello, chain: &[Vec<u8>], key_exchange: Option<Vec<u8>>) -> Vec<u8> {
    let parts =
        [answer.message(), certificates(chain), key_exchange.unwrap_or_default(), server_hello_done()];
    parts.concat()
}

/// A TLS 1.2 handshake with this hello and these bytes of the server's flight.
pub(crate) fn tls12(hello: &ClientHello, server_flight: Vec<u8>) -> Session {
    let finished = [change_cipher_spec(), encrypted_handshake(40)].concat();
    let key_exchange = handshake_records(&client_key_exchange(33), 1000);
    let flights = vec![
        (Client, hello.record()),
        (Server, server_flight),
        (Client, [key_exchange, finished.clone()].concat()),
        (Server, finished),
        (Client, encrypted(100)),
        (Server, encrypted(100)),
    ];
    conversation(flights, Ending::Closed(Client))
}

/// A plain TLS 1.2 handshake with x25519 and a chain of two.
pub(crate) fn plain12() -> Session {
    let flight =
        flight12(&ServerHello::tls12(0xc02f), &[vec![1; 900], vec![2; 1100]], Some(named_curve(0x001d)));
    tls12(&ClientHello::tls12(), handshake_records(&flight, 16_384))
}

/// The segments of a session on the default wire.
pub(crate) fn segments(session: &Session) -> Vec<Segment> {
    Wire::default().segments(session)
}

/// Segments as packets on the default wire.
pub(crate) fn packets(segments: &[Segment]) -> Vec<Packet> {
    Wire::default().packets(segments)
}

/// The attempts that packets show.
pub(crate) fn attempts(packets: &[Packet]) -> Vec<Observation> {
    observe(Wire::default().link, packets)
}

/// The one attempt that segments show.
pub(crate) fn seen_in(segments: &[Segment]) -> Observation {
    let seen = attempts(&packets(segments));
    let [seen] = <[Observation; 1]>::try_from(seen).unwrap();
    seen
}

/// The one attempt that a session shows.
pub(crate) fn seen(session: &Session) -> Observation {
    seen_in(&segments(session))
}
