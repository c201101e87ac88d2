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

/// The one program in an image.
#[derive(Clone, Copy, Debug)]
pub enum Content {
    /// The binary of a package of this workspace; it has the package's name.
    Package(&'static str),
    /// A static program of a Debian package, in its usual place, with what it is called with.
    Debian { package: &'static str, file: &'static str, arguments: &'static [&'static str] },
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
    Source { name: "hello", tags: &["1.0.0"], content: Content::Package("hello"), published: true },
    Source { name: "relay", tags: &["1.0.0"], content: Content::Package("relay"), published: true },
    // Several versions of a plugin for tests: what it does is up to its config.
    Source {
        name: "testbed",
        tags: &["1.0.0", "1.1.0", "2.0.0"],
        content: Content::Package("testbed"),
        published: false,
    },
    // Stands for a third party's web server that knows nothing of us.
    Source {
        name: "busybox",
        tags: &["1.0.0"],
        content: Content::Debian {
            package: "busybox-static",
            file: "/bin/busybox",
            arguments: &["httpd", "-f", "-p", "8080", "-h", "/tmp"],
        },
        published: false,
    },
];

impl Source {
    /// As a pod names it.
    pub fn reference(&self, tag: &str) -> String {
        format!("{REGISTRY}/{}:{tag}", self.name)
    }

    pub fn archive(&self, tag: &str) -> PathBuf {
        paths::images().join(format!("{}-{tag}.tar", self.name))
    }
}
