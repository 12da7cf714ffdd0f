//! The one place that decides who may do what.

use dayfly_types::{AccountId, credentials::Principal};

/// Whether `principal` may do `action` (`lambda:InvokeFunction`) on `resource` (an ARN) of `account`.
///
/// Root may do everything in its account, and so may execution roles: policies are not evaluated yet.
pub fn authorise(principal: &Principal, action: &str, resource: &str, account: &AccountId) -> Result<(), Denied> {
    if principal.account() == account {
        return Ok(());
    }
    Err(Denied(format!("User: {} is not authorized to perform: {action} on resource: {resource}", arn(principal))))
}

/// The request is refused; the text is AWS's.
#[derive(Debug, PartialEq, Eq)]
pub struct Denied(pub String);

/// The principal's ARN, as GetCallerIdentity gives it.
pub fn arn(principal: &Principal) -> String {
    match principal {
        Principal::Root { account } => format!("arn:aws:iam::{account}:root"),
        Principal::ExecutionRole { account, role_arn, session } => {
            let role = role_arn.rsplit('/').next().unwrap_or_default();
            format!("arn:aws:sts::{account}:assumed-role/{role}/{session}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_acts_in_its_own_account_only() {
        let own = AccountId::default();
        let other: AccountId = "123456789012".parse().unwrap();
        let role = Principal::ExecutionRole {
            account: own.clone(),
            role_arn: "arn:aws:iam::000000000000:role/path/worker".to_owned(),
            session: "resize".to_owned(),
        };
        assert_eq!(authorise(&role, "lambda:InvokeFunction", "arn", &own), Ok(()));
        assert!(authorise(&role, "lambda:InvokeFunction", "arn", &other).is_err());
        assert_eq!(arn(&role), "arn:aws:sts::000000000000:assumed-role/worker/resize");
        assert_eq!(arn(&Principal::Root { account: own }), "arn:aws:iam::000000000000:root");
    }
}
