//! What is wrong with annotations: where it stands, what it is, what was done about it.
//!
//! Input: the readers' findings. Output: a list of [`Problem`]s, or an error that names the first. Invariant: a
//! reader goes on after a problem, so that the list is whole; only then is anything refused.

use crate::error::{DataError, Result};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What becomes of bad annotations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BadAnnotations {
    /// They are left out and listed.
    #[default]
    Drop,
    /// The data set is refused.
    Error,
}

impl FromStr for BadAnnotations {
    type Err = DataError;
    fn from_str(s: &str) -> Result<BadAnnotations> {
        match s {
            "drop" => Ok(BadAnnotations::Drop),
            "error" => Ok(BadAnnotations::Error),
            _ => Err(DataError::argument(format!(
                "bad_annotations cannot be '{}'; write \"drop\" or \"error\"",
                s.escape_debug()
            ))),
        }
    }
}

/// A kind of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A box without width or height.
    ZeroArea,
    /// A box wholly outside the picture.
    Outside,
    /// A box partly outside the picture, by more than a pixel. It is kept: training cuts it to the picture.
    ReachesOutside,
    /// A class that is not among those known.
    UnknownClass,
    /// A picture that is not there.
    MissingImage,
    /// A picture without annotations where they are required.
    MissingAnnotation,
    /// A picture that cannot be read.
    BadImage,
    /// A picture of another size than its annotations say.
    SizeMismatch,
    /// Two things of one identity.
    Duplicate,
    /// What is no annotation of that format.
    Malformed,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Fault; 10] = [
        Fault::ZeroArea,
        Fault::Outside,
        Fault::ReachesOutside,
        Fault::UnknownClass,
        Fault::MissingImage,
        Fault::MissingAnnotation,
        Fault::BadImage,
        Fault::SizeMismatch,
        Fault::Duplicate,
        Fault::Malformed,
    ];

    /// In a few words.
    pub fn name(self) -> &'static str {
        match self {
            Fault::ZeroArea => "zero area",
            Fault::Outside => "outside the picture",
            Fault::ReachesOutside => "reaches outside the picture (kept)",
            Fault::UnknownClass => "unknown class",
            Fault::MissingImage => "missing picture",
            Fault::MissingAnnotation => "missing annotations",
            Fault::BadImage => "unreadable picture",
            Fault::SizeMismatch => "picture of another size",
            Fault::Duplicate => "duplicate",
            Fault::Malformed => "malformed",
        }
    }
}

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// Line and column, from 1; none for the file as a whole.
    pub at: Option<(u32, u32)>,
}

impl Place {
    /// A whole file.
    pub fn file(path: &Path) -> Place {
        Place { path: path.to_path_buf(), at: None }
    }

    /// A line and column of a file, from 1.
    pub fn at(path: &Path, line: u32, column: u32) -> Place {
        Place { path: path.to_path_buf(), at: Some((line, column)) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some((line, column)) => write!(f, "{}:{line}:{column}", self.path.display()),
            None => write!(f, "{}", self.path.display()),
        }
    }
}

/// One bad annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its kind.
    pub fault: Fault,
    /// Where it stands.
    pub place: Place,
    /// What was found, in words.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// The problems of a data set, as they are found.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    /// Notes one.
    pub(super) fn add(&mut self, fault: Fault, place: Place, what: impl Into<String>) {
        self.0.push(Problem { fault, place, what: what.into() });
    }

    /// All of them, or the error that there are any.
    pub(super) fn judge(self, bad: BadAnnotations) -> Result<Vec<Problem>> {
        match (bad, self.0.first()) {
            (BadAnnotations::Error, Some(first)) => {
                let more = self.0.len() - 1;
                Err(DataError::Annotations { first: Box::new(first.clone()), more })
            }
            _ => Ok(self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_found_before_any_is_refused() {
        let found = || {
            let mut problems = Problems::default();
            problems.add(Fault::ZeroArea, Place::at(Path::new("a.xml"), 3, 7), "the box has no area");
            problems.add(Fault::MissingImage, Place::file(Path::new("b.xml")), "b.jpg is not there");
            problems
        };
        assert_eq!(found().judge(BadAnnotations::Drop).unwrap().len(), 2);
        assert_eq!(
            found().judge(BadAnnotations::Error).unwrap_err().to_string(),
            "a.xml:3:7: the box has no area (and 1 more problem); correct the files, or set bad_annotations = \
             \"drop\" to go on without them"
        );
        assert!(Problems::default().judge(BadAnnotations::Error).unwrap().is_empty());
    }

    #[test]
    fn the_words_are_two() {
        assert_eq!("drop".parse::<BadAnnotations>().unwrap(), BadAnnotations::Drop);
        assert!("skip".parse::<BadAnnotations>().unwrap_err().to_string().contains("write \"drop\""));
    }
}
