//! AWS's own managed policies, those that are about services that this server has. Their documents are the sense of
//! AWS's: what they say of other services is left out.

use serde_json::json;

/// Where the ARNs of AWS's policies begin.
pub const PREFIX: &str = "arn:aws:iam::aws:policy/";

/// Path (without the first slash) and name, and the actions that are allowed with every resource.
const POLICIES: &[(&str, &[&str])] = &[
    ("AWSLambdaExecute", &["logs:*", "s3:GetObject", "s3:PutObject"]),
    ("AWSLambda_FullAccess", LAMBDA_FULL),
    (
        "AWSLambda_ReadOnlyAccess",
        &[
            "lambda:Get*",
            "lambda:List*",
            "logs:Describe*",
            "logs:Get*",
            "logs:FilterLogEvents",
            "iam:GetRole",
            "iam:GetRolePolicy",
            "iam:ListAttachedRolePolicies",
            "iam:ListRolePolicies",
            "iam:ListRoles",
        ],
    ),
    ("AWSXRayDaemonWriteAccess", &["xray:Put*", "xray:Get*"]),
    ("AWSXrayWriteOnlyAccess", &["xray:Put*", "xray:Get*"]),
    ("AdministratorAccess", &["*"]),
    ("AmazonAPIGatewayAdministrator", &["apigateway:*"]),
    ("AmazonAPIGatewayInvokeFullAccess", &["execute-api:Invoke", "execute-api:ManageConnections"]),
    ("AmazonDynamoDBFullAccess", &["dynamodb:*"]),
    ("AmazonDynamoDBFullAccess_v2", &["dynamodb:*"]),
    (
        "AmazonDynamoDBReadOnlyAccess",
        &[
            "dynamodb:BatchGetItem",
            "dynamodb:Describe*",
            "dynamodb:Get*",
            "dynamodb:List*",
            "dynamodb:PartiQLSelect",
            "dynamodb:Query",
            "dynamodb:Scan",
        ],
    ),
    ("AmazonEventBridgeFullAccess", &["events:*", "scheduler:*"]),
    (
        "AmazonEventBridgeReadOnlyAccess",
        &["events:Describe*", "events:List*", "events:TestEventPattern", "scheduler:Get*", "scheduler:List*"],
    ),
    ("AmazonEventBridgeSchedulerFullAccess", &["scheduler:*"]),
    ("AmazonEventBridgeSchedulerReadOnlyAccess", &["scheduler:Get*", "scheduler:List*"]),
    ("AmazonS3FullAccess", &["s3:*", "s3-object-lambda:*"]),
    ("AmazonS3ReadOnlyAccess", &["s3:Describe*", "s3:Get*", "s3:List*"]),
    ("AmazonSNSFullAccess", &["sns:*"]),
    ("AmazonSNSReadOnlyAccess", &["sns:Check*", "sns:Get*", "sns:List*"]),
    ("AmazonSQSFullAccess", &["sqs:*"]),
    ("AmazonSQSReadOnlyAccess", &["sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:List*"]),
    ("CloudWatchFullAccess", &["cloudwatch:*", "logs:*", "sns:*"]),
    ("CloudWatchLogsFullAccess", &["logs:*"]),
    (
        "CloudWatchLogsReadOnlyAccess",
        &[
            "logs:Describe*",
            "logs:FilterLogEvents",
            "logs:Get*",
            "logs:List*",
            "logs:StartQuery",
            "logs:StopQuery",
            "logs:TestMetricFilter",
        ],
    ),
    ("IAMFullAccess", &["iam:*"]),
    ("IAMReadOnlyAccess", &["iam:Generate*", "iam:Get*", "iam:List*", "iam:Simulate*"]),
    (
        "PowerUserAccess",
        &[
            "apigateway:*",
            "cloudwatch:*",
            "dayfly:*",
            "dynamodb:*",
            "events:*",
            "execute-api:*",
            "iam:ListRoles",
            "lambda:*",
            "logs:*",
            "s3:*",
            "scheduler:*",
            "sns:*",
            "sqs:*",
            "sts:GetCallerIdentity",
        ],
    ),
    (
        "ReadOnlyAccess",
        &[
            "apigateway:GET",
            "dayfly:Get*",
            "dayfly:List*",
            "dynamodb:BatchGetItem",
            "dynamodb:Describe*",
            "dynamodb:Get*",
            "dynamodb:List*",
            "dynamodb:Query",
            "dynamodb:Scan",
            "events:Describe*",
            "events:List*",
            "events:TestEventPattern",
            "iam:Get*",
            "iam:List*",
            "lambda:Get*",
            "lambda:List*",
            "logs:Describe*",
            "logs:FilterLogEvents",
            "logs:Get*",
            "logs:List*",
            "s3:Get*",
            "s3:List*",
            "scheduler:Get*",
            "scheduler:List*",
            "sns:Get*",
            "sns:List*",
            "sqs:GetQueueAttributes",
            "sqs:GetQueueUrl",
            "sqs:List*",
            "sqs:ReceiveMessage",
        ],
    ),
    ("service-role/AWSLambdaBasicExecutionRole", LOGS),
    (
        "service-role/AWSLambdaDynamoDBExecutionRole",
        &[
            "dynamodb:DescribeStream",
            "dynamodb:GetRecords",
            "dynamodb:GetShardIterator",
            "dynamodb:ListStreams",
            "logs:CreateLogGroup",
            "logs:CreateLogStream",
            "logs:PutLogEvents",
        ],
    ),
    ("service-role/AWSLambdaRole", &["lambda:InvokeFunction"]),
    (
        "service-role/AWSLambdaSQSQueueExecutionRole",
        &[
            "sqs:ReceiveMessage",
            "sqs:DeleteMessage",
            "sqs:GetQueueAttributes",
            "logs:CreateLogGroup",
            "logs:CreateLogStream",
            "logs:PutLogEvents",
        ],
    ),
    ("service-role/AWSLambdaVPCAccessExecutionRole", LOGS),
    (
        "service-role/AmazonAPIGatewayPushToCloudWatchLogs",
        &[
            "logs:CreateLogGroup",
            "logs:CreateLogStream",
            "logs:Describe*",
            "logs:PutLogEvents",
            "logs:GetLogEvents",
            "logs:FilterLogEvents",
        ],
    ),
];

const LOGS: &[&str] = &["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"];
const LAMBDA_FULL: &[&str] = &[
    "lambda:*",
    "iam:GetPolicy",
    "iam:GetPolicyVersion",
    "iam:GetRole",
    "iam:GetRolePolicy",
    "iam:ListAttachedRolePolicies",
    "iam:ListRolePolicies",
    "iam:ListRoles",
    "iam:PassRole",
    "logs:Describe*",
    "logs:Get*",
    "logs:FilterLogEvents",
];

/// All ARNs, in order.
pub fn arns() -> impl Iterator<Item = String> {
    POLICIES.iter().map(|(name, _)| format!("{PREFIX}{name}"))
}

/// The document of the policy with this ARN.
pub fn document(arn: &str) -> Option<String> {
    let wanted = arn.strip_prefix(PREFIX)?;
    let (_, actions) = POLICIES.iter().find(|(name, _)| *name == wanted)?;
    let statement = json!({"Effect": "Allow", "Action": actions, "Resource": "*"});
    Some(json!({"Version": "2012-10-17", "Statement": [statement]}).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dayfly_types::policy::{Kind, Policy};

    #[test]
    fn each_is_a_policy() {
        for arn in arns() {
            Policy::parse(&document(&arn).unwrap(), Kind::Identity).unwrap();
        }
        assert_eq!(document("arn:aws:iam::aws:policy/Nothing"), None);
    }
}
