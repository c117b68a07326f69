//! Who may mint which connection IDs, and that no nonce is used twice.

use std::collections::HashSet;
use std::num::NonZeroU16;

use wayhold::cid::{
    Cid, CidConfig, ConfigId, FirstOctet, Key, Lane, MintError, Minter, MinterError, Nonce,
    ServerId, WorkerHash,
};

#[test]
fn encrypted_nonces_count_from_the_start() {
    let start = 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10;
    let expected = [
        (18, "00000102030405060708090a0b0c0d0e0f10"),
        (16, "0102030405060708090a0b0c0d0e0f10"),
        (12, "05060708090a0b0c0d0e0f10"),
        (8, "090a0b0c0d0e0f10"),
    ];
    for (nonce_len, first) in expected {
        let mut minter = minter(encrypted(1, nonce_len), Lane::ONLY, start);
        assert_eq!(minted_nonce(&mut minter), first.parse().unwrap());
        let second = minted_nonce(&mut minter);
        assert_eq!(second[nonce_len - 1], 0x11);
        assert_eq!(second[..nonce_len - 1], all_but_last_byte(first));
    }
}

#[test]
fn the_counter_wraps_within_its_eight_bytes() {
    let start = 7 << 64 | u128::from(u64::MAX);
    let mut minter = minter(encrypted(4, 12), Lane::ONLY, start);
    let nonces = [(); 2].map(|()| minted_nonce(&mut minter).to_string());
    assert_eq!(
        nonces,
        ["00000007ffffffffffffffff", "000000070000000000000000"]
    );
}

#[test]
fn lanes_are_disjoint_and_end_with_an_error() {
    let workers = NonZeroU16::MAX;
    let lane_len = (1_u64 << 32) / u64::from(workers.get());
    let mut seen = HashSet::new();
    for (worker, start) in [(0, 5), (1, u128::MAX), (65_534, 1 << 31)] {
        let lane = Lane::new(worker, workers).unwrap();
        let mut minter =
            Minter::dangerous_short_nonce(encrypted(4, 4), server_id(4), lane, start).unwrap();
        for _ in 0..lane_len {
            assert!(seen.insert(minted_nonce(&mut minter)));
        }
        for _ in 0..3 {
            assert_eq!(minter.mint(zeros), Err(MintError::Exhausted));
        }
    }
}

#[test]
fn lanes_of_long_nonces_are_far_apart() {
    let workers = NonZeroU16::new(4).unwrap();
    let first_bytes = [0, 1, 2, 3].map(|worker| {
        let lane = Lane::new(worker, workers).unwrap();
        minted_nonce(&mut minter(encrypted(8, 8), lane, 0))[0]
    });
    assert_eq!(first_bytes, [0x00, 0x40, 0x80, 0xc0]);
}

#[test]
fn short_nonces_are_not_minted_under_a_key_without_the_override() {
    for nonce_len in 4..8 {
        let error = Minter::new(encrypted(4, nonce_len), server_id(4), Lane::ONLY, 0).unwrap_err();
        assert_eq!(error, MinterError::ShortNonce(nonce_len));
        let plain = Minter::new(plaintext(4, nonce_len), server_id(4), Lane::ONLY, 0);
        assert!(plain.is_ok());
    }
    assert!(Minter::new(encrypted(4, 8), server_id(4), Lane::ONLY, 0).is_ok());
}

#[test]
fn plaintext_nonces_are_the_random_bytes_and_not_a_counter() {
    let mut minter = minter(plaintext(8, 7), Lane::ONLY, 1);
    let mut source = Random(3);
    let mut copy = Random(3);
    for _ in 0..100 {
        let cid = minter.mint(|bytes| source.fill(bytes)).unwrap();
        copy.fill(&mut [0]);
        let mut expected = [0; 7];
        copy.fill(&mut expected);
        assert_eq!(cid[9..], expected);
    }
}

#[test]
fn the_first_octet_is_drawn_anew_for_each_cid() {
    let mut minter = minter(encrypted(4, 12), Lane::ONLY, 1);
    let mut source = Random(8);
    let octets = (0..200)
        .map(|_| minter.mint(|bytes| source.fill(bytes)).unwrap()[0])
        .collect::<HashSet<_>>();
    assert_eq!(octets.len(), 32);
}

#[test]
fn every_worker_mints_cids_that_hash_to_it() {
    let workers = NonZeroU16::new(4).unwrap();
    let hash = WorkerHash::new(*b"\x13\x57\x9b\xdf\x02\x46\x8a\xce");
    let mut seen = HashSet::new();
    let configs = [
        encrypted(4, 12),
        encrypted(3, 8),
        plaintext(8, 7),
        plaintext(8, 10),
        plaintext(3, 4),
    ];
    for config in configs {
        let mut source = Random(1);
        for worker in 0..4 {
            let lane = Lane::new(worker, workers).unwrap();
            let mut minter = minter(config.clone(), lane, 77)
                .with_worker_hash(hash)
                .unwrap();
            for _ in 0..200 {
                let cid = minter.mint(|bytes| source.fill(bytes)).unwrap();
                assert_eq!(hash.worker_of(&cid, config.cid_len(), workers), worker);
                assert!(minter.owns(&cid));
                assert!(seen.insert(cid));
            }
        }
    }
}

#[test]
fn a_minter_owns_no_cid_of_another_worker_server_or_configuration() {
    let workers = NonZeroU16::new(2).unwrap();
    let hash = WorkerHash::new([7; 8]);
    let of = |worker| {
        let lane = Lane::new(worker, workers).unwrap();
        minter(encrypted(4, 12), lane, 5)
            .with_worker_hash(hash)
            .unwrap()
    };
    let (mut one, mut other) = (of(0), of(1));
    let cid = one.mint(zeros).unwrap();
    assert!(one.owns(&cid));
    assert!(!other.owns(&cid));
    assert!(!one.owns(&other.mint(zeros).unwrap()));
    assert!(!one.owns(&cid[..16]));
    assert!(!one.owns(&[]));
    assert!(!one.owns(&Cid::unroutable(&[1; 17]).unwrap()));

    let neighbour = ServerId::from_array([1, 1, 1, 2]);
    let config = encrypted(4, 12);
    let mut neighbour = Minter::new(config, neighbour, Lane::ONLY, 5).unwrap();
    let all = minter(encrypted(4, 12), Lane::ONLY, 5);
    assert!(all.owns(&cid));
    assert!(!all.owns(&neighbour.mint(zeros).unwrap()));
}

#[test]
fn a_random_source_that_repeats_itself_ends_the_search() {
    let workers = NonZeroU16::new(3).unwrap();
    let hash = WorkerHash::new([7; 8]);
    let config = plaintext(4, 12);
    let lost = (0..3)
        .filter(|&worker| {
            let lane = Lane::new(worker, workers).unwrap();
            let mut minter = minter(config.clone(), lane, 0)
                .with_worker_hash(hash)
                .unwrap();
            match minter.mint(zeros) {
                Ok(_) => false,
                Err(error) => error == MintError::NotOurs(192),
            }
        })
        .count();
    assert_eq!(lost, 2);
}

#[test]
fn cids_too_short_to_choose_a_worker_by_serve_one_worker_only() {
    let hash = WorkerHash::new([7; 8]);
    let two = Lane::new(0, NonZeroU16::new(2).unwrap()).unwrap();
    let refused = minter(plaintext(2, 4), two, 0).with_worker_hash(hash);
    assert_eq!(refused.unwrap_err(), MinterError::ShortCid(7));
    let mut minter = minter(plaintext(2, 4), Lane::ONLY, 0)
        .with_worker_hash(hash)
        .unwrap();
    assert!(minter.mint(zeros).is_ok());
}

#[test]
fn a_server_id_of_another_length_is_refused() {
    let error = Minter::new(encrypted(4, 12), server_id(3), Lane::ONLY, 0).unwrap_err();
    let expected = MinterError::ServerId {
        expected: 4,
        found: 3,
    };
    assert_eq!(error, expected);
}

#[test]
fn a_lane_is_below_the_number_of_workers() {
    let workers = NonZeroU16::new(4).unwrap();
    assert!(Lane::new(3, workers).is_ok());
    let error = Lane::new(4, workers).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no worker 4 among 4, which count from 0"
    );
}

/// The numbers come from another program; a kernel filter must find the same.
#[test]
fn the_worker_hash_is_the_documented_formula() {
    let hash = WorkerHash::new([0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
    assert_eq!(hash.multipliers(), [0x0123_4567, 0x89ab_cdef]);
    let cid = (0..17).collect::<Vec<u8>>();
    let worker =
        |our_len, workers| hash.worker_of(&cid, our_len, NonZeroU16::new(workers).unwrap());
    assert_eq!(worker(17, 7), 1);
    assert_eq!(worker(17, 65_535), 63_351);
    assert_eq!(worker(16, 7), 6);
    assert_eq!(worker(16, 65_535), 874);
    assert_eq!(worker(17, 1), 0);
}

#[test]
fn a_cid_of_fewer_than_eight_bytes_belongs_to_worker_0() {
    let hash = WorkerHash::new([0xff; 8]);
    for len in 0..8 {
        let cid = vec![0xa5; len];
        assert_eq!(hash.worker_of(&cid, 17, NonZeroU16::MAX), 0);
        assert_eq!(hash.worker_of(&cid, len, NonZeroU16::MAX), 0);
    }
}

#[test]
fn the_worker_hash_spreads_counters_and_random_cids_alike() {
    let workers = NonZeroU16::new(4).unwrap();
    let hash = WorkerHash::new(*b"\x13\x57\x9b\xdf\x02\x46\x8a\xce");
    let mut source = Random(4);
    let mut encrypted_cids = minter(encrypted(4, 12), Lane::ONLY, 9);
    let mut counts = [[0; 4]; 2];
    for _ in 0..4000 {
        let ours = encrypted_cids.mint(|bytes| source.fill(bytes)).unwrap();
        let mut theirs = [0; 8];
        source.fill(&mut theirs);
        for (count, cid) in counts.iter_mut().zip([&ours[..], &theirs]) {
            count[usize::from(hash.worker_of(cid, 17, workers))] += 1;
        }
    }
    // Four times the standard deviation of 27 around 1000.
    let even = |count: &[i32; 4]| count.iter().all(|n| (890..=1110).contains(n));
    assert!(counts.iter().all(even), "{counts:?}");
}

/// Splitmix64: enough to tell random bytes from a counter.
struct Random(u64);

impl Random {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(z ^ z >> 31).to_le_bytes()[..chunk.len()]);
        }
    }
}

fn zeros(bytes: &mut [u8]) {
    bytes.fill(0);
}

fn minted_nonce(minter: &mut Minter) -> Nonce {
    let cid = minter.mint(zeros).unwrap();
    minter.config().decode(&cid).unwrap().nonce
}

fn all_but_last_byte(nonce: &str) -> Vec<u8> {
    let nonce = nonce.parse::<Nonce>().unwrap();
    nonce[..nonce.len() - 1].to_vec()
}

fn minter(config: CidConfig, lane: Lane, start: u128) -> Minter {
    let server_id = server_id(config.server_id_len());
    Minter::new(config, server_id, lane, start).unwrap()
}

fn server_id(len: usize) -> ServerId {
    ServerId::new(&vec![1; len]).unwrap()
}

fn encrypted(server_id_len: usize, nonce_len: usize) -> CidConfig {
    let key = Key::from_bytes([0x5a; 16]);
    config(server_id_len, nonce_len, Some(&key))
}

fn plaintext(server_id_len: usize, nonce_len: usize) -> CidConfig {
    config(server_id_len, nonce_len, None)
}

fn config(server_id_len: usize, nonce_len: usize, key: Option<&Key>) -> CidConfig {
    let id = ConfigId::default();
    CidConfig::new(id, server_id_len, nonce_len, FirstOctet::Random, key).unwrap()
}
