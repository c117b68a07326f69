//! Routes and pools out of the tree of all layers.

use super::load::Reader;
use super::{Backend, ConnectUdp, Pool, Route, Upstream};

impl Reader<'_> {
    /// Reads `route.N`.
    pub(super) fn route(&mut self, at: &str) -> Route {
        let mut route = Route::new(Vec::new());
        self.read(&format!("{at}.connect_udp"), &mut route.connect_udp);
        if self.is_set(&format!("{at}.connect_udp")) {
            route.path = ConnectUdp::PATH.into();
        }
        self.read(&format!("{at}.host"), &mut route.host);
        self.read(&format!("{at}.path"), &mut route.path);
        self.read(&format!("{at}.to"), &mut route.to);
        self.read(&format!("{at}.pool"), &mut route.pool);
        route.gate = self.gate(at);
        route.answer = self.answer(at);
        route.request = self.edits(&format!("{at}.request"));
        route.response = self.edits(&format!("{at}.response"));
        self.read(&format!("{at}.rewrite_host"), &mut route.rewrite.host);
        self.read(&format!("{at}.rewrite_prefix"), &mut route.rewrite.prefix);
        self.read(&format!("{at}.server_timing"), &mut route.server_timing);
        route
    }

    /// Reads `pool.N`.
    pub(super) fn pool(&mut self, at: &str) -> Pool {
        let mut to: Vec<Upstream> = Vec::new();
        self.read(&format!("{at}.to"), &mut to);
        let mut pool = Pool::new(String::new(), to);
        let described = self.each(&format!("{at}.backend"), Self::backend);
        pool.backend.extend(described);
        let key = |name: &str| format!("{at}.{name}");
        self.read(&key("name"), &mut pool.name);
        self.read(&key("choice"), &mut pool.choice);
        self.read(&key("hash_by"), &mut pool.hash_by);
        self.read(&key("sticky_cookie"), &mut pool.sticky_cookie);
        self.read(&key("failures"), &mut pool.health.failures);
        self.read(&key("ejection"), &mut pool.health.ejection);
        self.read(&key("ejection_max"), &mut pool.health.ejection_max);
        self.read(&key("slow_start"), &mut pool.health.slow_start);
        self.read(&key("failure_gap"), &mut pool.failure_gap);
        self.read(&key("latency_factor"), &mut pool.latency_factor);
        self.read(&key("panic_percent"), &mut pool.panic_percent);
        self.read(&key("requests"), &mut pool.requests);
        self.read(&key("connections"), &mut pool.connections);
        self.read(&key("ca"), &mut pool.tls.ca);
        self.read(&key("server_name"), &mut pool.tls.server_name);
        self.read(&key("client_cert"), &mut pool.tls.client_cert);
        self.read(&key("client_key"), &mut pool.tls.client_key);
        self.read(&key("alpn"), &mut pool.tls.alpn);
        self.read(&key("proxy_protocol"), &mut pool.proxy_protocol);
        self.read(&key("probe"), &mut pool.probe);
        self.read(&key("probe_interval"), &mut pool.probe_interval);
        self.read(&key("probe_timeout"), &mut pool.probe_timeout);
        self.read(&key("rise"), &mut pool.health.rise);
        self.read(&key("fall"), &mut pool.health.fall);
        self.read(&key("retries"), &mut pool.retry.attempts);
        self.read(&key("retry_percent"), &mut pool.retry.budget.percent);
        self.read(&key("retry_per_second"), &mut pool.retry.budget.per_second);
        self.read(&key("retry_backoff"), &mut pool.retry.backoff);
        self.read(&key("retry_body"), &mut pool.retry.body_bytes);
        self.read(&key("try_timeout"), &mut pool.try_timeout);
        self.read(&key("total"), &mut pool.total);
        self.read(&key("queue_burst"), &mut pool.queue.burst);
        self.read(&key("queue_standing"), &mut pool.queue.standing);
        pool
    }

    fn backend(&mut self, at: &str) -> Backend {
        let mut backend = Backend::empty();
        self.read(&format!("{at}.url"), &mut backend.upstream);
        self.read(&format!("{at}.weight"), &mut backend.weight);
        self.read(&format!("{at}.zone"), &mut backend.zone);
        backend
    }
}
