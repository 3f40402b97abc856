//! Objects that were written, read back, damaged, moved, and made to do harm.

use proptest::prelude::*;

use super::*;
use crate::journal::Nonce;

const LIMITS: ObjectLimits = ObjectLimits { bytes: 1 << 20, deliveries: 100 };
const ID: ObjectId = ObjectId { epoch: 3, number: 17 };
const HEADER: Header = Header { kind: Kind::Deliveries, nonce: Nonce([7; 16]) };

fn cipher(secret: u8) -> Cipher {
    Cipher::new(vec![secret; 32])
}

fn written(deliveries: &[Delivery], cipher: Option<&Cipher>) -> Vec<u8> {
    let packed = PackedDeliveries::new(deliveries).unwrap();
    packed.object(ID, &HEADER, cipher).to_vec()
}

fn read(object: &[u8], cipher: Option<&Cipher>) -> Result<Vec<Delivery>, ContentError> {
    deliveries(ID, object, cipher, LIMITS)
}

/// An object that is not encrypted, around this frame.
fn around(frame: &[u8], length: u64) -> Vec<u8> {
    PackedDeliveries { frame: frame.to_vec(), length }.object(ID, &HEADER, None).to_vec()
}

/// An object that is not encrypted, with these bytes before compression.
fn of_bytes(bytes: &[u8]) -> Vec<u8> {
    around(&zstd::encode_all(bytes, 1).unwrap(), bytes.len() as u64)
}

fn some() -> Vec<Delivery> {
    let decoded = Delivery {
        input: "main".to_owned(),
        peer: "192.0.2.1:4711".to_owned(),
        received_at: Millis::saturating(1_760_000_000_000),
        content_encoding: Some("application/gzip".to_owned()),
        sent: 30,
        undecoded: None,
        body: Bytes::from_static(b"{}\n{}\n"),
    };
    let undecoded = Delivery {
        content_encoding: None,
        undecoded: Some(Undecoded { status: 400, reason: "it is broken".to_owned() }),
        body: Bytes::from_static(b"\x1f\x8b no more"),
        ..decoded.clone()
    };
    vec![decoded.clone(), undecoded, Delivery { body: Bytes::new(), ..decoded }]
}

#[test]
fn what_is_written_reads_back() {
    for cipher in [None, Some(&cipher(1))] {
        assert_eq!(read(&written(&some(), cipher), cipher).unwrap(), some());
        assert_eq!(read(&written(&[], cipher), cipher).unwrap(), []);
    }
}

/// Fails when the format changes: objects in the journals of users have it.
#[test]
fn the_format_is_that_of_the_document() {
    let [one, ..] = &some()[..] else { panic!() };
    let object = written(std::slice::from_ref(one), None);
    let text = |text: &str| [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat();
    let plain = [
        &1u32.to_be_bytes()[..],
        &1_760_000_000_000_i64.to_be_bytes(),
        &[0, 0, 0, 1],
        &text("main"),
        &text("192.0.2.1:4711"),
        &text("application/gzip"),
        &text(""),
        &30u64.to_be_bytes(),
        &6u64.to_be_bytes(),
        b"{}\n{}\n",
    ]
    .concat();
    assert_eq!(object[..24], HEADER.to_bytes());
    assert_eq!(object[24], 0);
    assert_eq!(object[25..33], (plain.len() as u64).to_be_bytes());
    let rest = [&object[..33], b"journal/3/00000000000000000017", &object[65..]].concat();
    assert_eq!(&object[33..65], digest::digest(&digest::SHA256, &rest).as_ref());
    assert_eq!(zstd::decode_all(&object[65..]).unwrap(), plain);
}

#[track_caller]
fn check(object: &[u8], cipher: Option<&Cipher>, expected: &str) {
    let error = read(object, cipher).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}\nexpected {expected}");
}

#[test]
fn an_encrypted_object_needs_its_key() {
    let (ours, other) = (cipher(1), cipher(2));
    let object = written(&some(), Some(&ours));
    check(&object, None, &format!("encrypted with the key {}; set journal.key_file", ours.id()));
    check(&object, Some(&other), &format!("journal.key_file has the key {}", other.id()));
    let plain = written(&some(), None);
    check(&plain, Some(&ours), "it is not encrypted, and journal.key_file is set");
    for line in [&b"192.0.2.1"[..], b"main", b"{}"] {
        assert!(!object.windows(line.len()).any(|part| part == line), "{line:?} can be read");
    }
}

#[test]
fn an_object_belongs_to_its_key() {
    for cipher in [None, Some(&cipher(1))] {
        let object = written(&some(), cipher);
        let other = ObjectId { number: 18, ..ID };
        let moved = deliveries(other, &object, cipher, LIMITS).unwrap_err();
        assert!(moved.to_string().contains("copied from another key"), "{moved}");
    }
}

#[test]
fn every_damage_is_found() {
    for cipher in [None, Some(&cipher(1))] {
        let good = written(&some(), cipher);
        for at in 0..good.len() {
            assert!(read(&good[..at], cipher).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut damaged = good.clone();
                damaged[at] ^= 1 << bit;
                assert!(read(&damaged, cipher).is_err(), "bit {bit} of {at}");
            }
        }
        let longer = [&good[..], b"x"].concat();
        assert!(read(&longer, cipher).is_err());
    }
}

#[test]
fn a_forged_object_takes_no_more_memory_than_is_allowed() {
    let zeros = vec![0; 2 << 20];
    let bomb = zstd::encode_all(&zeros[..], 19).unwrap();
    check(&around(&bomb, 2 << 20), None, "it holds 2097152 bytes of deliveries, expected at most");
    check(&around(&bomb, 1 << 20), None, "has 1048577 bytes of deliveries, and says that it has");
    check(&around(&bomb, u64::MAX), None, "expected at most 1048576");
    check(&around(b"no frame", 8), None, "cannot be decompressed");
    check(&around(b"", 0), None, "cannot be decompressed");
    let mut wide = zstd::Encoder::new(Vec::new(), 1).unwrap();
    wide.window_log(27).unwrap();
    wide.write_all(&0u32.to_be_bytes()).unwrap();
    check(&around(&wide.finish().unwrap(), 4), None, "cannot be decompressed");
    let twice = zstd::encode_all(&0u32.to_be_bytes()[..], 1).unwrap().repeat(2);
    check(&around(&twice, 4), None, "bytes after the last delivery");
    check(&of_bytes(&u32::MAX.to_be_bytes()), None, "it holds 4294967295 deliveries");
    check(&of_bytes(&100u32.to_be_bytes()), None, "delivery 0 is malformed: the time of receipt");
}

#[test]
fn a_malformed_delivery_is_named() {
    let [one, ..] = &some()[..] else { panic!() };
    let good = [&1u32.to_be_bytes()[..], &one.front(), &one.body].concat();
    assert_eq!(read(&of_bytes(&good), None).unwrap(), std::slice::from_ref(one));
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        of_bytes(&bytes)
    };
    check(&changed(4, 0x80), None, "the time of receipt");
    check(&changed(13, 1), None, "the status");
    check(&changed(14, 2), None, "whether it was decoded");
    check(&changed(15, 0), None, "the Content-Encoding");
    check(&changed(18, 0xff), None, "the input");
    check(&of_bytes(&good[..good.len() - 1]), None, "the body");
    check(&of_bytes(&[&good[..], b"x"].concat()), None, "1 bytes after the last delivery");
    check(&of_bytes(&[]), None, "the number of deliveries");
    let seal = [&Header { kind: Kind::Seal, ..HEADER }.to_bytes()[..], b"x"].concat();
    check(&seal, None, "of the kind Seal");
}

fn any_delivery() -> impl Strategy<Value = Delivery> {
    let undecoded = proptest::option::of((any::<u16>(), ".{0,20}"));
    let body = proptest::collection::vec(any::<u8>(), 0..200);
    let fields = (".{0,20}", ".{0,20}", 0..Millis::MAX.get(), any::<u64>());
    (fields, proptest::option::of(".{0,20}"), undecoded, body).prop_map(
        |((input, peer, received_at, sent), content_encoding, undecoded, body)| Delivery {
            input,
            peer,
            received_at: Millis::saturating(received_at),
            content_encoding,
            sent,
            undecoded: undecoded.map(|(status, reason)| Undecoded { status, reason }),
            body: body.into(),
        },
    )
}

proptest! {
    #[test]
    fn any_deliveries_read_back(
        all in proptest::collection::vec(any_delivery(), 0..5),
        secret in proptest::option::of(any::<u8>()),
    ) {
        let cipher = secret.map(cipher);
        prop_assert_eq!(read(&written(&all, cipher.as_ref()), cipher.as_ref()).unwrap(), all);
    }

    #[test]
    fn any_bytes_are_deliveries_or_an_error(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let _ = read(&bytes, None);
        let _ = read(&[&HEADER.to_bytes()[..], &bytes].concat(), None);
        let _ = read(&around(&bytes, bytes.len() as u64), None);
        let _ = read(&of_bytes(&bytes), None);
        // One wrong byte in deliveries that are right otherwise, under a right checksum.
        let fronts: Vec<_> = some().iter().map(|one| [&one.front()[..], &one.body].concat()).collect();
        let mut near = [&3u32.to_be_bytes()[..], &fronts.concat()].concat();
        let at = at.index(near.len());
        near[at] = byte;
        let _ = read(&of_bytes(&near), None);
    }

    #[test]
    fn a_text_is_cut_at_a_character(text in ".{0,5}", times in 0..100_000_usize) {
        let long = text.repeat(times / text.len().max(1));
        let cut = shortened(&long);
        prop_assert!(cut.len() <= usize::from(u16::MAX) && long.starts_with(cut));
        prop_assert!(cut.len() + 4 > long.len().min(usize::from(u16::MAX)));
    }
}
