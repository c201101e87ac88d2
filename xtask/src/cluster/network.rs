//! The cluster's network: a namespace with one node's address in it and no way out.

use std::{fs, process::Command, thread};

use anyhow::{Context, Result};

use nix::{
    errno::Errno,
    mount::{MntFlags, umount2},
};

use super::{
    clean::absent,
    layout::{Layout, NODE_ADDRESS, NODE_GATEWAY},
    process,
};
use crate::{exec, machine};

/// Makes the namespace. It must not exist.
pub fn create(layout: &Layout) -> Result<()> {
    exec::output(Command::new("ip").args(["netns", "add", &layout.netns()])).with_context(|| {
        format!("make a network namespace; is this a container without rights?{}", machine::OTHERWISE)
    })?;
    let (address, gateway) = (format!("{NODE_ADDRESS}/24"), NODE_GATEWAY);
    // A bridge without ports, as not every kernel has `dummy` devices. The default
    // route leads nowhere: programs look it up to learn the node's own address, and
    // without it packets to a Service would have no way to the rules that redirect them.
    for arguments in [
        &["link", "set", "lo", "up"][..],
        &["link", "add", "node0", "type", "bridge"],
        &["addr", "add", &address, "dev", "node0"],
        &["link", "set", "node0", "up"],
        &["route", "add", "default", "via", gateway, "dev", "node0"],
    ] {
        exec::output(Command::new("ip").args(["-n", &layout.netns()]).args(arguments))
            .with_context(|| format!("set up the cluster's network{}", machine::OTHERWISE))?;
    }
    inside(layout, || fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("let packets through"))
}

/// Does something with the cluster's network as its own.
pub fn inside<T: Send>(layout: &Layout, act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    // A thread of its own: a namespace is a thread's, and this one is not ours to change.
    thread::scope(|scope| {
        scope
            .spawn(|| {
                process::enter(&layout.netns_path())?;
                act()
            })
            .join()
            .expect("what runs inside does not panic")
    })
}

/// Takes the namespace away, also one that was left half made.
pub fn remove(layout: &Layout) -> Result<()> {
    let path = layout.netns_path();
    match umount2(&path, MntFlags::MNT_DETACH) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(error) => return Err(error).with_context(|| format!("unmount {}", path.display())),
    }
    absent(fs::remove_file(&path)).with_context(|| format!("remove {}", path.display()))
}
