//! Layers, networks and optimisers.
#![forbid(unsafe_code)]
