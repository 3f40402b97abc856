//! The words that an entry is described with, spelled the same in code, columns, queries and JSON.

/// Makes an enum whose variants each have one word: `as_str`, `Display`, `FromStr` and `Serialize`.
macro_rules! words {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $vis enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every one of them.
            $vis const ALL: &[$name] = &[$($name::$variant,)+];

            /// The word for it.
            $vis fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::entry::words::UnknownWord;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|one| one.as_str() == word).ok_or_else(|| {
                    $crate::entry::words::UnknownWord::new(word, Self::ALL.iter().map(|one| one.as_str()))
                })
            }
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}
pub(crate) use words;

/// A word that is none of those expected.
#[derive(Debug, thiserror::Error)]
#[error("{found:?} is none of {expected}")]
pub struct UnknownWord {
    found: String,
    expected: String,
}

impl UnknownWord {
    pub(crate) fn new<'a>(found: &str, expected: impl Iterator<Item = &'a str>) -> UnknownWord {
        UnknownWord { found: found.to_owned(), expected: expected.collect::<Vec<_>>().join(", ") }
    }
}

words! {
    /// The format of an entry, of a payload, and of the entries of a batch: what Konnect calls
    /// `log_format`. A malformed line may have none.
    pub enum Format {
        /// ArcSight's Common Event Format.
        Cef = "cef",
        /// A flat JSON object.
        Json = "json",
        /// CrowdStrike Parsing Standard: the JSON object under `event`.
        Cps = "cps",
    }
}

impl Format {
    /// The word for the format of a malformed line that has none.
    pub const UNKNOWN: &str = "unknown";

    /// The word for a format that may be none.
    pub fn word(format: Option<Format>) -> &'static str {
        format.map_or(Format::UNKNOWN, Format::as_str)
    }
}

words! {
    /// The kind of event an entry tells of, recognised by its `name`.
    pub enum Kind {
        /// Somebody logged in, or failed to.
        Authentication = "authentication",
        /// A permission was checked.
        Authorization = "authorization",
        /// The API was called (the vendor's API says `gateway_access`).
        Access = "access",
        /// Anything else.
        Other = "other",
    }
}

impl Kind {
    /// The kind that an entry's `name` says it is.
    pub fn of(name: Option<&str>) -> Kind {
        match name {
            Some("Ingress") => Kind::Access,
            Some(name) if name.starts_with("AUTHENTICATION_OUTCOME_") => Kind::Authentication,
            Some(name) if name.starts_with("Authz.") => Kind::Authorization,
            _ => Kind::Other,
        }
    }
}

words! {
    /// The name of a verdict. It is a word, and proves nothing.
    pub enum VerdictName {
        /// A key of the set verifies the entry.
        Valid = "valid",
        /// There is a signature, and no known key verifies it, or it is not well formed.
        Invalid = "invalid",
        /// There is no signature.
        Unsigned = "unsigned",
        /// A well-formed signature, and no key at hand to check it with.
        NoKey = "no_key",
        /// The line is no entry.
        Malformed = "malformed",
    }
}

words! {
    /// What is odd about an entry, whatever its verdict.
    pub enum Warning {
        /// A time outside the years 1970 to 9999; it counts as none.
        BadTime = "bad_time",
        /// A field stands twice; the first wins.
        DuplicateField = "duplicate_field",
        /// The entry is of an organization that the input does not expect.
        ForeignOrg = "foreign_org",
        /// The entry is of a Dev Portal that the input does not expect.
        ForeignPortal = "foreign_portal",
        /// What is signed of it came in other lines too, which differ in what the signature does not
        /// cover.
        SignatureMoved = "signature_moved",
        /// It has more unknown fields than are kept.
        TooManyFields = "too_many_fields",
    }
}

impl Warning {
    /// The words of `warnings` with `separator` between them.
    pub fn join(warnings: &[Warning], separator: &str) -> String {
        warnings.iter().map(|warning| warning.as_str()).collect::<Vec<_>>().join(separator)
    }

    /// Adds the warning to `warnings` unless it is there.
    pub(crate) fn note(self, warnings: &mut Vec<Warning>) {
        if !warnings.contains(&self) {
            warnings.push(self);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_recognised_by_name() {
        for (name, kind) in [
            ("AUTHENTICATION_OUTCOME_LOCKED", Kind::Authentication),
            ("Authz.control-planes/*", Kind::Authorization),
            ("Ingress", Kind::Access),
            ("ingress", Kind::Other),
            ("Authz", Kind::Other),
        ] {
            assert_eq!(Kind::of(Some(name)), kind, "{name}");
        }
        assert_eq!(Kind::of(None), Kind::Other);
    }

    #[test]
    fn an_unknown_word_names_those_expected() {
        let error = "xml".parse::<Format>().unwrap_err();
        assert_eq!(error.to_string(), "\"xml\" is none of cef, json, cps");
    }
}
