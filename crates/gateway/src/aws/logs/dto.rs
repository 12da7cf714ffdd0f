//! Shapes of CloudWatch Logs' requests, with AWS's names. Unknown fields are ignored.

use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DescribeLogGroups {
    pub log_group_name_prefix: Option<String>,
    pub log_group_name_pattern: Option<String>,
    pub next_token: Option<String>,
    pub limit: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DescribeLogStreams {
    pub log_group_name: Option<String>,
    pub log_group_identifier: Option<String>,
    pub log_stream_name_prefix: Option<String>,
    pub order_by: Option<String>,
    pub descending: bool,
    pub next_token: Option<String>,
    pub limit: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GetLogEvents {
    pub log_group_name: Option<String>,
    pub log_group_identifier: Option<String>,
    pub log_stream_name: Option<String>,
    pub start_time: Option<i64>,
    pub end_time: Option<i64>,
    pub next_token: Option<String>,
    pub limit: Option<i64>,
    pub start_from_head: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FilterLogEvents {
    pub log_group_name: Option<String>,
    pub log_group_identifier: Option<String>,
    pub log_stream_names: Option<Vec<String>>,
    pub log_stream_name_prefix: Option<String>,
    pub start_time: Option<i64>,
    pub end_time: Option<i64>,
    pub filter_pattern: Option<String>,
    pub next_token: Option<String>,
    pub limit: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogGroupName {
    pub log_group_name: Option<String>,
}

/// The group's name out of a name or an ARN (`arn:aws:logs:REGION:ACCOUNT:log-group:NAME[:*]`).
pub fn group_name(name: Option<String>, identifier: Option<String>) -> Option<String> {
    name.or_else(|| {
        let identifier = identifier?;
        match identifier.splitn(7, ':').collect::<Vec<_>>().as_slice() {
            ["arn", _, "logs", _, _, "log-group", name] => Some(name.trim_end_matches(":*").to_owned()),
            _ => Some(identifier),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_named_or_identified() {
        let group = |name: Option<&str>, id: Option<&str>| group_name(name.map(str::to_owned), id.map(str::to_owned));
        assert_eq!(group(Some("/aws/lambda/f"), None).as_deref(), Some("/aws/lambda/f"));
        assert_eq!(group(None, Some("/aws/lambda/f")).as_deref(), Some("/aws/lambda/f"));
        let arn = "arn:aws:logs:us-east-1:000000000000:log-group:/aws/lambda/f";
        assert_eq!(group(None, Some(arn)).as_deref(), Some("/aws/lambda/f"));
        assert_eq!(group(None, Some(&format!("{arn}:*"))).as_deref(), Some("/aws/lambda/f"));
        assert_eq!(group(None, None), None);
    }
}
