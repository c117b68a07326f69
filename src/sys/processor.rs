//! Processor time of threads and processes, and where a thread runs.
//!
//! The clocks count nanoseconds, as the scheduler does. How a time splits between user and kernel the
//! kernel only samples, once in a tick, unless it was built with `CONFIG_VIRT_CPU_ACCOUNTING_GEN`: a
//! tick is 1 to 10 ms (`CONFIG_HZ`), and one handshake takes a fraction of it. So a [`Split`] means
//! something over some hundred ticks, and nothing over a single handshake.

#![expect(
    unsafe_code,
    reason = "clock_gettime, gettid, getrusage, sysconf and sched_setaffinity have no safe form in the \
              libraries used"
)]

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

/// The clock that shows how long a thread or a process has run on processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessorClock(libc::clockid_t);

impl ProcessorClock {
    /// The clock of the thread that calls; another thread may read it.
    pub fn own() -> Self {
        Self::of_id(thread_id(), PER_THREAD).expect("the kernel numbers threads from 1")
    }

    /// The clock of a thread of this process, by its [`thread_id`].
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when this process has no such thread.
    pub fn of_thread(thread: u32) -> io::Result<Self> {
        let clock = Self::of_id(thread, PER_THREAD)?;
        clock.read().map(|_| clock)
    }

    /// The clock of all threads of a process together, those that have ended included. The process may
    /// be another user's.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when there is no such process.
    pub fn of_process(process: u32) -> io::Result<Self> {
        let clock = Self::of_id(process, 0)?;
        clock.read().map(|_| clock)
    }

    /// The time on processors, in user space and in the kernel, to the nanosecond.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] once the thread or process is gone.
    pub fn read(self) -> io::Result<Duration> {
        time_of(self.0)
    }

    /// The kernel's encoding, in which the C library has no function for other threads by number.
    fn of_id(id: u32, kind: libc::clockid_t) -> io::Result<Self> {
        match libc::clockid_t::try_from(id) {
            Ok(id) if id > 0 && id <= MAX_ID => Ok(Self((!id << 3) | SCHEDULER_TIME | kind)),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

/// How long the thread that calls has run on processors, to the nanosecond.
pub fn thread_time() -> Duration {
    time_of(libc::CLOCK_THREAD_CPUTIME_ID).expect("every thread has this clock")
}

/// The kernel's number of the thread that calls.
pub fn thread_id() -> u32 {
    // SAFETY: the call takes nothing, and cannot fail.
    let id = unsafe { libc::gettid() };
    id.unsigned_abs()
}

/// Keeps the thread that calls, and those that it starts from here on, on the processor where it runs
/// now.
///
/// # Errors
/// The system's.
pub fn stay_here() -> io::Result<()> {
    // SAFETY: the call takes nothing.
    let here = unsafe { libc::sched_getcpu() };
    let here = usize::try_from(here).map_err(|_negative| io::Error::last_os_error())?;
    let mut set = [0_u64; MAX_PROCESSORS / 64];
    let word = set.get_mut(here / 64).ok_or(io::ErrorKind::Unsupported)?;
    *word = 1 << (here % 64);
    // SAFETY: `set` lives for the whole call, which only reads as many bytes as it is told.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), set.as_ptr().cast()) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Processor time by where it was spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// In the program.
    pub user: Duration,
    /// In the kernel on its behalf: system calls and faults. Interrupts count for whom they interrupt.
    pub kernel: Duration,
}

impl Split {
    /// That of the thread that calls. The sum is exact to the microsecond; see the module for the
    /// parts.
    pub fn own() -> Self {
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: `usage` lives for the whole call, which only writes it.
        let result = unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) };
        assert_eq!(result, 0, "every thread has a usage");
        // SAFETY: all fields are numbers, for which the zeroes it was made of are values.
        let usage = unsafe { usage.assume_init() };
        Self {
            user: duration(usage.ru_utime.tv_sec, usage.ru_utime.tv_usec * 1000),
            kernel: duration(usage.ru_stime.tv_sec, usage.ru_stime.tv_usec * 1000),
        }
    }

    /// That of a thread of this process, in steps of 10 ms.
    ///
    /// # Errors
    /// The system's, such as [`io::ErrorKind::NotFound`] when this process has no such thread.
    pub fn of_thread(thread: u32) -> io::Result<Self> {
        Self::read(&format!("/proc/self/task/{thread}/stat"))
    }

    /// That of all threads of a process together, in steps of 10 ms.
    ///
    /// # Errors
    /// The system's, such as [`io::ErrorKind::NotFound`] when there is no such process.
    pub fn of_process(process: u32) -> io::Result<Self> {
        Self::read(&format!("/proc/{process}/stat"))
    }

    fn read(path: &str) -> io::Result<Self> {
        let text = fs::read_to_string(path)?;
        Self::parse(&text, ticks_in_a_second()).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Reads a line of the form of `proc_pid_stat(5)`, whose second field may hold spaces and
    /// parentheses.
    fn parse(line: &str, ticks_in_a_second: u64) -> Option<Self> {
        let (_, fields) = line.rsplit_once(')')?;
        let mut times = fields.split_ascii_whitespace().skip(FIELDS_BEFORE_TIMES);
        let mut next = || {
            let ticks = times.next()?.parse::<u64>().ok()?;
            let nanoseconds = ticks
                .checked_mul(1_000_000_000)?
                .checked_div(ticks_in_a_second)?;
            Some(Duration::from_nanos(nanoseconds))
        };
        Some(Self {
            user: next()?,
            kernel: next()?,
        })
    }
}

fn time_of(clock: libc::clockid_t) -> io::Result<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` lives for the whole call, which only writes it.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    if result == 0 {
        Ok(duration(time.tv_sec, time.tv_nsec))
    } else {
        Err(io::Error::last_os_error())
    }
}

fn duration(seconds: i64, nanoseconds: i64) -> Duration {
    let nanoseconds = u32::try_from(nanoseconds).unwrap_or(0);
    Duration::new(seconds.unsigned_abs(), nanoseconds)
}

fn ticks_in_a_second() -> u64 {
    // SAFETY: the call takes a number and no pointer.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    ticks.unsigned_abs()
}

/// The two low bits of a clock of a thread or process: of three clocks, the scheduler's.
const SCHEDULER_TIME: libc::clockid_t = 2;
/// The bit that makes the number one of a thread.
const PER_THREAD: libc::clockid_t = 4;
/// Numbers of threads end at 2^22 (`kernel.pid_max`), so nothing is shifted out.
const MAX_ID: libc::clockid_t = 1 << 22;
/// From the state, the first field after the name, to the one before `utime`.
const FIELDS_BEFORE_TIMES: usize = 11;
/// As many as the C library's own sets hold; the kernel takes sets of any size.
const MAX_PROCESSORS: usize = 1024;

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn a_thread_that_stays_has_one_processor_and_those_it_starts_too() {
        let allowed = || {
            let status = fs::read_to_string("/proc/thread-self/status").unwrap();
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
            line.unwrap().trim().to_owned()
        };
        let staying = thread::spawn(move || {
            stay_here().unwrap();
            (allowed(), thread::spawn(allowed).join().unwrap())
        });
        let (own, inherited) = staying.join().unwrap();
        assert!(own.parse::<usize>().is_ok(), "{own}");
        assert_eq!(own, inherited);
    }

    /// Works until the calling thread's clock has moved so far.
    fn work(time: Duration) {
        let until = thread_time() + time;
        while thread_time() < until {
            black_box(0);
        }
    }

    #[test]
    fn a_thread_clock_moves_with_the_work_of_its_thread_and_of_no_other() {
        let (started, starts) = mpsc::channel();
        let (finish, finishes) = mpsc::channel::<()>();
        let idle = thread::spawn(move || {
            started.send((thread_id(), ProcessorClock::own())).unwrap();
            finishes.recv().unwrap_err();
        });
        let (id, clock) = starts.recv().unwrap();
        assert_eq!(ProcessorClock::of_thread(id).unwrap(), clock);
        let mut before = clock.read().unwrap();
        // What it still did after it had sent its clock ends once it waits.
        while before != clock.read().unwrap() {
            before = clock.read().unwrap();
        }
        let own = ProcessorClock::own();
        let began = own.read().unwrap();
        work(WORK);
        assert!(own.read().unwrap() >= began + WORK);
        assert!(clock.read().unwrap() < before + WORK);
        drop(finish);
        idle.join().unwrap();
    }

    #[test]
    fn a_process_has_the_time_of_its_threads() {
        let process = ProcessorClock::of_process(std::process::id()).unwrap();
        let before = process.read().unwrap();
        thread::spawn(|| work(WORK)).join().unwrap();
        assert!(process.read().unwrap() >= before + WORK);
    }

    #[test]
    fn what_is_not_there_has_no_time() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        for gone in [0, child.id(), u32::MAX] {
            for clock in [
                ProcessorClock::of_process(gone),
                ProcessorClock::of_thread(gone),
            ] {
                assert_eq!(clock.unwrap_err().kind(), io::ErrorKind::InvalidInput);
            }
            assert_eq!(
                Split::of_thread(gone).unwrap_err().kind(),
                io::ErrorKind::NotFound
            );
        }
    }

    #[test]
    fn the_parts_make_up_the_whole() {
        work(WORK);
        let (low, split, high) = (thread_time(), Split::own(), thread_time());
        let sum = split.user + split.kernel + Duration::from_micros(2);
        assert!(sum >= low && split.user + split.kernel <= high, "{split:?}");
        let all = Split::of_process(std::process::id()).unwrap();
        let own = Split::of_thread(thread_id()).unwrap();
        assert!(own.user <= all.user + STEP && own.kernel <= all.kernel + STEP);
    }

    #[test]
    fn a_name_with_spaces_and_parentheses_hides_no_times() {
        let line = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 30 0 0 20 0 1";
        let expected = Split {
            user: Duration::from_millis(2500),
            kernel: Duration::from_millis(300),
        };
        assert_eq!(Split::parse(line, 100), Some(expected));
        for broken in ["", "7 (a", "7 (a) S 1", "7 (a) S 1 2 3 4 5 6 7 8 9 10 x 30"] {
            assert_eq!(Split::parse(broken, 100), None);
        }
        assert_eq!(Split::parse(line, 0), None);
    }

    const WORK: Duration = Duration::from_millis(20);
    const STEP: Duration = Duration::from_millis(10);
}
