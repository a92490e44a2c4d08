//! What an application and a running server offer of the access log.

use corelane_runtime::RuntimeError;

use super::access::AccessLog;
use crate::app::App;
use crate::error::Result;
use crate::server::Server;

impl App {
    /// Writes a line for each request. Default: none.
    #[must_use]
    pub fn access_log(mut self, log: AccessLog) -> App {
        self.records.access_log = Some(log);
        self
    }
}

impl Server {
    /// Has the file of the access log opened anew under its name, after it was moved away.
    pub fn reopen_access_log(&self) {
        self.records.access_log.iter().for_each(|writer| writer.desk.reopen());
    }

    /// The same whenever the process is sent SIGHUP or SIGUSR1; [`run`](Server::run) does so.
    ///
    /// # Errors
    /// The signals can not be caught.
    pub fn reopen_access_log_on_signals(&self) -> Result<()> {
        let caught =
            self.records.access_log.as_ref().map_or(Ok(()), |log| log.desk.reopen_on_signals());
        caught.map_err(|error| RuntimeError::Thread(error).into())
    }

    /// Lines of the access log that its file did not take, such as on a full disk. Those that were
    /// dropped because it was slow are in
    /// [`access_log_dropped`](crate::ServerStats::access_log_dropped) of each shard.
    pub fn access_log_lost(&self) -> u64 {
        self.records.access_log.as_ref().map_or(0, |writer| writer.lost.value())
    }
}
