use super::*;
use proptest::prelude::*;

const SIZES: SuiteSizes = SuiteSizes { tag: 16, hash: 48 };

/// The record of one message body.
fn record(body: u32) -> u16 {
    SIZES.record(u16::try_from(MESSAGE_HEADER + body).unwrap())
}

/// Records of one message, cut where they are full.
fn records(body: u32) -> Vec<u16> {
    let length = MESSAGE_HEADER + body;
    let full = length / FULL_RECORD;
    let rest = length % FULL_RECORD;
    let mut records = vec![SIZES.record(1 << 14); full as usize];
    if rest > 0 {
        records.push(SIZES.record(u16::try_from(rest).unwrap()));
    }
    records
}

fn certificate_body(chain: &[u32]) -> u32 {
    LIST_OVERHEAD + chain.iter().map(|length| ENTRY_OVERHEAD + length).sum::<u32>()
}

/// A flight of messages in records of their own.
fn flight(chain: &[u32], signature: u32) -> Vec<u16> {
    let bodies = [2, certificate_body(chain), signature + 4, 48];
    bodies.into_iter().flat_map(records).collect()
}

fn offer(schemes: &[u16]) -> Offer {
    Offer { families: Some(schemes.iter().copied().map(SignatureScheme).collect()), ..Offer::default() }
}

fn everything() -> Offer {
    offer(&[0x0403, 0x0503, 0x0603, 0x0804, 0x0807, 0x0808, 0x0904, 0x0905, 0x0906, 0x0911])
}

fn infer(records: &[u16], offer: &Offer, requested: Option<bool>) -> Inferred {
    server(Flight { records, is_whole: true, sizes: SIZES }, offer, requested)
}

fn family(inferred: &Inferred) -> Option<SignatureFamily> {
    inferred.verify.map(|verify| verify.family)
}

#[test]
fn every_family_is_told_by_the_length_of_its_signature() {
    use SignatureFamily::*;
    let known = [
        (70, EcdsaP256),
        (72, EcdsaP256),
        (103, EcdsaP384),
        (138, EcdsaP521),
        (64, Ed25519),
        (114, Ed448),
        (256, Rsa),
        (512, Rsa),
        (2420, MlDsa44),
        (3309, MlDsa65),
        (4627, MlDsa87),
        (7856, SlhDsa),
        (17088, SlhDsa),
        (49856, SlhDsa),
    ];
    for (length, expected) in known {
        let inferred = infer(&flight(&[1200, 900], length), &everything(), Some(false));
        assert_eq!(family(&inferred), Some(expected), "a signature of {length} bytes");
        assert_eq!(inferred.certificates.unwrap().message_bytes, Some(2114), "{expected:?}");
    }
}

#[test]
fn the_bounds_hold_chains_of_one_to_four_and_are_narrow() {
    for chain in [&[522][..], &[921], &[1400, 1100], &[936, 883, 883, 874], &[5667, 5612, 5612, 5607]] {
        let sum = u64::from(chain.iter().sum::<u32>());
        let found = infer(&flight(chain, 3309), &everything(), Some(false)).certificates.unwrap();
        let (low, high) = (found.low.unwrap(), found.high.unwrap());
        assert!((low..=high).contains(&sum) && high - low <= 64, "{chain:?}: {low}..{high}");
        assert!((low..=high).contains(&found.chain_bytes.unwrap()));
    }
}

#[test]
fn a_chain_over_several_records_is_put_together() {
    let found = infer(&flight(&[20_000, 15_000], 3309), &everything(), None);
    assert_eq!(found.certificates.unwrap().message_bytes, Some(35_014));
}

#[test]
fn a_certificate_request_is_passed_by() {
    let request = record(299);
    let mut flight = flight(&[921, 865], 256);
    flight.insert(1, request);
    for requested in [Some(true), None] {
        let found = infer(&flight, &everything(), requested);
        assert_eq!(found.certificates.unwrap().message_bytes, Some(1800), "{requested:?}");
    }
    assert_eq!(infer(&flight, &everything(), Some(false)).certificates, None);
}

#[test]
fn tickets_after_the_finished_are_no_part_of_the_flight() {
    let mut flight = flight(&[921], 256);
    flight.extend([246, 246, 1400]);
    assert_eq!(infer(&flight, &everything(), Some(false)).certificates.unwrap().message_bytes, Some(930));
}

#[test]
fn a_family_that_the_client_did_not_offer_is_not_believed() {
    let inferred = infer(&flight(&[921], 256), &offer(&[0x0403]), Some(false));
    assert_eq!(family(&inferred), Some(SignatureFamily::Unknown));
}

#[test]
fn a_signature_of_unknown_length_leaves_the_size_of_the_certificate() {
    let inferred = infer(&flight(&[2500], 2500), &everything(), Some(false));
    assert_eq!(family(&inferred), Some(SignatureFamily::Unknown));
    assert_eq!(inferred.certificates.unwrap().message_bytes, Some(2509));
    assert_eq!(infer(&flight(&[2500], 2500), &everything(), None), Inferred::default());
}

#[test]
fn a_staple_widens_the_bounds_only_where_it_fits() {
    let asking = Offer { ocsp: true, ..everything() };
    let width = |chain: &[u32], signature| {
        let found = infer(&flight(chain, signature), &asking, Some(false)).certificates.unwrap();
        found.high.unwrap() - found.low.unwrap()
    };
    assert!(width(&[522], 71) <= 64, "no response fits beside a leaf in so little");
    assert!(width(&[921], 256) <= 64);
    assert!(width(&[1500, 1300], 256) > 1000);
    let stapled = certificate_body(&[800]) + 500;
    let records: Vec<u16> = [2, stapled, 75, 48].into_iter().flat_map(records).collect();
    let found = infer(&records, &asking, Some(false)).certificates.unwrap();
    assert!((found.low.unwrap()..=found.high.unwrap()).contains(&800));
}

#[test]
fn one_record_for_all_gives_bounds_that_hold_the_chain() {
    let one = |chain: &[u32], signature: u32, extensions: u32| -> Vec<u16> {
        let bodies = [extensions, certificate_body(chain), signature + 4, 48];
        vec![SIZES.record(bodies.iter().map(|body| u16::try_from(MESSAGE_HEADER + body).unwrap()).sum())]
    };
    let client = offer(&[0x0403, 0x0503, 0x0804, 0x0807]);
    for (chain, signature) in [(&[450][..], 71), (&[921], 256), (&[1300, 1100], 256), (&[700, 800], 64)] {
        for extensions in [2, 20, 60] {
            let inferred = infer(&one(chain, signature, extensions), &client, Some(false));
            let found = inferred.certificates.unwrap();
            let sum = u64::from(chain.iter().sum::<u32>());
            let (low, high) = (found.low.unwrap(), found.high.unwrap());
            assert!((low..=high).contains(&sum), "{chain:?}, {signature}: {low}..{high}");
            assert_eq!(found.message_bytes, None);
        }
    }
    let compressing = Offer { compression: true, ..client.clone() };
    assert_eq!(infer(&one(&[450], 71, 2), &compressing, Some(false)), Inferred::default());
    assert_eq!(infer(&one(&[450], 71, 2), &client, None), Inferred::default());
}

#[test]
fn the_only_family_that_fits_is_named_even_in_one_record() {
    let total = SIZES.record(6 + 460 + 80 + 52);
    assert_eq!(family(&infer(&[total], &offer(&[0x0403]), Some(false))), Some(SignatureFamily::EcdsaP256));
    let both = offer(&[0x0403, 0x0807]);
    assert_eq!(family(&infer(&[total], &both, Some(false))), Some(SignatureFamily::Unknown));
}

#[test]
fn a_message_that_may_be_compressed_says_so() {
    let compressing = Offer { compression: true, ..everything() };
    let told = |offer: &Offer| infer(&flight(&[921], 256), offer, Some(false)).certificates.unwrap();
    assert_eq!((told(&compressing).compressed, told(&compressing).message_bytes), (None, Some(930)));
    assert_eq!(told(&everything()).compressed, Some(false));
}

#[test]
fn padded_records_are_not_explained() {
    let padded: Vec<u16> = [512, 1024, 512, 512].map(|length| SIZES.record(length)).to_vec();
    assert_eq!(infer(&padded, &everything(), Some(false)), Inferred::default());
}

#[test]
fn a_clients_certificate_is_sized_and_an_empty_one_is_told() {
    let message = |bodies: &[u32]| -> Option<Certificates> {
        let records: Vec<u16> = bodies.iter().flat_map(|body| records(*body)).collect();
        client(Flight { records: &records, is_whole: true, sizes: SIZES })
    };
    let found = message(&[1000, 75, 48]).unwrap();
    assert_eq!((found.message_bytes, found.low, found.count), (Some(1000), None, None));
    let none = message(&[4, 48]).unwrap();
    assert_eq!((none.count, none.high), (Some(0), Some(0)));
    assert_eq!(message(&[48]), None);
    assert_eq!(message(&[1000, 48]), None);
}

proptest! {
    #[test]
    fn any_lengths_are_judged_without_panic(
        records in proptest::collection::vec(any::<u16>(), 0..70), requested: Option<bool>, is_whole: bool,
    ) {
        for offer in [Offer::of(None), everything(), offer(&[0x0403])] {
            let inferred = server(Flight { records: &records, is_whole, sizes: SIZES }, &offer, requested);
            if let Some(chain) = inferred.certificates {
                prop_assert!(chain.low <= chain.high);
            }
        }
        let _ = client(Flight { records: &records, is_whole, sizes: SIZES });
    }

    #[test]
    fn chains_lie_in_their_bounds(
        chain in proptest::collection::vec(200u32..6000, 1..5),
        signature in proptest::sample::select(vec![70u32, 71, 72, 103, 64, 256, 384, 512, 2420, 3309, 4627]),
    ) {
        let found = infer(&flight(&chain, signature), &everything(), Some(false)).certificates.unwrap();
        let sum = u64::from(chain.iter().sum::<u32>());
        prop_assert!((found.low.unwrap()..=found.high.unwrap()).contains(&sum));
    }
}
