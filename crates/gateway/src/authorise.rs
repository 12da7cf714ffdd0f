//! The one place that decides who may do what. Every operation of every service asks here once it knows what it is to
//! be done with, and before it does anything.
//!
//! The account's root may do everything, and costs nothing here. Everybody else has rights, which `rights` reads when the
//! request's key is known: what identity policies and the resource's own allow together, within the bounds of a
//! permissions boundary and of the session's policy, and never what one of them denies.

use crate::{Gateway, rights::Rights, server::Peer};
use dayfly_types::{
    AccountId, Timestamp,
    credentials::Principal,
    policy::{Context, Policy, Question, Verdict, Who},
};
use http::{
    header::{REFERER, USER_AGENT},
    request::Parts,
};
use std::{ops::Deref, sync::Arc};

/// Who sends a request, and what bounds it.
#[derive(Debug, Clone)]
pub struct Caller {
    principal: Principal,
    /// `None` for those who may do everything in their account.
    bounds: Option<Arc<Bounds>>,
}

#[derive(Debug)]
struct Bounds {
    rights: Arc<Rights>,
    /// What the session's own policy leaves of them.
    session: Option<Policy>,
    who: Who,
    context: Context,
}

/// What an operation knows of itself beyond action and resource.
#[derive(Debug, Clone, Copy, Default)]
pub struct More<'a> {
    /// The resource's own policy.
    pub policy: Option<&'a Policy>,
    /// Keys of the service, for conditions.
    pub context: &'a [(&'a str, &'a str)],
}

/// How a refusal that nothing undoes begins.
const EXPLICIT: &str = " with an explicit deny";

/// The request is refused; the text is AWS's.
#[derive(Debug, PartialEq, Eq)]
pub struct Denied(pub String);

impl Deref for Caller {
    type Target = Principal;
    fn deref(&self) -> &Principal {
        &self.principal
    }
}

impl Caller {
    /// The account's root.
    pub fn root(account: AccountId) -> Self {
        Self { principal: Principal::Root { account }, bounds: None }
    }

    /// Somebody with these rights; `None` for all.
    pub fn new(principal: Principal, rights: Option<Arc<Rights>>, session: Option<Policy>) -> Self {
        let bounds = rights.map(|rights| {
            let who = who(&principal);
            Arc::new(Bounds { context: about(&principal, &rights), rights, session, who })
        });
        Self { principal, bounds }
    }

    /// With what conditions may want to know of the request.
    pub fn asking(mut self, gateway: &Gateway, parts: &Parts, peer: Peer, region: &str) -> Self {
        // Nobody else has it yet.
        if let Some(bounds) = self.bounds.as_mut().and_then(Arc::get_mut) {
            add_request(&mut bounds.context, gateway, parts, peer, region);
        }
        self
    }

    /// Whether it may do everything in its account.
    pub fn is_unbounded(&self) -> bool {
        self.bounds.is_none()
    }

    /// As the policies of resources name it, and what is known of the request.
    pub fn named(&self) -> (Who, Context) {
        match &self.bounds {
            Some(bounds) => (bounds.who.clone(), bounds.context.clone()),
            None => (who(&self.principal), about(&self.principal, &Rights::default())),
        }
    }

    /// What its own policies say, where the policy of the other side is asked for itself.
    pub fn may(&self, action: &str, resource: &str) -> Verdict {
        let Some(bounds) = &self.bounds else { return Verdict::Allowed };
        match bounds.decide(action, resource, More::default()) {
            Ok(()) => Verdict::Allowed,
            Err(why) if why.starts_with(EXPLICIT) => Verdict::Denied,
            Err(_) => Verdict::Silent,
        }
    }
}

/// Whether `caller` may do `action` (`lambda:InvokeFunction`) on `resource` (an ARN) of `account`.
pub fn authorise(caller: &Caller, action: &str, resource: &str, account: &AccountId) -> Result<(), Denied> {
    authorise_with(caller, action, resource, account, More::default())
}

/// The same where more is known.
pub fn authorise_with(
    caller: &Caller,
    action: &str,
    resource: &str,
    account: &AccountId,
    more: More<'_>,
) -> Result<(), Denied> {
    let denied = |why: &str| {
        let arn = caller.principal.arn();
        Denied(format!("User: {arn} is not authorized to perform: {action} on resource: {resource}{why}"))
    };
    if caller.principal.account() != account {
        return Err(denied(""));
    }
    let Some(bounds) = &caller.bounds else { return Ok(()) };
    bounds.decide(action, resource, more).map_err(|why| denied(&why))
}

impl Bounds {
    fn decide(&self, action: &str, resource: &str, more: More<'_>) -> Result<(), String> {
        let mut own;
        let context = if more.context.is_empty() {
            &self.context
        } else {
            own = self.context.clone();
            more.context.iter().for_each(|(key, value)| own.add(key, *value));
            &own
        };
        let question = Question { action, resource, who: &self.who, context };
        let explicit = |kind: &str| Err(format!("{EXPLICIT} in {kind} policy"));
        let missing = |kind: &str| Err(format!(" because no {kind} policy allows the {action} action"));
        let of_resource = more.policy.map_or(Verdict::Silent, |policy| policy.verdict(&question));
        let mut of_identity = Verdict::Silent;
        for policy in &self.rights.policies {
            match policy.verdict(&question) {
                Verdict::Denied => return explicit("an identity-based"),
                Verdict::Silent => {}
                _ => of_identity = Verdict::Allowed,
            }
        }
        if of_resource == Verdict::Denied {
            return explicit("a resource-based");
        }
        let limits = [(&self.rights.boundary, "permissions boundary"), (&self.session, "session")];
        let limits = limits.map(|(policy, kind)| (policy.as_ref().map(|policy| policy.verdict(&question)), kind));
        for (verdict, kind) in limits {
            if verdict == Some(Verdict::Denied) {
                let policy = if kind == "session" { "a session" } else { "a permissions boundary" };
                return explicit(policy);
            }
        }
        if of_identity != Verdict::Allowed && of_resource != Verdict::Allowed {
            return missing("identity-based");
        }
        for (verdict, kind) in limits {
            if verdict.is_some_and(|verdict| verdict != Verdict::Allowed) {
                return missing(kind);
            }
        }
        Ok(())
    }
}

/// Every name of a principal in the policies of resources.
fn who(principal: &Principal) -> Who {
    let mut arns = vec![principal.arn()];
    if let Principal::ExecutionRole { role_arn, .. } | Principal::AssumedRole { role_arn, .. } = principal {
        arns.push(role_arn.clone());
    }
    Who { account: Some(principal.account().clone()), arns, service: None }
}

/// What conditions may want to know of a principal.
fn about(principal: &Principal, rights: &Rights) -> Context {
    let mut context = Context::default();
    let (kind, arn) = match principal {
        Principal::Root { .. } => ("Account", principal.arn()),
        Principal::User { .. } => ("User", principal.arn()),
        Principal::ExecutionRole { role_arn, .. } | Principal::AssumedRole { role_arn, .. } => {
            ("AssumedRole", role_arn.clone())
        }
    };
    context.add("aws:PrincipalArn", arn);
    context.add("aws:PrincipalType", kind);
    context.add("aws:PrincipalAccount", principal.account().to_string());
    context.add("aws:userid", principal.id());
    if let Principal::User { name, .. } = principal {
        context.add("aws:username", name.clone());
    }
    for (key, value) in &rights.tags {
        context.add(&format!("aws:PrincipalTag/{key}"), value.clone());
    }
    context
}

/// What conditions may want to know of a request that nobody signed.
pub fn of_request(gateway: &Gateway, parts: &Parts, peer: Peer) -> Context {
    let mut context = Context::default();
    add_request(&mut context, gateway, parts, peer, gateway.options.region.as_str());
    context
}

fn add_request(context: &mut Context, gateway: &Gateway, parts: &Parts, peer: Peer, region: &str) {
    let now: Timestamp = gateway.options.clock.now();
    context.add("aws:CurrentTime", now.to_string());
    context.add("aws:EpochTime", now.as_second().to_string());
    context.add("aws:SourceIp", peer.source_ip());
    context.add("aws:SecureTransport", (gateway.scheme() == "https").to_string());
    context.add("aws:RequestedRegion", region);
    for (key, name) in [("aws:UserAgent", USER_AGENT), ("aws:Referer", REFERER)] {
        if let Some(value) = parts.headers.get(name).and_then(|value| value.to_str().ok()) {
            context.add(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dayfly_types::policy::Kind;
    use serde_json::{Value, json};

    fn policy(effect: &str, action: &str) -> Policy {
        let text = json!({"Version": "2012-10-17", "Statement": {"Effect": effect, "Action": action, "Resource": "*"}});
        Policy::parse(&text.to_string(), Kind::Identity).unwrap()
    }

    fn of_resource(effect: &str, principal: &Value) -> Policy {
        let text = json!({"Statement": {"Effect": effect, "Principal": principal, "Action": "*", "Resource": "*"}});
        Policy::parse(&text.to_string(), Kind::Resource).unwrap()
    }

    fn worker() -> Principal {
        Principal::ExecutionRole {
            account: AccountId::default(),
            role_arn: "arn:aws:iam::000000000000:role/path/worker".to_owned(),
            session: "resize".to_owned(),
        }
    }

    #[test]
    fn a_role_acts_in_its_own_account_only() {
        let own = AccountId::default();
        let other: AccountId = "123456789012".parse().unwrap();
        let role = Caller::new(worker(), None, None);
        assert_eq!(authorise(&role, "lambda:InvokeFunction", "arn", &own), Ok(()));
        assert!(authorise(&role, "lambda:InvokeFunction", "arn", &other).is_err());
        assert_eq!(role.arn(), "arn:aws:sts::000000000000:assumed-role/worker/resize");
        assert_eq!(Caller::root(own).arn(), "arn:aws:iam::000000000000:root");
    }

    #[test]
    fn policies_decide_together_and_a_denial_decides_alone() {
        let allow = || vec![policy("Allow", "s3:*")];
        let named = json!({"AWS": "arn:aws:iam::000000000000:role/path/worker"});
        let account = json!({"AWS": "000000000000"});
        let no_identity = " because no identity-based policy allows the s3:GetObject action";
        for (policies, boundary, session, resource, why) in [
            (allow(), None, None, None, None),
            (vec![], None, None, None, Some(no_identity)),
            (vec![policy("Allow", "sqs:*")], None, None, None, Some(no_identity)),
            (
                vec![policy("Allow", "*"), policy("Deny", "s3:Get*")],
                None,
                None,
                None,
                Some(" with an explicit deny in an identity-based policy"),
            ),
            (vec![], None, None, Some(of_resource("Allow", &named)), None),
            (vec![], None, None, Some(of_resource("Allow", &account)), Some(no_identity)),
            (allow(), None, None, Some(of_resource("Allow", &account)), None),
            (
                allow(),
                None,
                None,
                Some(of_resource("Deny", &json!("*"))),
                Some(" with an explicit deny in a resource-based policy"),
            ),
            (allow(), Some(policy("Allow", "s3:Get*")), None, None, None),
            (
                allow(),
                Some(policy("Allow", "sqs:*")),
                None,
                None,
                Some(" because no permissions boundary policy allows the s3:GetObject action"),
            ),
            (allow(), None, Some(policy("Allow", "s3:GetObject")), None, None),
            (
                allow(),
                None,
                Some(policy("Allow", "s3:PutObject")),
                None,
                Some(" because no session policy allows the s3:GetObject action"),
            ),
            (
                allow(),
                None,
                Some(policy("Deny", "s3:GetObject")),
                None,
                Some(" with an explicit deny in a session policy"),
            ),
        ] {
            let rights = Rights { policies, boundary, ..Rights::default() };
            let caller = Caller::new(worker(), Some(Arc::new(rights)), session);
            let more = More { policy: resource.as_ref(), ..More::default() };
            let found = authorise_with(&caller, "s3:GetObject", "arn:aws:s3:::b/k", &AccountId::default(), more);
            let expected = why.map(|why| {
                Denied(format!(
                    "User: arn:aws:sts::000000000000:assumed-role/worker/resize is not authorized to perform: \
                     s3:GetObject on resource: arn:aws:s3:::b/k{why}"
                ))
            });
            assert_eq!(found.err(), expected);
        }
    }
}
