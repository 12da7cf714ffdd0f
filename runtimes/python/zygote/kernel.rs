//! System calls.

use core::arch::asm;

/// What a call says that a signal has ended.
pub const INTERRUPTED: isize = -4;

#[cfg(target_arch = "x86_64")]
pub mod number {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const MMAP: usize = 9;
    pub const MPROTECT: usize = 10;
    pub const MUNMAP: usize = 11;
    pub const WRITEV: usize = 20;
    pub const MREMAP: usize = 25;
    pub const MADVISE: usize = 28;
    pub const RECVFROM: usize = 45;
    pub const RECVMSG: usize = 47;
    pub const CLONE: usize = 56;
    pub const CAPSET: usize = 126;
    pub const PRCTL: usize = 157;
    pub const EXIT_GROUP: usize = 231;
    pub const DUP3: usize = 292;
    pub const SECCOMP: usize = 317;
}

#[cfg(target_arch = "aarch64")]
pub mod number {
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const CLOSE: usize = 57;
    pub const MMAP: usize = 222;
    pub const MPROTECT: usize = 226;
    pub const MUNMAP: usize = 215;
    pub const WRITEV: usize = 66;
    pub const MREMAP: usize = 216;
    pub const MADVISE: usize = 233;
    pub const RECVFROM: usize = 207;
    pub const RECVMSG: usize = 212;
    pub const CLONE: usize = 220;
    pub const CAPSET: usize = 91;
    pub const PRCTL: usize = 167;
    pub const EXIT_GROUP: usize = 94;
    pub const DUP3: usize = 24;
    pub const SECCOMP: usize = 277;
}

pub fn close(fd: usize) {
    // SAFETY: closing touches no memory; the descriptors are this loop's own.
    unsafe { call(number::CLOSE, [fd, 0, 0, 0, 0, 0]) };
}

pub fn exit(status: usize) -> ! {
    loop {
        // SAFETY: nothing is left to be harmed.
        unsafe { call(number::EXIT_GROUP, [status, 0, 0, 0, 0, 0]) };
    }
}

/// A system call.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub unsafe fn call(number: usize, [a, b, c, d, e, f]: [usize; 6]) -> isize {
    let result;
    // SAFETY: the kernel changes these registers and what the arguments point to, nothing else.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// A system call.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
pub unsafe fn call(number: usize, [a, b, c, d, e, f]: [usize; 6]) -> isize {
    let result;
    // SAFETY: as above.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a as isize => result, in("x1") b, in("x2") c, in("x3") d,
            in("x4") e, in("x5") f, options(nostack));
    }
    result
}

/// `struct iovec`.
#[repr(C)]
pub struct Part {
    pub start: *const u8,
    pub bytes: usize,
}
