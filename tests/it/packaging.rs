//! The packaged configurations are valid, as they are and with their commented settings.

use std::fs;
use std::path::Path;

use crate::program::run;

/// Checks a configuration with the secrets and certificates of `folder`.
pub(crate) fn check(folder: &Path, name: &str, toml: &str) {
    let secret = folder.join("secret").display().to_string();
    let elsewhere = |line: &str| match line.split_once("_file = ") {
        Some((key, _)) => format!("{key}_file = {secret:?}\n"),
        None => format!("{line}\n"),
    };
    let path = folder.join("config.toml");
    fs::write(&path, toml.lines().map(elsewhere).collect::<String>()).unwrap();
    let checked = run(&["config", "check", path.to_str().unwrap()], b"");
    assert_eq!(checked.code, Some(0), "{name}: {checked}\n{toml}");
}

pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(path)).unwrap()
}

/// Activates the settings that are commented out.
pub(crate) fn suggested(toml: &str) -> String {
    let setting = |line: &str| line.starts_with('[') || line.contains(" = ");
    let line = |line| match str::strip_prefix(line, "#") {
        Some(rest) if setting(rest) && !rest.starts_with(' ') => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    toml.lines().map(line).collect()
}

#[test]
fn the_configurations_and_their_suggestions_are_valid() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("secret"), "Bearer 0123456789abcdef\n").unwrap();
    let kubernetes = read("kubernetes.yaml");
    let (_, rest) = kubernetes.split_once("config.toml: |\n").unwrap();
    let map = rest.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
    let map: String = map.map(|line| format!("{}\n", line.trim_start())).collect();
    for (name, toml) in [
        ("deb", read("deb/config.toml")),
        ("container", read("container/config.toml")),
        ("kubernetes", map),
    ] {
        let all = suggested(&toml);
        assert!(all.contains("\n[[input]]\n") && all.contains("\n[keys]\n"), "{name}: {all}");
        check(home.path(), name, &toml);
        check(home.path(), name, &all);
    }
}
