//! `wayhold run` as a process.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;
use wayhold::client::{Target, Trust};

use crate::stage::{Directory, PATIENCE, target};

/// A process that serves; it is killed with this.
pub(crate) struct Process {
    pub(crate) address: SocketAddr,
    /// The development certificate, and when it ends.
    pub(crate) certificate: Option<(PathBuf, String)>,
    admin: PathBuf,
    child: Child,
    errors: Arc<Mutex<Vec<String>>>,
    reading: JoinSet<()>,
}

/// How a process ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) errors: Vec<String>,
}

/// The command with nothing of ours in its environment but a state directory.
pub(crate) fn wayhold(directory: &Directory, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wayhold"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WAYHOLD_") {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .env("XDG_STATE_HOME", directory.file("state"))
        .current_dir(directory)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs a command that ends by itself, and gives its code and both outputs.
pub(crate) async fn outcome(
    directory: &Directory,
    arguments: &[&str],
) -> (Option<i32>, String, String) {
    let output = timeout(PATIENCE, wayhold(directory, arguments).output()).await;
    let output = output.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// Runs a command that ends by itself.
pub(crate) async fn fails(directory: &Directory, arguments: &[&str]) -> Ended {
    let output = timeout(PATIENCE, wayhold(directory, arguments).output()).await;
    let output = output.unwrap().unwrap();
    Ended {
        code: output.status.code(),
        errors: String::from_utf8(output.stderr)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect(),
    }
}

/// Sends a signal to a process.
pub(crate) async fn signal(signal: &str, id: u32) {
    let id = id.to_string();
    let killed = Command::new("kill").args([signal, &id]).status().await;
    assert!(killed.unwrap().success());
}

impl Process {
    /// Runs with these arguments on a free port of loopback and waits until it has said where.
    pub(crate) async fn start(directory: &Directory, arguments: &[&str]) -> Self {
        let development = !arguments.contains(&"--cert") && !arguments.contains(&"-c");
        let command = wayhold(directory, &[&["run"], arguments].concat());
        Self::launch(command, development).await
    }

    /// Runs this command and waits until it has said where, and of a development certificate if it
    /// uses one.
    pub(crate) async fn launch(mut command: Command, development: bool) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let errors = Arc::<Mutex<Vec<String>>>::default();
        let mut reading = JoinSet::new();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let collected = Arc::clone(&errors);
        reading.spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                collected.lock().unwrap().push(line);
            }
        });
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut said = Vec::new();
        for prefix in [
            "listening on ",
            "admin on unix:",
            "development certificate ",
        ] {
            if prefix.starts_with("development") && !development {
                continue;
            }
            let mut line = String::new();
            timeout(PATIENCE, out.read_line(&mut line))
                .await
                .unwrap()
                .unwrap();
            let rest = line.trim_end().strip_prefix(prefix);
            let rest = rest.unwrap_or_else(|| panic!("{line:?}, {:?}", errors.lock().unwrap()));
            said.push(rest.to_owned());
        }
        let certificate = said.get(2).map(|said| {
            let (path, expires) = said.split_once(" until ").unwrap();
            (path.into(), expires.to_owned())
        });
        Self {
            address: said[0].parse().unwrap(),
            certificate,
            admin: Path::new(&said[1]).to_owned(),
            child,
            errors,
            reading,
        }
    }

    pub(crate) fn target(&self) -> Target {
        target(self.address)
    }

    /// Whom a client of this process trusts.
    pub(crate) fn trust(&self, directory: &Directory) -> Trust {
        match &self.certificate {
            Some((path, _)) => Trust::File(path.clone()),
            None => Trust::File(directory.file("tls.pem")),
        }
    }

    /// Status and body of a page of the admin listener.
    pub(crate) async fn ask(&self, path: &str) -> io::Result<(u16, String)> {
        let mut stream = UnixStream::connect(&self.admin).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await?;
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Ok((status, body.to_owned()))
    }

    /// The sum of all series of a metric whose line begins so.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let (_, page) = self.ask("/metrics").await.unwrap();
        let of_line = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            series
                .starts_with(name)
                .then(|| value.parse::<u64>().unwrap())
        };
        page.lines().filter_map(of_line).sum()
    }

    /// Waits until a page has this status.
    pub(crate) async fn until(&self, path: &str, status: u16) {
        let asking = async {
            let mut ticks = tokio::time::interval(std::time::Duration::from_millis(2));
            while self.ask(path).await.unwrap().0 != status {
                ticks.tick().await;
            }
        };
        timeout(PATIENCE, asking).await.unwrap();
    }

    pub(crate) async fn terminate(&self) {
        self.signal("-TERM").await;
    }

    pub(crate) async fn signal(&self, name: &str) {
        signal(name, self.id()).await;
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Waits for so many lines on standard error that contain this, its successors' too, and gives
    /// the last of them.
    pub(crate) async fn said(&self, text: &str, times: usize) -> String {
        let found = || {
            let lines = self.errors.lock().unwrap();
            let mut found = lines.iter().filter(|line| line.contains(text));
            found.nth(times - 1).cloned()
        };
        let asking = async {
            let mut ticks = tokio::time::interval(std::time::Duration::from_millis(2));
            loop {
                if let Some(line) = found() {
                    return line;
                }
                ticks.tick().await;
            }
        };
        let Ok(line) = timeout(PATIENCE, asking).await else {
            panic!("{text:?} was not said: {:#?}", self.errors.lock().unwrap());
        };
        line
    }

    /// Waits for the end, and for everything that was written until then.
    pub(crate) async fn end(mut self) -> Ended {
        let status = timeout(PATIENCE, self.child.wait()).await.unwrap();
        while self.reading.join_next().await.is_some() {}
        Ended {
            code: status.unwrap().code(),
            errors: std::mem::take(&mut *self.errors.lock().unwrap()),
        }
    }
}
