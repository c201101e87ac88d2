//! The contract between a plugin and the gateway, as Rust types generated from
//! `goforward/plugin/v1/*.proto`.
//!
//! Owns the wire format. Refuses to own what either side does with it.

/// `goforward.plugin.v1`: Describe and Health, and middleware.
pub mod plugin {
    /// Version 1.
    #[expect(clippy::allow_attributes, reason = "generated code")]
    pub mod v1 {
        include!("generated/goforward.plugin.v1.rs");

        /// What the kubelet asks the standard health service (`grpc.health.v1.Health`) about.
        pub mod probe {
            /// SERVING once Initialize has succeeded.
            pub const INITIALIZED: &str = "initialized";
            /// SERVING while the plugin is started and not draining.
            pub const READY: &str = "";
            /// SERVING while the process works at all.
            pub const LIVENESS: &str = "liveness";
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_pages_show_the_whole_definitions() {
        let contract = include_str!("../../docs/contract.md");
        let plugin = include_str!("../goforward/plugin/v1/plugin.proto");
        let own = include_str!("../../docs/plugin-middleware.md");
        let middleware = include_str!("../goforward/plugin/v1/middleware.proto");
        for (page, definition) in [(contract, plugin), (own, middleware)] {
            assert!(
                page.contains(&format!("```proto\n{definition}```\n")),
                "copy plugin.proto into docs/contract.md, and middleware.proto into docs/plugin-middleware.md"
            );
        }
    }
}
