//! Every operation of EventBridge Scheduler, served or not, so that one that is not served is refused by its name.
//!
//! Written by `tools/operations.py` from botocore 1.44.5; do not edit.

use crate::aws::routes::Operation;

/// All of them; the first that matches a request is the right one.
#[rustfmt::skip]
pub const OPERATIONS: &[Operation] = &[
    Operation { name: "ListScheduleGroups", method: "GET", segments: &["schedule-groups"], query: None },
    Operation { name: "ListSchedules", method: "GET", segments: &["schedules"], query: None },
    Operation { name: "DeleteScheduleGroup", method: "DELETE", segments: &["schedule-groups", "*"], query: None },
    Operation { name: "GetScheduleGroup", method: "GET", segments: &["schedule-groups", "*"], query: None },
    Operation { name: "CreateScheduleGroup", method: "POST", segments: &["schedule-groups", "*"], query: None },
    Operation { name: "DeleteSchedule", method: "DELETE", segments: &["schedules", "*"], query: None },
    Operation { name: "GetSchedule", method: "GET", segments: &["schedules", "*"], query: None },
    Operation { name: "CreateSchedule", method: "POST", segments: &["schedules", "*"], query: None },
    Operation { name: "UpdateSchedule", method: "PUT", segments: &["schedules", "*"], query: None },
    Operation { name: "UntagResource", method: "DELETE", segments: &["tags", "*"], query: None },
    Operation { name: "ListTagsForResource", method: "GET", segments: &["tags", "*"], query: None },
    Operation { name: "TagResource", method: "POST", segments: &["tags", "*"], query: None },
];
