//! Compiles the blaster's and the sink's XDP programs and makes their skeletons.

use std::{env, path::PathBuf};

use libbpf_cargo::SkeletonBuilder;

fn main() {
    for name in ["blast", "sink"] {
        build(name);
    }
}

fn build(name: &str) {
    let source = format!("src/bpf/{name}.bpf.c");
    println!("cargo:rerun-if-changed={source}");
    let out = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets CARGO_CFG_TARGET_ARCH");
    // Debian keeps <asm/types.h> below the multiarch directory, which clang's BPF target does not search.
    let include = format!("-I/usr/include/{arch}-linux-gnu");
    let built = SkeletonBuilder::new()
        .source(&source)
        .clang_args([include.as_str(), "-Wall", "-Werror"])
        .build_and_generate(PathBuf::from(out).join(format!("{name}.skel.rs")));
    if let Err(error) = built {
        panic!("{source} can't be built (it needs clang; Debian: apt-get install clang): {error:?}");
    }
}
