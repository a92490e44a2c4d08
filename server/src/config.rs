//! The server's settings: every limit and deadline, its default, and the reason for it.

use std::time::Duration;

use corelane_runtime::{Balance, CheckedConfig, ConfigError, ListenConfig};

use crate::http1::{FIELD_COUNT_CAP, HEAD_BYTES_CAP, Limits};
use crate::overload::OverloadConfig;
use crate::proxy::ProxyConfig;

/// Descriptors that are kept for files, rings and logs when connections are counted.
const DESCRIPTORS_RESERVED: usize = 64;

/// Limits and deadlines of connections: of all ([`App::config`](crate::App::config)), or of those
/// of one listener ([`App::listen_with`](crate::App::listen_with)). `docs/limits.md` lists what
/// happens when one is hit.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// The bounds of request heads and of framing.
    pub limits: Limits,
    /// Bytes of a request body, for routes that do not say otherwise. Default 1 MiB: JSON and
    /// forms fit, and a thousand of them at once are a gigabyte. Beyond it: 413.
    pub body_bytes_max: u64,
    /// Bytes of an unread request body that are received and thrown away so that the connection
    /// can stay open. Default 256 KiB. A longer rest costs less as a new connection.
    pub discard_bytes_max: u64,
    /// Connections that one shard serves at once. Default: the open-file limit, which direct
    /// descriptors give to each shard; without them
    /// ([`direct_descriptors_max`](corelane_runtime::ShardConfig::direct_descriptors_max)) that
    /// limit less a reserve of 64, divided by the shards. Beyond it connections wait in the
    /// kernel's queue. A listener's own are bounded by this and, with all others, by what the
    /// application says.
    pub connections_max: Option<usize>,
    /// Requests that are answered before their answers are sent and the next are looked at.
    /// Default 64.
    pub pipelined_max: usize,
    /// Unsent bytes of one connection above which no further request of it is handled. Default
    /// 64 KiB: what the kernel takes in one go, about.
    pub unsent_bytes_max: usize,
    /// How long a new connection may take to send its first byte. Default 10 s; then it is closed.
    pub first_byte_timeout: Duration,
    /// How long a head may take from its first byte to its last, however it drips. Default 10 s;
    /// then 408.
    pub head_timeout: Duration,
    /// How long a connection may be idle between requests. Default 75 s, above the 60 s at which
    /// most proxies give up first: who closes first must not be the server. Then it is closed.
    pub idle_timeout: Duration,
    /// How long a body may take in all, beside what its rate allows. Default 20 s; then 408.
    pub body_timeout: Duration,
    /// The least rate of a body, in bytes per second: each received byte earns its share of time.
    /// Default 500, slower than any modem in use.
    pub body_bytes_per_second_min: u64,
    /// How long unsent bytes may wait for the peer, beside what the rate allows. Default 30 s;
    /// then the connection is closed.
    pub send_timeout: Duration,
    /// The least rate at which a peer must take its answers, in bytes per second. Default 500.
    pub send_bytes_per_second_min: u64,
    /// How long a connection that the server closes is listened to, so that a reset does not eat
    /// the last answer. Default 1 s.
    pub linger_timeout: Duration,
    /// Bytes that are received while lingering. Default 32 MiB: many a client sends all of a body
    /// before it reads why that was refused.
    pub linger_bytes_max: usize,
    /// How long an exchange takes that counts as slow: the last 16 of a shard are kept, for the
    /// live page. Default 50 ms: people begin to notice. One for the whole application.
    pub slow_threshold: Duration,
    /// Whom to believe about the addresses of clients. Default: nobody.
    pub proxy: ProxyConfig,
    /// What becomes of more requests than a shard can answer.
    pub overload: OverloadConfig,
    /// How long a drain may take before what is unfinished is cut off. Default 30 s. One for the
    /// whole application: in the settings of a listener it means nothing.
    pub drain_timeout: Duration,
    /// The value of the `Server` field; `None` leaves the field out. Default `corelane`, without
    /// a version: attackers sort by versions.
    pub server_name: Option<String>,
    /// How to listen.
    pub listen: ListenConfig,
}

impl Default for ServerConfig {
    fn default() -> ServerConfig {
        ServerConfig {
            limits: Limits::default(),
            body_bytes_max: 1 << 20,
            discard_bytes_max: 256 * 1024,
            connections_max: None,
            pipelined_max: 64,
            unsent_bytes_max: 64 * 1024,
            first_byte_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(20),
            body_bytes_per_second_min: 500,
            send_timeout: Duration::from_secs(30),
            send_bytes_per_second_min: 500,
            linger_timeout: Duration::from_secs(1),
            linger_bytes_max: 32 << 20,
            slow_threshold: Duration::from_millis(50),
            proxy: ProxyConfig::default(),
            overload: OverloadConfig::default(),
            drain_timeout: Duration::from_secs(30),
            server_name: Some("corelane".to_owned()),
            listen: ListenConfig::default(),
        }
    }
}

impl ServerConfig {
    /// Checks every setting against its bounds.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let Limits { head_bytes_max, field_count_max, .. } = self.limits;
        within("head_bytes_max", head_bytes_max, 64..=HEAD_BYTES_CAP)?;
        within("field_count_max", field_count_max, 1..=FIELD_COUNT_CAP)?;
        within("pipelined_max", self.pipelined_max, 1..=1 << 20)?;
        within("connections_max", self.connections_max.unwrap_or(1), 1..=usize::MAX)?;
        self.overload.check()?;
        self.proxy.check()?;
        let rates = [
            ("body_bytes_per_second_min", self.body_bytes_per_second_min),
            ("send_bytes_per_second_min", self.send_bytes_per_second_min),
        ];
        for (key, rate) in rates {
            if rate == 0 {
                return Err(ConfigError::new(key, "0 is no rate; 1 is the lowest"));
            }
        }
        match &self.server_name {
            Some(name) if http::HeaderValue::from_str(name).is_err() => {
                let problem = "the name has control characters, which no field may have";
                Err(ConfigError::new("server_name", problem))
            }
            _ => Ok(()),
        }
    }
}

/// How many connections each shard may have: those that its ring's table holds, or its share of the
/// process's descriptors where that is more.
pub(crate) fn connections_max(
    config: &ServerConfig,
    checked: &CheckedConfig,
) -> Result<usize, ConfigError> {
    if let Some(connections_max) = config.connections_max {
        return Ok(connections_max);
    }
    let limit = corelane_runtime::open_file_limit();
    let share = limit.saturating_sub(DESCRIPTORS_RESERVED) / checked.cpus().len();
    if share == 0 {
        let problem = format!(
            "the open-file limit of {limit} leaves no room for connections; \
             shell: ulimit -n 65535; systemd: LimitNOFILE=65535"
        );
        return Err(ConfigError::new("connections_max", problem));
    }
    Ok(match config.listen.balance {
        Balance::Hash | Balance::Cpu => share.max(checked.direct_descriptor_count() as usize),
        // What may go to another shard has a descriptor of the process's.
        Balance::LeastConnections => share,
    })
}

fn within(
    key: &'static str,
    value: usize,
    bounds: std::ops::RangeInclusive<usize>,
) -> Result<(), ConfigError> {
    if bounds.contains(&value) {
        return Ok(());
    }
    let (least, most) = bounds.into_inner();
    Err(ConfigError::new(key, format!("{value} is not within {least} to {most}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut ServerConfig), expected: &str) {
        let mut config = ServerConfig::default();
        change(&mut config);
        let error = config.check().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn each_bound_is_named() {
        assert_eq!(ServerConfig::default().check(), Ok(()));
        check(|config| config.limits.head_bytes_max = 1, "head_bytes_max: 1 is not within 64");
        check(|config| config.limits.field_count_max = 1000, "field_count_max");
        check(|config| config.pipelined_max = 0, "pipelined_max: 0");
        check(|config| config.connections_max = Some(0), "connections_max: 0");
        check(|config| config.send_bytes_per_second_min = 0, "send_bytes_per_second_min: 0");
        check(|config| config.server_name = Some("a\r\nb".to_owned()), "server_name");
    }
}
