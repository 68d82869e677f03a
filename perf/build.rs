//! Compiles the blaster and makes its skeleton.

use std::{env, path::PathBuf};

use libbpf_cargo::SkeletonBuilder;

const SOURCE: &str = "src/bpf/blast.bpf.c";

fn main() {
    println!("cargo:rerun-if-changed={SOURCE}");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("blast.skel.rs");
    let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets CARGO_CFG_TARGET_ARCH");
    // Debian keeps <asm/types.h> below the multiarch directory, which clang's BPF target does not search.
    let include = format!("-I/usr/include/{arch}-linux-gnu");
    let built = SkeletonBuilder::new()
        .source(SOURCE)
        .clang_args([include.as_str(), "-Wall", "-Werror"])
        .build_and_generate(&out);
    if let Err(error) = built {
        panic!("the blaster can't be built (it needs clang; Debian: apt-get install clang): {error:?}");
    }
}
