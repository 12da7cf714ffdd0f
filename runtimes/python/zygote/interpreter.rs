//! The stable part of the interpreter's interface that is used here, and what a call needs of it.

use core::{ffi::c_char, ptr::null_mut};

/// A Python object.
#[repr(C)]
pub struct Object([u8; 0]);

/// A pointer to one; null where the interpreter has raised an exception.
pub type Ref = *mut Object;

pub type Function = unsafe extern "C" fn(Ref, Ref) -> Ref;

/// `PyMethodDef`.
#[repr(C)]
pub struct Method {
    pub name: *const c_char,
    pub function: Option<Function>,
    pub flags: i32,
    pub doc: *const c_char,
}

/// `PyModuleDef`, of an interpreter with a global lock. (Dayfly uses no other.)
#[repr(C)]
pub struct ModuleDefinition {
    pub count: usize,
    pub kind: *const u8,
    pub init: usize,
    pub index: isize,
    pub copy: usize,
    pub name: *const c_char,
    pub doc: *const c_char,
    pub size: isize,
    pub methods: *const Method,
    pub slots_and_hooks: [usize; 4],
}

unsafe extern "C" {
    pub static mut _Py_NoneStruct: Object;
    pub fn PyModule_Create2(definition: *mut ModuleDefinition, api_version: i32) -> Ref;
    pub fn PyTuple_GetItem(tuple: Ref, index: isize) -> Ref;
    pub fn PyBytes_FromStringAndSize(bytes: *const u8, length: isize) -> Ref;
    pub fn PyBytes_AsStringAndSize(bytes: Ref, start: *mut *mut u8, length: *mut isize) -> i32;
    pub fn PyUnicode_DecodeUTF8(bytes: *const u8, length: isize, errors: *const c_char) -> Ref;
    pub fn PyUnicode_AsUTF8AndSize(text: Ref, length: *mut isize) -> *const u8;
    pub fn PyUnicode_GetLength(text: Ref) -> isize;
    pub fn PyUnicode_Join(separator: Ref, sequence: Ref) -> Ref;
    pub fn PyLong_FromLongLong(number: i64) -> Ref;
    pub fn PyLong_AsLongLong(number: Ref) -> i64;
    pub fn PyDict_New() -> Ref;
    pub fn PyDict_GetItem(dictionary: Ref, key: Ref) -> Ref;
    pub fn PyDict_SetItem(dictionary: Ref, key: Ref, value: Ref) -> i32;
    pub fn PyObject_SetItem(object: Ref, key: Ref, value: Ref) -> i32;
    pub fn PyObject_CallFunctionObjArgs(function: Ref, ...) -> Ref;
    pub fn PyObject_CallMethodObjArgs(object: Ref, name: Ref, ...) -> Ref;
    pub fn PyErr_Clear();
    pub fn PyErr_Fetch(kind: *mut Ref, value: *mut Ref, trace: *mut Ref);
    pub fn PyErr_NormalizeException(kind: *mut Ref, value: *mut Ref, trace: *mut Ref);
    pub fn PyException_SetTraceback(error: Ref, trace: Ref) -> i32;
    pub fn PyEval_SaveThread() -> *mut u8;
    pub fn PyEval_RestoreThread(state: *mut u8);
}

pub fn none() -> Ref {
    &raw mut _Py_NoneStruct
}

/// Item `index` of a tuple of arguments. Callers name none that is not there.
pub fn item(tuple: Ref, index: isize) -> Ref {
    // SAFETY: a tuple, or an error and null, which every user takes.
    unsafe { PyTuple_GetItem(tuple, index) }
}

pub fn number_at(tuple: Ref, index: isize) -> usize {
    // SAFETY: as above; what is no number is -1.
    unsafe { PyLong_AsLongLong(item(tuple, index)) as usize }
}

pub fn number_object(number: i64) -> Ref {
    // SAFETY: the interpreter's lock is held wherever this module is called.
    unsafe { PyLong_FromLongLong(number) }
}

/// The bytes of a `bytes`; of anything else nothing.
pub fn bytes_of(object: Ref) -> Option<(*const u8, usize)> {
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
pub struct State {
    /// The filter that a clone puts on itself: `struct sock_filter`s in a `bytes`.
    pub filter: Ref,
    /// What a clone has to do first, or None.
    pub become_instance: Ref,
    /// The function of the call, and one that does nothing.
    pub function: Ref,
    pub nothing: Ref,
    /// JSON in and out; None for a job, whose calls take and give bytes.
    pub decode: Ref,
    pub encode: Ref,
    /// The function's second argument, its dictionary, and what is set in that.
    pub context: Ref,
    pub fields: Ref,
    pub request_id: Ref,
    pub arn: Ref,
    pub client_context: Ref,
    pub tenant_id: Ref,
    pub deadline_ms: Ref,
    /// `os.environ` and the name of the trace id in it.
    pub environment: Ref,
    pub trace_id: Ref,
    /// `sys.__dict__`, names in it, and `flush`.
    pub system: Ref,
    pub stdout: Ref,
    pub stderr: Ref,
    pub flush: Ref,
    pub empty: Ref,
    /// What is left to Python: `(text) -> ClientContext`, `(call, event) -> value`, `(call, result) -> bytes`, and
    /// `(call, error)`, which does not return. The second and the third may not either.
    pub make_client_context: Ref,
    pub decode_anew: Ref,
    pub encode_anew: Ref,
    pub raised: Ref,
    /// What output waits in: standard output, its buffer, standard error, its buffer, or None; and how large each is.
    pub streams: Ref,
    pub stream_bytes: Ref,
}

impl State {
    const ITEMS: usize = size_of::<Self>() / size_of::<Ref>();

    pub fn of(tuple: Ref) -> Self {
        let mut items = [null_mut(); Self::ITEMS];
        for (index, place) in items.iter_mut().enumerate() {
            *place = item(tuple, index as isize);
        }
        // SAFETY: the structure is so many pointers in a row.
        unsafe { core::mem::transmute(items) }
    }
}
