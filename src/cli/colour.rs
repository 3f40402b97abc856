//! Whether to use colours: decided by --color, then the environment, then the kind of the output.

use std::sync::OnceLock;

use clap::ValueEnum;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal, unless NO_COLOR is set. Always if CLICOLOR_FORCE is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

static CHOSEN: OnceLock<Colour> = OnceLock::new();

/// Sets the choice, once for the process.
pub(crate) fn choose(colour: Colour) {
    let _ = CHOSEN.set(colour);
}

/// Whether to write colours.
pub(crate) fn is_wanted(is_terminal: bool) -> bool {
    let chosen = CHOSEN.get().copied().unwrap_or_default();
    decide(chosen, &|name| std::env::var(name).ok(), is_terminal)
}

/// NO_COLOR is defined at no-color.org, CLICOLOR_FORCE at bixense.com/clicolors.
fn decide(chosen: Colour, env: &dyn Fn(&str) -> Option<String>, is_terminal: bool) -> bool {
    let value = |name: &str| env(name).filter(|value| !value.is_empty());
    match chosen {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto if value("NO_COLOR").is_some() => false,
        Colour::Auto if value("CLICOLOR_FORCE").is_some_and(|value| value != "0") => true,
        Colour::Auto => is_terminal && value("TERM").is_none_or(|term| term != "dumb"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_override_the_environment_and_the_environment_the_terminal() {
        let check = |chosen, env: &[(&str, &str)], is_terminal, expected| {
            let variable = |name: &str| {
                env.iter().find(|(one, _)| *one == name).map(|(_, value)| (*value).to_owned())
            };
            let found = decide(chosen, &variable, is_terminal);
            assert_eq!(found, expected, "{chosen:?} {env:?} {is_terminal}");
        };
        check(Colour::Auto, &[], true, true);
        check(Colour::Auto, &[], false, false);
        check(Colour::Auto, &[("NO_COLOR", "1")], true, false);
        check(Colour::Auto, &[("NO_COLOR", "")], true, true);
        check(Colour::Auto, &[("CLICOLOR_FORCE", "1")], false, true);
        check(Colour::Auto, &[("CLICOLOR_FORCE", "0")], false, false);
        check(Colour::Auto, &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], true, false);
        check(Colour::Auto, &[("TERM", "dumb")], true, false);
        check(Colour::Always, &[("NO_COLOR", "1")], false, true);
        check(Colour::Never, &[("CLICOLOR_FORCE", "1")], true, false);
    }
}
