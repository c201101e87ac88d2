//! What needs a cluster: the harness and the tests on it.
