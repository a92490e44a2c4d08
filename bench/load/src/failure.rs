//! Every way in which a request can fail, each counted by itself.

use std::io;

use serde::Serialize;
use serde::ser::SerializeMap;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nobody listens.
    ConnectRefused,
    /// The connection was not there in time.
    ConnectTimeout,
    /// No local port was free.
    ConnectNoPort,
    /// Connecting failed in another way.
    ConnectOther,
    /// The server reset the connection.
    Reset,
    /// The server closed the connection with requests unanswered, or within a response.
    Closed,
    /// Sending or receiving failed in another way.
    Transport,
    /// No answer in time.
    Timeout,
    /// The answer is no HTTP/1.1 response, or nobody asked for it.
    Malformed,
    /// The status is not an expected one.
    Status,
    /// The body's length is not the expected one.
    Length,
    /// The body is not the expected one.
    Body,
}

impl Failure {
    /// Every kind, in the order of reports.
    pub(crate) const ALL: [Failure; 12] = [
        Failure::ConnectRefused,
        Failure::ConnectTimeout,
        Failure::ConnectNoPort,
        Failure::ConnectOther,
        Failure::Reset,
        Failure::Closed,
        Failure::Transport,
        Failure::Timeout,
        Failure::Malformed,
        Failure::Status,
        Failure::Length,
        Failure::Body,
    ];

    /// The name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Failure::ConnectRefused => "connect_refused",
            Failure::ConnectTimeout => "connect_timeout",
            Failure::ConnectNoPort => "connect_no_port",
            Failure::ConnectOther => "connect_other",
            Failure::Reset => "reset",
            Failure::Closed => "closed",
            Failure::Transport => "transport",
            Failure::Timeout => "timeout",
            Failure::Malformed => "malformed",
            Failure::Status => "status",
            Failure::Length => "length",
            Failure::Body => "body",
        }
    }

    /// What it means, for the table.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Failure::ConnectRefused => "connections refused",
            Failure::ConnectTimeout => "connections not made within --timeout",
            Failure::ConnectNoPort => "connections without a free local port",
            Failure::ConnectOther => "connections failed otherwise",
            Failure::Reset => "requests lost to a reset",
            Failure::Closed => "requests lost to a close",
            Failure::Transport => "requests lost to another socket error",
            Failure::Timeout => "requests not answered within --timeout",
            Failure::Malformed => "malformed or unasked-for responses",
            Failure::Status => "responses with an unexpected status",
            Failure::Length => "responses with an unexpected length",
            Failure::Body => "responses with an unexpected body",
        }
    }

    /// Why a connect failed.
    pub(crate) fn of_connect(error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Failure::ConnectRefused,
            io::ErrorKind::TimedOut => Failure::ConnectTimeout,
            io::ErrorKind::AddrNotAvailable => Failure::ConnectNoPort,
            _ => Failure::ConnectOther,
        }
    }

    /// Why a send or a receive failed.
    pub(crate) fn of_transport(error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::ConnectionReset => Failure::Reset,
            io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::Transport,
        }
    }
}

/// How often each kind happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failures([u64; Failure::ALL.len()]);

impl Failures {
    pub(crate) fn add(&mut self, failure: Failure, count: u64) {
        self.0[failure as usize] += count;
    }

    pub(crate) fn merge(&mut self, other: &Failures) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The kinds that happened at all.
    pub(crate) fn seen(&self) -> impl Iterator<Item = (Failure, u64)> {
        Failure::ALL
            .into_iter()
            .map(|failure| (failure, self.0[failure as usize]))
            .filter(|(_, count)| *count > 0)
    }
}

impl Serialize for Failures {
    /// A map with every kind, so that readers need not know which may be missing.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for failure in Failure::ALL {
            map.serialize_entry(failure.name(), &self.0[failure as usize])?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_counted_apart() {
        for (index, failure) in Failure::ALL.into_iter().enumerate() {
            assert_eq!(failure as usize, index, "{failure:?} is out of order");
            let mut failures = Failures::default();
            failures.add(failure, 2);
            failures.merge(&failures.clone());
            assert_eq!(failures.seen().collect::<Vec<_>>(), [(failure, 4)]);
            assert_eq!(failures.total(), 4);
        }
    }

    #[test]
    fn errors_have_their_kind() {
        let connect = |errno| Failure::of_connect(&io::Error::from_raw_os_error(errno));
        assert_eq!(connect(111), Failure::ConnectRefused);
        assert_eq!(connect(110), Failure::ConnectTimeout);
        assert_eq!(connect(99), Failure::ConnectNoPort);
        assert_eq!(connect(113), Failure::ConnectOther);
        let transport = |errno| Failure::of_transport(&io::Error::from_raw_os_error(errno));
        assert_eq!(transport(104), Failure::Reset);
        assert_eq!(transport(32), Failure::Closed);
        assert_eq!(transport(110), Failure::Transport);
    }
}
