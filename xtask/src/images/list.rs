//! Which images there are: the only list.

use std::path::PathBuf;

use crate::paths;

/// The registry part of our images' names. It has no server: what has it is loaded, never pulled.
pub const REGISTRY: &str = "forward.local";

/// What an image is made from.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    pub name: &'static str,
    /// The same content under each of them.
    pub tags: &'static [&'static str],
    pub content: Content,
    /// Whether somebody's own cluster gets it: it is part of the product or of an example.
    pub published: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum Content {
    /// The binary of a package of this workspace, made static; it has the package's name.
    Package(&'static str),
    /// Somebody else's programs.
    Debian(Debian),
}

/// A choice of the files of Debian packages, and files of ours. Shared libraries come along with
/// what needs them. Nothing is installed on this machine for it.
#[derive(Clone, Copy, Debug)]
pub struct Debian {
    /// Their files, and those of all that they depend on, are what there is to choose from.
    pub packages: &'static [&'static str],
    /// Files, and folders with all in them. `*` stands for any part of a name, such as a version.
    pub files: &'static [&'static str],
    /// What is left out of these folders.
    pub except: &'static [&'static str],
    /// Files and folders of this repository, and where they go.
    pub own: &'static [(&'static str, &'static str)],
    /// Symbolic links and what they lead to.
    pub links: &'static [(&'static str, &'static str)],
    /// The program that runs, and its arguments.
    pub command: &'static [&'static str],
}

/// A program of the workspace that is published in these versions.
const fn program(name: &'static str, tags: &'static [&'static str]) -> Source {
    Source { name, tags, content: Content::Package(name), published: true }
}

pub const IMAGES: &[Source] = &[
    Source {
        name: "operator",
        tags: &[env!("CARGO_PKG_VERSION")],
        content: Content::Package("forward-operator"),
        published: true,
    },
    Source {
        name: "gateway",
        tags: &[env!("CARGO_PKG_VERSION")],
        content: Content::Package("forward-gateway"),
        published: true,
    },
    program("hello", &["1.0.0"]),
    program("relay", &["1.0.0"]),
    // The second versions are there to upgrade to.
    program("payment-processor", &["1.2.0", "1.2.1"]),
    program("inventory-manager", &["1.0.0", "1.0.1"]),
    program("analytics-tracker", &["2.1.0", "2.1.1"]),
    program("order-processing", &["1.0.0", "1.0.1"]),
    Source {
        name: "static-site",
        tags: &["1.0.0", "1.0.1"],
        content: Content::Debian(STATIC_SITE),
        published: true,
    },
    // Ours, so not PostgreSQL's version: that is what Debian has.
    Source { name: "postgres", tags: &["1.0.0"], content: Content::Debian(POSTGRES), published: true },
    // Several versions of a plugin for tests: what it does is up to its config.
    Source {
        name: "testbed",
        tags: &["1.0.0", "1.1.0", "2.0.0"],
        content: Content::Package("testbed"),
        published: false,
    },
    // Stands for a third party's web server that knows nothing of us.
    Source { name: "busybox", tags: &["1.0.0"], content: Content::Debian(BUSYBOX), published: false },
];

const STATIC_SITE: Debian = Debian {
    packages: &["nginx"],
    files: &["/usr/sbin/nginx", "/etc/nginx/mime.types"],
    except: &[],
    own: &[
        ("examples/static-site/nginx.conf", "/etc/nginx/nginx.conf"),
        ("examples/static-site/site", "/site"),
    ],
    links: &[],
    // Its compiled-in log is where nothing can be written; it is opened before the configuration is read.
    command: &["/usr/sbin/nginx", "-e", "stderr"],
};

const POSTGRES: Debian = Debian {
    packages: &["postgresql", "busybox-static"],
    files: &[
        "/bin/busybox",
        "/usr/lib/postgresql/*/bin/initdb",
        "/usr/lib/postgresql/*/bin/pg_isready",
        "/usr/lib/postgresql/*/bin/postgres",
        "/usr/lib/postgresql/*/bin/psql",
        "/usr/lib/postgresql/*/lib",
        "/usr/share/postgresql/*",
        // Debian's PostgreSQL has no time zones of its own.
        "/usr/share/zoneinfo",
    ],
    except: &[
        // The compiler of queries is larger than all of the rest.
        "/usr/lib/postgresql/*/lib/bitcode",
        "/usr/lib/postgresql/*/lib/llvmjit*",
        "/usr/lib/postgresql/*/lib/pgxs",
        "/usr/share/postgresql/*/man",
        "/usr/share/zoneinfo/right",
    ],
    own: &[
        ("examples/postgres/image/passwd", "/etc/passwd"),
        ("examples/postgres/image/start.sh", "/start.sh"),
    ],
    links: &[
        // initdb asks a shell to run postgres.
        ("/bin/sh", "busybox"),
        ("/etc/localtime", "/usr/share/zoneinfo/Etc/UTC"),
    ],
    command: &["/start.sh"],
};

const BUSYBOX: Debian = Debian {
    packages: &["busybox-static"],
    files: &["/bin/busybox"],
    except: &[],
    own: &[],
    links: &[],
    command: &["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/tmp"],
};

impl Source {
    /// As a pod names it.
    pub fn reference(&self, tag: &str) -> String {
        format!("{REGISTRY}/{}:{tag}", self.name)
    }

    pub fn archive(&self, tag: &str) -> PathBuf {
        paths::images().join(format!("{}-{tag}.tar", self.name))
    }
}
