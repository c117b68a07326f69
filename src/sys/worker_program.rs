//! The program by which the kernel hands a datagram to the socket of its worker.

#![expect(
    unsafe_code,
    reason = "SO_ATTACH_REUSEPORT_CBPF has no safe form in the libraries used"
)]

use std::io;
use std::num::NonZeroU16;
use std::os::fd::{AsFd, AsRawFd};

use crate::cid::WorkerHash;

/// Lets the kernel choose among the sockets of a group by [`WorkerHash`], as user space does for
/// connection IDs of `cid_len` bytes; the first socket of the group is worker 0.
///
/// `socket` may be any socket of the group; a program that is attached already is replaced.
///
/// # Errors
/// The system's, such as where a sandbox forbids programs.
pub fn attach(
    socket: &impl AsFd,
    hash: WorkerHash,
    cid_len: usize,
    workers: NonZeroU16,
) -> io::Result<()> {
    let mut instructions = program(hash, cid_len, workers);
    let program = libc::sock_fprog {
        len: u16::try_from(instructions.len()).expect("a few dozen instructions"),
        filter: instructions.as_mut_ptr(),
    };
    let length = libc::socklen_t::try_from(size_of_val(&program)).expect("a few bytes");
    // SAFETY: the kernel reads `length` bytes of `program` and as many instructions as it says, all of
    // which outlive the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The hash as classic BPF. The packet begins with the UDP payload; a load beyond its end gives
/// worker 0.
fn program(hash: WorkerHash, cid_len: usize, workers: NonZeroU16) -> Vec<libc::sock_filter> {
    let input = u32::try_from(WorkerHash::INPUT_LEN).expect("a few bytes");
    let Some(tail) = u32::try_from(cid_len)
        .ok()
        .and_then(|cid_len| cid_len.checked_sub(input))
    else {
        return vec![instruction(RETURN_K, 0)];
    };
    let [first, second] = hash.multipliers();
    vec![
        instruction(LOAD_BYTE, 0),
        jump(JUMP_IF_SET, LONG_FORM, 2, 0),
        // Short header: the connection ID begins at 1 and has our length.
        instruction(LOAD_X, SHORT_CID + tail),
        instruction(JUMP, 6),
        // Long header: a length, then the connection ID.
        instruction(LOAD_BYTE, LONG_CID_LEN),
        instruction(LOAD_X, LONG_CID + tail),
        jump(JUMP_IF_EQUAL, tail + input, 3, 0),
        instruction(LOAD_X, LONG_CID),
        jump(JUMP_IF_AT_LEAST, input, 1, 0),
        instruction(RETURN_K, 0),
        instruction(LOAD_WORD_AT_X, 0),
        instruction(MULTIPLY, first),
        instruction(STORE, 0),
        instruction(LOAD_WORD_AT_X, 4),
        instruction(MULTIPLY, second),
        instruction(LOAD_X_MEMORY, 0),
        instruction(XOR_X, 0),
        instruction(SHIFT_RIGHT, WorkerHash::SHIFT),
        instruction(MODULO, workers.get().into()),
        instruction(RETURN_A, 0),
    ]
}

fn instruction(code: u32, k: u32) -> libc::sock_filter {
    jump(code, k, 0, 0)
}

/// Skips `yes` or `no` instructions.
fn jump(code: u32, k: u32, yes: u8, no: u8) -> libc::sock_filter {
    libc::sock_filter {
        code: u16::try_from(code).expect("codes have two bytes"),
        jt: yes,
        jf: no,
        k,
    }
}

const LONG_FORM: u32 = 0x80;
const SHORT_CID: u32 = 1;
const LONG_CID_LEN: u32 = 5;
const LONG_CID: u32 = 6;

const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
const LOAD_WORD_AT_X: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_IND;
const LOAD_X: u32 = libc::BPF_LDX | libc::BPF_W | libc::BPF_IMM;
const LOAD_X_MEMORY: u32 = libc::BPF_LDX | libc::BPF_W | libc::BPF_MEM;
const STORE: u32 = libc::BPF_ST;
const MULTIPLY: u32 = libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K;
const XOR_X: u32 = libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X;
const SHIFT_RIGHT: u32 = libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K;
const MODULO: u32 = libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K;
const JUMP: u32 = libc::BPF_JMP | libc::BPF_JA;
const JUMP_IF_SET: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
const JUMP_IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const JUMP_IF_AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const RETURN_K: u32 = libc::BPF_RET | libc::BPF_K;
const RETURN_A: u32 = libc::BPF_RET | libc::BPF_A;

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;
    use crate::sys::socket::bind_udp_group;

    const WORKERS: NonZeroU16 = NonZeroU16::new(4).unwrap();

    fn hash() -> WorkerHash {
        WorkerHash::new(*b"\x12\x34\x56\x78\x9a\xbc\xde\xf1")
    }

    fn long(cid: &[u8]) -> Vec<u8> {
        let len = u8::try_from(cid.len()).unwrap();
        let mut datagram = [&[0xc0, 0, 0, 0, 1, len], cid].concat();
        datagram.resize(300, 0);
        datagram
    }

    fn short(cid: &[u8]) -> Vec<u8> {
        let mut datagram = [&[0x40], cid].concat();
        datagram.resize(60, 0);
        datagram
    }

    #[test]
    fn the_kernel_chooses_the_worker_that_user_space_would() {
        for cid_len in [8, 9, 17, 20] {
            let group = bind_udp_group("127.0.0.1:0".parse().unwrap(), WORKERS).unwrap();
            attach(&group[0], hash(), cid_len, WORKERS).unwrap();
            let address = group[0].local_addr().unwrap();
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            let mut state = 7_u64;
            for round in 0..200_usize {
                let len = if round % 2 == 0 { cid_len } else { round % 21 };
                let cid: Vec<u8> = std::iter::repeat_with(|| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    (state >> 56) as u8
                })
                .take(len)
                .collect();
                let datagram = if round % 4 == 0 {
                    short(&cid)
                } else {
                    long(&cid)
                };
                client.send_to(&datagram, address).unwrap();
                let worker = hash().worker_of(&cid, cid_len, WORKERS);
                let socket = &group[usize::from(worker)];
                socket.set_nonblocking(false).unwrap();
                socket
                    .set_read_timeout(Some(Duration::from_secs(5)))
                    .unwrap();
                let mut buffer = [0; 300];
                let received = socket.recv(&mut buffer).unwrap();
                assert_eq!(
                    buffer[..received],
                    datagram,
                    "a CID of {len} bytes, ours {cid_len}"
                );
            }
        }
    }

    #[test]
    fn ids_too_short_to_hash_go_to_the_first_worker() {
        let group = bind_udp_group("127.0.0.1:0".parse().unwrap(), WORKERS).unwrap();
        attach(&group[0], hash(), 5, WORKERS).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        group[0].set_nonblocking(false).unwrap();
        group[0]
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        for datagram in [short(&[1; 5]), long(&[0xff; 20]), vec![0x40]] {
            client
                .send_to(&datagram, group[0].local_addr().unwrap())
                .unwrap();
            assert_eq!(group[0].recv(&mut [0; 300]).unwrap(), datagram.len());
        }
    }

    #[test]
    fn an_attached_program_gives_way_to_the_next() {
        let group = bind_udp_group("127.0.0.1:0".parse().unwrap(), WORKERS).unwrap();
        for workers in [WORKERS, NonZeroU16::MIN] {
            attach(&group[0], hash(), 17, workers).unwrap();
        }
    }
}
