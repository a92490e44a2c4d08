//! What a check is, and what it has to say.

use serde::Serialize;

use super::machine::Machine;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing; whether it matters depends on the service.
    Note,
    /// The server runs, and loses speed or connections.
    Warning,
    /// The server does not start.
    Stop,
}

impl Level {
    pub(super) fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Stop => "stop",
        }
    }
}

/// One thing that is looked at. The tables of checks are all that a new one needs.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) why: &'static str,
    pub(super) fix: Fix,
    pub(super) look: fn(&Machine) -> Seen,
}

/// What to type or write, in each place that sets it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Fix {
    pub(super) shell: &'static str,
    pub(super) systemd: &'static str,
    pub(super) docker: &'static str,
    pub(super) kubernetes: &'static str,
}

impl Fix {
    pub(super) fn places(&self) -> [(&'static str, &'static str); 4] {
        [
            ("shell", self.shell),
            ("systemd", self.systemd),
            ("docker", self.docker),
            ("kubernetes", self.kubernetes),
        ]
    }
}

/// What a check saw, in one clause.
pub(super) struct Seen {
    pub(super) level: Level,
    pub(super) text: String,
}

impl Seen {
    pub(super) fn ok(text: impl Into<String>) -> Seen {
        Seen { level: Level::Ok, text: text.into() }
    }

    pub(super) fn note(text: impl Into<String>) -> Seen {
        Seen { level: Level::Note, text: text.into() }
    }

    pub(super) fn warning(text: impl Into<String>) -> Seen {
        Seen { level: Level::Warning, text: text.into() }
    }

    pub(super) fn stop(text: impl Into<String>) -> Seen {
        Seen { level: Level::Stop, text: text.into() }
    }
}

/// A check and what it saw.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) level: Level,
    pub(super) found: String,
    pub(super) why: &'static str,
    /// Only where there is something to fix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fix: Option<Fix>,
}

impl Check {
    pub(super) fn run(&self, machine: &Machine) -> Finding {
        let Seen { level, text } = (self.look)(machine);
        let fix = (level > Level::Ok).then_some(self.fix);
        Finding { check: self.name, level, found: text, why: self.why, fix }
    }
}
