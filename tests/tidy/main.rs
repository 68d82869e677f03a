//! The house rules that a machine can check.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["switch", "pmd", "ctl", "perf", "tests"].iter().map(|dir| root().join(dir)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").filter_map(Result::ok) {
            let path = entry.path();
            if path.is_dir() {
                folders.extend((!path.ends_with("target")).then_some(path));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("source is text");
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 50);
    found
}

/// Direct dependencies of each of the workspace's packages, build and test ones left out.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .other_options(vec!["--offline".into()])
        .exec()
        .expect("cargo metadata");
    let normal = |package: &cargo_metadata::Package| {
        let of_kind =
            package.dependencies.iter().filter(|dep| dep.kind == cargo_metadata::DependencyKind::Normal);
        of_kind.map(|dependency| dependency.name.clone()).collect()
    };
    metadata.packages.iter().map(|package| (package.name.to_string(), normal(package))).collect()
}

#[test]
fn dependencies_point_one_way() {
    let ours: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("weft-wire", &[][..]),
        ("weft-pmd", &["weft-wire"][..]),
        ("weft-dataplane", &["weft-pmd", "weft-wire"][..]),
        ("weft-ctl-api", &["weft-wire"][..]),
        ("weftctl", &["weft-ctl-api"][..]),
        ("weftd", &["weft-ctl-api", "weft-dataplane", "weft-pmd", "weft-wire"][..]),
        ("weft-perf", &["weft-dataplane", "weft-pmd", "weft-wire"][..]),
    ]);
    for (name, dependencies) in dependencies() {
        let Some(allowed) = ours.get(name.as_str()) else { continue };
        let used = dependencies.iter().filter(|name| name.starts_with("weft"));
        let wrong: Vec<_> = used.filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(wrong.is_empty(), "{name} must not depend on {wrong:?}");
    }
}

#[test]
fn the_packet_path_has_no_runtime_serializer_or_logger() {
    let all = dependencies();
    for name in ["weft-dataplane", "weft-pmd"] {
        for banned in ["tokio", "serde", "serde_json", "toml", "tracing", "log", "clap", "weft-ctl-api"] {
            assert!(!all[name].contains(banned), "{name} must not depend on {banned}");
        }
    }
}

#[test]
fn unsafe_code_is_in_pmd_only() {
    for (path, text) in sources() {
        let is_pmd = path.components().any(|part| part.as_os_str() == "pmd");
        let is_root = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
        let is_perf = path.components().any(|part| part.as_os_str() == "perf");
        if is_root && is_perf {
            assert!(text.contains("#![deny(unsafe_code)]"), "{}", path.display());
        } else if is_root && !is_pmd {
            assert!(text.contains("#![forbid(unsafe_code)]"), "{}", path.display());
        }
    }
}

#[test]
fn files_are_short_and_finished() {
    for (path, text) in sources() {
        let own = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(&text);
        assert!(
            own.lines().count() <= 600,
            "{}: {} lines without tests",
            path.display(),
            own.lines().count()
        );
        for unfinished in [
            concat!("to", "do!("),
            concat!("unimple", "mented!("),
            concat!("FIX", "ME"),
            concat!("#[ig", "nore"),
        ] {
            assert!(!text.contains(unfinished), "{}: {unfinished}", path.display());
        }
    }
}

#[test]
fn every_drop_reason_is_shown_by_a_test() {
    let tests: String = sources()
        .into_iter()
        .filter(|(path, _)| path.components().any(|part| part.as_os_str() == "tests"))
        .map(|(_, text)| text)
        .collect();
    // What a test of a few frames can't bring about: full rings between threads, a device's refusal.
    let exempt = ["punt_full", "handoff_full", "refused", "neighbour_unresolved"];
    for reason in weft_dataplane::reason::DropReason::ALL {
        let shown = tests.contains(reason.word()) || tests.contains(&format!("DropReason::{reason:?}"));
        assert!(shown || exempt.contains(&reason.word()), "no test shows {}", reason.word());
    }
}

#[test]
fn the_readme_names_the_top_level() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md is there");
    for entry in fs::read_dir(root()).expect("the root").filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let known = name.starts_with('.') || ["target", "Cargo.lock", "README.md"].contains(&name.as_str());
        assert!(known || readme.contains(&name), "README.md does not tell what {name} is");
    }
}
