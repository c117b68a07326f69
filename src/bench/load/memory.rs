use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use tokio::task::JoinSet;

use super::taken;
use crate::bench::Metric;
use crate::bench::dial::{DialError, Dialed, Dialer};
use crate::bench::statistics::Taken;

/// Why the memory of a mode's connections is not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum MemoryError {
    /// A connection could not be opened.
    #[error("{}", .0.name())]
    Dial(#[from] DialError),
    /// The process could not be asked.
    #[error("memory")]
    Status(#[from] io::Error),
}

/// Opens connections up to each of these numbers and gives what each more cost between two of them: the
/// resident memory of the process, in KiB. What the kernel holds for sockets is not in it.
pub(super) async fn read(
    dialer: &Arc<Dialer>,
    process: u32,
    steps: &[u32],
    begin: &mut impl FnMut(u32),
) -> Result<Vec<Taken>, MemoryError> {
    let mut open: Vec<Dialed> = Vec::new();
    let mut before: Option<(u32, f64)> = None;
    let mut slopes = Vec::new();
    for step in steps {
        begin(*step);
        raise(dialer, &mut open, *step).await?;
        // What handshakes held is given back by then.
        tokio::time::sleep(SETTLE).await;
        let resident = resident(process)?;
        if let Some((count, kibibytes)) = before.filter(|(count, _)| step > count) {
            let slope = (resident - kibibytes) / f64::from(step - count);
            let block = u32::try_from(slopes.len()).unwrap_or(u32::MAX);
            slopes.push(taken(block, [(Metric::ConnectionMemory, slope)]));
        }
        before = Some((*step, resident));
    }
    Ok(slopes)
}

async fn raise(dialer: &Arc<Dialer>, open: &mut Vec<Dialed>, to: u32) -> Result<(), MemoryError> {
    let wanted = usize::try_from(to).unwrap_or(usize::MAX);
    let mut tasks = JoinSet::new();
    while open.len() < wanted {
        while tasks.len() < AT_ONCE && open.len() + tasks.len() < wanted {
            let dialer = Arc::clone(dialer);
            tasks.spawn(async move { dialer.dial(dialer.prepare().await?).await });
        }
        match tasks.join_next().await {
            Some(Ok(dialed)) => open.push(dialed?),
            // Nobody cancels these, and a panic of one is a defect of this program.
            Some(Err(failed)) => std::panic::resume_unwind(failed.into_panic()),
            None => break,
        }
    }
    Ok(())
}

/// Resident kibibytes (`VmRSS` of `proc_pid_status(5)`).
fn resident(process: u32) -> io::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let field = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    field
        .and_then(|field| field.split_ascii_whitespace().next())
        .and_then(|kibibytes| kibibytes.parse().ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Handshakes at once: far below what a node takes for an attack (half of `limits.handshakes`).
const AT_ONCE: usize = 32;
const SETTLE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_process_is_read() {
        assert!(resident(std::process::id()).unwrap() > 100.0);
        assert_eq!(resident(0).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
