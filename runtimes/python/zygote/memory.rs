//! What is done to the zygote's memory before the first clone.

use super::{
    interpreter::{PyErr_Clear, Ref, none, number_at, number_object},
    kernel::{call, number},
};

const PR_GET_TID_ADDRESS: usize = 40;
pub const PROT_READ_WRITE: usize = 3;
const PROT_READ_EXECUTE: usize = 5;
pub const MAP_PRIVATE_ANONYMOUS: usize = 0x22;
const MAP_FIXED_NOREPLACE: usize = 0x10_0000;
const MREMAP_MAYMOVE_FIXED: usize = 3;
pub const MADV_HUGEPAGE: usize = 14;
const MADV_COLLAPSE: usize = 25;
pub const HUGE: usize = 2 << 20;

/// `thread_id()`: the address at which the C library has the kernel keep the thread's id, or 0.
pub unsafe extern "C" fn thread_id(_module: Ref, _arguments: Ref) -> Ref {
    let mut address = 0_usize;
    // SAFETY: the kernel writes one address to where it is told.
    let result = unsafe { call(number::PRCTL, [PR_GET_TID_ADDRESS, (&raw mut address) as usize, 0, 0, 0, 0]) };
    number_object(if result == 0 { address as i64 } else { 0 })
}

/// `code()`: an address in the interpreter's code.
pub unsafe extern "C" fn code(_module: Ref, _arguments: Ref) -> Ref {
    number_object(PyErr_Clear as *const () as i64)
}

/// `make_huge(start, size)`: asks for huge pages.
pub unsafe extern "C" fn make_huge(_module: Ref, arguments: Ref) -> Ref {
    let got_all = backed(number_at(arguments, 0), number_at(arguments, 1));
    number_object(got_all.into())
}

/// `fill(start, size)`: maps empty memory where nothing is; tells whether it did.
pub unsafe extern "C" fn fill(_module: Ref, arguments: Ref) -> Ref {
    let (start, size) = (number_at(arguments, 0), number_at(arguments, 1));
    let flags = MAP_PRIVATE_ANONYMOUS | MAP_FIXED_NOREPLACE;
    // SAFETY: the kernel replaces nothing that is mapped.
    let place = unsafe { call(number::MMAP, [start, size, PROT_READ_WRITE, flags, usize::MAX, 0]) };
    number_object((place == start as isize).into())
}

/// Backs memory with huge pages; tells whether all of it is.
pub fn backed(start: usize, size: usize) -> bool {
    // SAFETY: advice changes no content.
    unsafe {
        call(number::MADVISE, [start, size, MADV_HUGEPAGE, 0, 0, 0]);
        call(number::MADVISE, [start, size, MADV_COLLAPSE, 0, 0, 0]) == 0
    }
}

/// `gather(start, size)`: puts a copy in huge pages of the process's own in the place of code that is mapped from a file.
/// Both are multiples of 2 MiB.
pub unsafe extern "C" fn gather(_module: Ref, arguments: Ref) -> Ref {
    let (start, size) = (number_at(arguments, 0), number_at(arguments, 1));
    let room = size + HUGE;
    // SAFETY: new memory; the copy fits into it, and becomes what was at its new place before, byte by byte. Nothing
    // else is mapped away but what is left of the new memory.
    unsafe {
        let place = call(number::MMAP, [0, room, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, usize::MAX, 0]);
        if place <= 0 {
            return none();
        }
        let place = place as usize;
        let copy = place.next_multiple_of(HUGE);
        call(number::MADVISE, [copy, size, MADV_HUGEPAGE, 0, 0, 0]);
        core::ptr::copy_nonoverlapping(start as *const u8, copy as *mut u8, size);
        if backed(copy, size) && call(number::MPROTECT, [copy, size, PROT_READ_EXECUTE, 0, 0, 0]) == 0 {
            call(number::MREMAP, [copy, size, size, MREMAP_MAYMOVE_FIXED, start, 0]);
        } else {
            call(number::MUNMAP, [copy, size, 0, 0, 0, 0]);
        }
        if copy > place {
            call(number::MUNMAP, [place, copy - place, 0, 0, 0, 0]);
        }
        call(number::MUNMAP, [copy + size, place + room - copy - size, 0, 0, 0, 0]);
    }
    none()
}
