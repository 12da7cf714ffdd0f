//! One call: read, given to the function, answered.

use super::{
    interpreter::{
        Object, PyBytes_FromStringAndSize, PyDict_GetItem, PyDict_New, PyDict_SetItem, PyErr_Clear, PyErr_Fetch,
        PyErr_NormalizeException, PyEval_RestoreThread, PyEval_SaveThread, PyException_SetTraceback, PyLong_AsLongLong,
        PyObject_CallFunctionObjArgs, PyObject_CallMethodObjArgs, PyObject_SetItem, PyTuple_GetItem,
        PyUnicode_AsUTF8AndSize, PyUnicode_DecodeUTF8, PyUnicode_GetLength, PyUnicode_Join, Ref, State, bytes_of, item,
        none, number_at, number_object,
    },
    kernel::{INTERRUPTED, Part, call, exit, number},
    streams::Streams,
};
use core::ptr::{null, null_mut};

/// What is read of a call at once. Nearly all calls are smaller.
const BUFFER_BYTES: usize = 2048;
/// Lengths of the event and of five texts, and the deadline.
const HEAD_BYTES: usize = 6 * 4 + 8;

/// `rehearse(state)`: does what every call does, but for the function.
pub unsafe extern "C" fn rehearse(_module: Ref, arguments: Ref) -> Ref {
    let state = State::of(item(arguments, 0));
    Instance { state: &state, streams: None, call_fd: -1 }.rehearse();
    none()
}

/// `serve(state, call)`: serves the call behind a call socket, and ends the process.
pub unsafe extern "C" fn serve(_module: Ref, arguments: Ref) -> Ref {
    let state = State::of(item(arguments, 0));
    Instance { state: &state, streams: None, call_fd: number_at(arguments, 1) as i32 }.serve()
}

pub struct Instance<'a> {
    pub state: &'a State,
    pub streams: Option<&'a Streams>,
    pub call_fd: i32,
}

/// What a call says of itself, beside its event.
pub struct Head {
    /// Lengths of the texts: request id, ARN, client context, tenant id, trace id.
    pub lengths: [usize; 5],
    pub deadline_ms: i64,
}

impl Instance<'_> {
    /// A clone begins: it becomes an instance, and takes the page faults of a call before its call comes.
    pub fn begin(&self) -> ! {
        let first = self.state.become_instance;
        if first != none() {
            // SAFETY: the interpreter's lock is held, here and below: a clone has the thread that held it.
            self.settled(unsafe { PyObject_CallFunctionObjArgs(first, null_mut::<Object>()) });
        }
        self.rehearse();
        self.serve()
    }

    pub fn rehearse(&self) {
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

    pub fn serve(&self) -> ! {
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
    pub fn prepare(&self, head: &Head, input: &mut Input) {
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

    pub fn text(&self, input: &mut Input, length: usize) -> Ref {
        let bytes = if length > BUFFER_BYTES { input.large(length) } else { null_mut() };
        let start = match bytes.is_null() {
            true => input.piece(length),
            false => bytes_of(bytes).map_or(null(), |(start, _)| start),
        };
        // SAFETY: so many bytes are there.
        self.settled(unsafe { PyUnicode_DecodeUTF8(start, length as isize, c"replace".as_ptr()) })
    }

    pub fn set(&self, key: Ref, value: Ref) {
        // SAFETY: the lock is held; the objects live.
        if unsafe { PyDict_SetItem(self.state.fields, key, value) } != 0 {
            self.settled(null_mut());
        }
    }

    /// The function's first argument.
    pub fn event(&self, start: *const u8, length: usize) -> Ref {
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
    pub fn answer(&self, function: Ref, event: Ref) -> (*const u8, usize) {
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
    pub fn encoded(&self, result: Ref) -> Option<(*const u8, usize)> {
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
    pub fn settled(&self, object: Ref) -> Ref {
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
pub struct Input {
    pub fd: usize,
    pub buffer: [u8; BUFFER_BYTES],
    pub start: usize,
    pub end: usize,
}

impl Input {
    /// Reads until at least `bytes`, no more than the buffer holds, are in it. Where nothing comes any more, the server
    /// does not want this instance: it ends.
    pub fn fill(&mut self, bytes: usize) {
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
    pub unsafe fn read(&self, start: usize, room: usize) -> usize {
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
    pub fn piece(&mut self, bytes: usize) -> *const u8 {
        self.fill(bytes);
        let piece = &raw const self.buffer as usize + self.start;
        self.start += bytes;
        piece as *const u8
    }

    pub fn word(&mut self) -> u32 {
        let piece = self.piece(4);
        // SAFETY: four bytes are there, wherever they lie.
        u32::from_le(unsafe { piece.cast::<u32>().read_unaligned() })
    }

    /// The next bytes, any number, as a `bytes`; null without memory for it.
    pub fn large(&mut self, bytes: usize) -> Ref {
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
pub fn send(fd: i32, kind: u8, body: *const u8, length: usize) {
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
