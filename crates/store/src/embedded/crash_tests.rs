//! Tests on a backend that fails.
