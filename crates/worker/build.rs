//! Compiles `runtimes/python/zygote.rs`, which runs inside sandboxes, to a module of the interpreter that the worker carries.

use std::{env, path::PathBuf, process::Command};

const SOURCE: &str = "../../runtimes/python/zygote.rs";
const MODULES: &str = "../../runtimes/python/zygote";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-changed={MODULES}");
    let variable = |name| env::var(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    let object = PathBuf::from(variable("OUT_DIR")).join("zygote.so");
    let mut rustc = Command::new(variable("RUSTC"));
    rustc.args(["--edition=2024", "--crate-type=cdylib", "--crate-name=zygote", SOURCE, "-o"]).arg(&object);
    rustc.args([
        "--target",
        &variable("TARGET"),
        "-Copt-level=s",
        "-Clto=fat",
        "-Cpanic=abort",
        "-Cdebuginfo=0",
        "-Cstrip=symbols",
    ]);
    // No start files, no libraries, and one read-only piece: a clone maps as little as possible.
    for argument in ["-nostdlib", "-Wl,-z,norelro", "-Wl,-z,noseparate-code", "-Wl,--hash-style=gnu"] {
        rustc.arg(format!("-Clink-arg={argument}"));
    }
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    let status = rustc.status().unwrap_or_else(|error| panic!("rustc: {error}"));
    assert!(status.success(), "{SOURCE} does not compile");
}
