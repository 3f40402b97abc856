//! How people authenticate and what comes of it, in the words of the vendor's page "Konnect and Dev
//! Portal audit logs".

use crate::entry::words::words;

words! {
    /// What became of an attempt: what follows `AUTHENTICATION_OUTCOME_` in a name.
    pub enum Outcome {
        /// It was let in.
        Success = "SUCCESS",
        /// There is no such account or token.
        NotFound = "NOT_FOUND",
        /// The password was wrong.
        InvalidPassword = "INVALID_PASSWORD",
        /// The token was right once.
        TokenExpired = "TOKEN_EXPIRED",
        /// There were too many wrong passwords.
        Locked = "LOCKED",
        /// The account was switched off.
        Disabled = "DISABLED",
        /// The attempt was not understood.
        Invalid = "INVALID",
    }
}

words! {
    /// By which means: what follows `AUTHENTICATION_TYPE_` in an event class id.
    pub enum Means {
        /// None that is known.
        Invalid = "INVALID",
        /// A password.
        Basic = "BASIC",
        /// The organization's identity provider.
        Sso = "SSO",
        /// A personal access token.
        Pat = "PAT",
        /// A system account's access token.
        Spat = "SPAT",
        /// An account of Google's.
        Google = "GOOGLE",
        /// An account of GitHub's.
        Github = "GITHUB",
        /// An account of Microsoft's.
        WindowsLive = "WINDOWSLIVE",
        /// Another federated identity.
        Federated = "FEDERATED",
    }
}

impl Outcome {
    /// The severity of its entries.
    pub fn severity(self) -> i64 {
        match self {
            Outcome::Success => 0,
            Outcome::NotFound | Outcome::InvalidPassword | Outcome::TokenExpired => 1,
            Outcome::Locked | Outcome::Disabled => 6,
            Outcome::Invalid => 7,
        }
    }

    /// The means that it comes with.
    pub fn means(self) -> &'static [Means] {
        use Means::{Basic, Federated, Github, Google, Invalid, Pat, Spat, Sso, WindowsLive};
        match self {
            Outcome::Success => &[Basic, Sso, Pat, Spat, Google, Github, WindowsLive, Federated],
            Outcome::NotFound => &[Basic, Pat],
            Outcome::InvalidPassword | Outcome::Locked => &[Basic],
            Outcome::TokenExpired => &[Pat, Spat],
            Outcome::Disabled => &[Basic, Sso, Federated],
            Outcome::Invalid => &[Invalid],
        }
    }
}

impl Means {
    /// Whether it is sent with every call, instead of once for a session.
    pub fn is_token(self) -> bool {
        matches!(self, Means::Pat | Means::Spat)
    }
}
