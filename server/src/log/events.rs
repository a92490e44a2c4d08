//! The events of the crates (`tracing`), on standard error.

use std::fmt;
use std::io::IsTerminal;
use std::str::FromStr;

use corelane_runtime::ConfigError;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::StandardError;

/// How an event is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EventFormat {
    /// For people.
    #[default]
    Text,
    /// `key=value` pairs on each line.
    Logfmt,
    /// An object on each line.
    Json,
}

impl EventFormat {
    const NAMES: [(EventFormat, &'static str); 3] =
        [(EventFormat::Text, "text"), (EventFormat::Logfmt, "logfmt"), (EventFormat::Json, "json")];
}

impl FromStr for EventFormat {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<EventFormat, ConfigError> {
        let known = EventFormat::NAMES.into_iter().find(|(_, name)| *name == text);
        known.map(|(format, _)| format).ok_or_else(|| {
            let problem = format!("{text:?} is not known; write text, logfmt or json");
            ConfigError::new("log_format", problem)
        })
    }
}

impl fmt::Display for EventFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = EventFormat::NAMES.into_iter().find(|(format, _)| format == self);
        f.write_str(known.map_or("", |(_, name)| name))
    }
}

/// Writes events to standard error for the rest of the process's life: for programs that have no
/// `tracing` subscriber of their own. Nobody waits for it: see [`StandardError`].
///
/// `filter` says how much, such as `warn` or `info,corelane_runtime=debug`.
///
/// # Errors
/// A filter that is not understood; a subscriber that is there already.
pub fn log_events(format: EventFormat, filter: &str) -> Result<(), ConfigError> {
    let filter: Targets = filter.parse().map_err(|error| {
        ConfigError::new("log", format!("{filter:?} is not understood: {error}"))
    })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(|| StandardError);
    let lines = match format {
        EventFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        EventFormat::Json => lines.json().flatten_event(true).boxed(),
        EventFormat::Logfmt => {
            tracing_logfmt::builder().layer().with_writer(|| StandardError).boxed()
        }
    };
    let started = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
    started.map_err(|error| ConfigError::new("log", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for (format, name) in EventFormat::NAMES {
            assert_eq!(name.parse(), Ok(format));
            assert_eq!(format.to_string(), name);
        }
        assert!("xml".parse::<EventFormat>().is_err());
        assert!(log_events(EventFormat::Json, "corelane=loud").is_err());
    }
}
