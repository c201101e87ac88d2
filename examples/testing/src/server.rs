//! Servers that end with the test program, whatever becomes of it.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A command that will run `program` and end it with a signal (as `setpriv` names it) when the
/// thread that spawned it is gone: tests share servers in statics, which are never dropped.
pub fn command(program: &Path, signal: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", signal, "--"]).arg(program).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Sends a signal to a process, which may have ended by itself.
pub fn signal(process: &Child, signal: Signal) -> nix::Result<()> {
    kill(Pid::from_raw(process.id().try_into().unwrap()), signal)
}

/// Spawns it in a thread that lives as long as the program: the thread of the test that happens to
/// need the server first may end early.
pub fn spawn(mut command: Command) -> Child {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        sender.send(command.spawn()).unwrap();
        loop {
            thread::park();
        }
    });
    receiver.recv().unwrap().unwrap_or_else(|error| panic!("run setpriv: {error}"))
}
