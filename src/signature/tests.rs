//! Published test vectors of Ed25519: `fixtures/ed25519` has them and says where they come from.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use serde::Deserialize;

use super::{Key, KeySet};

const WYCHEPROOF: &[u8] = include_bytes!("../../fixtures/ed25519/wycheproof.json");
const SPECCHECK: &[u8] = include_bytes!("../../fixtures/ed25519/speccheck.json");
const PAGE: &str = include_str!("../../docs/signatures.md");

#[derive(Deserialize)]
struct Wycheproof {
    #[serde(rename = "testGroups")]
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(rename = "publicKey")]
    key: PublicKey,
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct PublicKey {
    pk: String,
}

#[derive(Deserialize)]
struct Test {
    #[serde(rename = "tcId")]
    id: u64,
    msg: String,
    sig: String,
    result: String,
}

#[derive(Deserialize)]
struct Case {
    message: String,
    pub_key: String,
    signature: String,
}

fn bytes(hex: &str) -> Vec<u8> {
    HEXLOWER.decode(hex.as_bytes()).unwrap()
}

fn key(hex: &str) -> Key {
    Key::new(None, bytes(hex).try_into().unwrap())
}

fn verifies(key: Key, message: &str, signature: &str) -> bool {
    // An entry with a signature of another length is invalid before any key is tried.
    let Ok(signature) = bytes(signature).try_into() else { return false };
    KeySet::new([Arc::new(key)]).verifying(&bytes(message), &signature).is_some()
}

#[test]
fn every_vector_of_wycheproof_has_its_result() {
    let vectors: Wycheproof = serde_json::from_slice(WYCHEPROOF).unwrap();
    let mut count = 0;
    for Group { key: PublicKey { pk }, tests } in vectors.groups {
        assert_eq!(key(&pk).weakness(), None, "{pk}");
        for Test { id, msg, sig, result } in tests {
            assert_eq!(verifies(key(&pk), &msg, &sig), result == "valid", "vector {id}");
            count += 1;
        }
    }
    assert_eq!(count, 151);
}

#[test]
fn the_page_has_the_result_of_every_case_of_speccheck() {
    let cases: Vec<Case> = serde_json::from_slice(SPECCHECK).unwrap();
    assert_eq!(cases.len(), 12);
    for (number, Case { message, pub_key, signature }) in cases.into_iter().enumerate() {
        let key = key(&pub_key);
        let of_key = key.weakness().map_or("good".to_owned(), |defect| defect.to_string());
        let ring = if verifies(key, &message, &signature) { "valid" } else { "invalid" };
        let row = PAGE.lines().find(|line| line.starts_with(&format!("| {number} |")));
        let end = format!("| {of_key} | {ring} |");
        assert!(row.is_some_and(|row| row.ends_with(&end)), "case {number} has {end}, not {row:?}");
    }
}
