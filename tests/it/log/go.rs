//! Go's packages for transparency logs agree with the log: `tests/tlog-go`. Other tests build their
//! programs in Go here too.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{lines, served, vkey, wait_for_size};
use crate::harness::{Serve, Setup, optional_tool, output_of};

/// Builds the program in `tests/NAME`, and the programs of other packages that it requires. Returns the
/// folder with them. `None` if Go is missing, or outside of strict mode if they cannot be built.
pub(super) fn build(name: &str, others: &[&str]) -> Option<PathBuf> {
    let mut go = optional_tool("go")?;
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("target/go").join(name);
    fs::create_dir_all(&folder).unwrap();
    go.args(["build", "-o"]).arg(&folder).arg(".").args(others);
    let (code, _, stderr) = output_of(go.current_dir(root.join("tests").join(name)));
    let is_built = code == Some(0);
    assert!(is_built || std::env::var_os("VIDIMUS_TESTS_STRICT").is_none(), "{stderr}");
    if !is_built {
        // Without a network, Go cannot fetch its packages.
        eprintln!("SKIPPED: tests/{name} cannot be built: {stderr}");
    }
    is_built.then_some(folder)
}

#[test]
fn go_proves_leaves_and_older_trees_from_what_is_served() {
    let Some(programs) = build("tlog-go", &[]) else { return };
    let program = programs.join("tlog-go");
    let config = "[log]\ncheckpoint_interval = '100ms'\n";
    let mut serve = Setup::new().config(config).start();
    let key = vkey(&serve.data());
    let mut older: Vec<PathBuf> = Vec::new();
    let mut size = wait_for_size(&serve, 1).size;
    let check = |serve: &Serve, key: &str, older: &[PathBuf]| {
        let mut command = Command::new(&program);
        output_of(command.arg(key).arg(format!("{}/log", serve.console)).args(older))
    };
    // Sizes around the widths of tiles.
    for until in [255, 256, 257, 511, 513, 65_534, 65_535, 65_537, 66_000] {
        let before = size;
        serve.deliver(lines(before - 1..until - 1));
        size = wait_for_size(&serve, until).size;
        let (code, stdout, stderr) = check(&serve, &key, &older);
        assert_eq!(code, Some(0), "{until}: {stderr}");
        let expected = format!("{size} leaves, ");
        assert!(stdout.starts_with(&expected), "{stdout}");
        assert!(stdout.ends_with(&format!("{} older checkpoints\n", older.len())), "{stdout}");
        let path = serve.home().join(format!("checkpoint-{until}"));
        fs::write(&path, served(&serve).unwrap()).unwrap();
        older.push(path);
    }
    // It refuses another key and another tree.
    let other = key.replacen('/', "x/", 1);
    assert_eq!(check(&serve, &other, &[]).0, Some(1));
    let tile = serve.data().join("log/hashes/0/0000");
    let mut bytes = fs::read(&tile).unwrap();
    bytes[17] ^= 1;
    fs::write(&tile, bytes).unwrap();
    let (code, _, stderr) = check(&serve, &key, &[]);
    assert_eq!(code, Some(1), "{stderr}");
    serve.stop();
}
