//! The formats of what is printed on standard output.

/// How records are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OutputFormat {
    /// For people.
    #[default]
    Text,
    /// JSON lines: one object a line, and nothing else.
    #[value(alias = "json")]
    Jsonl,
}
