//! What a connection ID costs: to encode, to decode, and to mint for one worker of several.
//!
//! Run it with `cargo bench --bench cid`.

use std::hint::black_box;
use std::num::NonZeroU16;

use criterion::{Criterion, criterion_group, criterion_main};
use wayhold::cid::{
    CidConfig, ConfigId, ConfigSet, FirstOctet, Key, Lane, Minter, Nonce, ServerId, WorkerHash,
};

criterion_group!(benches, codec, mint);
criterion_main!(benches);

fn codec(criterion: &mut Criterion) {
    let kinds = [
        ("plaintext", plaintext()),
        ("single pass", encrypted(12)),
        ("four pass", encrypted(13)),
    ];
    for (name, config) in kinds {
        let server_id = ServerId::from_array([0, 0, 1, 9]);
        let nonce = Nonce::new(&[0x5a; 13][..config.nonce_len()]).expect("a legal length");
        let cid = config
            .encode(&server_id, &nonce, 0)
            .expect("lengths are the configuration's");
        criterion.bench_function(&format!("encode {name}"), |bencher| {
            bencher.iter(|| config.encode(black_box(&server_id), black_box(&nonce), 0));
        });
        let set = ConfigSet::from_iter([config]);
        criterion.bench_function(&format!("decode {name}"), |bencher| {
            bencher.iter(|| set.decode(black_box(&cid)));
        });
    }
}

fn mint(criterion: &mut Criterion) {
    for workers in [1, 4] {
        let workers = NonZeroU16::new(workers).expect("it is not zero");
        let lane = Lane::new(0, workers).expect("0 is below any number of workers");
        let server_id = ServerId::from_array([0, 0, 1, 9]);
        let hash = WorkerHash::new([0x5a; 8]);
        let mut minter = Minter::new(encrypted(12), server_id, lane, 1 << 70)
            .and_then(|minter| minter.with_worker_hash(hash))
            .expect("the default profile's lengths");
        // Where random bytes come from is the caller's choice, so they are not measured.
        criterion.bench_function(&format!("mint for one of {workers} workers"), |bencher| {
            bencher.iter(|| minter.mint(|bytes| bytes.fill(0x5a)));
        });
    }
}

fn plaintext() -> CidConfig {
    CidConfig::new(ConfigId::default(), 4, 12, FirstOctet::Random, None).expect("legal lengths")
}

fn encrypted(nonce_len: usize) -> CidConfig {
    let key = Key::from_bytes([0x5a; 16]);
    let id = ConfigId::default();
    CidConfig::new(id, 4, nonce_len, FirstOctet::Random, Some(&key)).expect("legal lengths")
}
