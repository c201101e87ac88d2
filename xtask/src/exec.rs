//! Runs other programs. An error names the program and what it said.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::paths;

/// The cargo that runs this program, in the repository.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(paths::repository());
    cargo
}

/// Runs it, prints what it prints and hands over each line of it. Gives whether it succeeded.
pub fn tee(command: &mut Command, mut line_read: impl FnMut(&str)) -> Result<bool> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("run {}", name(command)))?;
    for line in BufReader::new(child.stdout.take().expect("it was piped")).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        line_read(&line);
    }
    Ok(child.wait()?.success())
}

/// Runs it with a text as its input and gives what it printed.
pub fn feed(command: &mut Command, text: &str) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("run {}", name(command)))?;
    let mut input = child.stdin.take().expect("it was piped");
    // Written aside, as a program may fill its output before it has read all of its input.
    let output = thread::scope(|scope| {
        let writer = scope.spawn(move || input.write_all(text.as_bytes()));
        let output = child.wait_with_output();
        // A program that fails early closes its input; its own words say more than that.
        writer.join().expect("writing does not panic").ok();
        output
    })?;
    collected(command, &output)
}

/// Runs it and gives what it printed.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {}", name(command)))?;
    collected(command, &output)
}

fn collected(command: &Command, output: &Output) -> Result<String> {
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
