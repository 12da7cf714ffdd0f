//! Events and functions as they are kept: invocations in the queue, configurations in the store, limits in the
//! configuration file. What is read must be written in a form that reads as the same.

#![no_main]

use dayfly_types::{FunctionConfiguration, Invocation, Limits};
use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};

fuzz_target!(|json: &[u8]| {
    reads_back::<Invocation>(json);
    reads_back::<FunctionConfiguration>(json);
    reads_back::<Limits>(json);
});

fn reads_back<T: Serialize + DeserializeOwned>(json: &[u8]) {
    let Ok(value) = serde_json::from_slice::<T>(json) else { return };
    let written = serde_json::to_vec(&value).expect("what was read can be written");
    let again: T = serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(written, serde_json::to_vec(&again).expect("and written again"));
}
