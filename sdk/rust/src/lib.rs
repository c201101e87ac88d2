//! What the author of a plugin links.
