//! Memory that is used again: once a queue is warm, a request allocates nothing.
//!
//! Each thread keeps what was dropped on it, up to a bound, so there is no lock, and memory stays
//! proportional to the bytes in flight. A queue's requests begin and end on its worker's thread.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// The bytes that a thread keeps for later: 32 requests of 128 KiB in flight, with both samples.
const MAX_KEPT_BYTES: usize = 8 << 20;
/// The lists that a thread keeps for later.
const MAX_KEPT_LISTS: usize = 4096;
/// The longest list that is kept.
const MAX_KEPT_ITEMS: usize = 256;

/// The buffers that a thread keeps, by size class, a power of two each.
#[derive(Default)]
struct FreeList {
    classes: Vec<Vec<Box<[Page]>>>,
    bytes: usize,
}

thread_local! {
    static BUFFERS: RefCell<FreeList> = RefCell::default();
}

/// Where direct I/O may begin in memory: no device asks for more than a page. And no vector of a copy
/// lies in two lines of a cache.
#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Page([u8; PAGE]);

const PAGE: usize = 4096;

/// A buffer of bytes, beginning where a page does. What is in it at first is of no meaning: zeros, or
/// what an earlier request left.
pub struct Buffer {
    pages: Box<[Page]>,
    len: usize,
}

impl Buffer {
    /// A buffer of `len` bytes.
    pub fn new(len: usize) -> Buffer {
        let pages = len.max(PAGE).div_ceil(PAGE);
        let size = pages.checked_next_power_of_two().unwrap_or(pages);
        let kept = BUFFERS.try_with(|free| free.borrow_mut().take(size)).ok().flatten();
        let pages = kept.unwrap_or_else(|| vec![Page([0; PAGE]); size].into_boxed_slice());
        Buffer { pages, len }
    }

    /// A buffer of no bytes, which has no memory either.
    pub fn empty() -> Buffer {
        Buffer { pages: Box::default(), len: 0 }
    }

    /// A buffer with a copy of `bytes`.
    pub fn with(bytes: &[u8]) -> Buffer {
        let mut buffer = Buffer::new(bytes.len());
        buffer.copy_from_slice(bytes);
        buffer
    }
}

impl FreeList {
    fn take(&mut self, size: usize) -> Option<Box<[Page]>> {
        let pages = self.classes.get_mut(class_of(size))?.pop()?;
        self.bytes -= pages.len() * PAGE;
        Some(pages)
    }

    /// Keeps a buffer, unless enough is kept already.
    fn put(&mut self, pages: Box<[Page]>) {
        let (class, bytes) = (class_of(pages.len()), pages.len() * PAGE);
        if self.bytes.saturating_add(bytes) > MAX_KEPT_BYTES {
            return;
        }
        if self.classes.len() <= class {
            self.classes.resize_with(class + 1, Vec::new);
        }
        if let Some(kept) = self.classes.get_mut(class) {
            self.bytes += bytes;
            kept.push(pages);
        }
    }
}

/// The class of buffers of `size` pages, which is a power of two.
fn class_of(size: usize) -> usize {
    usize::try_from(size.trailing_zeros()).unwrap_or_default()
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let pages = std::mem::take(&mut self.pages);
        if pages.is_empty() {
            return;
        }
        // Where the thread is ending, the buffer is simply freed.
        let _ = BUFFERS.try_with(|free| free.borrow_mut().put(pages));
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let bytes = self.pages.as_ptr().cast::<u8>();
        // SAFETY: pages are nothing but bytes, and together not shorter than `len`; they are borrowed
        // with the buffer.
        unsafe { std::slice::from_raw_parts(bytes, self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        let bytes = self.pages.as_mut_ptr().cast::<u8>();
        // SAFETY: as above, exclusively.
        unsafe { std::slice::from_raw_parts_mut(bytes, self.len) }
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        Buffer::with(self)
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

    /// An empty list that takes no memory, for one that comes in its place.
    pub fn empty() -> Self {
        List(Vec::new())
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

/// A value in memory that is used again: it is made once, and moved as a pointer from then on.
#[derive(Debug)]
pub struct Pooled<T: Listed>(List<T>);

impl<T: Listed> Pooled<T> {
    /// Puts a value where it stays.
    pub fn new(value: T) -> Self {
        let mut list = List::new();
        list.reserve_exact(1);
        list.push(value);
        Pooled(list)
    }
}

impl<T: Listed> Deref for Pooled<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: there is exactly one item from `new` on: nobody else has the list.
        unsafe { self.0.0.get_unchecked(0) }
    }
}

impl<T: Listed> DerefMut for Pooled<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { self.0.0.get_unchecked_mut(0) }
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
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn a_buffer_begins_with_a_page_and_is_as_long_as_asked_whatever_it_was_before() {
        for len in [0, 1, 512, 4096, 4097, 131_072, 5000] {
            let mut buffer = Buffer::new(len);
            assert_eq!((buffer.len(), buffer.as_ptr().addr() % 4096), (len, 0));
            buffer.fill(7);
            assert!(buffer.iter().all(|byte| *byte == 7));
            assert_eq!(*Buffer::with(&buffer), *buffer);
        }
    }

    #[test]
    fn memory_is_used_again_and_what_is_kept_is_bounded() {
        let first = Buffer::new(6000);
        let place = first.as_ptr();
        drop(first);
        assert_eq!(Buffer::new(8000).as_ptr(), place);
        drop((0..40).map(|_| Buffer::new(1 << 20)).collect::<Vec<_>>());
        BUFFERS.with(|free| assert!(free.borrow().bytes <= MAX_KEPT_BYTES));
    }

    #[test]
    fn a_pooled_value_is_dropped_once_and_its_memory_used_again() {
        struct Counted(Rc<Cell<u32>>, [u64; 40]);
        listed!(Counted);
        let drops = Rc::new(Cell::new(0));
        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let mut first = Pooled::new(Counted(Rc::clone(&drops), [1; 40]));
        first.1[39] = 7;
        let moved = first;
        assert_eq!((moved.1[38], moved.1[39], drops.get()), (1, 7, 0));
        let place = std::ptr::from_ref(&*moved);
        drop(moved);
        assert_eq!(drops.get(), 1);
        let again = Pooled::new(Counted(Rc::clone(&drops), [2; 40]));
        assert_eq!((std::ptr::from_ref(&*again), again.1[39]), (place, 2));
        drop(again);
        assert_eq!(drops.get(), 2);
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
