//! What holds for connection IDs of all legal lengths, and what happens to illegal ones.

use proptest::prelude::*;
use wayhold::cid::{
    Cid, CidConfig, ConfigError, ConfigId, ConfigSet, DecodeError, EncodeError, FirstOctet, Key,
    Nonce, ServerId,
};

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(config in configs(), bytes: [u8; 19], random_bits: u8) {
        let (server_id, nonce) = parts(&config, &bytes);
        let cid = config.encode(&server_id, &nonce, random_bits).unwrap();
        prop_assert_eq!(cid.len(), config.cid_len());
        let decoded = config.decode(&cid).unwrap();
        prop_assert_eq!(decoded.config_id, config.id());
        prop_assert_eq!(decoded.server_id, server_id);
        prop_assert_eq!(decoded.nonce, nonce);
        if config.first_octet() == FirstOctet::Length {
            prop_assert_eq!(usize::from(cid[0] & 0x1f), cid.len() - 1);
        } else {
            prop_assert_eq!(cid[0] & 0x1f, random_bits & 0x1f);
        }
    }

    #[test]
    fn distinct_nonces_give_distinct_cids(
        config in configs(),
        bytes: [u8; 19],
        place in 0..18_usize,
        change in 1..=255_u8,
    ) {
        let (server_id, nonce) = parts(&config, &bytes);
        let mut other = nonce.to_vec();
        other[place % nonce.len()] ^= change;
        let other = Nonce::new(&other).unwrap();
        prop_assert_ne!(
            config.encode(&server_id, &nonce, 0).unwrap(),
            config.encode(&server_id, &other, 0).unwrap()
        );
    }

    #[test]
    fn any_bytes_decode_or_fail_without_a_panic(
        configs in proptest::collection::vec(configs(), 0..7),
        bytes in proptest::collection::vec(any::<u8>(), 0..=40),
    ) {
        let set = configs.into_iter().collect::<ConfigSet>();
        let exact = set.decode(&bytes);
        let prefix = set.decode_prefix(&bytes);
        if let Ok(decoded) = exact {
            prop_assert_eq!(prefix, Ok(decoded));
            prop_assert_eq!(bytes.len(), set.get(decoded.config_id).unwrap().cid_len());
        }
    }

    #[test]
    fn bytes_after_the_cid_change_nothing_but_the_exact_decoding(
        config in configs(),
        bytes: [u8; 19],
        rest in proptest::collection::vec(any::<u8>(), 1..=40),
    ) {
        let (server_id, nonce) = parts(&config, &bytes);
        let cid = config.encode(&server_id, &nonce, bytes[0]).unwrap();
        let longer = [&cid[..], &rest].concat();
        prop_assert_eq!(config.decode_prefix(&longer), config.decode(&cid));
        prop_assert_eq!(config.decode(&longer), Err(DecodeError::TooLong {
            expected: cid.len(),
            found: longer.len(),
        }));
    }

    #[test]
    fn a_missing_byte_is_an_error(config in configs(), bytes: [u8; 19], len in 0..20_usize) {
        let (server_id, nonce) = parts(&config, &bytes);
        let cid = config.encode(&server_id, &nonce, bytes[0]).unwrap();
        let found = len % cid.len();
        let error = Err(DecodeError::TooShort { expected: cid.len(), found });
        prop_assert_eq!(config.decode(&cid[..found]), error);
        prop_assert_eq!(config.decode_prefix(&cid[..found]), error);
    }

    #[test]
    fn another_length_in_the_first_octet_is_an_error(bytes: [u8; 19], encoded in 0..32_u8) {
        let config = config(0, 4, 12, FirstOctet::Length);
        prop_assume!(encoded != 16);
        let (server_id, nonce) = parts(&config, &bytes);
        let mut cid = config.encode(&server_id, &nonce, 0).unwrap().to_vec();
        cid[0] = encoded;
        prop_assert_eq!(config.decode(&cid), Err(DecodeError::LengthMismatch {
            expected: 17,
            encoded: usize::from(encoded) + 1,
        }));
    }
}

#[test]
fn all_legal_lengths_make_a_configuration_and_no_other_does() {
    for server_id_len in 0..=40 {
        for nonce_len in 0..=40 {
            let id = ConfigId::default();
            let made = CidConfig::new(id, server_id_len, nonce_len, FirstOctet::Random, None);
            let error = made.err();
            match (server_id_len, nonce_len) {
                (0 | 16.., _) => assert_eq!(error, Some(ConfigError::ServerId(server_id_len))),
                (_, 0..=3 | 19..) => assert_eq!(error, Some(ConfigError::Nonce(nonce_len))),
                (a, b) if a + b > 19 => assert_eq!(error, Some(ConfigError::Sum(a, b))),
                _ => assert_eq!(error, None),
            }
        }
    }
    let huge = CidConfig::new(ConfigId::default(), 260, 4, FirstOctet::Random, None);
    assert_eq!(huge.err(), Some(ConfigError::ServerId(260)));
}

#[test]
fn server_ids_and_nonces_of_another_length_are_refused() {
    let config = config(0, 4, 12, FirstOctet::Random);
    let short = ServerId::new(&[0; 3]).unwrap();
    let nonce = Nonce::new(&[0; 12]).unwrap();
    assert_eq!(
        config.encode(&short, &nonce, 0),
        Err(EncodeError::ServerId {
            expected: 4,
            found: 3
        })
    );
    let server_id = ServerId::new(&[0; 4]).unwrap();
    let long = Nonce::new(&[0; 13]).unwrap();
    assert_eq!(
        config.encode(&server_id, &long, 0),
        Err(EncodeError::Nonce {
            expected: 12,
            found: 13
        })
    );
}

#[test]
fn a_set_reads_each_cid_under_the_configuration_that_it_names() {
    let lengths = [(4, 12), (3, 5), (15, 4), (1, 18), (8, 8), (2, 9)];
    let mut set = ConfigSet::default();
    let mut cids = Vec::new();
    for (id, (server_id_len, nonce_len)) in (0..).zip(lengths) {
        let config = config(id, server_id_len, nonce_len, FirstOctet::Random);
        let (server_id, nonce) = parts(&config, &[id + 1; 19]);
        cids.push((config.encode(&server_id, &nonce, id).unwrap(), server_id));
        assert!(set.insert(config).is_none());
    }
    for (id, (cid, server_id)) in (0..).zip(&cids) {
        let decoded = set.decode(cid).unwrap();
        assert_eq!(decoded.config_id.get(), id);
        assert_eq!(decoded.server_id, *server_id);
    }
    assert_eq!(set.iter().count(), lengths.len());

    let id = ConfigId::new(2).unwrap();
    assert!(set.remove(id).is_some());
    assert!(set.get(id).is_none());
    let error = Err(DecodeError::UnknownConfig(id));
    assert_eq!(set.decode(&cids[2].0), error);
    assert_eq!(set.decode_prefix(&cids[2].0), error);
}

#[test]
fn a_configuration_replaces_the_one_with_its_id() {
    let mut set = ConfigSet::default();
    set.insert(config(5, 4, 12, FirstOctet::Random));
    let old = set.insert(config(5, 3, 12, FirstOctet::Random)).unwrap();
    assert_eq!(old.server_id_len(), 4);
    assert_eq!(set.iter().count(), 1);
}

#[test]
fn an_unroutable_cid_decodes_under_no_configuration() {
    let set = (0..=6)
        .map(|id| config(id, 4, 12, FirstOctet::Random))
        .collect::<ConfigSet>();
    for len in 8..=20 {
        let cid = Cid::unroutable(&vec![9; len]).unwrap();
        assert_eq!(set.decode(&cid), Err(DecodeError::Unroutable));
        assert_eq!(set.decode_prefix(&cid), Err(DecodeError::Unroutable));
        let one = set.get(ConfigId::default()).unwrap();
        assert_eq!(one.decode(&cid), Err(DecodeError::Unroutable));
    }
}

#[test]
fn a_key_does_not_show_in_debug_output() {
    let config = config(0, 4, 12, FirstOctet::Random);
    assert!(config.is_encrypted());
    assert!(format!("{config:?}").contains("cipher: Some(Cipher(..))"));
}

fn configs() -> impl Strategy<Value = CidConfig> {
    let lengths = (1..=15_usize).prop_flat_map(|server_id_len| {
        let longest = 18.min(CidConfig::MAX_LEN - server_id_len);
        (Just(server_id_len), 4..=longest)
    });
    let first_octets = prop_oneof![Just(FirstOctet::Random), Just(FirstOctet::Length)];
    let keys = proptest::option::of(any::<[u8; 16]>());
    (0..=6_u8, lengths, first_octets, keys).prop_map(|(id, lengths, first_octet, key)| {
        let key = key.map(Key::from_bytes);
        let id = ConfigId::new(id).unwrap();
        CidConfig::new(id, lengths.0, lengths.1, first_octet, key.as_ref()).unwrap()
    })
}

fn config(id: u8, server_id_len: usize, nonce_len: usize, first_octet: FirstOctet) -> CidConfig {
    let id = ConfigId::new(id).unwrap();
    let key = Key::from_bytes([0x5a; 16]);
    CidConfig::new(id, server_id_len, nonce_len, first_octet, Some(&key)).unwrap()
}

fn parts(config: &CidConfig, bytes: &[u8; 19]) -> (ServerId, Nonce) {
    let (server_id, rest) = bytes.split_at(config.server_id_len());
    let nonce = &rest[..config.nonce_len()];
    (
        ServerId::new(server_id).unwrap(),
        Nonce::new(nonce).unwrap(),
    )
}
