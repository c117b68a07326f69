//! The test vectors of draft-ietf-quic-load-balancers-21 and of google/quiche, and what the draft's
//! misprinted ones do.

use serde_json::Value;
use wayhold::cid::{
    Cid, CidConfig, ConfigId, DecodeError, FirstOctet, Key, Nonce, ParseError, ServerId,
};

#[test]
fn every_vector_encodes_and_decodes() {
    let data = data();
    let vectors = data["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 10);
    for vector in vectors {
        let vector = Vector::read(vector);
        let config = vector.config(FirstOctet::Length);
        let made = config.encode(&vector.server_id, &vector.nonce, 0xff);
        assert_eq!(made, Ok(vector.cid), "{}", vector.name);
        let decoded = config.decode(&vector.cid).unwrap();
        assert_eq!(decoded.config_id, vector.config_id, "{}", vector.name);
        assert_eq!(decoded.server_id, vector.server_id, "{}", vector.name);
        assert_eq!(decoded.nonce, vector.nonce, "{}", vector.name);
    }
}

#[test]
fn with_random_bits_every_vector_differs_in_the_first_octet_only() {
    for vector in data()["vectors"].as_array().unwrap() {
        let vector = Vector::read(vector);
        let config = vector.config(FirstOctet::Random);
        let made = config.encode(&vector.server_id, &vector.nonce, 0b0001_0101);
        let made = made.unwrap();
        assert_eq!(made[0], vector.config_id.get() << 5 | 0b1_0101);
        assert_eq!(made[1..], vector.cid[1..], "{}", vector.name);
        assert_eq!(config.decode(&made).unwrap().nonce, vector.nonce);
    }
}

#[test]
fn published_strings_hold_where_they_are_not_misprinted() {
    let misprinted = [
        "draft21-plain-2-corrected",
        "draft21-enc-4-as-cr3-corrected",
    ];
    for vector in data()["vectors"].as_array().unwrap() {
        let same = vector["as_published"]["cid"] == vector["cid"];
        assert_eq!(same, !misprinted.contains(&text(vector, "id")));
    }
}

#[test]
fn misprinted_vectors_do_not_hold() {
    let data = data();
    for wrong in data["negative_or_erroneous"].as_array().unwrap() {
        match text(wrong, "id") {
            "published-plain-2" => nibble_is_missing(wrong),
            "published-enc-4" => config_id_is_another(wrong),
            "decrypt-pseudocode" => every_odd_length_needs_the_right_half_cleared(),
            "yang-length-text" => config_ids_are_0_to_6_and_the_length_has_five_bits(),
            other => panic!("no test for {other}"),
        }
    }
}

/// Drafts 15 to 18 filled the AES block in another order.
#[test]
fn four_pass_results_of_older_drafts_do_not_hold() {
    let old = data()["old_expand_vectors_do_not_use"].to_string();
    let four_pass = [
        "draft21-enc-1",
        "draft21-enc-2",
        "draft21-enc-4-as-cr3-corrected",
    ];
    let old_cids = [
        "074126ee38bf5454",
        "2fcd3f572d4eefb046fdb51d164efccc",
        "72124d1eb8fbb21e4a490ca53cfe21d04ae63a",
    ];
    for (name, old_cid) in four_pass.into_iter().zip(old_cids) {
        assert!(old.contains(old_cid));
        let vector = Vector::named(name);
        let old_cid = old_cid.parse::<Cid>().unwrap();
        let config = vector.config(FirstOctet::Length);
        assert_eq!(old_cid[0], vector.cid[0]);
        assert_ne!(config.decode(&old_cid).unwrap().server_id, vector.server_id);
    }
}

fn nibble_is_missing(wrong: &Value) {
    let nonce = text(wrong, "nonce").parse::<Nonce>();
    assert_eq!(nonce, Err(ParseError::Odd(9)));
    let vector = Vector::named("draft21-plain-2-corrected");
    let published = text(wrong, "cid").parse::<Cid>().unwrap();
    let lenient = vector.config(FirstOctet::Random);
    let decoded = lenient.decode(&published).unwrap();
    assert_eq!(decoded.server_id.to_string(), "a350d28b42");
    assert_ne!(decoded.server_id.to_string(), text(wrong, "sid"));
    let strict = vector.config(FirstOctet::Length);
    assert_eq!(
        strict.decode(&published),
        Err(DecodeError::LengthMismatch {
            expected: 11,
            encoded: 1
        })
    );
}

fn config_id_is_another(wrong: &Value) {
    let vector = Vector::named("draft21-enc-4-as-cr3-corrected");
    assert_eq!(wrong["cr_bits"], 3);
    let published = text(wrong, "cid").parse::<Cid>().unwrap();
    assert_eq!(
        vector.config(FirstOctet::Length).decode(&published),
        Err(DecodeError::UnknownConfig(ConfigId::default()))
    );
}

fn every_odd_length_needs_the_right_half_cleared() {
    for name in ["draft21-enc-1", "draft21-enc-2", "draft21-section5-example"] {
        let vector = Vector::named(name);
        assert_eq!(vector.cid.len() % 2, 0);
        let decoded = vector.config(FirstOctet::Length).decode(&vector.cid);
        assert_eq!(decoded.unwrap().server_id, vector.server_id);
    }
}

fn config_ids_are_0_to_6_and_the_length_has_five_bits() {
    assert!((0..=6).all(|id| ConfigId::new(id).is_ok()));
    assert!(ConfigId::new(7).is_err());
    let vector = Vector::named("draft21-enc-3-singlepass");
    assert_eq!(usize::from(vector.cid[0] & 0b1_1111), vector.cid.len() - 1);
}

struct Vector {
    name: String,
    config_id: ConfigId,
    key: Option<Key>,
    server_id: ServerId,
    nonce: Nonce,
    cid: Cid,
}

impl Vector {
    fn read(vector: &Value) -> Self {
        assert_eq!(vector["self_encodes_length"], true);
        let config_id = vector["config_rotation_bits"].as_u64().unwrap();
        let read = Self {
            name: text(vector, "id").into(),
            config_id: ConfigId::new(config_id.try_into().unwrap()).unwrap(),
            key: vector["key"].as_str().map(|key| key.parse().unwrap()),
            server_id: text(vector, "sid").parse().unwrap(),
            nonce: text(vector, "nonce").parse().unwrap(),
            cid: text(vector, "cid").parse().unwrap(),
        };
        assert_eq!(vector["sid_len"], read.server_id.len());
        assert_eq!(vector["nonce_len"], read.nonce.len());
        read
    }

    fn named(name: &str) -> Self {
        let data = data();
        let mut vectors = data["vectors"].as_array().unwrap().iter();
        Self::read(vectors.find(|vector| vector["id"] == name).unwrap())
    }

    fn config(&self, first_octet: FirstOctet) -> CidConfig {
        let (server_id_len, nonce_len) = (self.server_id.len(), self.nonce.len());
        let key = self.key.as_ref();
        CidConfig::new(self.config_id, server_id_len, nonce_len, first_octet, key).unwrap()
    }
}

fn data() -> Value {
    serde_json::from_str(include_str!("quic-lb-vectors.json")).unwrap()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}
