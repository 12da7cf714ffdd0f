//! AWS's limits, which are Dayfly's defaults; each can be raised in the configuration.

use serde::{Deserialize, Serialize};

/// Limits of one server. Sizes are in bytes unless the name says otherwise.
///
/// Source of the defaults: AWS Lambda's quotas page.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest synchronous payload, each way. Default 6 MiB.
    pub sync_payload_bytes: usize,
    /// Largest asynchronous payload. Default 1 MiB.
    pub async_payload_bytes: usize,
    /// Largest decoded client context. Default 3,583 bytes.
    pub client_context_bytes: usize,
    /// Largest request line and headers. Default 1 MiB.
    pub request_headers_bytes: usize,
    /// Largest code package in a request. Default 50 MiB (a request is base64, so a third longer).
    pub code_zip_bytes: u64,
    /// Largest unpacked code package. Dayfly's default is 10 GiB rather than Lambda's 250 MB.
    pub code_unzipped_bytes: u64,
    /// Most entries in a code package. Default 200,000.
    pub code_entries: u64,
    /// Largest function file of a job. Default 4 GiB.
    pub function_file_bytes: u64,
    /// Layers of one function. Default 5.
    pub layers: usize,
    /// Unpacked zip layers of one function, all together, and each alone. Default 250 MB (262,144,000). Layers that the
    /// server has built do not count.
    pub layers_unzipped_bytes: u64,
    /// Names and values of a function's environment, all together. Default 4 KiB.
    pub environment_bytes: usize,
    /// Smallest memory size in MB (MiB). Default 128.
    pub memory_mb_min: u32,
    /// Largest memory size in MB (MiB). Default 10,240.
    pub memory_mb_max: u32,
    /// Longest timeout in seconds. Default 900.
    pub timeout_s_max: u32,
    /// Smallest `/tmp` in MB (MiB). Default 512.
    pub ephemeral_storage_mb_min: u32,
    /// Largest `/tmp` in MB (MiB). Default 10,240.
    pub ephemeral_storage_mb_max: u32,
    /// Open files of one process. Default 1,024.
    pub open_files: u64,
    /// Processes and threads of one instance. Default 1,024.
    pub processes: u64,
    /// Time for init, in milliseconds, before it is retried under the function's timeout. Default 10,000.
    pub init_ms: u64,
    /// Most log bytes kept of one call. Default 10 MiB; the rest is counted and dropped.
    pub log_bytes_per_call: usize,
    /// Longest log event in bytes; longer lines are split. Default 256 KiB.
    pub log_event_bytes: usize,
    /// Concurrent executions of the account. Default 1,000.
    pub concurrency: u32,
    /// Asynchronous events that may wait in one function's queue. Default 1,000,000.
    pub async_queue_events: u64,
    /// Functions per account. Default 10,000.
    pub functions: u64,
    /// Tags per resource. Default 50.
    pub tags: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sync_payload_bytes: 6 << 20,
            async_payload_bytes: 1 << 20,
            client_context_bytes: 3583,
            request_headers_bytes: 1 << 20,
            code_zip_bytes: 50 << 20,
            code_unzipped_bytes: 10 << 30,
            code_entries: 200_000,
            function_file_bytes: 4 << 30,
            layers: 5,
            layers_unzipped_bytes: 262_144_000,
            environment_bytes: 4096,
            memory_mb_min: 128,
            memory_mb_max: 10_240,
            timeout_s_max: 900,
            ephemeral_storage_mb_min: 512,
            ephemeral_storage_mb_max: 10_240,
            open_files: 1024,
            processes: 1024,
            init_ms: 10_000,
            log_bytes_per_call: 10 << 20,
            log_event_bytes: 256 << 10,
            concurrency: 1000,
            async_queue_events: 1_000_000,
            functions: 10_000,
            tags: 50,
        }
    }
}
