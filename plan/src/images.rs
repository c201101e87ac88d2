//! Which images a namespace allows.

/// The registry of an image that names none.
const REGISTRY: &str = "docker.io";
/// The part of [`REGISTRY`] with the images that have no part of their own.
const LIBRARY: &str = "library";

/// Whether an image begins with one of some prefixes, in whole components of its path. Every image
/// does where there is no prefix. A prefix begins with a registry's host.
pub fn is_allowed(image: &str, prefixes: &[String]) -> bool {
    if prefixes.is_empty() {
        return true;
    }
    let repository = repository(image);
    let starts = |prefix: &String| {
        let rest = repository.strip_prefix(prefix.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    prefixes.iter().any(starts)
}

/// Where an image is, in full: its registry and path, without tag and digest.
fn repository(image: &str) -> String {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    let path = name.rfind('/').map_or(0, |slash| slash + 1);
    let name = name[path..].find(':').map_or(name, |colon| &name[..path + colon]);
    match name.split_once('/') {
        Some((first, _)) if first == "localhost" || first.contains(['.', ':']) => name.to_owned(),
        Some(_) => format!("{REGISTRY}/{name}"),
        None => format!("{REGISTRY}/{LIBRARY}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(prefix: &str, image: &str) -> bool {
        is_allowed(image, &["other.example/a".to_owned(), prefix.to_owned()])
    }

    #[test]
    fn a_prefix_is_of_whole_components() {
        for image in [
            "registry.example/team",
            "registry.example/team:1.0",
            "registry.example/team@sha256:0",
            "registry.example/team:1.0@sha256:0",
            "registry.example/team/cart",
            "registry.example/team/deep/cart:1.0",
        ] {
            assert!(allows("registry.example/team", image), "{image}");
        }
        for image in [
            "registry.example/team-evil",
            "registry.example/team-evil/cart:1.0",
            "registry.example/teams/cart",
            "registry.example/tea",
            "registry.example:5000/team/cart",
            "registry.example.evil/team/cart",
            "evil/registry.example/team",
            "cart:registry.example",
        ] {
            assert!(!allows("registry.example/team", image), "{image}");
        }
    }

    #[test]
    fn a_host_with_a_port_is_no_tag() {
        assert!(allows("localhost:5000", "localhost:5000/cart:1.0"));
        assert!(!allows("localhost", "localhost:5000/cart:1.0"));
        assert!(allows("registry.example:5000/team", "registry.example:5000/team:1.0"));
    }

    #[test]
    fn an_image_without_a_host_is_one_of_docker_io() {
        assert!(allows("docker.io/library", "cart:1.0"));
        assert!(allows("docker.io/team", "team/cart:1.0"));
        assert!(!allows("docker.io/library", "team/cart:1.0"));
        assert!(!allows("registry.example", "cart:1.0"));
    }

    #[test]
    fn every_image_is_allowed_where_no_prefix_is_named() {
        assert!(is_allowed("anything/at:all", &[]));
    }
}
