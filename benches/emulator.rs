//! How much passes through the link emulator, and how exact its delays are:
//! `cargo bench --bench emulator`.
//!
//! The rate is that of datagrams which two hosts send to each other, or one to the other, as fast as they can,
//! as the receiving interfaces count them; on a machine that does other work as well, look at the rate for a
//! second of the emulator's processor time. The error is what a round trip takes beyond twice the delay, with
//! one datagram under way at a time: it includes the two hosts' own work, which a delay of 0 shows alone.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, io};

use wayhold::link::Profile;
use wayhold::testbed::emulator::{Fate, Network};
use wayhold::testbed::lab::{Enclosure, Host, enclose};

#[expect(clippy::print_stderr, reason = "why nothing is measured")]
fn main() -> ExitCode {
    match enclose("WAYHOLD_BENCH_INSIDE") {
        Ok(Enclosure::Inside) => match measure() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        Ok(Enclosure::Ended(status)) if status.success() => ExitCode::SUCCESS,
        Ok(Enclosure::Ended(_)) => ExitCode::FAILURE,
        Err(forbidden) => {
            eprintln!("{forbidden}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "it is the benchmark's output")]
fn measure() -> io::Result<()> {
    println!(
        "{:<28} {:>10} {:>15} {:>10} {:>10} {:>9}",
        "datagrams", "per second", "per CPU second", "dropped", "late p99", "worst"
    );
    for (name, bytes, both) in [
        ("64 bytes, to the node", 64, Ways::One),
        ("64 bytes, both ways", 64, Ways::Both),
        ("1200 bytes, to the node", 1200, Ways::One),
        ("1200 bytes, both ways", 1200, Ways::Both),
    ] {
        let network = Network::new(1, 1500)?;
        blast(&network, bytes, both)?;
        let lateness = network.emulator().lateness()?;
        let processor = processor_time()?.as_micros().max(1);
        println!(
            "{name:<28} {:>10} {:>15} {:>10} {:>10.1?} {:>9.1?}",
            lateness.packets / BLAST.as_secs(),
            u128::from(lateness.packets) * 1_000_000 / processor,
            lateness.dropped,
            lateness.p99,
            lateness.worst,
        );
    }
    println!(
        "\n{:<28} {:>10} {:>10} {:>10}",
        "delay, each way", "median", "p99", "worst"
    );
    for delay in [0, 25] {
        let delay = Duration::from_millis(delay);
        let (round_trips, late) = round_trips(delay)?;
        row(&format!("{delay:?}: round trip beyond"), round_trips);
        row(&format!("{delay:?}: late at delivery"), late);
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "it is the benchmark's output")]
fn row(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    println!(
        "{name:<28} {:>10.1?} {:>10.1?} {:>10.1?}",
        at(50),
        at(99),
        at(100)
    );
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ways {
    One,
    Both,
}

/// Sends as fast as possible for a while.
fn blast(network: &Network, bytes: usize, ways: Ways) -> io::Result<()> {
    let client = bind(&network.client, Network::CLIENT)?;
    let node = bind(&network.nodes[0], Network::SERVICE)?;
    let (to_client, to_node) = (client.local_addr()?, node.local_addr()?);
    let over = &AtomicBool::new(false);
    thread::scope(|scope| {
        let send = |socket: UdpSocket, to: SocketAddr| {
            scope.spawn(move || {
                let datagram = vec![0; bytes];
                while !over.load(Ordering::Relaxed) {
                    // A full buffer is an error here, and no reason to stop.
                    drop(socket.send_to(&datagram, to));
                }
            });
        };
        send(client, to_node);
        if ways == Ways::Both {
            send(node, to_client);
        }
        thread::sleep(BLAST);
        over.store(true, Ordering::Relaxed);
    });
    Ok(())
}

/// What round trips took beyond the delay, and how late each packet was by the emulator's own account.
fn round_trips(delay: Duration) -> io::Result<(Vec<Duration>, Vec<Duration>)> {
    let network = Network::new(1, 1500)?;
    let emulator = network.emulator();
    emulator.set_profiles(Profile::of(delay), Profile::of(delay), 1);
    let client = bind(&network.client, Network::CLIENT)?;
    let node = bind(&network.nodes[0], Network::SERVICE)?;
    let to = node.local_addr()?;
    client.set_read_timeout(Some(PATIENCE))?;
    node.set_read_timeout(Some(2 * PATIENCE))?;
    emulator.record();
    let round_trips = thread::scope(|scope| {
        scope.spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = node.recv_from(&mut buffer) {
                if length == 0 || node.send_to(&buffer[..length], from).is_err() {
                    return;
                }
            }
        });
        let mut times = Vec::new();
        for _ in 0..ROUND_TRIPS {
            let begin = now();
            client.send_to(&[1; 1200], to)?;
            client.recv(&mut [0; 1500])?;
            times.push(begin.elapsed().saturating_sub(2 * delay));
            thread::sleep(PAUSE);
        }
        client.send_to(&[], to)?;
        io::Result::Ok(times)
    })?;
    let trace = emulator.take()?;
    let late = trace.packets.iter().filter_map(|packet| match packet.fate {
        Fate::Delivered { late, .. } => Some(late),
        _ => None,
    });
    Ok((round_trips, late.collect()))
}

/// What the emulator's thread has run for (`/proc/PID/task/TID/schedstat`).
fn processor_time() -> io::Result<Duration> {
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if fs::read_to_string(task.join("comm"))?.trim() == "emulator" {
            let times = fs::read_to_string(task.join("schedstat"))?;
            let time = times.split(' ').next().and_then(|time| time.parse().ok());
            return Ok(Duration::from_nanos(time.unwrap_or_default()));
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

fn bind(host: &Host, address: Ipv4Addr) -> io::Result<UdpSocket> {
    host.run(|| UdpSocket::bind((address, 0)))?
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Instant {
    Instant::now()
}

const BLAST: Duration = Duration::from_secs(2);
const ROUND_TRIPS: u32 = 500;
/// For one datagram.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(3);
