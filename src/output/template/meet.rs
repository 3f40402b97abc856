//! Whether two templates may name one file, or one a folder of the other.
//!
//! Compared is what they are from the root on, without empty parts and `.`; `..` is refused in a
//! template. Symbolic links are not followed: what they lead to can change at any time. In doubt two
//! may meet, since a value may be anything that is not empty.

use std::path::Path;

use super::{Piece, Template};

/// A part of a path: its characters, and `None` for a value.
type Part = Vec<Option<char>>;

impl Template {
    /// Whether some entry may go to the same file here as some entry there. In doubt it is so.
    pub fn may_meet(&self, other: &Template) -> bool {
        let (ours, theirs) = (self.parts(), other.parts());
        ours.len() == theirs.len() && ours.iter().zip(&theirs).all(|(a, b)| may_be_same(a, b))
    }

    /// Whether some file here may have the name that a folder has there. In doubt it is so.
    pub fn may_be_folder_of(&self, other: &Template) -> bool {
        let (ours, theirs) = (self.parts(), other.parts());
        theirs.get(..ours.len()).is_some_and(|folder| {
            theirs.len() > ours.len() && folder.iter().zip(&ours).all(|(a, b)| may_be_same(a, b))
        })
    }

    /// Whether some entry may go to the file `path`. In doubt it is so.
    pub fn may_name(&self, path: &Path) -> bool {
        self.may_meet(&Template::literal(path))
    }

    fn parts(&self) -> Vec<Part> {
        let of = |piece: &Piece| match piece {
            Piece::Text(text) => literal(text),
            Piece::Of(_) => vec![None],
        };
        from_root(self.0.iter().map(|part| part.iter().flat_map(of).collect()))
    }
}

fn literal(text: &str) -> Part {
    text.chars().map(Some).collect()
}

/// These parts, after those of the working directory if they do not begin at the root.
fn from_root(parts: impl Iterator<Item = Part>) -> Vec<Part> {
    let mut parts = parts.peekable();
    let folder = match parts.peek() {
        Some(first) if first.is_empty() => String::new(),
        // Where there is none any more, nothing relative can be written either.
        _ => std::env::current_dir().unwrap_or_default().to_string_lossy().into_owned(),
    };
    let all = folder.split('/').map(literal).chain(parts);
    all.filter(|part| !part.is_empty() && *part != [Some('.')]).collect()
}

/// Whether two parts can be the same text.
fn may_be_same(ours: &Part, theirs: &Part) -> bool {
    // Whether the rests of both that begin at (i, j) can be the same; from the end on.
    let mut later = vec![false; theirs.len() + 1];
    let mut row = later.clone();
    for i in (0..=ours.len()).rev() {
        for j in (0..=theirs.len()).rev() {
            row[j] = match (ours.get(i), theirs.get(j)) {
                (None, None) => true,
                (None, Some(_)) | (Some(_), None) => false,
                (Some(Some(one)), Some(Some(other))) => one == other && later[j + 1],
                // A value takes this character, and may end with it or go on.
                (Some(None), Some(Some(_))) => row[j + 1] || later[j + 1],
                (Some(Some(_)), Some(None)) => later[j] || later[j + 1],
                (Some(None), Some(None)) => row[j + 1] || later[j] || later[j + 1],
            };
        }
        std::mem::swap(&mut row, &mut later);
    }
    later[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Template {
        text.parse().unwrap()
    }

    #[test]
    fn templates_that_may_name_one_file() {
        let check = |one: &str, other: &str, expected: bool| {
            let (one, other) = (template(one), template(other));
            assert_eq!(one.may_meet(&other), expected, "{one} {other}");
            assert_eq!(other.may_meet(&one), expected, "{other} {one}");
        };
        check("a.log", "a.log", true);
        check("a.log", "b.log", false);
        check("{org_id}.log", "all.log", true);
        check("{org_id}.log", ".log", false);
        check("{org_id}.log", "a/b.log", false);
        check("a/{org_id}.log", "b/{org_id}.log", false);
        check("{kind}-{org_id}", "x{org_id}", true);
        check("{kind}-a", "{kind}-b", false);
        check("{kind}/a", "x{org_id}/{kind}", true);
        check("{kind}{kind}", "x", false);
    }

    #[test]
    fn a_path_that_is_written_in_another_way_is_the_same() {
        let here = std::env::current_dir().unwrap();
        let absolute = format!("{}/d/x.log", here.display());
        for other in ["d/x.log", "./d/x.log", "d//x.log", "d/././x.log", ".//d/x.log", &absolute] {
            assert!(template("d/x.log").may_meet(&template(other)), "{other}");
            assert!(template(other).may_meet(&template("d/{org_id}.log")), "{other}");
            assert!(template(other).may_name(Path::new("d/x.log")), "{other}");
        }
        assert!(!template("/d/x.log").may_meet(&template("d/x.log")));
        assert!(!template("d/{date}.log").may_name(Path::new("e/2025-05-16.log")));
        assert!(template("d/{date}.log").may_name(Path::new("d/2025-05-16.log")));
    }

    #[test]
    fn templates_of_which_one_may_be_a_folder_of_the_other() {
        let check = |one: &str, other: &str, expected: bool| {
            assert_eq!(template(one).may_be_folder_of(&template(other)), expected, "{one} {other}");
        };
        check("out/{org_id}", "out/archive/{date}.log", true);
        check("./out//{org_id}", "out/archive/a/b", true);
        check("out/archive/{date}.log", "out/{org_id}", false);
        check("out/{org_id}.log", "out/archive/{date}.log", false);
        check("out/{org_id}", "out/{org_id}", false);
        check("out", "out/x", true);
    }
}
