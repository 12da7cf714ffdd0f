//! Locks by name, the store's, for the paths that change functions. Never taken on the way of a call whose function is
//! cached.

pub(crate) use dayfly_store::locks::Locks;
