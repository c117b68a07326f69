//! The sections of the configuration that say where clients connect and who they and the gateway are.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::decode::{Decode, word};
use super::load::Reader;
use super::rules::{clash, overlap};
use super::schema::Key;
use super::tree::Entry;

/// One address that serves HTTP/3 on UDP and HTTP/2 and HTTP/1.1 on TCP.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listen {
    /// The address of both sockets; `[::]` also takes IPv4. Default `[::]:4433`.
    pub addr: SocketAddr,
    /// The certificate chain in PEM for clients that ask for no name or one that no certificate has; absent
    /// together with `key`: the first of `certificate`, else the development certificate.
    pub cert: Option<PathBuf>,
    /// The private key in PEM.
    pub key: Option<PathBuf>,
    /// Certificates for clients that ask for one of their names (RFC 6066, section 3).
    pub certificate: Vec<Certificate>,
    /// What clients get that ask for a name that no certificate has. Default the certificate in `cert`.
    pub unknown_name: UnknownName,
    /// Which hosts requests may be for. Default any host, or where listeners ask for different client
    /// certificates those that the listener's certificates name.
    pub authority: Option<AuthorityRule>,
    /// Whether clients show certificates. Default `off`.
    pub client_auth: ClientAuth,
    /// The authorities that client certificates come from, in PEM.
    pub client_ca: Option<PathBuf>,
    /// What those authorities have revoked, in PEM (RFC 5280, section 5).
    pub client_crl: Option<PathBuf>,
    /// Whether TCP is served too. Default true.
    pub tcp: bool,
    /// The port that Alt-Svc names, where the public port differs from `addr`'s. Default: `addr`'s.
    pub public_port: Option<u16>,
}

/// A certificate chain and its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Certificate {
    /// The chain in PEM.
    pub cert: PathBuf,
    /// The private key in PEM.
    pub key: PathBuf,
}

/// What clients get that ask for a name that no certificate has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownName {
    /// The certificate in `cert`.
    #[default]
    Default,
    /// An alert in place of a certificate.
    Refuse,
}

/// Which hosts the requests at a listener may be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorityRule {
    /// Every host.
    Any,
    /// Those that one of the listener's certificates names; for others a request gets 421.
    Certificate,
}

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked for any.
    #[default]
    Off,
    /// They may, and what they show must be right.
    Optional,
    /// They must.
    Required,
}

impl Listen {
    /// Serves at this address, with every other field at its default.
    pub fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            ..Self::default()
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            addr: SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), DEFAULT_PORT),
            cert: None,
            key: None,
            certificate: Vec::new(),
            unknown_name: UnknownName::default(),
            authority: None,
            client_auth: ClientAuth::default(),
            client_ca: None,
            client_crl: None,
            tcp: true,
            public_port: None,
        }
    }
}

impl Certificate {
    /// Names the two files.
    pub fn new(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            cert: cert.into(),
            key: key.into(),
        }
    }
}

impl Reader<'_> {
    pub(super) fn listen(&mut self, at: &str) -> Listen {
        let mut listen = Listen::default();
        self.read(&format!("{at}.addr"), &mut listen.addr);
        self.read(&format!("{at}.cert"), &mut listen.cert);
        self.read(&format!("{at}.key"), &mut listen.key);
        listen.certificate = self.each(&format!("{at}.certificate"), Self::certificate);
        self.read(&format!("{at}.unknown_name"), &mut listen.unknown_name);
        self.read(&format!("{at}.authority"), &mut listen.authority);
        self.read(&format!("{at}.client_auth"), &mut listen.client_auth);
        self.read(&format!("{at}.client_ca"), &mut listen.client_ca);
        self.read(&format!("{at}.client_crl"), &mut listen.client_crl);
        self.read(&format!("{at}.tcp"), &mut listen.tcp);
        self.read(&format!("{at}.public_port"), &mut listen.public_port);
        listen
    }

    fn certificate(&mut self, at: &str) -> Certificate {
        let (mut cert, mut key) = (None, None);
        self.read(&format!("{at}.cert"), &mut cert);
        self.read(&format!("{at}.key"), &mut key);
        Certificate {
            cert: cert.unwrap_or_default(),
            key: key.unwrap_or_default(),
        }
    }
}

impl Decode for UnknownName {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        word(
            entry,
            key,
            &[("default", Self::Default), ("refuse", Self::Refuse)],
        )
    }
}

impl Decode for AuthorityRule {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        word(
            entry,
            key,
            &[("any", Self::Any), ("certificate", Self::Certificate)],
        )
    }
}

impl Decode for ClientAuth {
    fn decode(entry: &Entry, key: &Key) -> Result<Self, String> {
        word(
            entry,
            key,
            &[
                ("off", Self::Off),
                ("optional", Self::Optional),
                ("required", Self::Required),
            ],
        )
    }
}

/// Checks what the keys of listeners must be together.
pub(super) fn check(listeners: &[Listen], reader: &mut Reader<'_>) {
    if listeners.is_empty() {
        reader.refuse(
            &["listen"],
            "the list is empty; leave it out for the default",
        );
    }
    for (index, listen) in listeners.iter().enumerate() {
        let key = |name: &str| format!("listen.{index}.{name}");
        together(&key("cert"), &key("key"), reader);
        for certificate in 0..listen.certificate.len() {
            let [cert, private] =
                ["cert", "key"].map(|name| key(&format!("certificate.{certificate}.{name}")));
            together(&cert, &private, reader);
            if !reader.is_set(&cert) && !reader.is_set(&private) {
                reader.refuse(&[&cert, &private], "missing: the certificate chain");
            }
        }
        clients(index, listen, reader);
        for (earlier, other) in listeners.iter().enumerate().take(index) {
            if overlap(listen.addr, other.addr) {
                let other = format!("listen.{earlier}.addr");
                clash(reader, &key("addr"), &other, listen.addr);
            }
        }
    }
}

fn together(cert: &str, key: &str, reader: &mut Reader<'_>) {
    match (reader.is_set(cert), reader.is_set(key)) {
        (true, false) => reader.refuse(&[cert, key], "needs \"key\" beside it"),
        (false, true) => reader.refuse(&[key, cert], "needs \"cert\" beside it"),
        _ => {}
    }
}

fn clients(index: usize, listen: &Listen, reader: &mut Reader<'_>) {
    let [auth, authorities, revoked] =
        ["client_auth", "client_ca", "client_crl"].map(|name| format!("listen.{index}.{name}"));
    let asked = listen.client_auth != ClientAuth::Off;
    if asked && !reader.is_set(&authorities) {
        let message =
            "needs \"client_ca\" beside it: the authorities that client certificates come from";
        reader.refuse(&[&auth, &authorities], message);
    }
    for unused in [&authorities, &revoked] {
        if !asked && reader.is_set(unused) {
            let message = "without \"client_auth\" beside it no client is asked for a certificate";
            reader.refuse(&[unused, &auth], message);
        }
    }
}

const DEFAULT_PORT: u16 = 4433;
