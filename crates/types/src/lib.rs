//! The words of Dayfly: what every crate may speak about. No I/O here, and no HTTP types.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod arn;
pub mod clock;
pub mod credentials;
pub mod environment;
pub mod function;
pub mod invocation;
pub mod job;
pub mod layer;
pub mod limits;
pub mod log;
pub mod outcome;
pub mod policy;
pub mod url;

pub use arn::{AccountId, FunctionArn, FunctionName, FunctionReference, Qualifier, Region};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use environment::{EnvironmentSource, Packages};
pub use function::{CodeReference, FunctionConfiguration, Runtime};
pub use invocation::{Invocation, RequestId};
pub use job::{Environment, JobFunction, JobId};
pub use layer::{Layer, LayerContent, LayerName, LayerVersion, LayerVersionArn};
pub use limits::Limits;
pub use log::{LogLine, LogSink, LogSource};
pub use outcome::{FunctionError, InvokeError, Outcome, ThrottleReason, Usage, UsageStatus};
pub use policy::{ResourcePolicy, Statement};
pub use url::{FunctionUrl, FunctionUrlId};
