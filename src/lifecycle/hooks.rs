use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::config::Hooks;
use crate::fleet::NodeId;

/// Which of the operator's commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    /// Brings clients to this node.
    Announce,
    /// Sends them elsewhere.
    Withdraw,
}

/// Why a command is run, as its environment tells it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Occasion {
    pub(super) event: &'static str,
    pub(super) node: NodeId,
}

/// What came of a command.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) outcome: Result<(), HookError>,
    /// The beginning of what it wrote, on both outputs.
    pub(super) output: String,
}

/// Why a hook did not do what it was to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum HookError {
    /// It could not be started: is the path right, and executable for the gateway's user?
    #[error("cannot be started: {0}")]
    Start(#[from] io::Error),
    /// It ended with a code other than 0, or by a signal.
    #[error("{0}")]
    Exit(ExitStatus),
    /// It ran longer than `hooks.timeout`, and was killed.
    #[error("was killed after {0:?}")]
    Timeout(Duration),
}

impl Hook {
    /// What the operator wants to be run, if anything.
    pub(super) fn command(self, hooks: &Hooks) -> Option<&[String]> {
        let command = match self {
            Self::Announce => &hooks.announce,
            Self::Withdraw => &hooks.withdraw,
        };
        (!command.is_empty()).then_some(command)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Announce => "announce",
            Self::Withdraw => "withdraw",
        }
    }
}

impl HookError {
    /// The reason in metrics.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Start(_) => "start",
            Self::Exit(_) => "exit",
            Self::Timeout(_) => "timeout",
        }
    }
}

/// Runs a command without a shell, and kills it at the limit. Dropping the future kills it too.
///
/// tokio's own child processes need a signal handler on kernels without pidfd, and a library must
/// not install one; so the child is asked for its end now and then.
pub(super) async fn run(command: &[String], occasion: Occasion, limit: Duration) -> Ended {
    let mut output = Vec::new();
    let outcome = match start(command, occasion) {
        Err(error) => Err(HookError::Start(error)),
        Ok((child, written)) => match timeout(limit, end_of(child, written, &mut output)).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(HookError::Exit(status)),
            Ok(Err(error)) => Err(HookError::Start(error)),
            Err(_elapsed) => Err(HookError::Timeout(limit)),
        },
    };
    let output = String::from_utf8_lossy(&output).trim_end().to_owned();
    Ended { outcome, output }
}

fn start(command: &[String], occasion: Occasion) -> io::Result<(Running, UnixStream)> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let (ours, theirs) = StdStream::pair()?;
    ours.set_nonblocking(true)?;
    let theirs = OwnedFd::from(theirs);
    let child = Command::new(program)
        .args(arguments)
        .env("WAYHOLD_EVENT", occasion.event)
        .env("WAYHOLD_NODE", occasion.node.to_string())
        .stdin(Stdio::null())
        .stdout(theirs.try_clone()?)
        .stderr(theirs)
        .spawn()?;
    Ok((Running(child), UnixStream::from_std(ours)?))
}

async fn end_of(
    mut child: Running,
    mut written: UnixStream,
    output: &mut Vec<u8>,
) -> io::Result<ExitStatus> {
    let mut looks = interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut piece = [0; 1024];
    let mut open = true;
    loop {
        tokio::select! {
            // What was written before the end is read before the end is noticed.
            biased;
            read = written.read(&mut piece), if open => match read {
                Ok(length @ 1..) => {
                    let room = MAX_OUTPUT.saturating_sub(output.len());
                    output.extend_from_slice(&piece[..length.min(room)]);
                }
                Ok(0) | Err(_) => open = false,
            },
            _ = looks.tick() => if let Some(status) = child.0.try_wait()? {
                return Ok(status);
            },
        }
    }
}

/// A child that does not outlive its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            tracing::warn!(%error, "a hook cannot be killed");
        }
    }
}

const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// Bytes of a hook's output that are kept for the log.
const MAX_OUTPUT: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    async fn run_shell(script: &str, limit: Duration) -> Ended {
        let occasion = Occasion {
            event: "drain",
            node: NodeId::new(7).unwrap(),
        };
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        run(&command, occasion, limit).await
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_hook_learns_its_occasion_and_gets_no_input() {
        let ended = run_shell("cat; echo $WAYHOLD_EVENT; echo $WAYHOLD_NODE >&2", LONG).await;
        assert!(ended.outcome.is_ok(), "{ended:?}");
        assert_eq!(ended.output, "drain\n7");
    }

    #[tokio::test]
    async fn a_code_other_than_0_is_a_failure() {
        let ended = run_shell("echo why >&2; exit 3", LONG).await;
        let error = ended.outcome.unwrap_err();
        assert_eq!((error.reason(), ended.output.as_str()), ("exit", "why"));
        assert!(error.to_string().contains('3'), "{error}");
    }

    #[tokio::test]
    async fn a_hook_that_hangs_is_killed_at_the_limit() {
        let ended = run_shell("echo begun; exec sleep 1000", Duration::from_millis(300)).await;
        assert_eq!(ended.outcome.unwrap_err().reason(), "timeout");
        assert_eq!(ended.output, "begun");
    }

    #[tokio::test]
    async fn endless_output_is_read_and_only_its_beginning_kept() {
        let ended = run_shell("head -c 1000000 /dev/zero | tr '\\0' x", LONG).await;
        assert!(ended.outcome.is_ok(), "{:?}", ended.outcome);
        assert_eq!(ended.output.len(), MAX_OUTPUT);
    }

    #[tokio::test]
    async fn a_command_that_does_not_exist_is_a_failure() {
        let occasion = Occasion {
            event: "ready",
            node: NodeId::default(),
        };
        let ended = run(&["/nonexistent".into()], occasion, LONG).await;
        assert_eq!(ended.outcome.unwrap_err().reason(), "start");
    }
}
