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

use core::{
    arch::asm,
    ffi::{CStr, c_char},
    ptr::{null, null_mut},
};

const CONTROL_FD: usize = 3;
const INTERRUPTED: isize = -4;
const INVALID: i32 = -22;
const MSG_PEEK: usize = 2;
const MSG_DONTWAIT: usize = 0x40;
const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;
const SECCOMP_SET_MODE_FILTER: usize = 1;
const CAPABILITIES_V3: u32 = 0x2008_0522;
const PR_GET_TID_ADDRESS: usize = 40;
const PROT_READ_WRITE: usize = 3;
const PROT_READ_EXECUTE: usize = 5;
const MAP_PRIVATE_ANONYMOUS: usize = 0x22;
const MREMAP_MAYMOVE_FIXED: usize = 3;
const MADV_HUGEPAGE: usize = 14;
const MADV_COLLAPSE: usize = 25;
const HUGE: usize = 2 << 20;
/// What is read of a call at once. Nearly all calls are smaller.
const BUFFER_BYTES: usize = 2048;
/// Lengths of the event and of five texts, and the deadline.
const HEAD_BYTES: usize = 6 * 4 + 8;

#[cfg(target_arch = "x86_64")]
mod number {
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
mod number {
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

// The interpreter ------------------------------------------------------------------------------------------------------

/// A Python object.
#[repr(C)]
pub struct Object([u8; 0]);

/// A pointer to one; null where the interpreter has raised an exception.
type Ref = *mut Object;

type Function = unsafe extern "C" fn(Ref, Ref) -> Ref;

/// `PyMethodDef`.
#[repr(C)]
struct Method {
    name: *const c_char,
    function: Option<Function>,
    flags: i32,
    doc: *const c_char,
}

/// `PyModuleDef`, of an interpreter with a global lock. (Dayfly uses no other.)
#[repr(C)]
struct ModuleDefinition {
    count: usize,
    kind: *const u8,
    init: usize,
    index: isize,
    copy: usize,
    name: *const c_char,
    doc: *const c_char,
    size: isize,
    methods: *const Method,
    slots_and_hooks: [usize; 4],
}

unsafe extern "C" {
    static mut _Py_NoneStruct: Object;
    fn PyModule_Create2(definition: *mut ModuleDefinition, api_version: i32) -> Ref;
    fn PyTuple_GetItem(tuple: Ref, index: isize) -> Ref;
    fn PyBytes_FromStringAndSize(bytes: *const u8, length: isize) -> Ref;
    fn PyBytes_AsStringAndSize(bytes: Ref, start: *mut *mut u8, length: *mut isize) -> i32;
    fn PyUnicode_DecodeUTF8(bytes: *const u8, length: isize, errors: *const c_char) -> Ref;
    fn PyUnicode_AsUTF8AndSize(text: Ref, length: *mut isize) -> *const u8;
    fn PyUnicode_GetLength(text: Ref) -> isize;
    fn PyUnicode_Join(separator: Ref, sequence: Ref) -> Ref;
    fn PyLong_FromLongLong(number: i64) -> Ref;
    fn PyLong_AsLongLong(number: Ref) -> i64;
    fn PyDict_New() -> Ref;
    fn PyDict_GetItem(dictionary: Ref, key: Ref) -> Ref;
    fn PyDict_SetItem(dictionary: Ref, key: Ref, value: Ref) -> i32;
    fn PyObject_SetItem(object: Ref, key: Ref, value: Ref) -> i32;
    fn PyObject_CallFunctionObjArgs(function: Ref, ...) -> Ref;
    fn PyObject_CallMethodObjArgs(object: Ref, name: Ref, ...) -> Ref;
    fn PyErr_Clear();
    fn PyErr_Fetch(kind: *mut Ref, value: *mut Ref, trace: *mut Ref);
    fn PyErr_NormalizeException(kind: *mut Ref, value: *mut Ref, trace: *mut Ref);
    fn PyException_SetTraceback(error: Ref, trace: Ref) -> i32;
    fn PyEval_SaveThread() -> *mut u8;
    fn PyEval_RestoreThread(state: *mut u8);
}

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
    static mut METHODS: [Method; 9] = [
        method(c"thread_id", thread_id),
        method(c"code", code),
        method(c"make_huge", make_huge),
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

fn none() -> Ref {
    &raw mut _Py_NoneStruct
}

/// Item `index` of a tuple of arguments. Callers name none that is not there.
fn item(tuple: Ref, index: isize) -> Ref {
    // SAFETY: a tuple, or an error and null, which every user takes.
    unsafe { PyTuple_GetItem(tuple, index) }
}

fn number_at(tuple: Ref, index: isize) -> usize {
    // SAFETY: as above; what is no number is -1.
    unsafe { PyLong_AsLongLong(item(tuple, index)) as usize }
}

fn number_object(number: i64) -> Ref {
    // SAFETY: the interpreter's lock is held wherever this module is called.
    unsafe { PyLong_FromLongLong(number) }
}

/// The bytes of a `bytes`; of anything else nothing.
fn bytes_of(object: Ref) -> Option<(*const u8, usize)> {
    let (mut start, mut length) = (null_mut(), 0);
    // SAFETY: both are written to by the call.
    match unsafe { PyBytes_AsStringAndSize(object, &mut start, &mut length) } {
        0 => Some((start, length as usize)),
        _ => {
            // SAFETY: the error is this call's.
            unsafe { PyErr_Clear() };
            None
        }
    }
}

/// Where the interpreter keeps what a call needs: `bootstrap.py` makes it once, as a tuple in this order.
#[repr(C)]
struct State {
    /// The filter that a clone puts on itself: `struct sock_filter`s in a `bytes`.
    filter: Ref,
    /// What a clone has to do first, or None.
    become_instance: Ref,
    /// The function of the call, and one that does nothing.
    function: Ref,
    nothing: Ref,
    /// JSON in and out; None for a job, whose calls take and give bytes.
    decode: Ref,
    encode: Ref,
    /// The function's second argument, its dictionary, and what is set in that.
    context: Ref,
    fields: Ref,
    request_id: Ref,
    arn: Ref,
    client_context: Ref,
    tenant_id: Ref,
    deadline_ms: Ref,
    /// `os.environ` and the name of the trace id in it.
    environment: Ref,
    trace_id: Ref,
    /// `sys.__dict__`, names in it, and `flush`.
    system: Ref,
    stdout: Ref,
    stderr: Ref,
    flush: Ref,
    empty: Ref,
    /// What is left to Python: `(text) -> ClientContext`, `(call, event) -> value`, `(call, result) -> bytes`, and
    /// `(call, error)`, which does not return. The second and the third may not either.
    make_client_context: Ref,
    decode_anew: Ref,
    encode_anew: Ref,
    raised: Ref,
    /// What output waits in: standard output, its buffer, standard error, its buffer, or None; and how large each is.
    streams: Ref,
    stream_bytes: Ref,
}

impl State {
    const ITEMS: usize = size_of::<Self>() / size_of::<Ref>();

    fn of(tuple: Ref) -> Self {
        let mut items = [null_mut(); Self::ITEMS];
        for (index, place) in items.iter_mut().enumerate() {
            *place = item(tuple, index as isize);
        }
        // SAFETY: the structure is so many pointers in a row.
        unsafe { core::mem::transmute(items) }
    }
}

/// An object of the interpreter's and what its memory was, but for the count of references.
struct Watched {
    object: Ref,
    words: usize,
    was: [u64; Self::WORDS_MAX],
}

impl Watched {
    const WORDS_MAX: usize = 48;
    const COUNT_WORDS: usize = 1;

    fn new(object: Ref, bytes: usize) -> Self {
        let words = bytes / size_of::<u64>();
        let object = if object == none() || words > Self::WORDS_MAX { null_mut() } else { object };
        let mut watched = Self { object, words, was: [0; Self::WORDS_MAX] };
        for index in Self::COUNT_WORDS..watched.len() {
            watched.was[index] = watched.word(index);
        }
        watched
    }

    fn len(&self) -> usize {
        if self.object.is_null() { 0 } else { self.words }
    }

    fn word(&self, index: usize) -> u64 {
        // SAFETY: the object is so many words long, and the state keeps it.
        unsafe { self.object.cast::<u64>().add(index).read() }
    }

    fn is_as_it_was(&self) -> bool {
        (Self::COUNT_WORDS..self.len()).all(|index| self.was[index] == self.word(index))
    }
}

/// Standard output, its buffer, standard error, its buffer, when they were flushed.
struct Streams([Watched; 4]);

impl Streams {
    fn of(state: &State) -> Self {
        Self([0, 1, 2, 3].map(|index| Watched::new(item(state.streams, index), number_at(state.stream_bytes, index))))
    }

    /// Whether nothing waits to be written by a stream.
    fn are_calm(&self, stream: Ref) -> bool {
        let [one, its_buffer, other, others_buffer] = &self.0;
        [(one, its_buffer), (other, others_buffer)]
            .iter()
            .any(|(text, buffer)| text.object == stream && text.is_as_it_was() && buffer.is_as_it_was())
    }
}

// Memory, before the first clone ---------------------------------------------------------------------------------------

/// `thread_id()`: the address at which the C library has the kernel keep the thread's id, or 0.
unsafe extern "C" fn thread_id(_module: Ref, _arguments: Ref) -> Ref {
    let mut address = 0_usize;
    // SAFETY: the kernel writes one address to where it is told.
    let result = unsafe { call(number::PRCTL, [PR_GET_TID_ADDRESS, (&raw mut address) as usize, 0, 0, 0, 0]) };
    number_object(if result == 0 { address as i64 } else { 0 })
}

/// `code()`: an address in the interpreter's code.
unsafe extern "C" fn code(_module: Ref, _arguments: Ref) -> Ref {
    number_object(PyErr_Clear as *const () as i64)
}

/// `make_huge(start, size)`: asks for huge pages.
unsafe extern "C" fn make_huge(_module: Ref, arguments: Ref) -> Ref {
    let got_all = backed(number_at(arguments, 0), number_at(arguments, 1));
    number_object(got_all.into())
}

/// Backs memory with huge pages; tells whether all of it is.
fn backed(start: usize, size: usize) -> bool {
    // SAFETY: advice changes no content.
    unsafe {
        call(number::MADVISE, [start, size, MADV_HUGEPAGE, 0, 0, 0]);
        call(number::MADVISE, [start, size, MADV_COLLAPSE, 0, 0, 0]) == 0
    }
}

/// `gather(start, size)`: puts a copy in huge pages of the process's own in the place of code that is mapped from a file.
/// Both are multiples of 2 MiB.
unsafe extern "C" fn gather(_module: Ref, arguments: Ref) -> Ref {
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

// Clones ---------------------------------------------------------------------------------------------------------------

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

// The call -------------------------------------------------------------------------------------------------------------

/// `rehearse(state)`: does what every call does, but for the function.
unsafe extern "C" fn rehearse(_module: Ref, arguments: Ref) -> Ref {
    let state = State::of(item(arguments, 0));
    Instance { state: &state, streams: None, call_fd: -1 }.rehearse();
    none()
}

/// `serve(state, call)`: serves the call behind a call socket, and ends the process.
unsafe extern "C" fn serve(_module: Ref, arguments: Ref) -> Ref {
    let state = State::of(item(arguments, 0));
    Instance { state: &state, streams: None, call_fd: number_at(arguments, 1) as i32 }.serve()
}

struct Instance<'a> {
    state: &'a State,
    streams: Option<&'a Streams>,
    call_fd: i32,
}

/// What a call says of itself, beside its event.
struct Head {
    /// Lengths of the texts: request id, ARN, client context, tenant id, trace id.
    lengths: [usize; 5],
    deadline_ms: i64,
}

impl Instance<'_> {
    /// A clone begins: it becomes an instance, and takes the page faults of a call before its call comes.
    fn begin(&self) -> ! {
        let first = self.state.become_instance;
        if first != none() {
            // SAFETY: the interpreter's lock is held, here and below: a clone has the thread that held it.
            self.settled(unsafe { PyObject_CallFunctionObjArgs(first, null_mut::<Object>()) });
        }
        self.rehearse();
        self.serve()
    }

    fn rehearse(&self) {
        let state = self.state;
        let head = Head { lengths: [0; 5], deadline_ms: 0 };
        for key in [state.request_id, state.arn] {
            self.set(key, state.empty);
        }
        self.set(state.deadline_ms, number_object(head.deadline_ms));
        let event = br#"{"a": 1}"#;
        let event = self.event(event.as_ptr(), event.len());
        self.answer(state.nothing, event);
    }

    fn serve(&self) -> ! {
        let mut input = Input { fd: self.call_fd as usize, buffer: [0; BUFFER_BYTES], start: 0, end: 0 };
        // Threads that its beginning may have started are not to wait with this one.
        let lock = self.state.become_instance != none();
        // SAFETY: the lock is held, and taken again before anything of the interpreter's is used.
        let thread = if lock { unsafe { PyEval_SaveThread() } } else { null_mut() };
        input.fill(HEAD_BYTES);
        if lock {
            // SAFETY: as above.
            unsafe { PyEval_RestoreThread(thread) };
        }
        let mut head = [0_u32; HEAD_BYTES / 4];
        for word in &mut head {
            *word = input.word();
        }
        let [event_bytes, a, b, c, d, e, low, high] = head;
        let head = Head {
            lengths: [a as usize, b as usize, c as usize, d as usize, e as usize],
            deadline_ms: (u64::from(low) | u64::from(high) << 32) as i64,
        };
        self.prepare(&head, &mut input);
        let event_bytes = event_bytes as usize;
        let event = if event_bytes <= BUFFER_BYTES {
            self.event(input.piece(event_bytes), event_bytes)
        } else {
            let bytes = input.large(event_bytes);
            match bytes_of(bytes) {
                Some(_) if self.state.decode == none() => bytes,
                Some((start, length)) => self.event(start, length),
                None => self.settled(null_mut()),
            }
        };
        let (body, length) = self.answer(self.state.function, event);
        send(self.call_fd, b'R', body, length);
        exit(0)
    }

    /// Sets what the context says of this call.
    fn prepare(&self, head: &Head, input: &mut Input) {
        let state = self.state;
        self.set(state.deadline_ms, number_object(head.deadline_ms));
        let [request_id, arn, client_context, tenant_id, trace_id] =
            head.lengths.map(|length| (length > 0).then_some(length));
        for (key, length) in [(state.request_id, request_id), (state.arn, arn)] {
            self.set(key, length.map_or(state.empty, |length| self.text(input, length)));
        }
        if let Some(length) = client_context {
            let text = self.text(input, length);
            // SAFETY: the lock is held; the list of arguments ends.
            let made = unsafe { PyObject_CallFunctionObjArgs(state.make_client_context, text, null_mut::<Object>()) };
            self.set(state.client_context, self.settled(made));
        }
        if let Some(length) = tenant_id {
            self.set(state.tenant_id, self.text(input, length));
        }
        if let Some(length) = trace_id {
            let text = self.text(input, length);
            // SAFETY: the lock is held; the objects live.
            if unsafe { PyObject_SetItem(state.environment, state.trace_id, text) } != 0 {
                self.settled(null_mut());
            }
        }
    }

    fn text(&self, input: &mut Input, length: usize) -> Ref {
        let bytes = if length > BUFFER_BYTES { input.large(length) } else { null_mut() };
        let start = match bytes.is_null() {
            true => input.piece(length),
            false => bytes_of(bytes).map_or(null(), |(start, _)| start),
        };
        // SAFETY: so many bytes are there.
        self.settled(unsafe { PyUnicode_DecodeUTF8(start, length as isize, c"replace".as_ptr()) })
    }

    fn set(&self, key: Ref, value: Ref) {
        // SAFETY: the lock is held; the objects live.
        if unsafe { PyDict_SetItem(self.state.fields, key, value) } != 0 {
            self.settled(null_mut());
        }
    }

    /// The function's first argument.
    fn event(&self, start: *const u8, length: usize) -> Ref {
        let state = self.state;
        // SAFETY: the lock is held; so many bytes are there; lists of arguments end.
        unsafe {
            if state.decode == none() {
                return self.settled(PyBytes_FromStringAndSize(start, length as isize));
            }
            if length == 0 {
                return self.settled(PyDict_New());
            }
            let text = PyUnicode_DecodeUTF8(start, length as isize, null());
            let pair = match text.is_null() {
                true => null_mut(),
                false => PyObject_CallFunctionObjArgs(state.decode, text, number_object(0), null_mut::<Object>()),
            };
            // Space around the value, or something wrong: Python's own JSON says what.
            if pair.is_null() || PyLong_AsLongLong(PyTuple_GetItem(pair, 1)) != PyUnicode_GetLength(text) as i64 {
                PyErr_Clear();
                let event = self.settled(PyBytes_FromStringAndSize(start, length as isize));
                let call_fd = number_object(self.call_fd.into());
                let decoded = PyObject_CallFunctionObjArgs(state.decode_anew, call_fd, event, null_mut::<Object>());
                return self.settled(decoded);
            }
            PyTuple_GetItem(pair, 0)
        }
    }

    /// Calls the function; its result's bytes. Its output is written by then.
    fn answer(&self, function: Ref, event: Ref) -> (*const u8, usize) {
        let state = self.state;
        let end = null_mut::<Object>();
        // SAFETY: the lock is held; all objects live; lists of arguments end.
        let result = unsafe {
            match state.decode == none() {
                true => PyObject_CallFunctionObjArgs(function, event, end),
                false => PyObject_CallFunctionObjArgs(function, event, state.context, end),
            }
        };
        let result = self.settled(result);
        let body = self.encoded(result).unwrap_or_else(|| {
            // SAFETY: as above.
            let bytes = unsafe {
                PyErr_Clear();
                let call_fd = number_object(self.call_fd.into());
                PyObject_CallFunctionObjArgs(state.encode_anew, call_fd, result, end)
            };
            bytes_of(self.settled(bytes)).unwrap_or_else(|| exit(1))
        });
        for name in [state.stdout, state.stderr] {
            // SAFETY: as above. A stream that cannot be written to has been so all along.
            unsafe {
                let stream = PyDict_GetItem(state.system, name);
                let is_calm = stream.is_null() || self.streams.is_some_and(|streams| streams.are_calm(stream));
                if !is_calm && PyObject_CallMethodObjArgs(stream, state.flush, end).is_null() {
                    PyErr_Clear();
                }
            }
        }
        body
    }

    /// The bytes of a result, where that is simple.
    fn encoded(&self, result: Ref) -> Option<(*const u8, usize)> {
        let state = self.state;
        if state.encode == none() {
            return bytes_of(result);
        }
        let mut length = 0;
        // SAFETY: the lock is held; lists of arguments end; a text's bytes live as long as it does.
        let start = unsafe {
            let pieces = PyObject_CallFunctionObjArgs(state.encode, result, number_object(0), null_mut::<Object>());
            let text = if pieces.is_null() { pieces } else { PyUnicode_Join(state.empty, pieces) };
            if text.is_null() { null() } else { PyUnicode_AsUTF8AndSize(text, &mut length) }
        };
        (!start.is_null()).then_some((start, length as usize))
    }

    /// An object; or, where there is none since something was raised, the end of the call.
    fn settled(&self, object: Ref) -> Ref {
        if !object.is_null() {
            return object;
        }
        let (mut kind, mut error, mut trace) = (null_mut(), null_mut(), null_mut());
        // SAFETY: the lock is held; what was raised is taken out and handed over.
        unsafe {
            PyErr_Fetch(&mut kind, &mut error, &mut trace);
            PyErr_NormalizeException(&mut kind, &mut error, &mut trace);
            if !error.is_null() {
                if !trace.is_null() {
                    PyException_SetTraceback(error, trace);
                }
                let call_fd = number_object(self.call_fd.into());
                PyObject_CallFunctionObjArgs(self.state.raised, call_fd, error, null_mut::<Object>());
            }
        }
        exit(1)
    }
}

/// What comes through the call socket.
struct Input {
    fd: usize,
    buffer: [u8; BUFFER_BYTES],
    start: usize,
    end: usize,
}

impl Input {
    /// Reads until at least `bytes`, no more than the buffer holds, are in it. Where nothing comes any more, the server
    /// does not want this instance: it ends.
    fn fill(&mut self, bytes: usize) {
        if BUFFER_BYTES - self.start < bytes {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        while self.end - self.start < bytes {
            let (start, room) = (&raw mut self.buffer as usize + self.end, BUFFER_BYTES - self.end);
            // SAFETY: there is so much room.
            self.end += unsafe { self.read(start, room) };
        }
    }

    /// # Safety
    /// At `start` is room for so many bytes.
    unsafe fn read(&self, start: usize, room: usize) -> usize {
        loop {
            // SAFETY: as promised.
            match unsafe { call(number::READ, [self.fd, start, room, 0, 0, 0]) } {
                INTERRUPTED => {}
                got if got > 0 => return got as usize,
                _ => exit(0),
            }
        }
    }

    /// The next bytes, no more than the buffer holds. They stay until more is asked for.
    fn piece(&mut self, bytes: usize) -> *const u8 {
        self.fill(bytes);
        let piece = &raw const self.buffer as usize + self.start;
        self.start += bytes;
        piece as *const u8
    }

    fn word(&mut self) -> u32 {
        let piece = self.piece(4);
        // SAFETY: four bytes are there, wherever they lie.
        u32::from_le(unsafe { piece.cast::<u32>().read_unaligned() })
    }

    /// The next bytes, any number, as a `bytes`; null without memory for it.
    fn large(&mut self, bytes: usize) -> Ref {
        // SAFETY: the object has room for so many bytes, and is nobody else's yet.
        unsafe {
            let object = PyBytes_FromStringAndSize(null(), bytes as isize);
            if let Some((start, _)) = (!object.is_null()).then(|| bytes_of(object)).flatten() {
                let mut have = bytes.min(self.end - self.start);
                let buffered = &raw const self.buffer as usize + self.start;
                core::ptr::copy_nonoverlapping(buffered as *const u8, start.cast_mut(), have);
                self.start += have;
                while have < bytes {
                    have += self.read(start as usize + have, bytes - have);
                }
            }
            object
        }
    }
}

/// Sends a frame: kind, length, body.
fn send(fd: i32, kind: u8, body: *const u8, length: usize) {
    let [a, b, c, d] = (length as u32).to_le_bytes();
    let head = [kind, a, b, c, d];
    let mut parts = [Part { start: head.as_ptr(), bytes: head.len() }, Part { start: body, bytes: length }];
    while parts.iter().any(|part| part.bytes > 0) {
        // SAFETY: both parts are as long as they say.
        let sent = unsafe { call(number::WRITEV, [fd as usize, parts.as_ptr() as usize, parts.len(), 0, 0, 0]) };
        if sent < 0 && sent != INTERRUPTED {
            // Nobody waits for the answer.
            exit(0);
        }
        let mut sent = sent.max(0) as usize;
        for part in &mut parts {
            let now = sent.min(part.bytes);
            (part.start, part.bytes) = (part.start.wrapping_add(now), part.bytes - now);
            sent -= now;
        }
    }
}

// System calls ---------------------------------------------------------------------------------------------------------

fn close(fd: usize) {
    // SAFETY: closing touches no memory; the descriptors are this loop's own.
    unsafe { call(number::CLOSE, [fd, 0, 0, 0, 0, 0]) };
}

fn exit(status: usize) -> ! {
    loop {
        // SAFETY: nothing is left to be harmed.
        unsafe { call(number::EXIT_GROUP, [status, 0, 0, 0, 0, 0]) };
    }
}

/// A system call.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn call(number: usize, [a, b, c, d, e, f]: [usize; 6]) -> isize {
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
unsafe fn call(number: usize, [a, b, c, d, e, f]: [usize; 6]) -> isize {
    let result;
    // SAFETY: as above.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a as isize => result, in("x1") b, in("x2") c, in("x3") d,
            in("x4") e, in("x5") f, options(nostack));
    }
    result
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(75)
}
