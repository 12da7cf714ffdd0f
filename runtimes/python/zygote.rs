//! The runtime's machine code: a module of the interpreter that clones the zygote, and serves the call in each clone.
//!
//! Python could do all of this, and would write to a hundred pages for each call, by counting references to code,
//! constants and names; each page is copied for each clone. Here only the stack is written to, and what the function and
//! the interpreter's own calls touch. What happens seldom (errors, odd JSON) is left to `bootstrap.py`.
//!
//! `crates/worker/build.rs` compiles it to a shared object that needs nothing, not even a C library, but the stable part of
//! the interpreter's interface (Python 3.9 and newer). Nothing that is made for a call is let go of: the process ends with it.
//! Runs in the sandbox, beside the function's own code: nobody outside trusts what it does.
#![no_std]

#[path = "zygote/arenas.rs"]
mod arenas;
#[path = "zygote/call.rs"]
mod call;
#[path = "zygote/interpreter.rs"]
mod interpreter;
#[path = "zygote/kernel.rs"]
mod kernel;
#[path = "zygote/memory.rs"]
mod memory;
#[path = "zygote/streams.rs"]
mod streams;

use arenas::close_arenas;
use call::{Instance, rehearse, serve};
use core::{ffi::CStr, ptr::null};
use interpreter::{
    Function, Method, ModuleDefinition, PyModule_Create2, Ref, State, bytes_of, item, none, number_at, number_object,
};
use kernel::{INTERRUPTED, Part, call, close, exit, number};
use memory::{code, fill, gather, make_huge, thread_id};
use streams::Streams;

const CONTROL_FD: usize = 3;
const INVALID: i32 = -22;
const MSG_PEEK: usize = 2;
const MSG_DONTWAIT: usize = 0x40;
const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;
const SECCOMP_SET_MODE_FILTER: usize = 1;
const CAPABILITIES_V3: u32 = 0x2008_0522;

/// What the interpreter calls to have the module.
///
/// # Safety
/// The interpreter's lock is held, and this is called once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn PyInit__dayfly_zygote() -> Ref {
    const WITH_ARGUMENTS: i32 = 1;
    const API_VERSION: i32 = 1013;
    const fn method(name: &'static CStr, function: Function) -> Method {
        Method { name: name.as_ptr(), function: Some(function), flags: WITH_ARGUMENTS, doc: null() }
    }
    static mut METHODS: [Method; 11] = [
        method(c"thread_id", thread_id),
        method(c"code", code),
        method(c"make_huge", make_huge),
        method(c"fill", fill),
        method(c"close_arenas", close_arenas),
        method(c"gather", gather),
        method(c"rehearse", rehearse),
        method(c"has_order", has_order),
        method(c"zygote", zygote),
        method(c"serve", serve),
        Method { name: null(), function: None, flags: 0, doc: null() },
    ];
    static mut MODULE: ModuleDefinition = ModuleDefinition {
        count: 1,
        kind: null(),
        init: 0,
        index: 0,
        copy: 0,
        name: c"_dayfly_zygote".as_ptr(),
        doc: null(),
        size: -1,
        methods: &raw const METHODS as *const Method,
        slots_and_hooks: [0; 4],
    };
    // SAFETY: the definition has the interpreter's shape, and stays.
    unsafe { PyModule_Create2(&raw mut MODULE, API_VERSION) }
}

/// `struct sock_fprog`.
#[repr(C)]
struct Filter {
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

/// `has_order(wait)`: whether the launcher has said something, which stays to be read.
unsafe extern "C" fn has_order(_module: Ref, arguments: Ref) -> Ref {
    let mut byte = 0_u8;
    let flags = if number_at(arguments, 0) == 0 { MSG_PEEK | MSG_DONTWAIT } else { MSG_PEEK };
    let got = loop {
        // SAFETY: there is room for one byte, and no address is wanted.
        match unsafe { call(number::RECVFROM, [CONTROL_FD, (&raw mut byte) as usize, 1, flags, 0, 0]) } {
            INTERRUPTED => {}
            got => break got,
        }
    };
    number_object((got > 0).into())
}

/// `zygote(state, flags, thread_id)`: serves orders until the launcher closes the control socket. A clone has no
/// capabilities any more, and its output goes to its log pipe; it serves its call and ends. `thread_id` is the address that
/// the C library gave the kernel for the thread's id. No other thread runs.
unsafe extern "C" fn zygote(_module: Ref, arguments: Ref) -> Ref {
    let state = State::of(item(arguments, 0));
    let (flags, thread_id) = (number_at(arguments, 1), number_at(arguments, 2));
    let streams = Streams::of(&state);
    let Some((code, length)) = bytes_of(state.filter) else { return none() };
    let filter = Filter { instructions: (length / 8) as u16, code };
    // The last two arguments of clone have another order on each machine.
    #[cfg(target_arch = "x86_64")]
    let arguments = [flags, 0, 0, thread_id, 0, 0];
    #[cfg(target_arch = "aarch64")]
    let arguments = [flags, 0, 0, 0, thread_id, 0];
    loop {
        let [call_fd, log_fd] = match next_order() {
            Order::Clone(descriptors) => descriptors,
            Order::Nonsense => {
                say(b'E', INVALID);
                continue;
            }
            Order::End => return none(),
        };
        // SAFETY: without a stack of its own and without shared memory, a clone goes on on a copy of everything, as after
        // a fork.
        match unsafe { call(number::CLONE, arguments) } {
            0 => {
                shut_in(&filter, log_fd);
                Instance { state: &state, streams: Some(&streams), call_fd }.begin();
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
        match unsafe { call(number::RECVMSG, [CONTROL_FD, (&raw const message) as usize, 0, 0, 0, 0]) } {
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
    unsafe { call(number::WRITE, [CONTROL_FD, word.as_ptr() as usize, word.len(), 0, 0, 0]) };
}

/// In the clone: no capabilities, the filter of calls, its own log, no control socket.
fn shut_in(filter: *const Filter, log_fd: i32) {
    let (header, none) = ([CAPABILITIES_V3, 0_u32], [0_u32; 6]);
    let log_fd = log_fd as usize;
    // SAFETY: both arrays have the kernel's shape for version 3; the filter is a `bytes` of the state's.
    unsafe {
        must(72, call(number::CAPSET, [header.as_ptr() as usize, none.as_ptr() as usize, 0, 0, 0, 0]));
        must(73, call(number::SECCOMP, [SECCOMP_SET_MODE_FILTER, 0, filter as usize, 0, 0, 0]));
        must(74, call(number::DUP3, [log_fd, 1, 0, 0, 0, 0]));
        must(74, call(number::DUP3, [log_fd, 2, 0, 0, 0, 0]));
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

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(75)
}
