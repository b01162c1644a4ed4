//! Memory that is used again: once a lane is warm, a request allocates nothing.
//!
//! Each thread keeps what was dropped on it, up to a bound, so there is no lock, and memory stays
//! proportional to the bytes in flight. A lane's requests begin and end on the lane's thread.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// The bytes that a thread keeps for later: 32 requests of 128 KiB in flight, with both samples.
const MAX_KEPT_BYTES: usize = 8 << 20;
/// The lists that a thread keeps for later.
const MAX_KEPT_LISTS: usize = 4096;
/// The longest list that is kept.
const MAX_KEPT_ITEMS: usize = 256;
/// The smallest buffer.
const MIN_BUFFER: usize = 4096;

/// Buffers by size class, a power of two each.
#[derive(Default)]
struct Shelf {
    classes: Vec<Vec<Box<[Line]>>>,
    bytes: usize,
}

thread_local! {
    static BUFFERS: RefCell<Shelf> = RefCell::default();
}

/// As many bytes as a cache keeps together, in one place: no vector of a copy lies in two.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; LINE]);

const LINE: usize = 64;

/// A buffer of bytes. What is in it at first is of no meaning: zeros, or what an earlier request left.
pub struct Buffer {
    room: Box<[Line]>,
    len: usize,
}

impl Buffer {
    /// A buffer of `len` bytes.
    pub fn new(len: usize) -> Buffer {
        let lines = len.max(MIN_BUFFER).div_ceil(LINE);
        let size = lines.checked_next_power_of_two().unwrap_or(lines);
        let kept = BUFFERS.try_with(|shelf| shelf.borrow_mut().take(size)).ok().flatten();
        let room = kept.unwrap_or_else(|| vec![Line([0; LINE]); size].into_boxed_slice());
        Buffer { room, len }
    }
}

impl Shelf {
    fn take(&mut self, size: usize) -> Option<Box<[Line]>> {
        let room = self.classes.get_mut(class_of(size))?.pop()?;
        self.bytes -= room.len() * LINE;
        Some(room)
    }

    /// Keeps a buffer, unless enough is kept already.
    fn put(&mut self, room: Box<[Line]>) {
        let (class, bytes) = (class_of(room.len()), room.len() * LINE);
        if self.bytes.saturating_add(bytes) > MAX_KEPT_BYTES {
            return;
        }
        if self.classes.len() <= class {
            self.classes.resize_with(class + 1, Vec::new);
        }
        if let Some(kept) = self.classes.get_mut(class) {
            self.bytes += bytes;
            kept.push(room);
        }
    }
}

/// The class of buffers of `size` lines, which is a power of two.
fn class_of(size: usize) -> usize {
    usize::try_from(size.trailing_zeros()).unwrap_or_default()
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let room = std::mem::take(&mut self.room);
        // Where the thread is ending, the buffer is simply freed.
        let _ = BUFFERS.try_with(|shelf| shelf.borrow_mut().put(room));
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let room = self.room.as_ptr().cast::<u8>();
        // SAFETY: the room is lines of nothing but bytes, and not shorter than `len`; it is borrowed
        // with the buffer.
        unsafe { std::slice::from_raw_parts(room, self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        let room = self.room.as_mut_ptr().cast::<u8>();
        // SAFETY: as above, exclusively.
        unsafe { std::slice::from_raw_parts_mut(room, self.len) }
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        let mut copy = Buffer::new(self.len);
        copy.copy_from_slice(self);
        copy
    }
}

impl PartialEq for Buffer {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Buffer {}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffer").field("len", &self.len).finish()
    }
}

/// An item of a [`List`].
pub trait Listed: Sized + 'static {
    /// Runs `each` on the lists of this type that the thread keeps.
    fn with_kept<R>(each: impl FnOnce(&mut Vec<Vec<Self>>) -> R) -> Option<R>;
}

/// Makes lists of a type reusable.
macro_rules! listed {
    ($($item:ty),* $(,)?) => {$(
        impl $crate::memory::Listed for $item {
            fn with_kept<R>(each: impl FnOnce(&mut Vec<Vec<Self>>) -> R) -> Option<R> {
                thread_local! {
                    static KEPT: std::cell::RefCell<Vec<Vec<$item>>> = const {
                        std::cell::RefCell::new(Vec::new())
                    };
                }
                KEPT.try_with(|kept| each(&mut kept.borrow_mut())).ok()
            }
        }
    )*};
}
pub(crate) use listed;

/// A `Vec` whose memory is used again.
pub struct List<T: Listed>(Vec<T>);

impl<T: Listed> List<T> {
    /// An empty list.
    pub fn new() -> Self {
        List(T::with_kept(Vec::pop).flatten().unwrap_or_default())
    }

    /// `len` times the same.
    pub fn of(item: T, len: usize) -> Self
    where
        T: Clone,
    {
        let mut list = List::new();
        list.resize(len, item);
        list
    }
}

impl<T: Listed> Default for List<T> {
    fn default() -> Self {
        List::new()
    }
}

impl<T: Listed> Drop for List<T> {
    fn drop(&mut self) {
        let mut list = std::mem::take(&mut self.0);
        if list.capacity() == 0 || list.capacity() > MAX_KEPT_ITEMS {
            return;
        }
        list.clear();
        T::with_kept(|kept| {
            if kept.len() < MAX_KEPT_LISTS {
                kept.push(list);
            }
        });
    }
}

impl<T: Listed> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut list = List::new();
        list.extend(items);
        list
    }
}

impl<T: Listed> Deref for List<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T: Listed> DerefMut for List<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.0
    }
}

impl<T: Listed + Clone> Clone for List<T> {
    fn clone(&self) -> Self {
        self.iter().cloned().collect()
    }
}

impl<T: Listed + PartialEq> PartialEq for List<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T: Listed + Eq> Eq for List<T> {}

impl<T: Listed + std::fmt::Debug> std::fmt::Debug for List<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_as_long_as_asked_whatever_it_was_before() {
        for len in [0, 1, 512, 4096, 4097, 131_072, 5000] {
            let mut buffer = Buffer::new(len);
            assert_eq!(buffer.len(), len);
            buffer.fill(7);
            assert!(buffer.iter().all(|byte| *byte == 7));
        }
    }

    #[test]
    fn memory_is_used_again_and_what_is_kept_is_bounded() {
        let first = Buffer::new(6000);
        let place = first.as_ptr();
        drop(first);
        assert_eq!(Buffer::new(8000).as_ptr(), place);
        drop((0..40).map(|_| Buffer::new(1 << 20)).collect::<Vec<_>>());
        BUFFERS.with(|shelf| assert!(shelf.borrow().bytes <= MAX_KEPT_BYTES));
    }

    #[test]
    fn lists_come_back_empty() {
        let mut list: List<u64> = List::of(3, 10);
        assert_eq!(list.len(), 10);
        list.push(4);
        let place = list.as_ptr();
        drop(list);
        let again: List<u64> = List::new();
        assert!(again.is_empty());
        assert_eq!(again.as_ptr(), place);
    }

    listed!(u64);
}
