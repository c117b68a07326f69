//! The gateways: what they are called, how they are configured and started.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Result;
use super::process::{Directory, Process, free_port, on_path, private};

/// One that may be on this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// The package of Debian that has it.
    pub(crate) package: &'static str,
    configuration: Configuration,
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
    version: &'static str,
    http3: Http3,
}

/// Whether a program was built with HTTP/3.
#[derive(Clone, Copy, Debug)]
enum Http3 {
    Always,
    Never,
    /// If it says this when it is asked so.
    Says(&'static str, &'static str),
    /// Unless it says this when it is started so.
    Unless(&'static [&'static str], &'static str),
}

#[derive(Clone, Copy, Debug)]
struct Configuration {
    file: &'static str,
    text: &'static str,
}

/// One that was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) http3: bool,
    kind: Kind,
    program: PathBuf,
}

/// One that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) found: Found,
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
    directory: Directory,
}

impl Running {
    /// The last that it said.
    pub(crate) fn last_words(&self) -> String {
        let said = fs::read(self.directory.path().join("stderr")).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        said.lines().last().unwrap_or("it said nothing").to_owned()
    }
}

/// The certificate of all gateways and its key, in PEM.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Kind {
    /// Looks for it where the shell would.
    pub(crate) fn find(self) -> Option<Found> {
        Some(self.at(self.name, on_path(self.name)?))
    }

    /// This program, under a name of the caller's.
    pub(crate) fn at(self, name: &str, program: PathBuf) -> Found {
        let http3 = match self.http3 {
            Http3::Always => true,
            Http3::Never => false,
            Http3::Says(argument, text) => said(&program, &[argument]).contains(text),
            Http3::Unless(arguments, text) => !said(&program, arguments).contains(text),
        };
        Found {
            name: name.to_owned(),
            version: version(&said(&program, &[self.version])),
            http3,
            kind: self,
            program,
        }
    }
}

impl Found {
    /// Whether the other is another build of the same.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.kind.name == other.kind.name
    }

    /// Starts it; whether it serves yet is for the caller to see.
    pub(crate) fn start(self, backend: SocketAddr, identity: &Identity) -> Result<Running> {
        let directory = Directory::new(&self.name)?;
        let port = free_port()?;
        let place = directory.path();
        fs::write(place.join("cert.pem"), &identity.certificate)?;
        let both = format!("{}{}", identity.certificate, identity.key);
        for (name, text) in [("key.pem", &identity.key), ("both.pem", &both)] {
            fs::write(place.join(name), text)?;
            private(&place.join(name))?;
        }
        let text = self.configuration(port, backend, place);
        fs::write(place.join(self.kind.configuration.file), text)?;
        let file = place.join(self.kind.configuration.file);
        let mut command = Command::new(&self.program);
        for argument in self.kind.arguments {
            command.arg(argument.replace("@FILE@", &file.to_string_lossy()));
        }
        command
            .envs(self.kind.environment.iter().copied())
            .env("HOME", place)
            .current_dir(place)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(place.join("stderr"))?);
        let process = Process::start(&mut command)?;
        Ok(Running {
            found: self,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            process,
            directory,
        })
    }

    fn configuration(&self, port: u16, backend: SocketAddr, place: &Path) -> String {
        let lines = self.kind.configuration.text.lines();
        let lines = lines.filter_map(|line| match line.strip_prefix("@H3@") {
            Some(line) => self.http3.then_some(line),
            None => Some(line),
        });
        let text = lines.collect::<Vec<_>>().join("\n") + "\n";
        text.replace("@PORT@", &port.to_string())
            .replace("@BACKEND@", &backend.to_string())
            .replace("@BACKEND_HOST@", &backend.ip().to_string())
            .replace("@BACKEND_PORT@", &backend.port().to_string())
            .replace("@DIR@", &place.to_string_lossy())
    }
}

/// What a program says for these arguments, on both of its outputs.
fn said(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    output.map_or_else(
        |_| String::new(),
        |output| {
            let (out, error) = (output.stdout, output.stderr);
            format!(
                "{}{}",
                String::from_utf8_lossy(&out),
                String::from_utf8_lossy(&error)
            )
        },
    )
}

/// The first thing in a program's words on its version that looks like one.
fn version(said: &str) -> String {
    let words = said.split(|letter: char| letter.is_whitespace() || letter == '/');
    let mut words = words.map(|word| word.trim_start_matches('v'));
    let found = words.find(|word| {
        word.starts_with(|letter: char| letter.is_ascii_digit()) && word.contains('.')
    });
    found.unwrap_or("of an unknown version").to_owned()
}

pub(crate) const WAYHOLD: Kind = Kind {
    name: "wayhold",
    package: "none",
    configuration: Configuration {
        file: "wayhold.toml",
        text: include_str!("configs/wayhold.toml"),
    },
    arguments: &["run", "-c", "@FILE@"],
    environment: &[("TOKIO_WORKER_THREADS", "1")],
    version: "--version",
    http3: Http3::Always,
};

pub(crate) const OTHERS: [Kind; 7] = [
    Kind {
        name: "nginx",
        package: "nginx",
        configuration: Configuration {
            file: "nginx.conf",
            text: include_str!("configs/nginx.conf"),
        },
        arguments: &["-c", "@FILE@", "-e", "stderr"],
        environment: &[],
        version: "-v",
        http3: Http3::Says("-V", "--with-http_v3_module"),
    },
    Kind {
        name: "haproxy",
        package: "haproxy",
        configuration: Configuration {
            file: "haproxy.cfg",
            text: include_str!("configs/haproxy.cfg"),
        },
        arguments: &["-db", "-q", "-f", "@FILE@"],
        environment: &[],
        version: "-v",
        http3: Http3::Says("-vv", "+QUIC"),
    },
    Kind {
        name: "nghttpx",
        package: "nghttp2-proxy",
        configuration: Configuration {
            file: "nghttpx.conf",
            text: include_str!("configs/nghttpx.conf"),
        },
        arguments: &["--conf=@FILE@"],
        environment: &[],
        version: "--version",
        // Without a key it starts in no case.
        http3: Http3::Unless(
            &["--conf=/dev/null", "--frontend=127.0.0.1,1;quic"],
            "QUIC is disabled",
        ),
    },
    Kind {
        name: "envoy",
        package: "no package of Debian has it",
        configuration: Configuration {
            file: "envoy.yaml",
            text: include_str!("configs/envoy.yaml"),
        },
        arguments: &[
            "-c",
            "@FILE@",
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "off",
        ],
        environment: &[],
        version: "--version",
        http3: Http3::Always,
    },
    Kind {
        name: "caddy",
        package: "caddy",
        configuration: Configuration {
            file: "Caddyfile",
            text: include_str!("configs/Caddyfile"),
        },
        arguments: &["run", "--config", "@FILE@", "--adapter", "caddyfile"],
        environment: &[("GOMAXPROCS", "1")],
        version: "version",
        http3: Http3::Always,
    },
    Kind {
        name: "apache2",
        package: "apache2",
        configuration: Configuration {
            file: "apache2.conf",
            text: include_str!("configs/apache2.conf"),
        },
        arguments: &["-X", "-f", "@FILE@"],
        environment: &[],
        version: "-v",
        http3: Http3::Never,
    },
    Kind {
        name: "h2o",
        package: "h2o",
        configuration: Configuration {
            file: "h2o.conf",
            text: include_str!("configs/h2o.conf"),
        },
        arguments: &["-m", "worker", "-c", "@FILE@"],
        environment: &[],
        version: "--version",
        http3: Http3::Never,
    },
];
