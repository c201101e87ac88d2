//! Answers with the way that a request takes through a chain of plugins: the next plugin is asked
//! for its own, and the plugin's name is put in front.

mod relay;

forward_sdk::main!(relay::Relay);
