//! The formats of what is printed on standard output.

/// How records are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OutputFormat {
    /// Human-readable text.
    #[default]
    Text,
    /// JSON lines: one object per line.
    #[value(alias = "json")]
    Jsonl,
}
