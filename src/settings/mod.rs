//! Reading settings: TOML with line numbers, values with units, secrets, and error messages.
//!
//! - `section`: a file and its tables. `value`: readers of single values. `units`: sizes and
//!   durations.
//! - `secret`: values that are never shown. `pair`: a certificate and its key. `url`: HTTP URLs.
//!   `error`: the messages.
//!
//! The tables and their keys are declared with `settings!` where they are used: in `config`, and
//! in the types of outputs. This module depends on neither.

mod error;
mod pair;
mod secret;
mod section;
pub(crate) mod units;
mod url;
pub(crate) mod value;

pub(crate) use error::{ConfigError, Mismatch};
pub(crate) use pair::{PairKeys, pair, warn_if_key_exposed};
pub(crate) use secret::LEAST_LEN;
pub(crate) use secret::{Secret, any_matches};
pub(crate) use section::{Section, Source, Table};
use toml::de::DeValue;
pub(crate) use url::HttpUrl;

/// Declares keys of a table as a struct. Each field has the name of its key, and says how the key
/// is read: [`required`], [`optional`] or [`or`], with a reader of the value (`value`).
///
/// ```text
/// settings! {
///     /// How long entries are kept.
///     pub struct Retention {
///         /// The maximum age, if there is one.
///         pub retention_age: Option<Duration> = optional(duration(SECOND));
///         /// Whether deletions are logged.
///         pub log: bool = or(true, boolean);
///     } with {
///         /// The data directory.
///         pub directory: PathBuf,
///     }
/// }
/// ```
///
/// The struct has `KEYS`, the names of the keys, and `read`, which takes the section and the fields
/// after `with`. Those fields are not keys.
macro_rules! settings {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $($(#[$doc:meta])* $field_vis:vis $field:ident: $type:ty = $read:expr;)*
        } $(with {
            $($(#[$other_doc:meta])* $other_vis:vis $other:ident: $other_type:ty,)*
        })?
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis struct $name {
            $($(#[$doc])* $field_vis $field: $type,)*
            $($($(#[$other_doc])* $other_vis $other: $other_type,)*)?
        }

        impl $name {
            /// The names of the keys.
            pub(crate) const KEYS: &[&str] = &[$($crate::settings::key(stringify!($field)),)*];

            /// Reads the keys. A wrong value is reported before a missing key.
            pub(crate) fn read(
                section: &$crate::settings::Section<'_>,
                $($($other: $other_type,)*)?
            ) -> Result<$name, $crate::settings::ConfigError> {
                $(let $field = $read(section, $crate::settings::key(stringify!($field)))?;)*
                Ok($name { $($field: $field?,)* $($($other,)*)? })
            }
        }
    };
}
pub(crate) use settings;

/// The key of a field. The field may be a keyword of Rust: `type` for `r#type`.
pub(crate) const fn key(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}

/// A value, or the error that the key is missing; or the error that the value is wrong.
type Found<T> = Result<Result<T, ConfigError>, ConfigError>;

/// Reads a key that is required. `advice` says what to do if it is missing.
pub(crate) fn required<T>(
    advice: &str,
    read: impl Fn(&DeValue<'_>) -> Result<T, Mismatch>,
) -> impl FnOnce(&Section<'_>, &str) -> Found<T> {
    move |section, key| {
        let value = section.get(key, read)?;
        Ok(value.ok_or_else(|| section.missing(key, advice)))
    }
}

/// Reads a key that has no default.
pub(crate) fn optional<T>(
    read: impl Fn(&DeValue<'_>) -> Result<T, Mismatch>,
) -> impl FnOnce(&Section<'_>, &str) -> Found<Option<T>> {
    move |section, key| Ok(Ok(section.get(key, read)?))
}

/// Reads a key whose default is `default`.
pub(crate) fn or<T>(
    default: T,
    read: impl Fn(&DeValue<'_>) -> Result<T, Mismatch>,
) -> impl FnOnce(&Section<'_>, &str) -> Found<T> {
    move |section, key| Ok(Ok(section.get(key, read)?.unwrap_or(default)))
}
