//! What the keys of pools must be together, and where routes may lead.

use super::load::Reader;
use super::{Alpn, Backend, Dns, Pool, Probe, ProxyProtocol, Route, UpstreamProtocol, names};

/// Checks where a route leads.
pub(super) fn target(index: usize, route: &Route, pools: &[Pool], reader: &mut Reader<'_>) {
    let [to, pool, udp, redirect, respond] = ["to", "pool", "connect_udp", "redirect", "respond"]
        .map(|name| format!("route.{index}.{name}"));
    if route.answer.is_some() {
        return;
    }
    match (&route.connect_udp, &route.pool) {
        (Some(_), _) if reader.is_set(&to) || route.pool.is_some() => {
            reader.refuse(
                &[&to, &pool, &udp],
                "a route with connect_udp has no backends; give them a route of their own",
            );
        }
        (None, None) if route.to.is_empty() => {
            reader.refuse(
                &[&to, &udp, &pool, &redirect, &respond],
                "missing: the backends of the route, a \"pool\", the targets of its UDP tunnels \
                 in \"connect_udp\", or its own answer by \"redirect\" or \"respond\"",
            );
        }
        (None, Some(_)) if !route.to.is_empty() => {
            reader.refuse(&[&pool, &to], "a route has \"to\" or \"pool\", not both");
        }
        (None, Some(name)) if pools.iter().all(|known| known.name != *name) => {
            let known = names::known(
                pools.iter().map(|pool| pool.name.as_str()).collect(),
                "[[pool]]",
            );
            let message = format!("no pool is called {name:?}; {known}");
            reader.refuse(&[&pool, "pool"], message);
        }
        _ => {}
    }
}

/// Checks how names are looked up.
pub(super) fn dns(dns: &Dns, reader: &mut Reader<'_>) {
    if dns.max_ttl < dns.min_ttl {
        let message = "it must be at least \"dns.min_ttl\"";
        reader.refuse(&["dns.max_ttl", "dns.min_ttl"], message);
    }
}

/// Checks each pool, and the pools together.
pub(super) fn pools(pools: &[Pool], reader: &mut Reader<'_>) {
    for (index, pool) in pools.iter().enumerate() {
        let [name, to, max, ejection] =
            ["name", "to", "ejection_max", "ejection"].map(|key| format!("pool.{index}.{key}"));
        if !reader.is_set(&name) {
            reader.refuse(&[&name], "missing: what routes call the pool");
        } else if let Some(earlier) = pools[..index].iter().position(|it| it.name == pool.name) {
            let other = format!("pool.{earlier}.name");
            let message = format!("{:?} is already the name of {other}", pool.name);
            reader.refuse(&[&name, &other], message);
        }
        if pool.backend.is_empty() {
            reader.refuse(&[&to], "missing: the backends of the pool");
        } else if pool.backend.iter().all(|backend| backend.weight == 0) {
            reader.refuse(
                &[&format!("pool.{index}.backend")],
                "no backend has a weight",
            );
        }
        for (number, backend) in pool.backend.iter().enumerate() {
            let service = backend.upstream.is_service();
            if service && backend.weight != 1 {
                let message = format!(
                    "{} has the weights of its records",
                    backend.upstream.authority
                );
                reader.refuse(&[&format!("pool.{index}.backend")], message);
            }
            if backend.upstream.authority.is_empty() {
                let at =
                    number - (pool.backend.len() - reader.count(&format!("pool.{index}.backend")));
                reader.refuse(
                    &[&format!("pool.{index}.backend.{at}.url")],
                    "missing: the backend",
                );
            } else if pool.backend[..number]
                .iter()
                .any(|it| it.upstream == backend.upstream)
            {
                let message = format!("{} is in the pool twice", backend.upstream.authority);
                reader.refuse(&[&format!("pool.{index}")], message);
            }
        }
        connections(index, pool, reader);
        probe(index, pool, reader);
        if pool.health.ejection_max < pool.health.ejection {
            let message = "it must be at least the pool's \"ejection\"";
            reader.refuse(&[&max, &ejection], message);
        }
    }
}

/// Checks how the backends are asked against how they are spoken to.
fn probe(index: usize, pool: &Pool, reader: &mut Reader<'_>) {
    let speaks_http2 = |backend: &Backend| match backend.upstream.protocol {
        UpstreamProtocol::Http1 => false,
        UpstreamProtocol::Http2 => true,
        UpstreamProtocol::Https => pool.tls.alpn != Alpn::Http1,
    };
    if matches!(pool.probe, Probe::Grpc(_)) && !pool.backend.iter().all(speaks_http2) {
        let key = format!("pool.{index}.probe");
        reader.refuse(
            &[&key],
            "gRPC needs backends that speak HTTP/2, by h2:// or https://",
        );
    }
}

/// Checks what is said of connections to the backends against what backends there are.
fn connections(index: usize, pool: &Pool, reader: &mut Reader<'_>) {
    let key = |name: &str| format!("pool.{index}.{name}");
    let speaks = |protocol| {
        let mut backends = pool.backend.iter();
        backends.any(|backend| backend.upstream.protocol == protocol)
    };
    for name in ["ca", "server_name", "client_cert", "client_key", "alpn"] {
        if reader.is_set(&key(name)) && !speaks(UpstreamProtocol::Https) {
            reader.refuse(&[&key(name)], "no backend of the pool has an https:// URL");
        }
    }
    let [cert, private] = ["client_cert", "client_key"].map(key);
    if pool.tls.client_cert.is_some() != pool.tls.client_key.is_some() {
        reader.refuse(
            &[&cert, &private],
            "the certificate for backends and its key belong together",
        );
    }
    if pool.proxy_protocol == ProxyProtocol::Off {
        return;
    }
    let message = "a connection of HTTP/2 is for many clients, and the PROXY protocol names one";
    if speaks(UpstreamProtocol::Http2) {
        reader.refuse(&[&key("proxy_protocol")], message);
    } else if pool.tls.alpn == Alpn::Http2 {
        reader.refuse(&[&key("proxy_protocol"), &key("alpn")], message);
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Setting, Sources, load};

    fn refused(settings: &[(&str, &str)]) -> String {
        let settings = settings
            .iter()
            .map(|(path, value)| Setting::flag("--set", path, *value))
            .collect();
        let sources = Sources {
            settings,
            ..Sources::default()
        };
        load(&sources).unwrap_err().to_string()
    }

    #[test]
    fn a_route_leads_to_one_place_that_there_is() {
        let pool = [("pool.0.name", "app"), ("pool.0.to", "http://a:1")];
        let with = |more: &[(&'static str, &'static str)]| refused(&[&pool[..], more].concat());
        assert_eq!(
            with(&[("route.0.pool", "app"), ("route.0.to", "http://b:1")]),
            "--set: route.0.pool: a route has \"to\" or \"pool\", not both"
        );
        assert_eq!(
            with(&[("route.0.pool", "other")]),
            "--set: route.0.pool: no pool is called \"other\"; there are: app"
        );
    }

    #[test]
    fn the_longest_ttl_is_no_shorter_than_the_shortest() {
        assert_eq!(
            refused(&[("dns.max_ttl", "1s"), ("dns.min_ttl", "2s")]),
            "--set: dns.max_ttl: it must be at least \"dns.min_ttl\""
        );
    }

    #[test]
    fn a_pool_has_a_name_of_its_own_and_backends_with_a_weight() {
        assert_eq!(
            refused(&[("pool.0.to", "http://a:1")]),
            "--set: pool.0.name: missing: what routes call the pool"
        );
        assert_eq!(
            refused(&[("pool.0.name", "app")]),
            "--set: pool.0.to: missing: the backends of the pool"
        );
        let url = ("pool.0.backend.0.url", "http://a:1");
        assert_eq!(
            refused(&[
                ("pool.0.name", "app"),
                url,
                ("pool.0.backend.0.weight", "0")
            ]),
            "--set: pool.0.backend: no backend has a weight"
        );
        assert_eq!(
            refused(&[
                ("pool.0.name", "app"),
                ("pool.0.backend.0.url", "http+srv://_http._tcp.app.example"),
                ("pool.0.backend.0.weight", "2")
            ]),
            "--set: pool.0.backend: _http._tcp.app.example has the weights of its records"
        );
        assert_eq!(
            refused(&[("pool.0.name", "app"), ("pool.0.backend.0.weight", "2")]),
            "--set: pool.0.backend.0.url: missing: the backend"
        );
        assert_eq!(
            refused(&[("pool.0.name", "app"), ("pool.0.to", "http://a:1"), url]),
            "--set: pool.0: a:1 is in the pool twice"
        );
        assert_eq!(
            refused(&[
                ("pool.0.name", "app"),
                ("pool.0.to", "http://a:1"),
                ("pool.1.name", "app"),
                ("pool.1.to", "http://b:1"),
            ]),
            "--set: pool.1.name: \"app\" is already the name of pool.0.name"
        );
    }

    #[test]
    fn what_is_said_of_tls_and_of_clients_fits_the_backends() {
        let pool = |to: &'static str, more: &[(&'static str, &'static str)]| {
            refused(&[&[("pool.0.name", "app"), ("pool.0.to", to)], more].concat())
        };
        let error = pool("http://a:1,h2://b:1", &[("pool.0.server_name", "app")]);
        assert!(
            error.contains("no backend of the pool has an https:// URL"),
            "{error}"
        );
        let error = pool("https://a:1", &[("pool.0.client_key", "/dev/null")]);
        assert!(error.contains("belong together"), "{error}");
        for (to, more) in [
            (
                "http://a:1,h2://b:1",
                &[("pool.0.proxy_protocol", "v2")][..],
            ),
            (
                "https://a:1",
                &[("pool.0.proxy_protocol", "v2"), ("pool.0.alpn", "h2")],
            ),
        ] {
            let error = pool(to, more);
            assert!(error.contains("is for many clients"), "{error}");
        }
    }
}
