//! What `/config` and `/build` tell, as JSON.

use std::time::Duration;

use corelane_runtime::{Address, ListenConfig, OffloadConfig, ShardConfig};
use serde_json::{Map, Value, json};

use crate::config::ServerConfig;
use crate::http1::Limits;
use crate::overload::OverloadConfig;
use crate::proxy::ProxyConfig;

/// The settings that are in force.
pub(crate) struct Settings<'a> {
    pub(crate) addresses: &'a [Address],
    pub(crate) cpus: &'a [usize],
    pub(crate) server: &'a ServerConfig,
    pub(crate) connections_max: usize,
    pub(crate) shard: &'a ShardConfig,
    pub(crate) offload: &'a OffloadConfig,
    /// The program's own.
    pub(crate) shown: &'a [(String, String)],
}

/// What stands for a secret.
const HIDDEN: &str = "(hidden)";

/// The settings as JSON. Each struct is taken apart whole, so that none of its fields is forgotten.
pub(crate) fn describe(settings: &Settings<'_>) -> String {
    let Settings { addresses, cpus, server, connections_max, shard, offload, shown } = *settings;
    let shown = shown.iter().map(|(key, value)| (key.clone(), Value::from(concealed(key, value))));
    let config = json!({
        "listen": addresses.iter().map(Address::to_string).collect::<Vec<_>>(),
        "cpus": cpus,
        "server": of_server(server, connections_max),
        "shard": of_shard(shard),
        "offload": of_offload(offload),
        "program": shown.collect::<Map<_, _>>(),
    });
    format!("{config:#}\n")
}

/// What runs, as JSON.
pub(super) fn build() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let build = json!({
        "name": "corelane",
        "version": env!("CARGO_PKG_VERSION"),
        "profile": if cfg!(debug_assertions) { "debug" } else { "release" },
        "target": format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        "compression": cfg!(feature = "compression"),
        "kernel": release.trim(),
    });
    format!("{build:#}\n")
}

fn seconds(time: Duration) -> Value {
    json!(time.as_secs_f64())
}

fn of_server(config: &ServerConfig, connections_max: usize) -> Value {
    let ServerConfig {
        limits,
        body_bytes_max,
        discard_bytes_max,
        // Where it is not set, it follows from the limit on open files.
        connections_max: _,
        pipelined_max,
        unsent_bytes_max,
        first_byte_timeout,
        head_timeout,
        idle_timeout,
        body_timeout,
        body_bytes_per_second_min,
        send_timeout,
        send_bytes_per_second_min,
        linger_timeout,
        linger_bytes_max,
        slow_threshold,
        proxy,
        overload,
        drain_timeout,
        server_name,
        listen,
    } = config;
    let ListenConfig { backlog, shares_port, balance } = listen;
    json!({
        "limits": of_limits(limits),
        "body_bytes_max": body_bytes_max,
        "discard_bytes_max": discard_bytes_max,
        "connections_max": connections_max,
        "pipelined_max": pipelined_max,
        "unsent_bytes_max": unsent_bytes_max,
        "first_byte_timeout_seconds": seconds(*first_byte_timeout),
        "head_timeout_seconds": seconds(*head_timeout),
        "idle_timeout_seconds": seconds(*idle_timeout),
        "body_timeout_seconds": seconds(*body_timeout),
        "body_bytes_per_second_min": body_bytes_per_second_min,
        "send_timeout_seconds": seconds(*send_timeout),
        "send_bytes_per_second_min": send_bytes_per_second_min,
        "linger_timeout_seconds": seconds(*linger_timeout),
        "linger_bytes_max": linger_bytes_max,
        "slow_threshold_seconds": seconds(*slow_threshold),
        "proxy": of_proxy(proxy),
        "overload": of_overload(overload),
        "drain_timeout_seconds": seconds(*drain_timeout),
        "server_name": server_name,
        "listen": {
            "backlog": backlog,
            "shares_port": shares_port,
            "balance": balance.to_string(),
        },
    })
}

fn of_proxy(config: &ProxyConfig) -> Value {
    let ProxyConfig { trusted, field, has_protocol_head } = config;
    let trusted: Vec<String> = trusted.iter().map(ToString::to_string).collect();
    json!({
        "trusted": trusted,
        "field": field.to_string(),
        "has_protocol_head": has_protocol_head,
    })
}

fn of_overload(config: &OverloadConfig) -> Value {
    let OverloadConfig { concurrency_max, delay_max, retry_after, exempt_paths } = config;
    json!({
        "concurrency_max": concurrency_max.to_string(),
        "delay_max_seconds": seconds(*delay_max),
        "retry_after_seconds": seconds(*retry_after),
        "exempt_paths": exempt_paths,
    })
}

fn of_limits(limits: &Limits) -> Value {
    let Limits {
        head_bytes_max,
        field_count_max,
        field_line_bytes_max,
        target_bytes_max,
        method_bytes_max,
        chunk_line_bytes_max,
        chunk_extension_bytes_max,
        trailer_bytes_max,
        trailer_count_max,
    } = limits;
    json!({
        "head_bytes_max": head_bytes_max,
        "field_count_max": field_count_max,
        "field_line_bytes_max": field_line_bytes_max,
        "target_bytes_max": target_bytes_max,
        "method_bytes_max": method_bytes_max,
        "chunk_line_bytes_max": chunk_line_bytes_max,
        "chunk_extension_bytes_max": chunk_extension_bytes_max,
        "trailer_bytes_max": trailer_bytes_max,
        "trailer_count_max": trailer_count_max,
    })
}

fn of_shard(config: &ShardConfig) -> Value {
    let ShardConfig {
        ring_entries,
        buffer_count,
        buffer_bytes,
        direct_descriptors_max,
        unread_bytes_max,
        spare_buffer_count_max,
        spare_buffer_bytes_max,
        spin,
        block_max,
        reactor_period,
        turn_budget,
        stall_threshold,
        mesh_job_count_max,
        disk_memory_bytes,
    } = config;
    json!({
        "ring_entries": ring_entries,
        "buffer_count": buffer_count,
        "buffer_bytes": buffer_bytes,
        "direct_descriptors_max": direct_descriptors_max,
        "unread_bytes_max": unread_bytes_max,
        "spare_buffer_count_max": spare_buffer_count_max,
        "spare_buffer_bytes_max": spare_buffer_bytes_max,
        "spin_seconds": seconds(*spin),
        "block_max_seconds": seconds(*block_max),
        "reactor_period_seconds": seconds(*reactor_period),
        "turn_budget_seconds": seconds(*turn_budget),
        "stall_threshold_seconds": seconds(*stall_threshold),
        "mesh_job_count_max": mesh_job_count_max,
        "disk_memory_bytes": disk_memory_bytes,
    })
}

fn of_offload(config: &OffloadConfig) -> Value {
    let OffloadConfig { thread_count, job_count_max, nice } = config;
    json!({ "thread_count": thread_count, "job_count_max": job_count_max, "nice": nice })
}

/// The value, or as much of it as anybody may see.
fn concealed(key: &str, value: &str) -> String {
    const SECRETS: [&str; 6] = ["secret", "password", "passwd", "token", "key", "credential"];
    let key = key.to_ascii_lowercase();
    if SECRETS.iter().any(|secret| key.contains(secret)) {
        return HIDDEN.to_owned();
    }
    // RFC 3986 section 3.2.1: what is before the @ of an authority is about who asks.
    if let Some((scheme, rest)) = value.split_once("://") {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        if let Some((_, host)) = rest[..end].rsplit_once('@') {
            return format!("{scheme}://{HIDDEN}@{host}{}", &rest[end..]);
        }
    }
    value.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden() {
        let check = |key, value, shown| assert_eq!(concealed(key, value), shown, "{key}");
        check("dataset", "/data/items.json", "/data/items.json");
        check("API_TOKEN", "abc", HIDDEN);
        check("signing-key", "abc", HIDDEN);
        check("db.password", "", HIDDEN);
        check(
            "database",
            "postgres://app:p@ss@db:5432/x?y=a@b",
            "postgres://(hidden)@db:5432/x?y=a@b",
        );
        check("upstream", "http://10.0.0.1/a@b", "http://10.0.0.1/a@b");
    }
}
