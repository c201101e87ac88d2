//! Decides, from plain data, what should happen to each plugin and why.
