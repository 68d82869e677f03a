//! Compiles the blaster's and the sink's XDP programs and makes their skeletons; notes the commit that results are made with.

use std::{env, path::PathBuf, process::Command};

use libbpf_cargo::SkeletonBuilder;

/// A change of these is worth a `+` behind the commit.
const MEASURED: [&str; 4] = ["src", "../switch", "../pmd", "../Cargo.lock"];

fn main() {
    note_commit();
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

/// Sets `WEFT_COMMIT`; it is absent in a build from something else than a git work tree.
fn note_commit() {
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return };
    let changed = git(&[&["status", "--porcelain", "--"], &MEASURED[..]].concat());
    let mark = if changed.is_some_and(|files| files.is_empty()) { "" } else { "+" };
    println!("cargo:rustc-env=WEFT_COMMIT={commit}{mark}");
    // Grows with every commit and checkout.
    for path in git(&["rev-parse", "--git-path", "logs/HEAD"]).iter().map(String::as_str).chain(MEASURED) {
        println!("cargo:rerun-if-changed={path}");
    }
}
