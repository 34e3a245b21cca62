//! Certificates that are large, empty or no certificates at all, and those that belong to the other side.

use crate::stories::{flight12, seen, tls12, tls13};
use pqscope_agent_core::observation::{Certificates, Evidence, Outcome};
use pqscope_lab::plan::Side::Client;
use pqscope_lab::synthesis::{
    ClientHello, ServerHello, certificates, change_cipher_spec, client_key_exchange, encrypted_handshake,
    handshake_records, message, named_curve,
};

fn shown(chain: &[Vec<u8>], record_bytes: usize) -> Certificates {
    let flight = flight12(&ServerHello::tls12(0xc02f), chain, Some(named_curve(0x1d)));
    let seen = seen(&tls12(&ClientHello::tls12(), handshake_records(&flight, record_bytes)));
    assert_eq!(seen.outcome, Outcome::Completed);
    seen.certificates.unwrap()
}

#[test]
fn a_list_over_many_records() {
    let chain = [vec![1; 1200], vec![2; 1300], vec![3; 1400]];
    for record_bytes in [1, 3, 7, 500, 16_384] {
        assert_eq!(shown(&chain, record_bytes).lengths.unwrap(), [1200, 1300, 1400], "{record_bytes}");
    }
}

#[test]
fn a_certificate_with_ten_thousand_names() {
    let chain = [vec![0x30; 310_000], vec![0x30; 900]];
    let shown = shown(&chain, 16_384);
    assert_eq!(shown.lengths.unwrap(), [310_000, 900]);
    assert_eq!((shown.chain_bytes, shown.message_bytes), (Some(310_900), Some(310_909)));
}

#[test]
fn an_empty_certificate_and_an_empty_second_entry() {
    assert_eq!(shown(&[vec![]], 16_384).lengths.unwrap(), [0]);
    let second = shown(&[vec![9; 800], vec![]], 16_384);
    assert_eq!((second.count, second.lengths.unwrap()), (Some(2), vec![800, 0]));
    let none = shown(&[], 16_384);
    assert_eq!((none.count, none.chain_bytes), (Some(0), Some(0)));
}

#[test]
fn certificates_that_no_parser_would_take_still_have_their_sizes() {
    // Not DER; cut DER; a negative serial, no issuer, dates before 1970 and a name with NUL, as far as that goes.
    let cut = vec![0x30, 0x82, 0x7f, 0xff, 0x30, 0x82, 0x01];
    let odd = [
        &[0x30, 0x3f, 0x30, 0x36, 2, 1, 0xff, 0x30, 0][..],
        &[0x30, 0, 0x30, 30, 0x17, 13],
        b"500101000000Z",
        &[0x17, 13],
        b"491231235959Z",
        &[0x30, 9, 0x31, 7, 0x30, 5, 6, 0, 12, 1, 0],
        &[0x30, 0, 3, 1, 0],
    ]
    .concat();
    let lengths = [5_u32, 7, odd.len().try_into().unwrap()];
    assert_eq!(shown(&[b"hello".to_vec(), cut, odd.clone()], 16_384).lengths.unwrap(), lengths);
    assert_eq!(shown(&[odd], 16_384).lengths.unwrap(), lengths[2..]);
}

#[test]
fn a_list_whose_lengths_contradict_each_other_has_none() {
    let lying = message(11, &[0, 0, 8, 0, 0, 200, 1, 2, 3, 4, 5]);
    let flight = [ServerHello::tls12(0xc02f).message(), lying, named_curve(0x1d)].concat();
    let seen = seen(&tls12(&ClientHello::tls12(), handshake_records(&flight, 16_384)));
    assert_eq!((seen.outcome, seen.certificates), (Outcome::Completed, None));
}

#[test]
fn the_clients_certificates_are_not_the_servers() {
    let flight = flight12(&ServerHello::tls12(0xc02f), &[vec![1; 900]], Some(named_curve(0x1d)));
    let mut session = tls12(&ClientHello::tls12(), handshake_records(&flight, 16_384));
    let own = [certificates(&[vec![4; 555], vec![5; 66]]), client_key_exchange(33), message(15, &[8; 70])];
    session.flights[2].bytes =
        [handshake_records(&own.concat(), 16_384), change_cipher_spec(), encrypted_handshake(40)].concat();
    assert_eq!(session.flights[2].sender, Client);
    let seen = seen(&session);
    assert_eq!(seen.certificates.unwrap().lengths.unwrap(), [900]);
    assert_eq!(seen.client_certificates.unwrap().lengths.unwrap(), [555, 66]);
}

#[test]
fn a_certificate_that_may_be_compressed_was_never_seen() {
    // compress_certificate (RFC 8879) in the hello; in TLS 1.3 the certificate itself is encrypted either way.
    let hello = ClientHello::tls13().with(27, vec![4, 0, 2, 0, 1]);
    let seen = seen(&tls13(&hello, &ServerHello::tls13(0x11ec)));
    assert_eq!(seen.outcome, Outcome::Completed);
    assert!(
        seen.certificates.is_none_or(|chain| chain.evidence != Evidence::Seen && chain.lengths.is_none())
    );
}
