//! The enums that describe an entry. Each variant has one word, the same in columns, queries and
//! JSON.

/// Defines an enum with one word for each variant: `as_str`, `Display`, `FromStr` and `Serialize`.
macro_rules! words {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $vis enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All variants.
            $vis const ALL: &[$name] = &[$($name::$variant,)+];

            /// The word for the variant.
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

/// An unknown word.
#[derive(Debug, thiserror::Error)]
#[error("unknown value {found:?}, expected one of {expected}")]
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
    /// A format of entries. Konnect calls it `log_format`.
    pub enum Format {
        /// ArcSight's Common Event Format.
        Cef = "cef",
        /// A flat JSON object.
        Json = "json",
        /// CrowdStrike Parsing Standard: the JSON object under `event`.
        Cps = "cps",
        /// A JSON object of Konnect's API, which was pulled and not delivered.
        Pulled = "pulled",
    }
}

impl Format {
    /// The formats of deliveries.
    pub const DELIVERED: [Format; 3] = [Format::Cef, Format::Json, Format::Cps];

    /// The word for the format of a malformed line.
    pub const UNKNOWN: &str = "unknown";

    /// The word for a format, or [`Format::UNKNOWN`] for `None`.
    pub fn word(format: Option<Format>) -> &'static str {
        format.map_or(Format::UNKNOWN, Format::as_str)
    }
}

words! {
    /// The kind of event, recognised by the `name` of the entry.
    pub enum Kind {
        /// A login or a failed login.
        Authentication = "authentication",
        /// A permission was checked.
        Authorization = "authorization",
        /// The API was called. The vendor's API calls it `gateway_access`.
        Access = "access",
        /// Anything else.
        Other = "other",
    }
}

impl Kind {
    /// The kind of an entry with this `name`.
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
    /// The name of a verdict. Unlike a [`Verdict`](crate::signature::Verdict) it proves nothing.
    pub enum VerdictName {
        /// A key verifies the signature.
        Valid = "valid",
        /// No known key verifies the signature, or the signature is not well formed.
        Invalid = "invalid",
        /// There is no signature.
        Unsigned = "unsigned",
        /// The signature is well formed, but there is no key to check it with.
        NoKey = "no_key",
        /// The line is not an entry.
        Malformed = "malformed",
    }
}

words! {
    /// A warning about an entry. An entry with any verdict can have warnings.
    pub enum Warning {
        /// A time is not valid, or outside the years 1970 to 9999. It is ignored.
        BadTime = "bad_time",
        /// A field occurs twice. The first value is kept.
        DuplicateField = "duplicate_field",
        /// The entry belongs to an organization that the input does not expect.
        ForeignOrg = "foreign_org",
        /// The entry belongs to a Dev Portal that the input does not expect.
        ForeignPortal = "foreign_portal",
        /// The equation without the cofactor, which ring and openssl use, does not hold: the owner of
        /// the key made the signature odd on purpose. It is never stored, because receiving does not
        /// look for it.
        OddSignature = "odd_signature",
        /// The key that verified the entry left its key set more than eight days before the entry was
        /// received. The entry may be a late replay, or the work of who has the old key.
        RetiredKey = "retired_key",
        /// The same signed payload also came in other lines, which differ outside of it.
        SignatureMoved = "signature_moved",
        /// The entry has more unknown fields than are kept.
        TooManyFields = "too_many_fields",
    }
}

impl Warning {
    /// The words of `warnings` with `separator` between them.
    pub fn join(warnings: &[Warning], separator: &str) -> String {
        warnings.iter().map(|warning| warning.as_str()).collect::<Vec<_>>().join(separator)
    }

    /// Adds the warning to `warnings`, if it is not there yet.
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
        assert_eq!(
            error.to_string(),
            "unknown value \"xml\", expected one of cef, json, cps, pulled"
        );
    }
}
