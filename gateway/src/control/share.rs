//! How the replicas share the plugins: each plugin is described, polled and registered by one of
//! them. When a replica comes or goes, only its share moves (rendezvous hashing).

use std::collections::BTreeSet;

/// Whether a plugin is this replica's. Whoever sees no ready replica is alone and has them all.
pub fn is_mine(me: &str, replicas: &BTreeSet<String>, plugin: &str) -> bool {
    let owner = replicas.iter().max_by_key(|replica| (weight(replica, plugin), *replica));
    owner.is_none_or(|owner| owner == me)
}

/// The same in every replica, whatever version it is: FNV-1a, then mixed, because replicas' names
/// differ in their last characters only.
fn weight(replica: &str, plugin: &str) -> u64 {
    let bytes = replica.bytes().chain([0]).chain(plugin.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(replicas: &BTreeSet<String>, plugin: &str) -> String {
        let owners: Vec<_> = replicas.iter().filter(|me| is_mine(me, replicas, plugin)).collect();
        assert_eq!(owners.len(), 1, "{plugin} has one owner");
        owners[0].clone()
    }

    fn replicas(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| format!("forward-gateway-5d4f-{name}")).collect()
    }

    #[test]
    fn gives_every_plugin_one_owner_and_shares_evenly() {
        let all = replicas(&["abcde", "abcdf", "xyzzy"]);
        let mut counts = std::collections::BTreeMap::<_, u32>::new();
        for plugin in 0..3_000 {
            *counts.entry(owner(&all, &format!("uid-{plugin}"))).or_default() += 1;
        }
        assert!(counts.values().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    #[test]
    fn moves_only_the_share_of_a_replica_that_leaves() {
        let (before, after) = (replicas(&["a", "b", "c"]), replicas(&["a", "b"]));
        let gone = "forward-gateway-5d4f-c";
        for plugin in 0..500 {
            let uid = format!("uid-{plugin}");
            let owner_before = owner(&before, &uid);
            assert!(owner_before == gone || owner_before == owner(&after, &uid));
        }
    }

    #[test]
    fn owns_everything_alone_and_nothing_when_it_is_not_ready() {
        assert!(is_mine("me", &BTreeSet::new(), "x"));
        assert!(!is_mine("me", &replicas(&["a"]), "x"));
    }
}
