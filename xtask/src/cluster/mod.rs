//! A real Kubernetes of one node on this machine: Go programs in one network namespace,
//! one folder and one control group. Nothing of it outlives `stop`.

pub mod build;
mod cgroup;
mod clean;
pub mod component;
mod forward;
pub mod layout;
pub mod load;
mod network;
pub mod pki;
mod process;
pub mod start;

use std::{
    env,
    fs::{self, File, TryLockError},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use self::{
    component::{Component, NAMES, Node, Shape},
    layout::{Layout, Name},
    process::Identity,
    start::{is_running, read_ports},
};
use crate::{exec::await_some, machine, paths, progress::Step};

/// A real Kubernetes on this machine, without Docker or a virtual machine.
#[derive(clap::Args)]
pub struct Args {
    /// Which cluster; each has a network, a folder and ports of its own.
    #[arg(long, global = true, env = "FORWARD_CLUSTER", default_value = "demo")]
    name: Name,
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Start it and wait until its node is ready; nothing happens if it is running.
    Start {
        /// With nodes that only say that pods run: for more of them than a machine can run.
        #[arg(long)]
        simulated: bool,
    },
    /// Say what runs, and where it is found.
    Status,
    /// Stop it and remove everything of it.
    Stop,
    /// Load image archives; all that `cargo xtask images` wrote if none is named.
    Load { archives: Vec<PathBuf> },
    /// Print the path of the kubeconfig.
    Kubeconfig,
    /// Run a command with KUBECONFIG set and kubectl, helm and ctr in its PATH.
    Run {
        /// In the cluster's network, where Services and pods have addresses.
        #[arg(long)]
        inside: bool,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// End a component abruptly and start it again.
    RestartComponent {
        #[arg(value_parser = clap::builder::PossibleValuesParser::new(NAMES.iter().copied()))]
        component: String,
    },
    #[command(hide = true)]
    Launch(process::Launch),
    #[command(hide = true)]
    Forward(forward::Forward),
}

pub fn run(args: Args) -> Result<()> {
    let layout = Layout::new(args.name)?;
    match args.action {
        Action::Start { simulated } => {
            let node = if simulated { Node::Simulated } else { Node::Real };
            start(&layout, Shape { node, ..Shape::default() })?;
            print_status(&layout)
        }
        Action::Status => print_status(&layout),
        Action::Stop => stop(&layout),
        Action::Load { archives } => load(&layout, archives),
        Action::Kubeconfig => {
            read_ports(&layout)?;
            println!("{}", layout.kubeconfig().display());
            Ok(())
        }
        Action::Run { inside, command } => run_inside(&layout, inside, &command),
        Action::RestartComponent { component } => restart(&layout, &component),
        Action::Launch(launch) => launch.run(),
        Action::Forward(forward) => forward.run(),
    }
}

/// Starts the cluster unless it is running.
pub fn start(layout: &Layout, shape: Shape) -> Result<()> {
    let _lock = lock(layout)?;
    start::start(layout, shape)
}

/// The process of a component that runs.
pub fn process(layout: &Layout, component: &str) -> Result<i32> {
    let identity = Identity::read(&layout.pid(component)).filter(Identity::is_alive);
    Ok(identity.with_context(|| format!("{component} is not running"))?.pid)
}

/// Stops the cluster, or takes away what is left of it.
pub fn stop(layout: &Layout) -> Result<()> {
    let _lock = lock(layout)?;
    if !layout.dir.exists() && !layout.netns_path().exists() {
        eprintln!("cluster \"{}\" is not running", layout.name);
        return Ok(());
    }
    let step = Step::begin(format!("stopping the cluster \"{}\"", layout.name));
    clean::clean(layout, false)?;
    step.done();
    Ok(())
}

/// Loads archives; all of our own if none is named.
pub fn load(layout: &Layout, archives: Vec<PathBuf>) -> Result<()> {
    let archives = if archives.is_empty() { own_archives()? } else { archives };
    let step = Step::begin(format!("loading {} images into the cluster \"{}\"", archives.len(), layout.name));
    for archive in &archives {
        step.detail(archive.file_name().unwrap_or_default().to_string_lossy());
        load::import(layout, archive)?;
    }
    step.done();
    Ok(())
}

/// What a command needs to work with the cluster.
pub fn environment(layout: &Layout) -> Vec<(&'static str, String)> {
    vec![
        ("KUBECONFIG", layout.kubeconfig().display().to_string()),
        ("FORWARD_CLUSTER", layout.name.to_string()),
        ("PATH", machine::search_path(&layout.bin())),
        ("CONTAINERD_ADDRESS", layout.containerd_socket().display().to_string()),
        ("CONTAINERD_NAMESPACE", "k8s.io".to_owned()),
    ]
}

fn own_archives() -> Result<Vec<PathBuf>> {
    let folder = paths::images();
    let entries = fs::read_dir(&folder).with_context(|| {
        format!("read {}; `cargo xtask images` writes the archives there", folder.display())
    })?;
    let paths: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    let mut archives: Vec<_> = paths
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "tar"))
        .collect();
    archives.sort();
    Ok(archives)
}

fn print_status(layout: &Layout) -> Result<()> {
    let name = &layout.name;
    if !is_running(layout) {
        let alive: Vec<_> = NAMES.iter().copied().filter(|name| process::is_running(layout, name)).collect();
        match alive.as_slice() {
            [] => println!("cluster \"{name}\" is not running"),
            alive => println!("cluster \"{name}\" is not complete; running: {}", alive.join(", ")),
        }
        return Ok(());
    }
    let ports = read_ports(layout)?;
    println!("cluster \"{name}\" is running");
    println!("  API server  https://127.0.0.1:{}", ports.api);
    println!("  gateway     http://127.0.0.1:{}", ports.gateway);
    println!("  kubeconfig  {}", layout.kubeconfig().display());
    println!("  audit log   {}", layout.audit_log().display());
    println!("  logs        {}", layout.dir.join("logs").display());
    Ok(())
}

fn run_inside(layout: &Layout, inside: bool, command: &[String]) -> Result<()> {
    read_ports(layout)?;
    let (program, arguments) = command.split_first().context("a command")?;
    // The PATH that the command gets also decides which program is meant.
    let path = machine::search_path(&layout.bin());
    let found = env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
    let mut run = Command::new(found.unwrap_or_else(|| program.into()));
    run.args(arguments).envs(environment(layout));
    if inside {
        process::enter(&layout.netns_path())?;
        run.env("KUBECONFIG", layout.inner_kubeconfig());
    }
    Err(run.exec()).with_context(|| format!("run {program}"))
}

fn restart(layout: &Layout, component: &str) -> Result<()> {
    let _lock = lock(layout)?;
    if !is_running(layout) {
        bail!("cluster \"{}\" is not running", layout.name);
    }
    let name = NAMES.iter().find(|name| **name == component).context("a component")?;
    let identity = Identity::read(&layout.pid(name)).context("its process")?;
    identity.kill();
    await_some("it to end", Duration::from_secs(10), || Ok((!identity.is_alive()).then_some(())))?;
    let ports = read_ports(layout)?;
    let component = if *name == "forwarder" {
        Component::forwarder(layout, ports)
    } else {
        Component::named(name, layout)
    };
    process::start(layout, &component)?;
    start::await_api_server(layout)
}

/// Keeps a cluster for a run of several commands; whoever else asks for it waits until the file is dropped.
pub fn reserve(layout: &Layout) -> Result<File> {
    lock_file(&layout.reservation(), &format!("another run to be done with the cluster \"{}\"", layout.name))
}

/// One command at a time changes a cluster; the others wait for it.
fn lock(layout: &Layout) -> Result<File> {
    lock_file(&layout.lock(), &format!("another command to finish with the cluster \"{}\"", layout.name))
}

fn lock_file(path: &Path, awaited: &str) -> Result<File> {
    fs::create_dir_all(path.parent().context("the cache")?)?;
    let file = File::create(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            eprintln!("waiting for {awaited}");
            file.lock()?;
        }
        Err(TryLockError::Error(error)) => return Err(error).context("lock the cluster"),
    }
    Ok(file)
}
