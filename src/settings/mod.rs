//! How settings are read: TOML with lines, values with their units, secrets, and what can be wrong.
//!
//! - `section`: a file and its tables. `value`: readers of one value. `units`: sizes and durations.
//!   `secret`: what is never shown. `url`: HTTP URLs. `error`: the messages.
//!
//! Which tables and keys there are is said by whoever has them, with [`settings!`]: `config`, and the
//! types of outputs. This module knows neither.

mod error;
mod pair;
mod secret;
mod section;
pub mod units;
mod url;
pub(crate) mod value;

pub use error::{ConfigError, Mismatch};
pub(crate) use pair::{PairKeys, pair, warn_if_key_exposed};
pub(crate) use secret::LEAST_LEN;
pub use secret::{Secret, any_matches};
pub(crate) use section::{Section, Source, Table};
use toml::de::DeValue;
pub use url::HttpUrl;

/// Makes a struct of the keys of a table. A field has the name of its key, and says how the key is
/// read: [`required`], [`optional`] or [`or`], each with a reader of the value (`value`).
///
/// ```text
/// settings! {
///     /// How long entries are kept.
///     pub struct Retention {
///         /// The longest, if there is one.
///         pub retention_age: Option<Duration> = optional(duration(SECOND));
///         /// Whether what is deleted is logged.
///         pub log: bool = or(true, boolean);
///     } with {
///         /// Where.
///         pub directory: PathBuf,
///     }
/// }
/// ```
///
/// The struct gets `KEYS`, the names of its keys, and `read`, which takes the section and the fields
/// after `with`: those are no keys.
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
            /// The names of its keys.
            pub(crate) const KEYS: &[&str] = &[$($crate::settings::key(stringify!($field)),)*];

            /// Reads its keys. A value that is wrong is told before a key that is missing.
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

/// The key that a field is named after, which may be a keyword of Rust: `type` for `r#type`.
pub(crate) const fn key(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}

/// What reading a key came to: a value, or that it is missing, unless the value is wrong.
type Found<T> = Result<Result<T, ConfigError>, ConfigError>;

/// Reads a key that must be there. `advice` says what to do where it is not.
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
