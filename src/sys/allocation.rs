//! An allocator that counts what each thread asks for.
//!
//! It is the system's allocator. A program that wants the counts installs it:
//!
//! ```
//! use wayhold::sys::allocation::{Allocations, CountingAllocator};
//!
//! #[global_allocator]
//! static ALLOCATOR: CountingAllocator = CountingAllocator;
//!
//! let before = Allocations::own().expect("the allocator is installed");
//! let buffer = Vec::<u8>::with_capacity(1000);
//! let after = Allocations::own().expect("the allocator is installed");
//! assert_eq!((after - before).count, 1);
//! assert_eq!((after - before).bytes, 1000);
//! # drop(buffer);
//! ```

#![expect(
    unsafe_code,
    reason = "an allocator is an unsafe trait, each method of which calls the system's"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::Sub;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::processor;

/// The system's allocator, and counters for each of the first 1024 threads that a process starts.
///
/// Threads after these are not counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct CountingAllocator;

/// What a thread has asked for since it started, and given back or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocations {
    /// Blocks. One that is made larger or smaller counts once more.
    pub count: u64,
    /// Bytes of these blocks; of one that is made larger, what it grew by.
    pub bytes: u64,
}

impl Allocations {
    /// Those of the thread that calls; none where they are not counted.
    pub fn own() -> Option<Self> {
        slot().map(Slot::read)
    }

    /// Those of a thread of this process, by its [`processor::thread_id`]; none where they are not
    /// counted. The two figures are read one after the other, while the thread may go on.
    pub fn of_thread(thread: u32) -> Option<Self> {
        let used = USED.load(Relaxed).min(SLOTS.len());
        // A number is given again when its thread has ended: the last one is meant.
        let mut slots = SLOTS[..used].iter().rev();
        let slot = slots.find(|slot| slot.thread.load(Relaxed) == thread)?;
        Some(slot.read())
    }

    /// How many more bytes a thread asked for than it gave back, by its [`processor::thread_id`]; none
    /// where they are not counted. Negative for a thread that gives back what others asked for: only the
    /// sum over threads that share their blocks says what they hold.
    pub fn held_by_thread(thread: u32) -> Option<i64> {
        let used = USED.load(Relaxed).min(SLOTS.len());
        let mut slots = SLOTS[..used].iter().rev();
        let slot = slots.find(|slot| slot.thread.load(Relaxed) == thread)?;
        let (asked, returned) = (slot.bytes.load(Relaxed), slot.returned.load(Relaxed));
        Some(asked.wrapping_sub(returned).cast_signed())
    }
}

impl Sub for Allocations {
    type Output = Self;

    /// What was asked for between two readings of one thread.
    fn sub(self, earlier: Self) -> Self {
        Self {
            count: self.count.wrapping_sub(earlier.count),
            bytes: self.bytes.wrapping_sub(earlier.bytes),
        }
    }
}

// SAFETY: every method calls the system's allocator with what it was given itself, and returns what
// that returned; counting neither allocates nor panics.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps to the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        give_back(layout.size());
        // SAFETY: as above, and the block came from this allocator.
        unsafe { System.dealloc(block, layout) };
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps to the contract, which is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.saturating_sub(layout.size()));
        give_back(layout.size().saturating_sub(size));
        // SAFETY: as above, and the block came from this allocator.
        unsafe { System.realloc(block, layout, size) }
    }
}

/// The counters of one thread. Only that thread writes them, so it needs no atomic addition.
struct Slot {
    thread: AtomicU32,
    count: AtomicU64,
    bytes: AtomicU64,
    returned: AtomicU64,
}

impl Slot {
    const fn new() -> Self {
        Self {
            thread: AtomicU32::new(0),
            count: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            returned: AtomicU64::new(0),
        }
    }

    fn read(&self) -> Allocations {
        Allocations {
            count: self.count.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
        }
    }
}

#[inline]
fn count(bytes: usize) {
    let Some(slot) = slot().or_else(claim) else {
        return;
    };
    let count = slot.count.load(Relaxed);
    slot.count.store(count.wrapping_add(1), Relaxed);
    let sum = slot.bytes.load(Relaxed);
    slot.bytes.store(sum.wrapping_add(bytes as u64), Relaxed);
}

#[inline]
fn give_back(bytes: usize) {
    if let Some(slot) = slot().or_else(claim) {
        let sum = slot.returned.load(Relaxed);
        slot.returned.store(sum.wrapping_add(bytes as u64), Relaxed);
    }
}

#[inline]
fn slot() -> Option<&'static Slot> {
    match OWN.get() {
        Place::At(slot) => Some(slot),
        Place::None | Place::Full => None,
    }
}

/// Gives a thread its slot at its first allocation.
#[cold]
fn claim() -> Option<&'static Slot> {
    if matches!(OWN.get(), Place::Full) {
        return None;
    }
    let slot = SLOTS.get(USED.fetch_add(1, Relaxed));
    OWN.set(slot.map_or(Place::Full, Place::At));
    if let Some(slot) = slot {
        slot.thread.store(processor::thread_id(), Relaxed);
    }
    slot
}

/// Where a thread counts.
#[derive(Clone, Copy)]
enum Place {
    /// Nowhere yet.
    None,
    /// In its slot.
    At(&'static Slot),
    /// Nowhere: others have all slots.
    Full,
}

thread_local! {
    /// Made without allocation, and never dropped, so that it can be used at any time of a thread.
    static OWN: Cell<Place> = const { Cell::new(Place::None) };
}

/// Slots are never given back: nothing tells that a thread has made its last allocation.
static SLOTS: [Slot; MAX_THREADS] = [const { Slot::new() }; MAX_THREADS];
static USED: AtomicUsize = AtomicUsize::new(0);
const MAX_THREADS: usize = 1024;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// Asks the allocator itself, which is not installed in this program.
    fn allocate(sizes: &[usize]) {
        for &size in sizes {
            let layout = Layout::from_size_align(size, 8).unwrap();
            // SAFETY: the size is not zero.
            let block = unsafe { CountingAllocator.alloc(layout) };
            assert!(!block.is_null());
            // SAFETY: the block came from this allocator with this layout.
            unsafe { CountingAllocator.dealloc(block, layout) };
        }
    }

    fn counts(count: u64, bytes: u64) -> Allocations {
        Allocations { count, bytes }
    }

    #[test]
    fn allocations_are_counted_for_the_thread_that_made_them() {
        let (send, receive) = mpsc::channel();
        let (finish, finishes) = mpsc::channel::<()>();
        let other = thread::spawn(move || {
            assert_eq!(Allocations::own(), None);
            allocate(&[10, 20]);
            send.send((processor::thread_id(), Allocations::own()))
                .unwrap();
            finishes.recv().unwrap_err();
        });
        let (id, seen) = receive.recv().unwrap();
        assert_eq!(seen, Some(counts(2, 30)));
        allocate(&[500]);
        assert_eq!(Allocations::of_thread(id), Some(counts(2, 30)));
        drop(finish);
        other.join().unwrap();
        assert_eq!(Allocations::of_thread(0), None);
    }

    #[test]
    fn what_is_given_back_is_held_no_more() {
        thread::spawn(|| {
            allocate(&[100]);
            let layout = Layout::from_size_align(300, 8).unwrap();
            // SAFETY: the size is not zero.
            let block = unsafe { CountingAllocator.alloc(layout) };
            let held = || Allocations::held_by_thread(processor::thread_id());
            assert_eq!(held(), Some(300));
            // SAFETY: the block came from this allocator with this layout, and the new size is not zero.
            let block = unsafe { CountingAllocator.realloc(block, layout, 200) };
            assert_eq!(held(), Some(200));
            let layout = Layout::from_size_align(200, 8).unwrap();
            // SAFETY: the block came from this allocator with this layout.
            unsafe { CountingAllocator.dealloc(block, layout) };
            assert_eq!(held(), Some(0));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_block_that_grows_counts_what_it_grew_by() {
        thread::spawn(|| {
            let layout = Layout::from_size_align(100, 8).unwrap();
            // SAFETY: the size is not zero.
            let block = unsafe { CountingAllocator.alloc_zeroed(layout) };
            // SAFETY: the block came from this allocator with this layout, and the new size is not zero.
            let block = unsafe { CountingAllocator.realloc(block, layout, 164) };
            assert_eq!(Allocations::own(), Some(counts(2, 164)));
            let layout = Layout::from_size_align(164, 8).unwrap();
            // SAFETY: as above.
            let block = unsafe { CountingAllocator.realloc(block, layout, 8) };
            assert_eq!(Allocations::own(), Some(counts(3, 164)));
            let layout = Layout::from_size_align(8, 8).unwrap();
            // SAFETY: the block came from this allocator with this layout.
            unsafe { CountingAllocator.dealloc(block, layout) };
        })
        .join()
        .unwrap();
    }
}
