//! Where the interpreter's allocator gets its arenas until init is done: side by side in huge pages.
//!
//! By itself it maps each arena wherever there is room, between libraries. They fill huge pages only in part then, stay in
//! small pages, and each clone copies and lets go of hundreds of page table entries more. The allocator calls `mmap` by
//! name, so this module is preloaded, and takes the call.

use super::{
    interpreter::{Ref, none},
    kernel::{call, number},
    memory::{HUGE, MADV_HUGEPAGE, MAP_PRIVATE_ANONYMOUS, PROT_READ_WRITE},
};
use core::sync::atomic::{
    AtomicBool, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

/// Sizes of arenas: Python 3.9's, and that of newer ones.
const ARENA_BYTES: [usize; 2] = [256 << 10, 1 << 20];
/// What is reserved at a time. What is not used of it is no memory.
const RESERVED_BYTES: usize = 32 << 20;

static CLOSED: AtomicBool = AtomicBool::new(false);
/// Held by the one who takes. Others do not wait: they map as always.
static TAKEN: AtomicBool = AtomicBool::new(false);
static NEXT: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" {
    fn __errno_location() -> *mut i32;
}

/// The C library's.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mmap(at: usize, bytes: usize, access: i32, flags: i32, fd: i32, offset: isize) -> isize {
    let is_arena = ARENA_BYTES.contains(&bytes)
        && (at, access as usize, flags as usize, fd) == (0, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1);
    if is_arena && let Some(place) = arena(bytes) {
        return place as isize;
    }
    // SAFETY: what the caller asked for.
    let place = unsafe {
        call(
            number::MMAP,
            [at, bytes, access as u32 as usize, flags as u32 as usize, fd as isize as usize, offset as usize],
        )
    };
    if (-4095..0).contains(&place) {
        // SAFETY: the address is the calling thread's own.
        unsafe { *__errno_location() = -place as i32 };
        return -1;
    }
    place
}

/// Its other name.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mmap64(at: usize, bytes: usize, access: i32, flags: i32, fd: i32, offset: isize) -> isize {
    // SAFETY: the caller's.
    unsafe { mmap(at, bytes, access, flags, fd, offset) }
}

fn arena(bytes: usize) -> Option<usize> {
    if CLOSED.load(Relaxed) || TAKEN.swap(true, Acquire) {
        return None;
    }
    let next = NEXT.load(Relaxed);
    let place = if next + bytes <= END.load(Relaxed) { Some(next) } else { reserve() };
    if let Some(place) = place {
        NEXT.store(place + bytes, Relaxed);
    }
    TAKEN.store(false, Release);
    place
}

/// New room; it begins where a huge page does.
fn reserve() -> Option<usize> {
    // SAFETY: new memory; advice changes no content.
    let place =
        unsafe { call(number::MMAP, [0, RESERVED_BYTES, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, usize::MAX, 0]) };
    if place <= 0 {
        return None;
    }
    let (place, end) = (place as usize, place as usize + RESERVED_BYTES);
    // SAFETY: as above.
    unsafe { call(number::MADVISE, [place, RESERVED_BYTES, MADV_HUGEPAGE, 0, 0, 0]) };
    END.store(end, Relaxed);
    Some(place.next_multiple_of(HUGE))
}

/// `close_arenas()`: init is done. A clone that needs more gets small pages: most need few.
pub unsafe extern "C" fn close_arenas(_module: Ref, _arguments: Ref) -> Ref {
    CLOSED.store(true, Relaxed);
    let (unused, end) = (NEXT.load(Relaxed).next_multiple_of(HUGE), END.load(Relaxed));
    if unused < end {
        // SAFETY: nobody has been given any of it.
        unsafe { call(number::MUNMAP, [unused, end - unused, 0, 0, 0, 0]) };
    }
    none()
}
