//! Events in: queues, and what turns their messages into calls. Called by the gateway, whose front-ends meet here; calls
//! the scheduler. Knows nothing of HTTP.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod deliveries;
pub mod destinations;
pub mod events;
pub mod lineage;
pub mod mappings;
pub mod patterns;
pub mod queues;
pub mod schedules;
pub mod topics;

pub use deliveries::Deliveries;
pub use events::Events;
pub use mappings::Mappings;
pub use queues::Queues;
pub use schedules::Schedules;
