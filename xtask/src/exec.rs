//! Runs other programs. An error names the program and what it said.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// Runs it and gives what it printed.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {}", name(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed: {}: {}", name(command), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs it and hands over each line of its standard error as it comes; when it
/// fails, the last of them are the error.
pub fn watch(command: &mut Command, mut line_read: impl FnMut(&str)) -> Result<()> {
    const KEPT: usize = 30;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("run {}", name(command)))?;
    let mut last = Vec::new();
    for line in BufReader::new(child.stderr.take().expect("it was piped")).lines() {
        let line = line?;
        line_read(&line);
        last.push(line);
        if last.len() > KEPT {
            last.remove(0);
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{} failed: {status}\n{}", name(command), last.join("\n"));
    }
    Ok(())
}

/// Asks again and again until there is an answer.
pub fn await_some<T>(what: &str, bound: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    const PAUSE: Duration = Duration::from_millis(50);
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().with_context(|| format!("wait for {what}"))? {
            return Ok(answer);
        }
        if started.elapsed() > bound {
            bail!("{what}: not within {} s", bound.as_secs());
        }
        thread::sleep(PAUSE);
    }
}

fn name(command: &Command) -> String {
    let arguments = command.get_args().take(6).map(|argument| argument.to_string_lossy());
    std::iter::once(command.get_program().to_string_lossy()).chain(arguments).collect::<Vec<_>>().join(" ")
}
