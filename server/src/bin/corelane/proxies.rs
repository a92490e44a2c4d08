//! What the operator says about the proxies in front of the server.

use clap::Args;
use corelane::{App, IpNet, ProxyConfig, ProxyField, ServerConfig};

/// Whom a command that serves believes about the addresses of clients.
#[derive(Debug, Args)]
pub(crate) struct ProxyOptions {
    /// Believes this proxy, or this network of proxies, about the addresses of clients; can be
    /// repeated [default: nobody is believed]
    #[arg(long, value_name = "NETWORK", value_parser = ProxyConfig::network)]
    trusted_proxy: Vec<IpNet>,
    /// In which field they name them: x-forwarded-for, forwarded or none
    #[arg(long, value_name = "FIELD", default_value_t)]
    proxy_field: ProxyField,
    /// Each connection begins with a PROXY protocol head, version 1 or 2, of a trusted proxy
    #[arg(long)]
    proxy_protocol: bool,
}

impl ProxyOptions {
    pub(crate) fn believe(&self, app: App) -> App {
        let proxy = ProxyConfig {
            trusted: self.trusted_proxy.clone(),
            field: self.proxy_field,
            has_protocol_head: self.proxy_protocol,
        };
        app.config(ServerConfig { proxy, ..ServerConfig::default() })
    }
}
