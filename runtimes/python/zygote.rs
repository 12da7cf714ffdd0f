//! The zygote's loop as machine code: waits for orders, clones the process, and returns only in clones.
//!
//! Python could do all of this, and would write to some eighty pages for each clone, by counting references: forty in
//! the zygote, forty in the clone, each page copied. Here only the stack is written to.
//!
//! `crates/worker/build.rs` compiles it to a shared object that needs nothing, not even a C library; `bootstrap.py` loads it.
//! Runs in the sandbox, beside the function's own code: nobody outside trusts what it does.
#![no_std]

use core::{arch::asm, ptr::null};

const CONTROL_FD: usize = 3;
const INTERRUPTED: isize = -4;
const INVALID: i32 = -22;
const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;
const SECCOMP_SET_MODE_FILTER: usize = 1;
const CAPABILITIES_V3: u32 = 0x2008_0522;

#[cfg(target_arch = "x86_64")]
mod number {
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const RECVMSG: usize = 47;
    pub const CLONE: usize = 56;
    pub const CAPSET: usize = 126;
    pub const EXIT_GROUP: usize = 231;
    pub const DUP3: usize = 292;
    pub const SECCOMP: usize = 317;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const WRITE: usize = 64;
    pub const CLOSE: usize = 57;
    pub const RECVMSG: usize = 212;
    pub const CLONE: usize = 220;
    pub const CAPSET: usize = 91;
    pub const EXIT_GROUP: usize = 94;
    pub const DUP3: usize = 24;
    pub const SECCOMP: usize = 277;
}

/// `struct sock_fprog`: the filter that a clone puts on itself.
#[repr(C)]
pub struct Filter {
    instructions: u16,
    code: *const u8,
}

#[repr(C)]
struct Message {
    name: *const u8,
    name_bytes: u32,
    parts: *const Part,
    part_count: usize,
    control: *mut Rights,
    control_bytes: usize,
    flags: i32,
}

#[repr(C)]
struct Part {
    start: *const u8,
    bytes: usize,
}

/// A control message with two descriptors.
#[repr(C, align(8))]
struct Rights {
    bytes: usize,
    level: i32,
    kind: i32,
    descriptors: [i32; 2],
}

/// What the launcher says.
enum Order {
    /// A clone, with this call socket and this log pipe.
    Clone([i32; 2]),
    /// Something without two descriptors.
    Nonsense,
    /// Nothing any more: it has closed its end, or cannot be heard.
    End,
}

/// Serves orders until the launcher closes the control socket, then returns -1. In a clone it returns its call socket; the
/// clone has no capabilities any more, and its output goes to its log pipe. `thread_id` is the address that the C library
/// gave the kernel for the thread's id.
///
/// # Safety
/// `filter` is a filter program that stays where it is, `thread_id` is as said, and no other thread runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dayfly_zygote(clone_flags: usize, filter: *const Filter, thread_id: usize) -> isize {
    // The last two arguments of clone have another order on each machine.
    #[cfg(target_arch = "x86_64")]
    let arguments = [clone_flags, 0, 0, thread_id, 0];
    #[cfg(target_arch = "aarch64")]
    let arguments = [clone_flags, 0, 0, 0, thread_id];
    loop {
        let [call_fd, log_fd] = match next_order() {
            Order::Clone(descriptors) => descriptors,
            Order::Nonsense => {
                say(b'E', INVALID);
                continue;
            }
            Order::End => return -1,
        };
        // SAFETY: without a stack of its own and without shared memory, a clone goes on on a copy of everything, as after
        // a fork.
        match unsafe { call(number::CLONE, arguments) } {
            0 => {
                shut_in(filter, log_fd);
                return call_fd as isize;
            }
            pid if pid > 0 => say(b'C', pid as i32),
            error => say(b'E', error as i32),
        }
        close(call_fd as usize);
        close(log_fd as usize);
    }
}

fn next_order() -> Order {
    let mut word = [0_u8; 16];
    let mut rights = Rights { bytes: 0, level: 0, kind: 0, descriptors: [-1; 2] };
    let part = Part { start: word.as_mut_ptr(), bytes: word.len() };
    let message = Message {
        name: null(),
        name_bytes: 0,
        parts: &part,
        part_count: 1,
        control: &raw mut rights,
        control_bytes: size_of::<Rights>(),
        flags: 0,
    };
    let got = loop {
        // SAFETY: all that the message points to lives here, and is as long as it says.
        match unsafe { call(number::RECVMSG, [CONTROL_FD, (&raw const message) as usize, 0, 0, 0]) } {
            INTERRUPTED => {}
            got => break got,
        }
    };
    match rights {
        _ if got <= 0 => Order::End,
        Rights { bytes, level: SOL_SOCKET, kind: SCM_RIGHTS, descriptors } if bytes == size_of::<Rights>() => {
            Order::Clone(descriptors)
        }
        _ => Order::Nonsense,
    }
}

/// Tells the launcher: `C` and a pid, or `E` and a negative error number, little-endian.
fn say(kind: u8, number: i32) {
    let [a, b, c, d] = number.to_le_bytes();
    let word = [kind, a, b, c, d];
    // SAFETY: it has five bytes. A launcher that does not listen is gone, which the next order will tell.
    unsafe { call(number::WRITE, [CONTROL_FD, word.as_ptr() as usize, word.len(), 0, 0]) };
}

/// In the clone: no capabilities, the filter of calls, its own log, no control socket.
fn shut_in(filter: *const Filter, log_fd: i32) {
    let (header, none) = ([CAPABILITIES_V3, 0_u32], [0_u32; 6]);
    let log_fd = log_fd as usize;
    // SAFETY: both arrays have the kernel's shape for version 3; the filter is what the caller promised.
    unsafe {
        must(72, call(number::CAPSET, [header.as_ptr() as usize, none.as_ptr() as usize, 0, 0, 0]));
        must(73, call(number::SECCOMP, [SECCOMP_SET_MODE_FILTER, 0, filter as usize, 0, 0]));
        must(74, call(number::DUP3, [log_fd, 1, 0, 0, 0]));
        must(74, call(number::DUP3, [log_fd, 2, 0, 0, 0]));
    }
    close(log_fd);
    close(CONTROL_FD);
}

/// A clone that is not shut in ends.
fn must(exit_status: usize, result: isize) {
    if result < 0 {
        exit(exit_status);
    }
}

fn close(fd: usize) {
    // SAFETY: closing touches no memory; the descriptors are this loop's own.
    unsafe { call(number::CLOSE, [fd, 0, 0, 0, 0]) };
}

fn exit(status: usize) -> ! {
    loop {
        // SAFETY: nothing is left to be harmed.
        unsafe { call(number::EXIT_GROUP, [status, 0, 0, 0, 0]) };
    }
}

/// A system call.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn call(number: usize, [a, b, c, d, e]: [usize; 5]) -> isize {
    let result;
    // SAFETY: the kernel changes these registers and what the arguments point to, nothing else.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            in("r8") e, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// A system call.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
unsafe fn call(number: usize, [a, b, c, d, e]: [usize; 5]) -> isize {
    let result;
    // SAFETY: as above.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a as isize => result, in("x1") b, in("x2") c, in("x3") d,
            in("x4") e, options(nostack));
    }
    result
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(75)
}
