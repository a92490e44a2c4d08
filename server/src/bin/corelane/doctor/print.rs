//! The findings for people, and for programs.

use std::io::{self, Write};

use serde::Serialize;

use super::finding::{Finding, Level};

/// Widths of the first two columns.
const LEVEL_WIDTH: usize = 8;
const NAME_WIDTH: usize = 26;

/// A line for each check; below those that are not as they should be, why and how to fix it.
pub(super) fn text(out: &mut impl Write, findings: &[Finding]) -> io::Result<()> {
    for Finding { check, level, found, why, fix } in findings {
        writeln!(out, "{:LEVEL_WIDTH$} {check:NAME_WIDTH$} {found}", level.name())?;
        let Some(fix) = fix else { continue };
        writeln!(out, "{:LEVEL_WIDTH$} {:NAME_WIDTH$} {why}", "", "  why")?;
        for (place, what) in fix.places() {
            writeln!(out, "{:LEVEL_WIDTH$}   {place:1$} {what}", "", NAME_WIDTH - 2)?;
        }
    }
    let count = |level: Level| findings.iter().filter(|finding| finding.level == level).count();
    let end = match count(Level::Stop) {
        0 => "the server can start".to_owned(),
        1 => "1 stops the server".to_owned(),
        several => format!("{several} stop the server"),
    };
    let (ok, notes, warnings) = (count(Level::Ok), count(Level::Note), count(Level::Warning));
    writeln!(out, "{} checks: {ok} ok, {notes} to note, {warnings} to fix; {end}", findings.len())
}

/// All of it as one JSON object on one line.
pub(super) fn json(out: &mut impl Write, findings: &[Finding]) -> io::Result<()> {
    #[derive(Serialize)]
    struct Report<'a> {
        version: &'static str,
        starts: bool,
        findings: &'a [Finding],
    }
    let starts = findings.iter().all(|finding| finding.level < Level::Stop);
    let report = Report { version: env!("CARGO_PKG_VERSION"), starts, findings };
    serde_json::to_writer(&mut *out, &report)?;
    writeln!(out)
}
