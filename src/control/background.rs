//! Into the background: a daemon is a child of whoever starts it, until it is ready.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

/// What it writes to stdout then.
const READY: &[u8] = b"ready\n";

/// Starts a program, and waits until it is ready. Some: it has ended before, and has said
/// itself why.
pub fn start(command: &mut Command) -> io::Result<Option<ExitStatus>> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let mut said = [0; READY.len()];
    let output = child.stdout.as_mut().expect("it is a pipe");
    if output.read_exact(&mut said).is_ok() && said == READY {
        return Ok(None);
    }
    child.wait().map(Some)
}

/// Tells whoever has started this process that it is ready.
pub fn tell_ready() -> io::Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(READY)?;
    stdout.flush()
}

/// Lets go of the terminal, and of whoever waits for an end of what is written there. What
/// is said from now on goes to the end of a file, or nowhere.
pub fn let_go(log: Option<&Path>) -> io::Result<()> {
    let log = log.map(open).transpose()?;
    let nothing = File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&nothing)?;
    rustix::stdio::dup2_stderr(log.as_ref().unwrap_or(&nothing))?;
    Ok(())
}

fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = File::options();
    let opened = options.append(true).create(true).mode(0o600).open(path);
    opened.map_err(|error| {
        let text = format!("{}: {}", path.display(), crate::describe(&error));
        io::Error::new(error.kind(), text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Option<ExitStatus> {
        start(Command::new("sh").arg("-c").arg(script)).unwrap()
    }

    #[test]
    fn one_that_is_ready_is_left_alone() {
        assert_eq!(shell("echo ready; exec sleep 0.1"), None);
    }

    #[test]
    fn one_that_ends_before_tells_how() {
        assert_eq!(shell("exit 3").unwrap().code(), Some(3));
        assert_eq!(shell("echo read; exit 0").unwrap().code(), Some(0));
    }
}
