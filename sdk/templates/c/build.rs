//! Compiles the kernel side with clang.

use std::path::PathBuf;
use std::process::Command;
use std::{env, io};

const SOURCE: &str = "src/@name@.bpf.c";

fn main() {
    println!("cargo:rerun-if-changed={SOURCE}");
    println!("cargo:rerun-if-changed=include/polycube.h");
    println!("cargo:rerun-if-env-changed=CLANG");
    let object = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("@name@.o");
    // Debian also calls it by its version.
    let names = env::var("CLANG").map_or_else(
        |_| ["clang", "clang-19", "clang-16", "clang-14"].map(str::to_owned).to_vec(),
        |name| vec![name],
    );
    for name in names {
        let mut clang = Command::new(&name);
        clang.args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror=implicit-function-declaration"]);
        clang.args(["-Iinclude", "-c", SOURCE, "-o"]);
        match clang.arg(&object).status() {
            Ok(status) if status.success() => return,
            Ok(status) => panic!("{name} failed: {status}"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => panic!("{name} cannot be started: {error}"),
        }
    }
    panic!("clang is not installed: install it (apt-get install clang), or set CLANG to its path");
}
