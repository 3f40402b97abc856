//! Rotation, with a program that follows the file by name.

use std::os::unix::fs::MetadataExt;

use super::*;
use crate::harness::Setup;

#[test]
fn a_follower_sees_each_line_once_across_rotations() {
    let config = file_output("out/siem.log", "format = 'raw'\nrotate_size = '2kB'");
    let mut serve = Setup::new().config(&config).start();
    serve.deliver(cef(0));
    wait_for_lines(&serve, "out/siem.log", &lines(0..1));
    let follower = Follower::start(&serve, "out/siem.log");
    assert_eq!(follower.next(), cef(0).into_bytes());
    for n in 1..60 {
        serve.deliver(cef(n));
        assert_eq!(follower.next(), cef(n).into_bytes());
    }
    follower.stop();
    serve.stop();
    let files = files_below(&serve.home().join("out"));
    assert!(files.len() > 5, "{files:?}");
    assert!(files.iter().all(|path| std::fs::metadata(path).unwrap().len() <= 2000), "{files:?}");
    assert_eq!(lines_below(&serve.home().join("out")), lines(0..60));
}

#[test]
fn rotated_files_are_compressed_and_the_newest_are_kept() {
    let keys = "format = 'raw'\nrotate_size = '5kB'\ncompress = 'gzip'\nkeep = 3";
    let mut serve = Setup::new().config(&file_output("out/siem.log", keys)).start();
    serve.deliver(lines(0..200).join("\n"));
    let out = serve.home().join("out");
    let last = cef(199);
    wait_until("three compressed files", || {
        let names: Vec<_> = files_below(&out)
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        let is_there = std::fs::read_to_string(out.join("siem.log"))
            .is_ok_and(|text| text.lines().next_back() == Some(&last));
        is_there
            && names.len() == 4
            && names.iter().filter(|name| name.ends_with(".log.gz")).count() == 3
    });
    serve.stop();
    let text = |path: &std::path::PathBuf| match path.extension().unwrap() == "gz" {
        true => {
            let file = std::fs::File::open(path).unwrap();
            std::io::read_to_string(flate2::read::GzDecoder::new(file)).unwrap()
        }
        false => std::fs::read_to_string(path).unwrap(),
    };
    let kept: String = files_below(&out).iter().map(text).collect();
    let kept: Vec<_> = kept.lines().map(str::to_owned).collect();
    assert!(kept.len() > 10 && kept.len() < 200, "{}", kept.len());
    assert_eq!(kept, lines(200 - kept.len()..200));
}

#[test]
fn files_have_the_configured_owner_group_and_mode() {
    let own = std::fs::metadata(tempfile::tempdir().unwrap().path()).unwrap();
    // Only root can give files to another user.
    let (owner, group) = if own.uid() == 0 { (1, 2) } else { (own.uid(), own.gid()) };
    let keys = format!(
        "format = 'raw'\nmode = '0640'\nowner = {owner}\ngroup = '{group}'\n\
         rotate_size = '2kB'\ncompress = 'zstd'\nkeep = 2"
    );
    let mut serve = Setup::new().config(&file_output("out/siem.log", &keys)).start();
    serve.deliver(lines(0..100).join("\n"));
    let out = serve.home().join("out");
    let is_compressed = |path: &std::path::PathBuf| path.extension().unwrap() == "zst";
    wait_until("two compressed files and the last line", || {
        let text = std::fs::read_to_string(out.join("siem.log")).unwrap_or_default();
        let files = files_below(&out);
        text.lines().next_back() == Some(&cef(99))
            && files.len() == 3
            && files.iter().filter(|path| is_compressed(path)).count() == 2
    });
    serve.stop();
    for path in files_below(&out).into_iter().chain([out]) {
        let found = std::fs::metadata(&path).unwrap();
        let mode = if found.is_dir() { 0o750 } else { 0o640 };
        let expected = (owner, group, mode);
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), expected, "{path:?}");
    }
}
