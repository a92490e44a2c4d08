//! What the operator says about the logs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use corelane::log::{AccessFormat, AccessLog};
#[cfg(feature = "otel")]
use corelane::otel::Spans;
use corelane::{App, ConfigError};

/// What a command that serves records of the requests.
#[derive(Debug, Args)]
pub(crate) struct AccessOptions {
    /// Writes a line for each request to this file; - is standard output
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,
    /// How: common, combined, json or logfmt
    #[arg(long, value_name = "FORMAT", default_value_t)]
    access_log_format: AccessFormat,
    /// Only one of N requests, those that failed and those that were slow; 0 for these alone
    #[arg(long, value_name = "N", default_value_t = 1)]
    access_log_sample: u32,
    /// From how many milliseconds on a request is slow [default: none is]
    #[arg(long, value_name = "MS")]
    access_log_slow: Option<u64>,
    /// Exports a span for each request by OTLP over HTTP, as the variables OTEL_* say
    #[cfg(feature = "otel")]
    #[arg(long)]
    spans: bool,
}

impl AccessOptions {
    pub(crate) fn file(&self) -> Option<&Path> {
        self.access_log.as_deref()
    }

    /// With what is asked for.
    pub(crate) fn record(&self, app: App) -> Result<App, ConfigError> {
        let app = self.log().into_iter().fold(app, App::access_log);
        #[cfg(feature = "otel")]
        if self.spans {
            return Ok(app.spans(Spans::from_environment()?));
        }
        Ok(app)
    }

    fn log(&self) -> Option<AccessLog> {
        let path = self.access_log.as_ref()?;
        let is_stdout = path.as_os_str() == "-";
        let log = if is_stdout { AccessLog::stdout() } else { AccessLog::file(path) };
        let log = log.format(self.access_log_format).sample_one_in(self.access_log_sample);
        Some(match self.access_log_slow {
            Some(millis) => log.slow_after(Duration::from_millis(millis)),
            None => log,
        })
    }
}
