//! Jobs over a scripted worker.
